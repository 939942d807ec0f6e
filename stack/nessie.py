"""Nessie, one more REST catalog, which asks for tokens of an OpenID Connect issuer: only for tests."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from stack.pins import DEPS, fetched, versions
from stack.process import HOST, Server
from stack.tools import ACCESS_KEY, BUCKET, REGION, SECRET_KEY
from stack.trino import jdk

_JDK_AT_LEAST = 21


class Nessie(Server):
    """Its tables are in memory, their files in the S3 store. `issuer` signs the tokens that it takes."""

    name = "nessie"
    default_ports: ClassVar = {"http": 8186, "management": 8187}
    warehouse = "lake"

    def __init__(
        self,
        folder: Path,
        issuer: str,
        s3_endpoint: str,
        ports: Mapping[str, int] | None = None,
        keep: bool = False,
    ) -> None:
        super().__init__(folder, ports, keep)
        self._issuer = issuer
        self._s3_endpoint = s3_endpoint

    @property
    def uri(self) -> str:
        return f"http://{HOST}:{self.ports['http']}/iceberg"

    @staticmethod
    def why_not() -> str | None:
        """Why it cannot be started on this machine; it is fetched only where somebody asked for it."""
        if not (DEPS / "nessie" / "version").exists():
            return "Nessie is not here: stack/fetch.sh nessie"
        return None if jdk(_JDK_AT_LEAST) else f"Nessie needs a Java of {_JDK_AT_LEAST} or later in /usr/lib/jvm"

    def settings(self) -> list[str]:
        store = "nessie.catalog.service.s3.default-options"
        values = {
            "quarkus.http.host": HOST,
            "quarkus.http.port": self.ports["http"],
            "quarkus.management.host": HOST,
            "quarkus.management.port": self.ports["management"],
            "quarkus.oidc.auth-server-url": self._issuer,
            "quarkus.oidc.client-id": "nessie",
            "nessie.server.authentication.enabled": "true",
            "nessie.version.store.type": "IN_MEMORY",
            "nessie.catalog.default-warehouse": self.warehouse,
            f"nessie.catalog.warehouses.{self.warehouse}.location": f"s3://{BUCKET}/nessie",
            f"{store}.endpoint": self._s3_endpoint,
            f"{store}.path-style-access": "true",
            f"{store}.region": REGION,
            f"{store}.access-key": "urn:nessie-secret:quarkus:k2.s3",
            "k2.s3.name": ACCESS_KEY,
            "k2.s3.secret": SECRET_KEY,
        }
        return [f"-D{name}={value}" for name, value in values.items()]

    def command(self) -> Sequence[str | Path]:
        home = jdk(_JDK_AT_LEAST)
        assert home is not None
        jar = fetched(f"nessie/nessie-quarkus-{versions()['NESSIE_VERSION']}-runner.jar")
        return [home / "bin" / "java", "-Xmx512m", *self.settings(), "-jar", jar]

    def check(self) -> str | None:
        try:
            urllib.request.urlopen(f"{self.uri}/v1/config", timeout=5)
        except urllib.error.HTTPError as error:
            return None if error.code == 401 else f"{self.uri}: {error}"
        except OSError as error:
            return f"{self.uri}: {error}"
        return f"{self.uri} asks for no token"
