"""K2's C++ kernel for notebooks: exchange frames to trades, trades to messages and back, the verdicts of Silver; for
jobs on Spark the rules of retention.

    import polars as pl
    from k2 import native

    done = native.normalise("binance", frames, received=1_723_075_200_000_000)
    trades = pl.DataFrame(done.trades)

What goes in is anything with `__arrow_c_stream__` or `__arrow_c_array__` (pyarrow, polars, DuckDB's relations, pandas),
or a list of bytes; what comes out is a Table, which pyarrow (`pa.table(t)`), polars (`pl.DataFrame(t)`) and DuckDB
(`duckdb.from_arrow(pa.table(t))`) take without copying. Nothing here opens a socket or a file, and no Arrow library is
linked. The functions run without the GIL; what they read must not be changed meanwhile.

Raises ValueError for data that no trade or message can be made of, TypeError for what is no data at all.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias

if importlib.util.find_spec("k2.native._k2_native") is None:  # no wheel: a clone, with what `make` has built beside it
    built = Path(__file__).resolve().parents[4] / "build" / "release" / "python"
    if built.is_dir():
        sys.path.append(str(built))
    try:
        sys.modules["k2.native._k2_native"] = importlib.import_module("_k2_native")
    except ImportError as error:
        raise ImportError(
            "the compiled part of k2.native is not installed for this Python: `pip install ./python` builds it; in a "
            "clone `make` does"
        ) from error

from k2.native import _k2_native
from k2.native._k2_native import (
    OWN_SCHEMAS,
    REJECTED_FRAME_SCHEMA_ID,
    REJECTED_FRAME_SCHEMA_JSON,
    RETENTION_LIMITS_US,
    RULES_VERSION,
    SCHEMA_HEADERS,
    TRADE_SCHEMA_ID,
    TRADE_SCHEMA_JSON,
    Table,
    Validator,
    dropped_text,
    inline_references,
    message_id,
    schema_name,
    unread_rows,
)

if TYPE_CHECKING:

    class ArrowStream(Protocol):
        def __arrow_c_stream__(self, requested_schema: object = None) -> object: ...

    class ArrowArray(Protocol):
        def __arrow_c_array__(self, requested_schema: object = None) -> tuple[object, object]: ...

    ArrowData: TypeAlias = ArrowStream | ArrowArray
    Bytes: TypeAlias = ArrowData | Iterable[bytes | str | None]

__all__ = [
    "REJECTED_FRAME_SCHEMA_ID",
    "REJECTED_FRAME_SCHEMA_JSON",
    "RETENTION_LIMITS_US",
    "RULES_VERSION",
    "SCHEMA_HEADERS",
    "TRADE_SCHEMA_ID",
    "TRADE_SCHEMA_JSON",
    "Decoded",
    "Normalised",
    "RetentionDecision",
    "Table",
    "Validator",
    "decode",
    "dropped_text",
    "encode",
    "inline_references",
    "message_id",
    "normalise",
    "retention_decision",
    "schema_name",
    "unread_rows",
    "validate",
]

# What an id in a message's header means where there is no registry.
LOCAL_SCHEMAS: dict[int, str] = dict(OWN_SCHEMAS)
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


class Normalised(NamedTuple):
    """Of frames: `trades` (the columns of Silver), `rejects` (row of the frame, reason, detail), and how many frames
    were no trades at all."""

    trades: Table
    rejects: Table
    skipped: int


class Decoded(NamedTuple):
    """Of messages: `trades` (the columns of Silver), `rejects` (row of the message, schema_id, reason, detail)."""

    trades: Table
    rejects: Table


class RetentionDecision(NamedTuple):
    """What becomes of a partition: `fate` (kept, held, dropped), `reason` for people, and when it is past the limit;
    None: never, or not known."""

    fate: str
    reason: str
    due_us: int | None


def normalise(
    exchange: str, frames: Bytes, received: int | datetime | Bytes | Any = None, *, dictionaries: bool = False
) -> Normalised:
    """The trades of WebSocket frames of an exchange (binance, kraken).

    `frames`: texts or bytes; of a table the column `frame`. `received`: when they were received, which becomes
    ingestion_timestamp: microseconds since 1970 or a datetime for all of them, or Arrow data with a time for each
    frame; None takes the column `received` of the table. `dictionaries`: symbol, side and their like as dictionaries.
    """
    if isinstance(received, datetime):
        if received.tzinfo is None:
            raise ValueError("received is a datetime without a time zone: which moment it means is not clear")
        received = (received - _EPOCH) // timedelta(microseconds=1)
    return Normalised(*_k2_native.normalise(exchange, frames, received, dictionaries))


def encode(trades: ArrowData, *, schema_id: int = TRADE_SCHEMA_ID) -> Table:
    """Messages in the Confluent wire format, in TradeV3's schema: columns message_key and avro_payload, as in Bronze.

    `trades`: a table with V3's columns by name; others are passed over. Without message_id K2's own is derived.
    """
    return _k2_native.encode(trades, schema_id)


def decode(messages: Bytes, *, schemas: Mapping[int, str] | None = None, dictionaries: bool = False) -> Decoded:
    """The trades of messages, as they stand in them: nothing is judged but whether they can be read.

    `messages`: bytes; of a table the column avro_payload (or value, payload). `schemas`: writers' Avro schemas by the
    id in the header; else 1 is TradeV2, 2 RejectedFrame and 3 TradeV3.
    """
    return Decoded(*_k2_native.decode(messages, _schemas(schemas), None, dictionaries))


def validate(
    messages: Bytes, exchange: str, *, schemas: Mapping[int, str] | None = None, dictionaries: bool = False
) -> Decoded:
    """The same by the rules of Silver (docs/messages.md): what the exchange's Silver table takes, and for each other
    message the reason why not."""
    return Decoded(*_k2_native.decode(messages, _schemas(schemas), exchange, dictionaries))


def retention_decision(
    *,
    limit_us: int | None,
    now_us: int,
    hold_us: int | None,
    end_us: int | None,
    first_days: Mapping[int, int],
    newest_commit_us: int | None,
    newest_commit_exact: bool = True,
    may_drop: bool = True,
    unread_rows: int = 0,
    blocked: bool = False,
    needed: bool = False,
) -> RetentionDecision:
    """By the rules of `k2 maintain retention` (docs/retention.md), of the files of a partition; times are microseconds
    since 1970.

    `limit_us`: how long rows are kept; None: for ever. `hold_us`: how much longer unread ones are; None: without end.
    `end_us`: the end of the time that its newest rows are of; None where nothing tells it. `first_days`: how many
    files have their oldest rows of which day since 1970. `newest_commit_us`: of its files; None: not known; where it is
    not exact they are at least as old. `may_drop`: the table's property gc.enabled. `unread_rows`: what the downstream
    layer has not read, which need be asked only of what is past its limit: as long as it is 0, such a partition is
    dropped. `blocked`: the downstream layer is. `needed`: Silver catches up by these rows.
    """
    return RetentionDecision(
        *_k2_native.retention_decision(
            limit_us=limit_us,
            now_us=now_us,
            hold_us=hold_us,
            end_us=end_us,
            first_days=first_days,
            newest_commit_us=newest_commit_us,
            newest_commit_exact=newest_commit_exact,
            may_drop=may_drop,
            unread_rows=unread_rows,
            blocked=blocked,
            needed=needed,
        )
    )


def _schemas(schemas: Mapping[int, str] | None) -> dict[int, str]:
    return dict(LOCAL_SCHEMAS if schemas is None else schemas)
