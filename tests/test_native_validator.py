"""k2.native's Validator: result and row together, for messages of several topics, with schemas named in every way."""

from __future__ import annotations

import json
import random
import threading
from typing import Any
from uuid import UUID

import fastavro
import pyarrow as pa
import pytest
from hostile import varint
from native_trades import by_fastavro, random_trades, rows_of, trade

from k2 import native
from k2.spark import schemas
from k2.spark.schemas import SILVER

GUID = UUID("89791e5c-4b6a-4d21-9f60-00abcdefff02")
BINANCE, KRAKEN = "t.binance", "recording/kraken/ab"
TOPICS = {BINANCE: ("binance", "registry"), KRAKEN: ("KRAKEN", "files")}
OWN = {"id 3": native.TRADE_SCHEMA_JSON, "id 2": native.REJECTED_FRAME_SCHEMA_JSON}
HEADERS = pa.list_(pa.struct([("key", pa.string()), ("value", pa.binary())]))
Headers = list[tuple[str, bytes | None]]


def messages(rows: list[tuple[str, bytes | None, Headers | None]]) -> pa.Table:
    headers = [None if given is None else [{"key": key, "value": value} for key, value in given] for *_, given in rows]
    columns = {"topic": [topic for topic, *_ in rows], "avro_payload": pa.array([row[1] for row in rows], pa.binary())}
    return pa.table(columns | {"headers": pa.array(headers, HEADERS)})


def validated(
    rows: list[tuple[str, bytes | None, Headers | None]], known: dict[str, str] | None = None, with_ids: bool = False
) -> list[dict[str, Any]]:
    validator = native.Validator(TOPICS, {"registry": known or OWN, "files": OWN}, with_ids=with_ids)
    table = pa.table(validator.validate(messages(rows)))
    table.validate(full=True)
    assert table.num_rows == len(rows)
    return table.to_pylist()


def test_a_row_for_each_message(seed: int) -> None:
    """Those of `validate`, in their places, whatever is rejected between them."""
    draw = random.Random(seed)
    whole = [by_fastavro(row) for row in random_trades(seed, 300)]
    given = [one if draw.random() < 0.6 else one[: draw.randrange(len(one))] for one in whole]
    given += [b"", None, whole[0] + b"x", whole[0][:5] + varint(2**40) + whole[0][6:]]
    draw.shuffle(given)
    expected = native.validate(given, "binance")
    trades, rejects = rows_of(expected.trades), {row["row"]: row for row in rows_of(expected.rejects)}
    validator = native.Validator(TOPICS, {"registry": OWN, "files": OWN})
    table = pa.table(validator.validate(messages([(BINANCE, one, None) for one in given]))).combine_chunks()
    table.validate(full=True)
    taken = table.column("trade").chunk(0).drop_null()
    assert rows_of(pa.RecordBatch.from_struct_array(taken)) == trades
    got = table.to_pylist()
    assert {i for i, row in enumerate(got) if row["reason"] is not None} == rejects.keys()
    for i, row in enumerate(got):
        if row["reason"] is None:
            assert (row["detail"], row["schema_id"], row["payload"]) == (None, None, None)
        else:
            assert row["trade"] is None
            assert row["payload"] == given[i]
            for name in ("reason", "detail", "schema_id"):
                assert row[name] == rejects[i][name]
    assert rejects
    assert trades


def test_each_topic_has_its_exchange_and_its_schemas() -> None:
    message = by_fastavro(trade())
    framed = b"\0\0\0\0\7" + message[5:]
    rows: list[tuple[str, bytes | None, Headers | None]] = [
        (topic, value, None) for topic in (BINANCE, KRAKEN) for value in (message, framed)
    ]
    got = validated(rows, {"id 7": native.TRADE_SCHEMA_JSON})
    assert [row["reason"] for row in got] == ["unknown_schema_id", None, "exchange_mismatch", "unknown_schema_id"]


NAMED: list[tuple[Headers | None, bytes, str]] = [
    (None, b"\x01" + GUID.bytes, f"GUID {GUID}"),
    ([("__value_schema_id", b"\x01" + GUID.bytes)], b"", f"GUID {GUID}"),
    ([("apicurio.value.globalId", (7).to_bytes(8, "big"))], b"\0\0\0\0\1", "global id 7"),
    ([("apicurio.value.globalId", b"\0" * 8), ("apicurio.value.contentId", b"\0" * 7 + b"\x09")], b"", "content id 9"),
    ([("__value_schema_id", b"no id"), ("trace", None)], b"\0\0\0\0\1", "id 1"),
]


def test_what_nobody_has_is_named() -> None:
    """The detail has what to look for."""
    nothing = {"id 99": native.TRADE_SCHEMA_JSON}
    got = validated([(BINANCE, value + b"body", headers) for headers, value, _ in NAMED], nothing)
    for row, (headers, value, named) in zip(got, NAMED, strict=True):
        assert (row["reason"], row["detail"]) == ("unknown_schema_id", f"no schema has the {named}")
        assert native.schema_name(value + b"body", headers or []) == named
        assert {key for key, _ in headers or ()} <= {*native.SCHEMA_HEADERS, "trace"}
    (row,) = validated([(BINANCE, b"Hbody", [("trace", b"")])], nothing)
    assert row["reason"] == "not_framed"
    assert native.schema_name(b"Hbody", [("trace", b"")]) is None


def test_headers_name_the_schema_of_the_whole_value() -> None:
    body = by_fastavro(trade())[5:]
    for headers, value, named in NAMED[1:4]:
        (row,) = validated([(BINANCE, body, headers)], {named: native.TRADE_SCHEMA_JSON})
        assert row["reason"] is None, (value, row)
        assert row["trade"]["trade_id"] == trade()["trade_id"]


def test_details_count_bytes() -> None:
    """Those that only one of many messages has."""
    known = OWN | {"id 7": "{", "id 8": '{"type": "nothing"}'}
    expected = {
        None: ("null_value", "the message has no value", None),
        b"\0\0\0\0\7x": ("schema_not_resolvable", "Avro schema: not JSON", 7),
        b"\0\0\0\0\x09x": ("unknown_schema_id", "no schema has the id 9", 9),
        b"\0\0\0\0\3": ("truncated", "ends within message_id at byte 5", 3),
        b"\0\0\0\0\3\x09": ("malformed", "message_id is not legal Avro at byte 6", 3),
    }
    got = validated([(BINANCE, value, None) for value in expected], known)
    assert [(row["reason"], row["detail"], row["schema_id"]) for row in got] == list(expected.values())
    (row,) = validated([(BINANCE, b"\0\0\0\0\x08x", None)], known)
    assert row["reason"] == "schema_not_resolvable"


def test_ids_of_rejected_messages_that_can_be_read() -> None:
    whole = by_fastavro(trade(message_id="kept"))
    refused = by_fastavro(trade(message_id="sold short", side="SELL_SHORT"))
    rows: list[tuple[str, bytes | None, Headers | None]] = [
        (BINANCE, value, None) for value in (whole, refused, whole[:-1], None, by_fastavro(trade(exchange="KRAKEN")))
    ]
    assert [row["message_id"] for row in validated(rows, with_ids=True)] == [
        None,
        "sold short",
        None,
        None,
        trade()["message_id"],
    ]
    assert {row["message_id"] for row in validated(rows)} == {None}


def test_columns_are_those_of_silver() -> None:
    """With rows and without any."""
    empty = pa.schema(native.Validator({}, {}).validate(messages([])))
    full = pa.schema(
        native.Validator(TOPICS, {"registry": OWN, "files": OWN}).validate(messages([(BINANCE, b"", None)]))
    )
    assert empty == full
    columns = schemas.table(SILVER[0]).columns
    members = list(empty.field("trade").type)
    assert [(field.name, field.nullable) for field in members] == [(one.name, not one.required) for one in columns]
    assert empty.names == ["trade", "reason", "detail", "schema_id", "payload", "message_id"]
    assert all(field.nullable for field in empty)


def test_slices_and_chunks() -> None:
    """Spark and pyarrow hand over parts of columns."""
    rows: list[tuple[str, bytes | None, Headers | None]] = [
        (BINANCE, by_fastavro(row), [] if i % 2 else None) for i, row in enumerate(random_trades(3, 40))
    ]
    rows[7:7] = [(BINANCE, None, None), (BINANCE, b"\1", [("trace", None)])]
    table = messages(rows)
    validator = native.Validator(TOPICS, {"registry": OWN, "files": OWN})
    whole = pa.table(validator.validate(table)).to_pylist()
    assert pa.table(validator.validate(table.slice(5, 20))).to_pylist() == whole[5:25]
    cut = pa.Table.from_batches(table.combine_chunks().to_batches(max_chunksize=6))
    assert pa.table(validator.validate(cut)).to_pylist() == whole
    assert pa.table(validator.validate(table.drop_columns(["headers"]))).to_pylist() == whole
    found: list[Any] = []
    threads = [
        threading.Thread(target=lambda: found.append(pa.table(validator.validate(table)).to_pylist())) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [whole] * 4


def test_what_it_cannot_work_with() -> None:
    with pytest.raises(ValueError, match="'7' is no name of a schema"):
        native.Validator({}, {"registry": {"7": "{}"}})
    with pytest.raises(ValueError, match="has the schemas 'registry', which are not given"):
        native.Validator({BINANCE: ("binance", "registry")}, {})
    with pytest.raises(ValueError, match="exchange is 'nasdaq'"):
        native.Validator({"t": ("nasdaq", "a")}, {"a": {}})
    validator = native.Validator(TOPICS, {"registry": OWN, "files": OWN})
    with pytest.raises(ValueError, match="there is no column topic"):
        validator.validate(pa.table({"avro_payload": [b""]}))
    with pytest.raises(ValueError, match=r"row 1: other\.kraken is none of the topics"):
        validator.validate(messages([(BINANCE, b"", None), ("other.kraken", b"", None)]))
    with pytest.raises(ValueError, match="JSON"):
        native.inline_references("{", [])


def test_references_are_put_in() -> None:
    side = {"type": "enum", "name": "x.Side", "symbols": ["BUY", "SELL"]}
    used = {"type": "record", "name": "x.T", "fields": [{"name": "s", "type": "x.Side"}, {"name": "t", "type": "Side"}]}
    whole = json.loads(native.inline_references(json.dumps(used), [json.dumps(side)]))
    assert fastavro.parse_schema(whole)
    assert whole["fields"][0]["type"]["symbols"] == ["BUY", "SELL"]
