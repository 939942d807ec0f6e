"""What the names of schemas mean: K2's own ids in recordings, the registry's in topics (docs/messages.md)."""

from __future__ import annotations

import base64
import json
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from k2.spark import schemas
from k2.spark.dataframe.native_module import load_native
from k2.spark.dataframe.progress import SourceKey
from k2.spark.utils.errors import ConfigurationError, UnavailableError

# A schema, as a message names it: "id", "GUID", "global id" or "content id", and which.
Ref: TypeAlias = "tuple[str, int | str]"
# Whether the message is of a recording, and the schema.
SchemaKey: TypeAlias = "tuple[bool, Ref]"

BUILT_IN = schemas.OWN_SCHEMAS
_SCHEMA_NOT_FOUND = 40403
_VERSION_NOT_FOUND = (40401, 40402)
_APICURIO_MARK = "/apis/ccompat/"
_APICURIO_PATHS = {"global id": "globalIds", "content id": "contentIds"}
_NOT_FOUND_NAME = "NotFoundException"  # JAX-RS's, of a path; Apicurio's own names end so
_ASKED_AT_ONCE = 16
_SCHEMA_BYTES_MAX = 4 << 20
# As the engine in C++ has them: how long a schema that is not there is not asked for again, and how many such ones are
# remembered; with more, all are forgotten.
_MISSING_S = 30.0
_MISSING_MAX = 10_000
# What one step may ask for; what goes beyond is left for the next step.
ASKED_FOR_MAX = 4_096
ASKED_FOR_S_MAX = 10.0
# Of the references of one schema, as the engine in C++ has them.
_REFERENCE_DEPTH_MAX = 32
_REFERENCES_MAX = 256


def ref_text(ref: Ref) -> str:
    return f"{ref[0]} {ref[1]}"


def ref_of(text: str) -> Ref:
    kind, _, name = text.rpartition(" ")
    return kind, name if kind == "GUID" else int(name)


class _UnreadableError(Exception):
    """A schema that is there and can never be read."""


class _Reference(NamedTuple):
    """Of one schema to another: where it is asked for. `base`: of Apicurio's own API, else empty."""

    shown: str
    path: str
    base: str = ""


class _Answer(NamedTuple):
    text: str
    references: list[_Reference]


class _Said(NamedTuple):
    status: int
    text: str
    json: Any

    @property
    def fields(self) -> dict[str, Any]:
        return self.json if isinstance(self.json, dict) else {}


@dataclass
class Held:
    """A source partition that waits for the schema of a message; the others go on."""

    offset: int  # of the first message that waits
    key: SchemaKey
    error: UnavailableError


@dataclass
class Schemas:
    """Schemas by what messages name them. `url` is a registry of Confluent's API; without one topics have the built-in
    ids, and those of `folder`. Keeps what it has learnt, schemas that are not there for 30 s, and which partitions wait
    for one: hold on to it between steps."""

    url: str = ""
    credential: str = ""  # USER:PASSWORD
    token: str = ""
    folder: str = ""
    timeout_s: float = 10.0
    known: dict[SchemaKey, str] = field(default_factory=dict)
    held: dict[SourceKey, Held] = field(default_factory=dict)
    _missing: dict[SchemaKey, float] = field(default_factory=dict)  # and until when that counts
    _unanswered: dict[str, float] = field(default_factory=dict)  # kinds that the registry has nothing by, likewise

    def __post_init__(self) -> None:
        """A file that has an id of K2's own is to hold that schema, or its messages would be read as what they are not.
        ConfigurationError: it does not."""
        for schema_id, own in BUILT_IN.items():
            path = Path(self.folder or "/nowhere") / f"{schema_id}.avsc"
            if not self.folder or not path.exists():
                continue
            try:
                same = json.loads(path.read_text(encoding="utf-8")) == json.loads(own)
            except ValueError:
                same = False
            if not same:
                name = json.loads(own)["name"]
                raise ConfigurationError(
                    f"schemas: {path} is not the schema that k2 has under the id {schema_id} ({name}). Give it another "
                    "id, also in the messages, or remove the file"
                )

    def of(self, recording: bool, ref: Ref) -> str | None:
        """The schema's JSON; why it can never be read, in its place; None: there is none. UnavailableError: the
        registry is away."""
        key = (recording, ref)
        if self.remembers(key):
            return self.known.get(key)
        local = self._is_local(key)
        found = self._local(ref) if local else self._fetch(ref)
        if found is not None:
            self.known[key] = found
        elif not local:  # it may be registered later
            if len(self._missing) >= _MISSING_MAX:
                self._missing.clear()
            self._missing[key] = time.monotonic() + _MISSING_S
        return found

    def remembers(self, key: SchemaKey) -> bool:
        """Whether `of` answers without asking."""
        return key in self.known or self._missing.get(key, 0.0) > time.monotonic()

    def _is_local(self, key: SchemaKey) -> bool:
        return key[0] or not self.url

    def of_all(self, keys: Iterable[SchemaKey]) -> dict[SchemaKey, str]:
        """Those that there are, asked for side by side. UnavailableError: the registry is away."""
        asking = Asking(self, limited=False)
        asking.learn(keys)
        for error in asking.waiting.values():
            raise error
        return asking.found

    def _local(self, ref: Ref) -> str | None:
        kind, schema_id = ref
        if kind != "id":
            return None
        if isinstance(schema_id, int) and schema_id in BUILT_IN:
            return BUILT_IN[schema_id]
        path = Path(self.folder or "/nowhere") / f"{schema_id}.avsc"
        if not self.folder or not path.exists():
            return None
        try:
            data = path.read_bytes()
        except OSError as error:
            raise UnavailableError(f"schema {schema_id}: {error}") from None
        if len(data) > _SCHEMA_BYTES_MAX:
            return f"{path} has {len(data)} bytes, so it is not a schema"
        return data.decode("utf-8", "replace")

    def _fetch(self, ref: Ref) -> str | None:
        kind, number = ref
        if isinstance(number, int) and number < 0:
            return None
        what = f"schema with {ref_text(ref)}"
        try:
            if kind == "id":
                answer = self._schema(f"/schemas/ids/{number}", what, (_SCHEMA_NOT_FOUND,))
            elif kind == "GUID":
                answer = self._schema_of_guid(str(number), what)
            else:
                answer = self._schema_of_apicurio(kind, f"/ids/{_APICURIO_PATHS[kind]}/{number}", what)
            if answer is None:
                return None
            texts: dict[_Reference, str] = {}
            self._resolve(answer, texts, ())
            return load_native().inline_references(answer.text, list(texts.values())) if texts else answer.text
        except (_UnreadableError, ValueError) as error:
            return f"schema registry {self._shown()}: {what}: {error}"

    def _schema_of_guid(self, guid: str, what: str) -> _Answer | None:
        if self._is_unanswered("GUID"):
            return None
        said = self._ask(f"{self.url.rstrip('/')}/schemas/guids/{guid}")
        if self._no_such_question(said):
            self._check_is_registry(what, "GUID")
            return None
        return self._read(said, what, (_SCHEMA_NOT_FOUND,))

    def _schema_of_apicurio(self, kind: str, path: str, what: str) -> _Answer | None:
        """By Apicurio's own API, of version 3 or 2, which stands beside its API of Confluent's kind."""
        if self._is_unanswered(kind):
            return None
        root, mark, _ = self.url.partition(_APICURIO_MARK)
        for version in ("v3", "v2") if mark else ():
            base = f"{root}/apis/registry/{version}"
            said = self._ask(base + path)
            if not self._no_such_question(said):
                return self._artifact(said, base, path, what)
        self._check_is_registry(what, kind)
        return None

    def _is_unanswered(self, kind: str) -> bool:
        return self._unanswered.get(kind, 0.0) > time.monotonic()

    @staticmethod
    def _no_such_question(said: _Said) -> bool:
        """A 404 that is not about a schema: Confluent's API gives those a code, Apicurio the exception's name."""
        name = str(said.fields.get("name"))
        about_it = said.fields.get("error_code") == _SCHEMA_NOT_FOUND or (
            name.endswith(_NOT_FOUND_NAME) and name != _NOT_FOUND_NAME
        )
        return said.status == 404 and not about_it

    def _check_is_registry(self, what: str, kind: str) -> None:
        """Such a 404 may be a proxy's while the registry is away: only one that answers another question is known not
        to answer this one. Then its kind is not asked for again for a while."""
        said = self._ask(self.url.rstrip("/") + "/schemas/types")
        if said.status != 200 or not isinstance(said.json, list):
            raise self._refused(said, what)
        self._unanswered[kind] = time.monotonic() + _MISSING_S

    def _schema(self, path: str, what: str, missing: tuple[int, ...]) -> _Answer | None:
        """An answer that is a schema; None: there is none."""
        return self._read(self._ask(self.url.rstrip("/") + path), what, missing)

    def _read(self, said: _Said, what: str, missing: tuple[int, ...]) -> _Answer | None:
        if said.status == 404 and said.fields.get("error_code") in missing:
            return None
        if said.status != 200:
            raise self._refused(said, what)
        kind = said.fields.get("schemaType")
        if isinstance(kind, str) and kind != "AVRO":
            raise _UnreadableError(f"{what} is of type {kind}; K2 reads only Avro")
        where = f"schema registry {self._shown()}: {what}"
        if not isinstance(said.fields.get("schema"), str):
            raise UnavailableError(f"{where}: the reply is not a schema registry's")
        listed = said.fields.get("references") or []
        if not isinstance(listed, list) or not all(isinstance(one, dict) for one in listed):
            raise UnavailableError(f"{where}: the reply's references are not a list")
        references = []
        for one in listed:
            subject, version = one.get("subject"), one.get("version")
            if not isinstance(subject, str) or not subject or type(version) is not int or version < 1:
                raise UnavailableError(f"{where}: a reference in the reply has no subject and version")
            path = f"/subjects/{urllib.parse.quote(subject, safe='')}/versions/{version}?deleted=true"
            references.append(_Reference(f"version {version} of subject {subject}", path))
        return _Answer(str(said.fields["schema"]), references)

    def _artifact(self, said: _Said, base: str, path: str, what: str) -> _Answer | None:
        """The same of Apicurio's own API, which tells the references of a path apart from its text."""
        if said.status == 404 and not self._no_such_question(said):
            return None
        listed = self._ask(f"{base}{path}/references") if said.status == 200 else said
        if listed.status != 200:
            raise self._refused(listed, what)
        references = []
        for one in listed.json if isinstance(listed.json, list) else [None]:
            one = one if isinstance(one, dict) else {}
            group, name, version = (str(one.get(key) or "") for key in ("groupId", "artifactId", "version"))
            if not name or not version:
                raise UnavailableError(
                    f"schema registry {self._shown()}: {what}: a reference in the reply has no artifact and version"
                )
            parts = (urllib.parse.quote(part, safe="") for part in (group or "default", name, version))
            place = "/groups/{}/artifacts/{}/versions/{}".format(*parts)
            shown = f"version {version} of artifact {name} of group {group or 'default'}"
            references.append(_Reference(shown, place, base))
        return _Answer(said.text, references)

    def _resolve(self, answer: _Answer, texts: dict[_Reference, str], way: tuple[_Reference, ...]) -> None:
        """Fetches what the schema refers to, and what that does, each once: also versions that were deleted since."""
        if answer.references and len(way) >= _REFERENCE_DEPTH_MAX:
            raise _UnreadableError(f"its references nest more than {_REFERENCE_DEPTH_MAX} levels")
        for one in answer.references:
            if one in way:
                raise _UnreadableError(f"{one.shown} refers to itself")
            if one in texts:
                continue
            if len(texts) >= _REFERENCES_MAX:
                raise _UnreadableError(f"it has more than {_REFERENCES_MAX} references")
            if one.base:
                content = "/content" if one.base.endswith("/v3") else ""
                said = self._ask(one.base + one.path + content)
                referred = self._artifact(said, one.base, one.path, one.shown)
            else:
                referred = self._schema(one.path, one.shown, _VERSION_NOT_FOUND)
            if referred is None:
                raise _UnreadableError(f"it refers to {one.shown}, which the registry does not have")
            self._resolve(referred, texts, (*way, one))
            texts[one] = referred.text

    def _refused(self, said: _Said, what: str) -> Exception:
        """What an answer means that is no success and has no meaning of its own."""
        text = str(said.fields.get("message") or said.text)[:300]
        where = f"schema registry {self._shown()}: {what}: HTTP {said.status}: {text}"
        if said.status in (401, 403):
            return ConfigurationError(f"{where}. Check its credential or token")
        return UnavailableError(where + (" (is the URL that of a schema registry?)" if said.status == 404 else ""))

    def _ask(self, url: str) -> _Said:
        request = urllib.request.Request(url)
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
            answer = None
        return _Said(status, body.decode("utf-8", "replace"), answer)

    def _shown(self) -> str:
        """The address without what may be secret in it."""
        scheme, _, rest = self.url.partition("://")
        return f"{scheme}://{rest.rpartition('@')[2]}".rstrip("/")


class Asking:
    """What one step asks for. `found`: the schemas that there are; `waiting`: those that cannot be told at present,
    with the reason. The same for a schema from then on."""

    def __init__(self, source: Schemas, limited: bool = True) -> None:
        self.source = source
        self.limited = limited
        self.found: dict[SchemaKey, str] = {}
        self.waiting: dict[SchemaKey, UnavailableError] = {}
        self._absent: set[SchemaKey] = set()
        self._asked = 0
        self._asked_s = 0.0

    def learn(self, keys: Iterable[SchemaKey]) -> None:
        """Asks for those of them that are new, side by side, within the limits of a step; the first ones first."""
        told = self.found.keys() | self.waiting.keys() | self._absent
        fresh = [key for key in dict.fromkeys(keys) if key not in told]
        to_ask = []
        for key in fresh:
            if not self.source.remembers(key) and not self.source._is_local(key):
                to_ask.append(key)
                continue
            try:
                self._take(key)
            except UnavailableError as error:  # a file
                self.waiting[key] = error
        if to_ask:
            self._ask(to_ask)

    def _take(self, key: SchemaKey) -> None:
        text = self.source.of(*key)
        if text is None:
            self._absent.add(key)
        else:
            self.found[key] = text

    def _ask(self, keys: list[SchemaKey]) -> None:
        within = keys[: max(0, ASKED_FOR_MAX - self._asked)] if self.limited else keys
        since = time.monotonic()
        end = since + (max(0.0, ASKED_FOR_S_MAX - self._asked_s) if self.limited else float("inf"))
        away: list[UnavailableError] = []

        def ask(key: SchemaKey) -> bool:
            if away or time.monotonic() >= end:
                return False
            try:
                self._take(key)
            except UnavailableError as error:
                away.append(error)
                self.waiting[key] = error
            return True

        with ThreadPoolExecutor(_ASKED_AT_ONCE) as pool:
            asked = list(pool.map(ask, within))
        self._asked += sum(asked)
        self._asked_s += time.monotonic() - since
        for key in keys:
            if key not in self.found and key not in self._absent and key not in self.waiting:
                self.waiting[key] = away[0] if away else self._beyond(key)

    def _beyond(self, key: SchemaKey) -> UnavailableError:
        return UnavailableError(
            f"the schema with {ref_text(key[1])} will be requested in the next step: this step has requested "
            f"{self._asked} unknown schemas in {self._asked_s * 1000:.0f} ms"
        )
