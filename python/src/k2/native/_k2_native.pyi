"""The compiled part of k2.native (python/native/module.cc). Use k2.native: this is not for programs."""

from collections.abc import Mapping, Sequence
from typing import Any

TRADE_SCHEMA_JSON: str
REJECTED_FRAME_SCHEMA_JSON: str
TRADE_SCHEMA_ID: int
REJECTED_FRAME_SCHEMA_ID: int
RULES_VERSION: int
OWN_SCHEMAS: dict[int, str]
SCHEMA_HEADERS: list[str]
RETENTION_LIMITS_US: dict[str, int | None]

class Table:
    def __arrow_c_stream__(self, requested_schema: object = None) -> object: ...
    def __arrow_c_schema__(self) -> object: ...
    @property
    def num_rows(self) -> int: ...
    @property
    def column_names(self) -> list[str]: ...
    def __len__(self) -> int: ...

class Validator:
    """Silver's rules for messages of several topics. `topics`: for each its exchange, and which of the sets of
    `schemas` its messages' ids are of; the schemas of a set by their names in messages ("id 7"; see schema_name)."""

    def __init__(
        self,
        topics: Mapping[str, tuple[str, str]],
        schemas: Mapping[str, Mapping[str, str]],
        *,
        with_ids: bool = False,
    ) -> None: ...
    def validate(self, messages: Any) -> Table:
        """Of a table with columns topic, avro_payload and headers, a row for each message: trade (the columns of
        Silver; null where it is rejected), reason, detail, schema_id, and of rejected ones payload and, `with_ids`,
        message_id, where it can be decoded."""

def schema_name(value: bytes, headers: Sequence[tuple[str, bytes | None]]) -> str | None:
    """How a message names its schema, in a header or in front of its value: "id 7", "GUID 0123…", "global id 7",
    "content id 7". None: it does not."""

def inline_references(schema: str, references: Sequence[str]) -> str:
    """The schema with the types that its references define put in. ValueError: a text is no JSON, or nests too deep."""

def normalise(exchange: str, frames: Any, received: Any, dictionaries: bool) -> tuple[Table, Table, int]: ...
def encode(trades: Any, schema_id: int) -> Table: ...
def decode(
    messages: Any, schemas: Mapping[int, str], exchange: str | None, dictionaries: bool
) -> tuple[Table, Table]: ...
def retention_decision(
    *,
    limit_us: int | None,
    now_us: int,
    hold_us: int | None,
    end_us: int | None,
    first_days: Mapping[int, int],
    newest_commit_us: int | None,
    newest_commit_exact: bool,
    may_drop: bool,
    unread_rows: int,
    blocked: bool,
    needed: bool,
) -> tuple[str, str, int | None]: ...
def unread_rows(*, first: int, last: int, rows: int, read_to: int, end: int) -> int:
    """How many of the rows at the offsets `first` to `last` a layer has not read that has read all below `read_to`,
    never too few. `end` is where the table ends."""

def dropped_text(partitions: Sequence[tuple[str, int]], *, limit_us: int, now_us: int) -> str:
    """What the summary of the commit that drops them says. `partitions`: name and rows of each."""

def message_id(exchange: str, symbol: str, trade_id: str) -> str: ...
