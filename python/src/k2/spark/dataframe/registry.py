"""What schema ids mean: K2's own in recordings, the registry's in topics (docs/messages.md)."""

from __future__ import annotations

import base64
import json
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from k2.spark import schemas
from k2.spark.dataframe.avro_schema import SchemaError
from k2.spark.dataframe.references import inline_references
from k2.spark.utils.errors import ConfigurationError, UnavailableError

BUILT_IN = {
    schemas.TRADE_LOCAL_ID: schemas.TRADE_SCHEMA_JSON,
    schemas.REJECTED_FRAME_LOCAL_ID: schemas.REJECTED_FRAME_SCHEMA_JSON,
}
_SCHEMA_NOT_FOUND = 40403
_VERSION_NOT_FOUND = (40401, 40402)
_SCHEMA_BYTES_MAX = 4 << 20
# Of the references of one schema, as the engine in C++ has them.
_REFERENCE_DEPTH_MAX = 32
_REFERENCES_MAX = 256


class _UnreadableError(Exception):
    """A schema that is there and can never be read."""


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
        what = f"schema {schema_id}"
        try:
            answer = self._schema(f"/schemas/ids/{schema_id}", what, (_SCHEMA_NOT_FOUND,))
            if answer is None:
                return None
            texts: dict[tuple[str, int], str] = {}
            self._resolve(answer, what, texts, ())
            return inline_references(str(answer["schema"]), list(texts.values())) if texts else str(answer["schema"])
        except (_UnreadableError, SchemaError) as error:
            return f"schema registry {self._shown()}: {what}: {error}"

    def _schema(self, path: str, what: str, missing: tuple[int, ...]) -> dict[str, Any] | None:
        """An answer that is a schema; None: there is none."""
        status, answer, text = self._ask(path)
        if status == 404 and answer.get("error_code") in missing:
            return None
        where = f"schema registry {self._shown()}"
        if status in (401, 403):
            raise ConfigurationError(f"{where}: {what}: HTTP {status}: {text}. Check its credential or token")
        if status != 200:
            hint = " (is the URL that of a registry?)" if status == 404 else ""
            raise UnavailableError(f"{where}: {what}: HTTP {status}: {text}{hint}")
        kind = answer.get("schemaType")
        if isinstance(kind, str) and kind != "AVRO":
            raise _UnreadableError(f"{what} is of type {kind}, only Avro is read")
        if not isinstance(answer.get("schema"), str):
            raise UnavailableError(f"{where}: {what}: the answer is not that of a registry")
        return answer

    def _resolve(
        self, answer: dict[str, Any], what: str, texts: dict[tuple[str, int], str], way: tuple[tuple[str, int], ...]
    ) -> None:
        """Fetches what the schema refers to, and what that does, each once: also versions that were deleted since."""
        references = answer.get("references") or []
        if not isinstance(references, list) or not all(isinstance(one, dict) for one in references):
            raise UnavailableError(f"schema registry {self._shown()}: {what}: the answer's references are no list")
        if references and len(way) >= _REFERENCE_DEPTH_MAX:
            raise _UnreadableError(f"its references nest more than {_REFERENCE_DEPTH_MAX} levels")
        for one in references:
            subject, version = one.get("subject"), one.get("version")
            if not isinstance(subject, str) or not subject or type(version) is not int or version < 1:
                raise UnavailableError(
                    f"schema registry {self._shown()}: {what}: a reference of the answer has no subject and version"
                )
            key, shown = (subject, version), f"version {version} of subject {subject}"
            if key in way:
                raise _UnreadableError(f"{shown} refers to itself")
            if key in texts:
                continue
            if len(texts) >= _REFERENCES_MAX:
                raise _UnreadableError(f"it has more than {_REFERENCES_MAX} references")
            path = f"/subjects/{urllib.parse.quote(subject, safe='')}/versions/{version}?deleted=true"
            referred = self._schema(path, shown, _VERSION_NOT_FOUND)
            if referred is None:
                raise _UnreadableError(f"it refers to {shown}, which the registry does not have")
            self._resolve(referred, what, texts, (*way, key))
            texts[key] = str(referred["schema"])

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
