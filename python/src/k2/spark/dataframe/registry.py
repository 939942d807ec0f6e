"""What schema ids mean: K2's own in recordings, the registry's in topics (docs/messages.md)."""

from __future__ import annotations

import base64
import json
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from k2.spark import schemas
from k2.spark.utils.errors import ConfigurationError, UnavailableError

BUILT_IN = {
    schemas.TRADE_LOCAL_ID: schemas.TRADE_SCHEMA_JSON,
    schemas.REJECTED_FRAME_LOCAL_ID: schemas.REJECTED_FRAME_SCHEMA_JSON,
}
_SCHEMA_NOT_FOUND = 40403
_SCHEMA_BYTES_MAX = 4 << 20


@dataclass
class Schemas:
    """Schemas by id. `url` is a registry of Confluent's API; without one topics have the built-in ids, and those of
    `folder`. Keeps what it has learnt: hold on to it between steps. `seen`: ids met in messages, the hints for the next
    step's fast path."""

    url: str = ""
    credential: str = ""  # USER:PASSWORD
    token: str = ""
    folder: str = ""
    timeout_s: float = 10.0
    known: dict[tuple[bool, int], str] = field(default_factory=dict)
    seen: set[tuple[bool, int]] = field(default_factory=set)

    def of(self, recording: bool, schema_id: int) -> str | None:
        """The schema's JSON; why it can never be read, in its place; None: there is none."""
        key = (recording, schema_id)
        if key not in self.known:
            found = self._local(schema_id) if recording or not self.url else self._fetch(schema_id)
            if found is None:
                return None  # it may be registered later
            self.known[key] = found
        return self.known[key]

    def _local(self, schema_id: int) -> str | None:
        if schema_id in BUILT_IN:
            return BUILT_IN[schema_id]
        path = Path(self.folder or "/nowhere") / f"{schema_id}.avsc"
        if not self.folder or not path.exists():
            return None
        try:
            data = path.read_bytes()
        except OSError as error:
            raise UnavailableError(f"schema {schema_id}: {error}") from None
        if len(data) > _SCHEMA_BYTES_MAX:
            return f"{path} has {len(data)} bytes, which is no schema"
        return data.decode("utf-8", "replace")

    def _fetch(self, schema_id: int) -> str | None:
        if schema_id < 0:
            return None
        status, answer, text = self._ask(f"/schemas/ids/{schema_id}")
        if status == 404 and answer.get("error_code") == _SCHEMA_NOT_FOUND:
            return None
        where = f"schema registry {self._shown()}"
        if status in (401, 403):
            raise ConfigurationError(
                f"{where}: schema {schema_id}: HTTP {status}: {text}. Check its credential or token"
            )
        if status != 200:
            hint = " (is the URL that of a registry?)" if status == 404 else ""
            raise UnavailableError(f"{where}: schema {schema_id}: HTTP {status}: {text}{hint}")
        kind = answer.get("schemaType")
        if isinstance(kind, str) and kind != "AVRO":
            return f"{where}: schema {schema_id} is of type {kind}, only Avro is read"
        if answer.get("references"):
            return f"{where}: schema {schema_id} refers to other schemas, which K2 does not read"
        if not isinstance(answer.get("schema"), str):
            raise UnavailableError(f"{where}: schema {schema_id}: the answer is not that of a registry")
        return str(answer["schema"])

    def _ask(self, path: str) -> tuple[int, dict[str, Any], str]:
        request = urllib.request.Request(self.url.rstrip("/") + path)
        request.add_header("Accept", "application/vnd.schemaregistry.v1+json, application/json")
        if self.credential:
            request.add_header("Authorization", "Basic " + base64.b64encode(self.credential.encode()).decode())
        elif self.token:
            request.add_header("Authorization", f"Bearer {self.token}")
        try:
            with urllib.request.urlopen(request, timeout=self.timeout_s) as response:
                status, body = response.status, response.read(_SCHEMA_BYTES_MAX * 2)
        except urllib.error.HTTPError as error:
            status, body = error.code, error.read(1 << 16)
        except (OSError, ValueError) as error:
            raise UnavailableError(f"schema registry {self._shown()}: {error}") from None
        try:
            answer = json.loads(body)
        except ValueError:
            answer = {}
        answer = answer if isinstance(answer, dict) else {}
        text = str(answer.get("message") or body.decode("utf-8", "replace"))[:300]
        return status, answer, text

    def _shown(self) -> str:
        """The address without what may be secret in it."""
        scheme, _, rest = self.url.partition("://")
        return f"{scheme}://{rest.rpartition('@')[2]}".rstrip("/")
