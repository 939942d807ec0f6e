"""The route that users glue together today, on the same messages: PyIceberg, fastavro, pyarrow and DuckDB in Python.

Bronze: append the message bytes to an Iceberg table with PyIceberg. Silver: decode with fastavro, build Arrow columns,
append. Gold: read Silver, drop duplicates with DuckDB, append. Rates are rows a second of wall clock, one process."""

import io
import json
import shutil
import struct
import sys
import time
from pathlib import Path
from typing import Any

import duckdb
import fastavro
import pyarrow as pa
from common import K2, own_peak_mb, report, row, run, simulate
from pyiceberg.catalog.sql import SqlCatalog

STEP = 100_000
TRADE_ID = 3  # of the schema of trades


def k2_bronze(scratch: Path, recording: Path) -> Path:
    """A K2 warehouse with the messages, and K2's own figures on one core for each layer alone."""
    warehouse = scratch / "route-k2"
    shutil.rmtree(warehouse, ignore_errors=True)
    for layer in ("bronze", "silver", "gold"):
        source = ["--recording", f"binance={recording}"] if layer == "bronze" else []
        done = run(
            [
                "taskset",
                "-c",
                "0",
                K2,
                "run",
                "--warehouse",
                warehouse,
                "--layer",
                layer,
                "--threads",
                "1",
                "--output",
                "json",
                *source,
            ]
        )
        figures = report(done)[layer]
        row(f"k2, one core, {layer}", rows_per_second=int(figures["rows_in"] / done.wall_s), peak_mb=int(done.peak_mb))
    return warehouse


def main() -> None:
    """Usage: python_route.py SCRATCH"""
    scratch = Path(sys.argv[1])
    recording = simulate("binance", 500_000, scratch / "binance-500k.txt")
    warehouse = k2_bronze(scratch, recording)
    ours = SqlCatalog("iceberg", uri=f"sqlite:///{warehouse}/catalog.db")
    bronze = ours.load_table("market_data.bronze_trades").scan().to_arrow()
    messages = bronze["avro_payload"].to_pylist()
    schema = fastavro.parse_schema(own_schemas()[TRADE_ID])

    folder = scratch / "route-python"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    catalog = SqlCatalog("iceberg", uri=f"sqlite:///{folder}/catalog.db", warehouse=f"file://{folder}")
    catalog.create_namespace("market_data")

    started = time.monotonic()
    table = catalog.create_table("market_data.bronze", schema=bronze.schema)
    for begin in range(0, len(messages), STEP):
        table.append(bronze.slice(begin, STEP))
    row("python, bronze", rows_per_second=int(len(messages) / (time.monotonic() - started)))

    started = time.monotonic()
    silver = None
    for begin in range(0, len(messages), STEP):
        rows = []
        for message in messages[begin : begin + STEP]:
            (schema_id,) = struct.unpack(">i", message[1:5])
            if schema_id != TRADE_ID:
                continue
            trade = fastavro.schemaless_reader(io.BytesIO(message[5:]), schema, None)
            if trade["price"] > 0 and trade["quantity"] > 0 and trade["side"] in ("BUY", "SELL"):
                trade["vendor_data"] = list(trade["vendor_data"].items())
                rows.append(trade)
        batch = pa.Table.from_pylist(rows, schema=arrow_schema())
        if silver is None:
            silver = catalog.create_table("market_data.silver", schema=batch.schema)
        silver.append(batch)
    row("python, silver (fastavro)", rows_per_second=int(len(messages) / (time.monotonic() - started)))
    assert silver is not None

    started = time.monotonic()
    trades = silver.scan().to_arrow()
    once = duckdb.sql(
        "SELECT *, timestamp::date AS exchange_date FROM trades "
        "QUALIFY row_number() OVER (PARTITION BY message_id ORDER BY ingestion_timestamp) = 1"
    ).arrow()
    once = once.read_all() if hasattr(once, "read_all") else once
    gold = catalog.create_table("market_data.gold", schema=once.schema)
    gold.append(once)
    row(
        "python, gold (DuckDB)",
        rows_per_second=int(trades.num_rows / (time.monotonic() - started)),
        peak_mb=int(own_peak_mb()),
    )
    ours_gold = ours.load_table("market_data.gold_crypto_trades").scan().count()
    assert ours_gold == once.num_rows, f"K2 has {ours_gold} trades, the Python route {once.num_rows}"


def own_schemas() -> dict[int, dict[str, Any]]:
    """K2's messages by the ids that they have in recordings, as Avro's tools take them."""
    file = Path(__file__).resolve().parent.parent / "python" / "src" / "k2" / "spark" / "schemas.json"
    messages = json.loads(file.read_text(encoding="utf-8"))["messages"].values()
    return {message["local-id"]: message["schema"] for message in messages}


def arrow_schema() -> pa.Schema:
    """Silver's columns."""
    time_type = pa.timestamp("us", tz="UTC")
    return pa.schema(
        [
            ("message_id", pa.string()),
            ("trade_id", pa.string()),
            ("symbol", pa.string()),
            ("exchange", pa.string()),
            ("asset_class", pa.string()),
            ("timestamp", time_type),
            ("price", pa.decimal128(24, 14)),
            ("quantity", pa.decimal128(24, 8)),
            ("currency", pa.string()),
            ("side", pa.string()),
            ("trade_conditions", pa.list_(pa.string())),
            ("source_sequence", pa.int64()),
            ("ingestion_timestamp", time_type),
            ("platform_sequence", pa.int64()),
            ("vendor_data", pa.map_(pa.string(), pa.string())),
            ("source", pa.string()),
        ]
    )


if __name__ == "__main__":
    main()
