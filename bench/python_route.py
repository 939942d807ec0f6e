"""The route that users glue together today, on the same messages: PyIceberg, fastavro, pyarrow and DuckDB in Python.

Bronze: append the message bytes to an Iceberg table with PyIceberg. Silver: decode with fastavro, build Arrow columns,
append. Gold: read Silver, drop duplicates with DuckDB, append. Rates are rows a second of wall clock, one process."""

import io
import shutil
import struct
import sys
import time
from pathlib import Path

import duckdb
import fastavro
import pyarrow as pa
from common import K2, own_peak_mb, report, row, run, simulate
from pyiceberg.catalog.sql import SqlCatalog

STEP = 100_000


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
    schema = fastavro.parse_schema(eval_schema())

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
            if schema_id != 1:
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


def eval_schema() -> dict[str, object]:
    """TradeV2, as fastavro takes it."""

    def enum(name: str, *symbols: str) -> dict[str, object]:
        return {"type": "enum", "name": name, "symbols": list(symbols)}

    time_type = {"type": "long", "logicalType": "timestamp-micros"}
    decimal = {"type": "bytes", "logicalType": "decimal", "precision": 18, "scale": 8}
    types: dict[str, object] = {
        "message_id": "string",
        "trade_id": "string",
        "symbol": "string",
        "exchange": "string",
        "asset_class": enum("AssetClass", "equities", "crypto", "futures", "options"),
        "timestamp": time_type,
        "price": decimal,
        "quantity": decimal,
        "currency": "string",
        "side": enum("TradeSide", "BUY", "SELL", "SELL_SHORT", "UNKNOWN"),
        "trade_conditions": {"type": "array", "items": "string"},
        "source_sequence": ["null", "long"],
        "ingestion_timestamp": time_type,
        "platform_sequence": ["null", "long"],
        "vendor_data": ["null", {"type": "map", "values": "string"}],
    }
    fields = [{"name": name, "type": kind} for name, kind in types.items()]
    return {"type": "record", "name": "TradeV2", "namespace": "com.k2.marketdata", "fields": fields}


def arrow_schema() -> pa.Schema:
    """Silver's columns."""
    time_type = pa.timestamp("us", tz="UTC")
    decimal = pa.decimal128(18, 8)
    return pa.schema(
        [
            ("message_id", pa.string()),
            ("trade_id", pa.string()),
            ("symbol", pa.string()),
            ("exchange", pa.string()),
            ("asset_class", pa.string()),
            ("timestamp", time_type),
            ("price", decimal),
            ("quantity", decimal),
            ("currency", pa.string()),
            ("side", pa.string()),
            ("trade_conditions", pa.list_(pa.string())),
            ("source_sequence", pa.int64()),
            ("ingestion_timestamp", time_type),
            ("platform_sequence", pa.int64()),
            ("vendor_data", pa.map_(pa.string(), pa.string())),
        ]
    )


if __name__ == "__main__":
    main()
