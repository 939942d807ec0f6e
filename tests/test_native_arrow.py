"""k2.native takes Arrow in every form that it comes in, and polars and DuckDB take what it gives."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
from conftest import Simulate
from native_trades import (
    WHEN,
    frames_of,
    random_trades,
    trade,
    trades_table,
)

from k2 import native

TRADES = 4_000
BAD = ("--malformed-ppm", "20000")


# Arrow in every form.


def forms_of(table: pa.Table) -> Iterator[tuple[str, Any]]:
    texts = [name for name in table.column_names if table.schema.field(name).type == pa.string()]

    def cast(kind: pa.DataType) -> pa.Table:
        made = table
        for name in texts:
            made = made.set_column(made.column_names.index(name), name, made.column(name).cast(kind))
        return made

    yield "table", table
    yield "batch", table.combine_chunks().to_batches()[0]
    yield "chunks", pa.concat_tables([table.slice(0, 3), table.slice(3)])
    yield "sliced", pa.concat_tables([table, table]).combine_chunks().slice(len(table) - 7, 7 + len(table)).slice(7)
    yield "reader", table.to_reader(max_chunksize=5)
    yield "large", cast(pa.large_string())
    yield "views", cast(pa.string_view())
    for index in (pa.int8(), pa.uint8(), pa.int16(), pa.uint16(), pa.int32(), pa.uint32(), pa.int64(), pa.uint64()):
        if len(table) < 100:
            yield f"dictionary of {index}", cast(pa.dictionary(index, pa.string()))
    for unit in ("ms", "ns"):
        at = table.column_names.index("ingestion_timestamp")
        changed = table.column("ingestion_timestamp").cast(pa.timestamp(unit, "UTC"))
        yield unit, table.set_column(at, "ingestion_timestamp", changed)
    yield "polars", pl.DataFrame(table)
    yield "duckdb", duckdb.connect().from_arrow(table)


def test_every_form_of_arrow_gives_the_same_messages(seed: int) -> None:
    rows = random_trades(seed, 40)
    for row in rows:
        row["timestamp"] = WHEN + timedelta(milliseconds=random.Random(seed).randrange(10**9))
    table = trades_table(rows)
    expected = pa.table(native.encode(table)).combine_chunks()
    for name, form in forms_of(table):
        assert pa.table(native.encode(form)).combine_chunks() == expected, name
    payloads = expected.column("avro_payload")
    back = pa.table(native.decode(expected).trades).combine_chunks()
    for kind in (pa.binary(), pa.large_binary(), pa.binary_view()):
        assert pa.table(native.decode(payloads.cast(kind)).trades).combine_chunks() == back
    assert pa.table(native.decode(pl.Series(payloads.to_pylist())).trades).combine_chunks() == back
    assert pa.table(native.decode(payloads.to_pylist()).trades).combine_chunks() == back
    assert pa.table(native.decode(payloads.combine_chunks().slice(3)).trades).to_pylist() == back.slice(3).to_pylist()


def test_a_part_of_a_struct_array_is_that_part() -> None:
    """pyarrow hands out the children of a sliced struct whole, and a null struct with children that are not."""
    rows = trades_table([trade(trade_id=f"BINANCE-{number}") for number in range(10)])
    messages = pa.table(native.encode(rows)).combine_chunks()
    back = pa.table(native.decode(messages).trades).to_pylist()
    sliced = messages.to_struct_array().combine_chunks().slice(2, 3)
    assert pa.table(native.decode(sliced).trades).to_pylist() == back[2:5]
    trades_part = rows.to_struct_array().combine_chunks().slice(2, 3)
    assert pa.table(native.encode(trades_part)).to_pylist() == messages.to_pylist()[2:5]
    nested = pa.StructArray.from_arrays(
        [pa.array(range(10)), messages["avro_payload"].combine_chunks()], ["n", "value"]
    )
    some = pa.StructArray.from_buffers(nested.type, 10, [pa.py_buffer(b"\xf7\x03")], children=nested.flatten())
    decoded = native.decode(some)
    assert pa.table(decoded.trades).to_pylist() == back[:3] + back[4:]
    assert pa.table(decoded.rejects)["reason"].to_pylist() == ["null_value"]
    frames = pa.StructArray.from_arrays(
        [pa.array(["{}", "[", "{}", "]"]), pa.array([1, 2, 3, 4])], ["frame", "received"]
    )
    assert pa.table(native.normalise("binance", frames.slice(1, 2)).rejects)["row"].to_pylist() == [0]


def test_the_identity_is_derived_where_it_is_missing() -> None:
    table = trades_table([trade()])
    assert native.encode(table.drop_columns(["message_id", "trade_conditions", "vendor_data"])) is not None
    without = pa.table(native.encode(table.drop_columns(["message_id"])))
    assert without == pa.table(native.encode(table))
    assert native.message_id("KRAKEN", "BTCUSD", "KRAKEN-4665846") == "8821ea69-f07c-5a91-984b-151ba7a2b2f8"


def test_polars_and_duckdb_take_what_comes_out(simulate: Simulate) -> None:
    frames, received = frames_of(simulate("binance", TRADES, 63))
    for dictionaries in (False, True):
        done = native.normalise("binance", pa.table({"frame": frames, "received": received}), dictionaries=dictionaries)
        arrow = pa.table(done.trades)
        frame = pl.DataFrame(done.trades)
        assert len(frame) == arrow.num_rows == len(done.trades) > 0
        volume = pc.sum(arrow.column("quantity")).as_py()
        assert frame["quantity"].sum() == volume
        trades = done.trades  # DuckDB finds it by its name
        assert duckdb.connect().sql("SELECT count(*), sum(quantity) FROM trades").fetchone() == (len(trades), volume)
        assert duckdb.connect().sql("SELECT max(vendor_data['base_asset']) FROM trades").fetchone() == ("XRP",)
        assert pa.schema(done.trades) == arrow.schema
        assert pa.table(done.trades) == arrow, "it may be taken any number of times"
