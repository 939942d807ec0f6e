"""The DataFrame engine, and maintenance on Spark, on tables whose partitioning others have evolved."""

from __future__ import annotations

import time
from collections import Counter
from datetime import timedelta
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import Simulate
from engines import Spark
from partitions import assert_rows_in_their_partitions, evolve, specs_of_files
from pyiceberg.transforms import BucketTransform, HourTransform, IdentityTransform, MonthTransform, TruncateTransform
from pyspark.sql import SparkSession
from warehouse import BRONZE, GOLD, NAMESPACE, REJECTED, SILVER, TABLES, Warehouse

from k2.spark.dataframe import GoldOptions, LakeOptions, gold_step
from k2.spark.dataframe.overwrite import Days
from k2.spark.dataframe.rebuild import gold_rebuild
from k2.spark.maintenance import retention
from k2.spark.utils.errors import ConfigurationError
from k2.spark.utils.iceberg import IcebergCatalog

pytestmark = pytest.mark.timeout(900)  # a machine that does much else besides

MIDNIGHT = ("--start", "2024-03-01T23:55:00Z", "--trades-per-second", "1", "--malformed-ppm", "20000")


@pytest.fixture
def filled(warehouse: Warehouse, simulate: Simulate) -> Warehouse:
    """Two days in every table but Gold, by the specs that K2 makes them with; then others'."""
    for layer in ("bronze", "silver"):
        recordings = [(exchange, simulate(exchange, 500, 8, *MIDNIGHT)) for exchange in ("binance", "kraken")]
        warehouse.run(recordings if layer == "bronze" else [], "--layer", layer)
    evolve(warehouse.table(BRONZE), {"offset": BucketTransform(3), "topic": IdentityTransform()})
    evolve(warehouse.table(REJECTED), {"reason": TruncateTransform(4)})
    evolve(warehouse.table(SILVER[0]), {"exchange_date": MonthTransform(), "symbol": BucketTransform(4)})
    evolve(warehouse.table(SILVER[1]), {"timestamp": HourTransform(), "price": TruncateTransform(100)}, keep=True)
    evolve(warehouse.table(GOLD), {"symbol": BucketTransform(4)})
    return warehouse


@pytest.fixture
def session(spark: Spark, filled: Warehouse) -> SparkSession:
    return spark.of(filled.folder)


def test_rows_go_where_the_present_spec_says(filled: Warehouse, session: SparkSession) -> None:
    """Each table's own rows once more, as the layers write them; Gold by its own step."""
    for name in (BRONZE, REJECTED, *SILVER):
        before = rows_of(filled, name)
        table = LakeOptions().table(session, name)
        rows = session.table(f"iceberg.{NAMESPACE}.{name}").coalesce(1)
        table.append(rows, "main", {"k2.rebuilt": "1"})
        assert rows_of(filled, name) == before + before
        assert specs_of_files(filled.table(name)) == {0, 1}
    result = gold_step(session, GoldOptions())
    assert result.rows_out == len(filled.gold()) > 0
    for name in TABLES:
        assert_rows_in_their_partitions(filled.table(name))
    for task in filled.table(BRONZE).scan().plan_files():
        rows = filled.table(BRONZE).io.new_input(task.file.file_path)
        offsets = pq.read_table(pa.PythonFile(rows.open(), mode="r"), columns=["offset"])["offset"].to_pylist()
        assert offsets == sorted(offsets), "the order that rows had is kept in each partition"


def rows_of(warehouse: Warehouse, name: str) -> Counter[tuple[Any, ...]]:
    key = ("message_id",) if name in (*SILVER, GOLD) else ("topic", "partition", "offset")
    return Counter(tuple(row[column] for column in key) for row in warehouse.rows(name, key))


def test_retention_and_rebuild_by_the_days_of_the_rows(filled: Warehouse, session: SparkSession) -> None:
    filled.run([], "--layer", "gold")
    gold = filled.table(GOLD)
    held = gold.scan().to_arrow()
    silver = filled.table(SILVER[0])
    silver.append(silver.scan().to_arrow())  # others' files, of a bucket each: rows of both days
    filled.run([], "--layer", "gold")

    iceberg = IcebergCatalog(session, "iceberg")
    day_us = 86_400_000_000
    in_time = int(time.time() * 1_000_000) + 60_000_000
    # A limit that the first day is past of, and the second is not, whenever this runs.
    limit_us = in_time - 19_784 * day_us - day_us // 2
    planned = retention.plan(session, iceberg, SILVER[0], limit_us, in_time)
    assert [(one.day, one.first_day) for one in planned] == [("2024-03-01", "2024-03-01"), ("2024-03-02", "2024-03-01")]
    assert "rows since 2024-03-01 too" in planned[1].reason
    shared = f"ALTER TABLE iceberg.{NAMESPACE}.{SILVER[0]} SET TBLPROPERTIES ('gc.enabled' = '%s')"
    session.sql(shared % "false")
    kept = retention.plan(session, iceberg, SILVER[0], 1, in_time)
    assert {(one.fate, one.reason) for one in kept} == {("kept", "kept: the table's property gc.enabled is false")}
    session.sql(shared % "true")
    for name in (SILVER[0], BRONZE):
        planned = retention.plan(session, iceberg, name, 1, in_time)
        assert {one.fate for one in planned} == {"due"}
        assert sum(one.rows for one in planned) == rows_of(filled, name).total()
        retention.drop(iceberg, iceberg.load(NAMESPACE, name), name, planned, 1)
        assert rows_of(filled, name).total() == 0

    row = held.slice(0, 1).to_pylist()[0]
    days = [row["exchange_date"], row["exchange_date"] + timedelta(days=1)]
    theirs = [row | {"message_id": f"theirs {day}", "exchange_date": day} for day in days]
    gold = filled.table(GOLD)
    gold.append(pa.Table.from_pylist(theirs, schema=gold.schema().as_arrow()))
    with pytest.raises(ConfigurationError, match=f"--from .* --to {days[1]}"):
        gold_rebuild(session, GoldOptions(), Days(days[1], days[1]))
    assert filled.table(GOLD).scan().to_arrow().num_rows == held.num_rows + 2
