"""k2.native: the kernel as a Python module, judged by fastavro, by readings in plain Python, and by the k2 program."""

from __future__ import annotations

import io
import json
import os
import random
import re
import subprocess
import sys
import threading
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import fastavro
import polars as pl
import pyarrow as pa
import pytest
from conftest import Simulate
from native_trades import (
    HEADER,
    TRADE_SCHEMA,
    WHEN,
    by_fastavro,
    frames_of,
    random_trades,
    rows_of,
    trade,
    trades_table,
)
from reading import read_trades
from warehouse import BRONZE, REJECTED, SILVER, Warehouse

from k2 import native
from k2.spark import schemas

ROOT = Path(__file__).resolve().parent.parent
TRADES = 4_000
BAD = ("--malformed-ppm", "20000")


@pytest.mark.parametrize("exchange", ["binance", "kraken"])
def test_frames_are_read_as_plain_python_reads_them(exchange: str, simulate: Simulate) -> None:
    path = simulate(exchange, TRADES, 61, *BAD)
    expected, refused = read_trades(exchange, path)
    frames, received = frames_of(path)
    done = native.normalise(exchange, frames, pa.array(received))
    judged = native.validate(native.encode(done.trades), exchange)  # a price of zero is read, and then refused
    got = rows_of(judged.trades)
    assert got == [{key: value for key, value in row.items() if key != "exchange_hour"} for row in expected]
    assert len(done.rejects) + len(judged.rejects) == refused
    assert len(done.rejects) > 0
    assert len(judged.rejects) > 0
    assert done.skipped > 0
    assert {row["reason"] for row in rows_of(done.rejects)} <= set(schemas.REASONS)
    in_order = rows_of(done.rejects)
    assert [row["row"] for row in in_order] == sorted(row["row"] for row in in_order)


def test_messages_are_what_fastavro_writes(seed: int) -> None:
    rows = random_trades(seed, 300)
    messages = pa.table(native.encode(trades_table(rows)))
    for message, row in zip(messages.column("avro_payload").to_pylist(), rows, strict=True):
        assert message[:5] == HEADER
        assert fastavro.schemaless_reader(io.BytesIO(message[5:]), TRADE_SCHEMA, None) == row
        # fastavro takes a byte more than it must for -128.
        assert message == by_fastavro(row) or row["quantity"] == Decimal(-128).scaleb(-8)
    assert messages.column("message_key").to_pylist() == [row["symbol"].encode() for row in rows]
    back = rows_of(native.decode(messages).trades)
    for got, row in zip(back, rows, strict=True):
        assert {key: got[key] for key in row} == row
        assert got["exchange_date"] == row["timestamp"].date()


def test_messages_of_another_schema_are_resolved() -> None:
    reordered = json.loads(native.TRADE_SCHEMA_JSON)
    reordered["fields"] = [*reversed(reordered["fields"]), {"name": "more", "type": "string"}]
    reordered["fields"] = [field for field in reordered["fields"] if field["name"] != "platform_sequence"]
    row = trade(more="x", vendor_data={"a": "b"})
    message = by_fastavro(row, fastavro.parse_schema(reordered))[5:]
    framed = bytes([0, 0, 0, 0, 7]) + message
    done = native.decode([framed, by_fastavro(trade())], schemas={7: json.dumps(reordered), 8: "no schema"})
    assert [row["vendor_data"] for row in rows_of(done.trades)] == [{"a": "b"}]
    assert [(row["row"], row["schema_id"], row["reason"]) for row in rows_of(done.rejects)] == [
        (1, 3, "unknown_schema_id")
    ]


def test_verdicts_are_those_of_the_tables(warehouse: Warehouse, simulate: Simulate) -> None:
    warehouse.run([("binance", simulate("binance", TRADES, 62, *BAD))])
    bronze = warehouse.table(BRONZE).scan().to_arrow().sort_by("offset")
    done = native.validate(bronze, "binance")
    silver = warehouse.table(SILVER[0]).scan().to_arrow()
    got = pa.table(done.trades)
    key = "message_id"
    assert sorted(got.column(key).to_pylist()) == sorted(silver.column(key).to_pylist())
    assert len(got) + len(done.rejects) == len(bronze)
    offsets = bronze.column("offset").to_pylist()
    rejected = {row["offset"]: (row["schema_id"], row["reason"], row["detail"]) for row in warehouse.rows(REJECTED)}
    assert {
        offsets[row["row"]]: (row["schema_id"], row["reason"], row["detail"]) for row in rows_of(done.rejects)
    } == rejected
    assert rejected


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"price": Decimal(0)}, "price_not_positive"),
        ({"quantity": Decimal("-0.00000001")}, "quantity_not_positive"),
        ({"side": "SELL_SHORT"}, "invalid_side"),
        ({"asset_class": "futures"}, "invalid_asset_class"),
        ({"exchange": "KRAKEN"}, "exchange_mismatch"),
        ({"message_id": ""}, "empty_message_id"),
        ({"timestamp": WHEN + timedelta(seconds=61)}, "timestamp_in_future"),
        ({"timestamp": datetime(1999, 12, 31, 23, 59, 59, tzinfo=timezone.utc)}, "timestamp_out_of_range"),
    ],
)
def test_rules_of_silver(fields: dict[str, Any], reason: str) -> None:
    messages = native.encode(trades_table([trade(), trade(**fields)]))
    done = native.validate(messages, "BINANCE")
    assert [(row["row"], row["schema_id"], row["reason"]) for row in rows_of(done.rejects)] == [(1, 3, reason)]
    assert len(done.trades) == 1
    assert len(native.decode(messages).trades) == 2, "decode judges nothing"


# Hostile input.


def test_cut_and_changed_messages_are_rejected_or_read(seed: int) -> None:
    draw = random.Random(seed)
    whole = by_fastavro(trade(vendor_data={"key": "value"}, trade_conditions=["a"]))
    messages: list[bytes | str | None] = [*(whole[:size] for size in range(len(whole))), whole + b"x", None]
    for _ in range(3_000):
        changed = bytearray(whole)
        for _ in range(draw.randrange(1, 4)):
            changed[draw.randrange(len(changed))] = draw.randrange(256)
        messages.append(bytes(changed))
    messages += [draw.randbytes(draw.randrange(200)) for _ in range(1_000)]
    for done in (native.validate(messages, "binance"), native.decode(messages)):
        rejects = rows_of(done.rejects)
        assert len(done.trades) + len(rejects) == len(messages)
        assert {row["reason"] for row in rejects} <= set(schemas.REASONS)
        by_row = {row["row"]: row["reason"] for row in rejects}
        assert {by_row[size] for size in range(5)} == {"not_framed"}
        assert {by_row[size] for size in range(5, len(whole))} == {"truncated"}
        assert by_row[len(whole)] == "trailing_bytes"
        assert by_row[len(whole) + 1] == "null_value"
        pa.table(done.trades).validate(full=True)


def test_broken_frames_are_rejected(seed: int) -> None:
    draw = random.Random(seed)
    event = {
        "e": "trade",
        "E": 1,
        "s": "BTCUSDT",
        "t": 37,
        "p": "55000.10",
        "q": "0.001",
        "T": 1723075200120,
        "m": True,
    }
    whole = json.dumps(event | {"M": True}).encode()
    frames: list[bytes | str | None] = [whole[:size] for size in range(len(whole))]
    frames += [b"[" * 100_000, b'{"a":' * 50_000, b"\xff" * 100, b"1e999999", b"", "x" * (2 << 20), None]
    for _ in range(2_000):
        changed = bytearray(whole)
        changed[draw.randrange(len(changed))] = draw.randrange(256)
        frames.append(bytes(changed))
    for exchange in ("binance", "kraken"):
        done = native.normalise(exchange, frames, WHEN)
        assert len(done.trades) + len(done.rejects) + done.skipped >= len(frames)
        pa.table(done.trades).validate(full=True)


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (trades_table([trade(side="LONG")]), "column side, row 0: is none of BUY"),
        (trades_table([trade(), trade(symbol=None)]), "column symbol, row 1: is null"),
        (trades_table([trade()]).drop_columns(["price"]), "no column price"),
        (trades_table([trade()]).set_column(6, "price", pa.array([1.5])), "column price: decimals are wanted"),
        (
            trades_table([trade()]).set_column(6, "price", pa.array([Decimal("1.123456789012345")])),
            "column price, row 0: has more than 14 digits",
        ),
        (
            trades_table([trade()]).set_column(6, "price", pa.array([Decimal(10) ** 10], pa.decimal128(38, 2))),
            "does not fit decimal",
        ),
        (trades_table([trade()]).set_column(0, "message_id", pa.array([7])), "texts or bytes are wanted"),
        (
            trades_table([trade()]).set_column(1, "trade_id", pa.array([b"\xff"], pa.binary())),
            "column trade_id, row 0: is not UTF-8",
        ),
        (
            trades_table([trade()]).set_column(5, "timestamp", pa.array([2**62], pa.timestamp("s"))),
            "beyond 64 bits",
        ),
    ],
)
def test_trades_that_no_message_can_hold(table: pa.Table, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        native.encode(table)


def test_what_is_no_data_at_all() -> None:
    with pytest.raises(TypeError, match="single text"):
        native.decode(b"one message")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="Arrow data is wanted"):
        native.encode([trade()])  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="bytes, str or None"):
        native.decode([1])  # type: ignore[list-item]
    with pytest.raises(ValueError, match=r"exchange is 'nasdaq': binance(, \w+)* or \w+$"):
        native.normalise("nasdaq", [], 0)
    with pytest.raises(ValueError, match="is not said"):
        native.normalise("binance", [b"{}"])
    with pytest.raises(ValueError, match="fewer times than frames"):
        native.normalise("binance", [b"{}", b"{}"], pa.array([1]))
    with pytest.raises(ValueError, match="time zone"):
        native.normalise("binance", [], datetime(2024, 1, 1))
    with pytest.raises(ValueError, match="needs one that is called avro_payload"):
        native.decode(pa.table({"a": [b""], "b": [b""]}))
    assert pa.table(native.encode(trades_table([trade()]).slice(0, 0))).num_rows == 0
    assert pa.table(native.decode([]).trades).num_rows == 0


def test_times_that_are_not_those_of_the_frames() -> None:
    """A time too many would be every later frame's but its own."""
    for times in ([], [1], [1, 2, 3], [1, 2, 3, 4, 5]):
        said = f"{'fewer' if len(times) < 4 else 'more'} times than frames: {len(times)} for 4"
        for received in (pa.array(times, pa.int64()), pa.chunked_array([times[:2], times[2:]], pa.int64())):
            with pytest.raises(ValueError, match=said):
                native.normalise("binance", ["{}"] * 4, received)
    chunks = pa.chunked_array([[1, 2], [], [3, None]], pa.int64())
    with pytest.raises(ValueError, match=r"received, row 3: is null"):
        native.normalise("binance", ["{}"] * 4, chunks)
    frames = pa.chunked_array([["{}"], ["{}", "{}"], ["{}"]])
    assert native.normalise("binance", frames, chunks.fill_null(4)).skipped == 4
    for number in (2**63, -(2**70), 2**200):
        with pytest.raises(ValueError, match="received: is beyond 64 bits"):
            native.normalise("binance", [], number)
    assert native.normalise("binance", [], 2**63 - 1).skipped == 0
    for received in ([1, 2], "now", 1.5, b"now"):
        with pytest.raises(TypeError, match="received: Arrow data is wanted"):
            native.normalise("binance", ["{}"] * 2, received)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"side": "LONG"}, "column side, row 5: is none of"),
        ({"price": None}, "column price, row 5: is null"),
        ({"trade_conditions": ["a", None]}, "column trade_conditions, row 5: is null"),
        ({"vendor_data": {"a": "b", "c": None}}, "column vendor_data.value, row 5: is null"),
    ],
)
def test_rows_of_errors_are_those_of_the_table(fields: dict[str, Any], said: str) -> None:
    rows = [trade(trade_conditions=["x", "y"], vendor_data={"k": "v"}) for _ in range(8)]
    rows[5] |= fields
    table = trades_table(rows)
    for size in (1, 3, 4, 5, 8):
        cut = pa.Table.from_batches(table.combine_chunks().to_batches(max_chunksize=size))
        with pytest.raises(ValueError, match=said):
            native.encode(cut)


def test_schema_is_that_of_silver() -> None:
    done = native.decode([])
    names = [column.name for column in schemas.table(SILVER[0]).columns]
    assert done.trades.column_names == names
    arrow = pa.schema(done.trades)
    assert [field.nullable for field in arrow] == [not column.required for column in schemas.table(SILVER[0]).columns]
    assert json.loads(native.TRADE_SCHEMA_JSON) == schemas.TRADE_SCHEMA
    assert json.loads(native.REJECTED_FRAME_SCHEMA_JSON) == schemas.REJECTED_FRAME_SCHEMA
    assert schemas.RULES["version"] == native.RULES_VERSION


def resident_kb() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1])


def test_memory_goes_back(simulate: Simulate) -> None:
    frames, received = frames_of(simulate("binance", TRADES, 63))
    table = pa.table({"frame": frames, "received": received})

    def once() -> None:
        done = native.normalise("binance", table, dictionaries=True)
        kept = pl.DataFrame(done.trades)
        messages = native.encode(kept)
        decoded = native.validate(messages, "binance")
        stream = decoded.trades.__arrow_c_stream__()  # taken by nobody
        del stream, done
        assert len(decoded.trades) == len(kept)
        with pytest.raises(ValueError, match="column side"):
            native.encode(pa.table(decoded.trades).set_column(9, "side", pa.nulls(len(kept), pa.string())))

    for _ in range(15):
        once()
    before = resident_kb()
    for _ in range(60):
        once()
    assert resident_kb() - before < 24_000, "what was made is kept by nobody"  # one round makes 8 MB


def test_rows_outlive_what_they_came_from() -> None:
    messages = native.encode(trades_table(random_trades(1, 50)))
    arrow = pa.table(messages)
    column = arrow.column("avro_payload").chunk(0)
    expected = column.to_pylist()
    del messages, arrow
    assert column.to_pylist() == expected


def test_threads_work_side_by_side() -> None:
    table = trades_table(random_trades(2, 2_000))
    expected = pa.table(native.encode(table))
    wrong: list[int] = []

    def work(number: int) -> None:
        for _ in range(5):
            if pa.table(native.encode(table)) != expected:
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert not wrong


def test_the_example_draws(simulate: Simulate, tmp_path: Path) -> None:
    out = tmp_path / "trades.svg"
    done = subprocess.run(
        [sys.executable, ROOT / "python" / "examples" / "plot_trades.py", simulate("binance", TRADES, 63), out],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={"PYTHONPATH": ":".join(path for path in sys.path if path)},
    )
    assert done.returncode == 0, done.stderr
    drawn = out.read_text()
    assert drawn.startswith("<svg")
    assert drawn.count("<path") >= 2
    assert "BTCUSDT" in drawn


def constraints(folder: Path) -> Path:
    """The versions of requirements.lock, as pip takes them for what it builds with."""
    file = folder / "constraints.txt"
    file.write_text(re.sub(r" --hash=.*", "", (ROOT / "requirements.lock").read_text()))
    return file


@pytest.mark.long
def test_the_wheel_holds_everything(tmp_path: Path) -> None:
    """Built by pip as a user builds it, and used from the wheel alone."""
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", tmp_path, ROOT / "python"],
        check=True,
        timeout=900,
        env=os.environ | {"PIP_CONSTRAINT": str(constraints(tmp_path))},
    )
    wheel = next(tmp_path.glob("k2-*.whl"))
    target = tmp_path / "site"
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", target, wheel], check=True, timeout=120
    )
    code = (
        "from k2 import native; from k2.spark import schemas; from k2.spark.utils import coordinates\n"
        "assert native.decode([b'']).rejects.num_rows == 1\n"
        "assert 'bronze_trades' in schemas.TABLES and len(coordinates('3.5.7')) == 4\n"
        "import k2, pathlib; print(pathlib.Path(k2.__file__).parent)\n"
        "assert (pathlib.Path(k2.__file__).parent / 'py.typed').exists()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": str(target)}, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert str(target) in done.stdout
    unpacked = subprocess.run(["unzip", "-l", wheel], capture_output=True, text=True, check=True, timeout=60).stdout
    assert "schemas.json" in unpacked
    assert "_k2_native.pyi" in unpacked
