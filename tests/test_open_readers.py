"""Engines at default settings open each kind of table: polars, Daft, ClickHouse, and Spark with an old Iceberg."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import chdb
import daft
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import Simulate
from warehouse import BRONZE, GOLD, NAMESPACE, REJECTED, SILVER, TABLES, Warehouse, k2_environment

TRADES = 3_000
OLD_ICEBERG = "org.apache.iceberg:iceberg-spark-runtime-3.5_2.12:1.4.1"
TRADE_TABLES = (*SILVER, GOLD)

Answer = Mapping[str, Any]


@pytest.fixture(scope="module")
def market(k2: Path, tmp_path_factory: pytest.TempPathFactory, simulate: Simulate) -> Warehouse:
    flags = ("--start", "2024-01-02T23:59:50Z", "--trades-per-second", "300", "--malformed-ppm", "5000")
    warehouse = Warehouse(k2, tmp_path_factory.mktemp("open") / "warehouse")
    recordings = [(exchange, simulate(exchange, TRADES, 5, *flags)) for exchange in ("binance", "kraken")]
    warehouse.run(recordings, "--rows-per-commit", "1500")
    return warehouse


def truth(market: Warehouse, name: str) -> Answer:
    """What the table holds, by PyIceberg; sums as numbers, so that each engine's own types compare equal."""
    rows = market.table(name).scan().to_arrow().to_pylist()
    assert rows
    answer: dict[str, Any] = {"rows": len(rows)}
    if name in (BRONZE, REJECTED):
        payload = "avro_payload" if name == BRONZE else "payload"
        topic = max(row["topic"] for row in rows)
        answer |= {
            "offsets": sum(row["offset"] for row in rows),
            "bytes": sum(len(row[payload]) for row in rows),
            "of_topic": sum(row["topic"] == topic for row in rows),
        }
        return answer
    symbol = max(row["symbol"] for row in rows)
    days = sorted({row["exchange_date"] for row in rows})
    return answer | {
        "price": sum((row["price"] for row in rows), Decimal(0)),
        "quantity": sum((row["quantity"] for row in rows), Decimal(0)),
        "sequences": sum(row["source_sequence"] for row in rows),
        "of_symbol": sum(row["symbol"] == symbol for row in rows),
        "of_last_day": sum(row["exchange_date"] == days[-1] for row in rows),
        "vendor": sum(len(row["vendor_data"]) for row in rows),
        "base": sum(dict(row["vendor_data"]).get("base_asset") == "BTC" for row in rows),
        "conditions": sum(len(row["trade_conditions"]) for row in rows),
    }


def filters(market: Warehouse, name: str) -> tuple[str, Any]:
    """The symbol (or topic) that `of_symbol` (`of_topic`) counts, and the last day."""
    column = "topic" if name in (BRONZE, REJECTED) else "symbol"
    rows = market.table(name).scan(selected_fields=(column,)).to_arrow()
    day = None
    if name in TRADE_TABLES:
        day = max(market.table(name).scan(selected_fields=("exchange_date",)).to_arrow()["exchange_date"].to_pylist())
    return max(rows[column].to_pylist()), day


def plain(answer: Answer) -> dict[str, str]:
    """Numbers as texts that are equal where the numbers are."""
    return {key: str(Fraction(str(value))) for key, value in answer.items()}


@pytest.mark.parametrize("name", TABLES)
def test_polars(market: Warehouse, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POLARS_ICEBERG_PLANNER", "pyiceberg")  # else it warns that its own planner is not installed
    frame = pl.scan_iceberg(market.table(name))
    value, day = filters(market, name)
    if name in (BRONZE, REJECTED):
        payload = "avro_payload" if name == BRONZE else "payload"
        sums = frame.select(
            rows=pl.len(), offsets=pl.col("offset").sum(), bytes=pl.col(payload).bin.size().sum()
        ).collect()
        found = sums.to_dicts()[0] | {"of_topic": frame.filter(pl.col("topic") == value).collect().height}
    else:
        sums = frame.select(
            rows=pl.len(),
            price=pl.col("price").sum(),
            quantity=pl.col("quantity").sum(),
            sequences=pl.col("source_sequence").sum(),
            vendor=pl.col("vendor_data").map.len().sum(),
            base=(pl.col("vendor_data").map.get("base_asset") == "BTC").sum(),
            conditions=pl.col("trade_conditions").list.len().sum(),
        ).collect()
        found = sums.to_dicts()[0] | {
            "of_symbol": frame.filter(pl.col("symbol") == value).collect().height,
            "of_last_day": frame.filter(pl.col("exchange_date") == day).collect().height,
        }
    assert plain(found) == plain(truth(market, name))


def rows_of(frame: daft.DataFrame, column: str) -> int:
    """By reading them: Daft 0.7.26's count_rows() leaves a filter on a partition column out."""
    return len(frame.select(column).to_pydict()[column])


@pytest.mark.parametrize("name", TABLES)
def test_daft(market: Warehouse, name: str) -> None:
    frame = daft.read_iceberg(market.table(name))
    value, day = filters(market, name)
    column = daft.col
    if name in (BRONZE, REJECTED):
        payload = "avro_payload" if name == BRONZE else "payload"
        sums = frame.agg(
            column("offset").count().alias("rows"),
            column("offset").sum().alias("offsets"),
            column(payload).length().sum().alias("bytes"),
        )
        found = {"of_topic": rows_of(frame.where(column("topic") == value), "offset")}
    else:
        sums = frame.agg(
            column("message_id").count().alias("rows"),
            column("price").sum().alias("price"),
            column("quantity").sum().alias("quantity"),
            column("source_sequence").sum().alias("sequences"),
            column("vendor_data").map_keys().list_count().sum().alias("vendor"),
            column("trade_conditions").list_count().sum().alias("conditions"),
        )
        found = {
            "of_symbol": rows_of(frame.where(column("symbol") == value), "symbol"),
            "of_last_day": rows_of(frame.where(column("exchange_date") == day), "symbol"),
            "base": rows_of(frame.where(column("vendor_data").map_get("base_asset") == "BTC"), "symbol"),
        }
    (row,) = sums.to_pylist()
    assert plain(row | found) == plain(truth(market, name))


@pytest.mark.parametrize("name", TABLES)
def test_clickhouse(market: Warehouse, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(market.folder)  # it reads paths below the working folder
    value, day = filters(market, name)
    if name in (BRONZE, REJECTED):
        payload = "avro_payload" if name == BRONZE else "payload"
        asked = f"count() AS rows, sum(offset) AS offsets, sum(length({payload})) AS bytes"
        filtered = {"of_topic": f"topic = '{value}'"}
    else:
        asked = (
            "count() AS rows, sum(price) AS price, sum(quantity) AS quantity, sum(source_sequence) AS sequences, "
            "sum(length(vendor_data)) AS vendor, countIf(vendor_data['base_asset'] = 'BTC') AS base, "
            "sum(length(trade_conditions)) AS conditions"
        )
        filtered = {"of_symbol": f"symbol = '{value}'", "of_last_day": f"exchange_date = '{day}'"}
    source = f"icebergLocal('{NAMESPACE}/{name}')"

    def ask(text: str) -> dict[str, Any]:
        answer = str(chdb.query(text, "JSONEachRow"))
        return dict(json.loads(answer, parse_float=str))

    settings = "SETTINGS output_format_json_quote_decimals = 1, output_format_json_quote_64bit_integers = 1"
    found = ask(f"SELECT {asked} FROM {source} {settings}")
    for key, condition in filtered.items():
        found |= ask(f"SELECT count() AS {key} FROM {source} WHERE {condition}")
    assert plain(found) == plain(truth(market, name))


OLD_SPARK = """
import json, sys
from pyspark.sql import SparkSession
spark = (
    SparkSession.builder.master("local[1]").config("spark.jars.packages", sys.argv[1])
    .config("spark.ui.enabled", "false").config("spark.driver.memory", "700m")
    .config("spark.driver.bindAddress", "127.0.0.1").config("spark.driver.host", "127.0.0.1")
    .config("spark.sql.session.timeZone", "UTC").config("spark.sql.shuffle.partitions", "1").getOrCreate()
)
assert spark.conf.get("spark.sql.iceberg.vectorization.enabled", None) is None
found = {"iceberg": str(spark._jvm.org.apache.iceberg.IcebergBuild.version())}
for name, metadata, asked in json.load(sys.stdin):
    spark.read.format("iceberg").load(metadata).createOrReplaceTempView("t")
    (row,) = spark.sql("SELECT " + asked + " FROM t").collect()
    found[name] = {key: str(value) for key, value in row.asDict().items()}
print(json.dumps(found))
"""


def test_spark_with_an_old_iceberg(market: Warehouse, tmp_path: Path) -> None:
    """Its vectorized reader, which is on by default, knows no delta encodings."""
    asked: list[tuple[str, str, str]] = []
    for name in TABLES:
        value, day = filters(market, name)
        if name in (BRONZE, REJECTED):
            payload = "avro_payload" if name == BRONZE else "payload"
            text = (
                f"count(*) rows, sum(offset) offsets, sum(octet_length({payload})) bytes, "
                f"count_if(topic = '{value}') of_topic, count(distinct kafka_timestamp) + "
                "count(distinct ingestion_date) as times"
            )
        else:
            text = (
                "count(*) rows, sum(price) price, sum(quantity) quantity, sum(source_sequence) sequences, "
                f"count_if(symbol = '{value}') of_symbol, count_if(exchange_date = date'{day}') of_last_day"
            )
        asked.append((name, market.table(name).metadata_location, text))
    script = tmp_path / "read.py"
    script.write_text(OLD_SPARK)
    done = subprocess.run(
        [sys.executable, script, OLD_ICEBERG],
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
        env=k2_environment(),
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["iceberg"] == "1.4.1"
    for name in TABLES:
        expected = truth(market, name)
        answer = plain({key: value for key, value in found[name].items() if key != "times"})
        assert answer == {key: value for key, value in plain(expected).items() if key in answer}


def test_encodings(market: Warehouse) -> None:
    """None but those that the first version of Parquet's Java readers had."""
    known = {"PLAIN", "PLAIN_DICTIONARY", "RLE_DICTIONARY", "RLE", "BIT_PACKED"}
    for name in TABLES:
        for task in market.table(name).scan().plan_files():
            metadata = pq.read_metadata(pa.BufferReader(Path(task.file.file_path.removeprefix("file://")).read_bytes()))
            for group in range(metadata.num_row_groups):
                for column in range(metadata.num_columns):
                    chunk = metadata.row_group(group).column(column)
                    assert set(chunk.encodings) <= known, (name, chunk.path_in_schema)
