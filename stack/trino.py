"""Trino, which reads the tables through the REST catalog: only for tests."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from stack.pins import DEPS, fetched
from stack.process import HOST, Server
from stack.tools import ACCESS_KEY, REGION, SECRET_KEY

_JDK_AT_LEAST = 24


def jdk(at_least: int = _JDK_AT_LEAST) -> Path | None:
    """A Java that Trino, or another server, runs on, beside the one of the others."""
    for release in sorted(Path("/usr/lib/jvm").glob("*/release"), reverse=True):
        lines = dict(line.split("=", 1) for line in release.read_text().splitlines() if "=" in line)
        version = lines.get("JAVA_VERSION", "").strip('"').split(".")[0]
        if version.isdigit() and int(version) >= at_least:
            return release.parent
    return None


class Trino(Server):
    """One server that is its own worker, with the catalog `lake`."""

    name = "trino"
    default_ports: ClassVar = {"http": 8185}

    def __init__(
        self,
        folder: Path,
        catalog_uri: str,
        s3_endpoint: str,
        ports: Mapping[str, int] | None = None,
        keep: bool = False,
    ) -> None:
        super().__init__(folder, ports, keep)
        self._catalog_uri = catalog_uri
        self._s3_endpoint = s3_endpoint
        self._file = folder / "config.properties"

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.ports['http']}"

    @staticmethod
    def why_not() -> str | None:
        """Why it cannot be started on this machine; it is fetched only where somebody asked for it."""
        if not (DEPS / "trino" / "version").exists():
            return "Trino is not here: stack/fetch.sh trino"
        return None if jdk() else f"Trino needs a Java of {_JDK_AT_LEAST} or later in /usr/lib/jvm"

    def prepare(self) -> None:
        catalogs = self.folder / "catalogs"
        catalogs.mkdir(exist_ok=True)
        self._file.write_text(f"""\
node.environment=k2
node.id=k2
coordinator=true
node-scheduler.include-coordinator=true
http-server.http.port={self.ports["http"]}
discovery.uri={self.url}
plugin.dir={fetched("trino/plugin")}
catalog.config-dir={catalogs}
query.max-memory-per-node=256MB
memory.heap-headroom-per-node=128MB
""")
        (catalogs / "lake.properties").write_text(f"""\
connector.name=iceberg
iceberg.catalog.type=rest
iceberg.rest-catalog.uri={self._catalog_uri}
fs.native-s3.enabled=true
s3.endpoint={self._s3_endpoint}
s3.path-style-access=true
s3.region={REGION}
s3.aws-access-key={ACCESS_KEY}
s3.aws-secret-key={SECRET_KEY}
""")

    def settings(self) -> list[str]:
        return [self._file.read_text(), (self.folder / "catalogs" / "lake.properties").read_text()]

    def command(self) -> Sequence[str | Path]:
        home = jdk()
        assert home is not None
        flags = ["-Xmx1g", "-XX:+UseG1GC", "-XX:ReservedCodeCacheSize=256M", "-Djdk.attach.allowAttachSelf=true"]
        flags += ["--add-modules=jdk.incubator.vector", "--enable-native-access=ALL-UNNAMED"]
        flags += ["--sun-misc-unsafe-memory-access=allow", f"-Dconfig={self._file}"]
        return [home / "bin" / "java", *flags, "-cp", f"{fetched('trino/lib')}/*", "io.trino.server.TrinoServer"]

    def check(self) -> str | None:
        try:
            return "it is starting" if self._ask("GET", f"{self.url}/v1/info")["starting"] else None
        except OSError as error:
            return f"{self.url}: {error}"

    def query(self, text: str) -> list[list[Any]]:
        """The rows of a statement; RuntimeError with what Trino says where it fails."""
        rows: list[list[Any]] = []
        page = self._ask("POST", f"{self.url}/v1/statement", text)
        while True:
            if "error" in page:
                raise RuntimeError(f"{text}: {page['error']['message']}")
            rows += page.get("data", [])
            if "nextUri" not in page:
                return rows
            page = self._ask("GET", page["nextUri"])

    @staticmethod
    def _ask(method: str, url: str, body: str | None = None) -> Any:
        headers = {"X-Trino-User": "k2", "X-Trino-Catalog": "lake"}
        request = urllib.request.Request(url, body.encode() if body else None, headers, method=method)
        with urllib.request.urlopen(request, timeout=60) as reply:
            return json.loads(reply.read())
