"""The DataFrame engine on tables whose partitioning others have evolved."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from engines import Spark
from kafka_oracle import Oracle
from partitions import assert_rows_in_their_partitions, evolve, specs_of_files
from pyiceberg.transforms import BucketTransform, HourTransform, IdentityTransform, MonthTransform, TruncateTransform
from service_warehouse import Lake
from spark_frames import Frames, new_lake, new_topics, session_of
from warehouse import BRONZE, GOLD, NAMESPACE, REJECTED, SILVER, TABLES

from k2.spark.dataframe.overwrite import Days
from k2.spark.dataframe.rebuild import gold_rebuild
from k2.spark.maintenance import retention
from k2.spark.utils.errors import ConfigurationError
from k2.spark.utils.iceberg import IcebergCatalog
from stack.services import Services

pytestmark = pytest.mark.timeout(900)  # a machine that does much else besides


@pytest.fixture
def oracle(services: Services, seed: int) -> Iterator[Oracle]:
    made = Oracle(services.kafka.brokers, seed)
    yield made
    made.delete(set(made.partitions))


@pytest.fixture
def topics(oracle: Oracle) -> list[str]:
    return new_topics(oracle)


@pytest.fixture
def lake(k2: Path, tmp_path: Path, services: Services, topics: list[str]) -> Iterator[Lake]:
    made = new_lake(k2, tmp_path / "lake", services, topics)
    yield made
    made.kill_all()


def test_rows_go_where_the_present_spec_says(spark: Spark, lake: Lake, oracle: Oracle, topics: list[str]) -> None:
    session = session_of(spark, lake)
    frames = Frames(session, lake, topics)

    def send() -> None:
        for topic in topics:
            oracle.send(topic, 150)
        oracle.flush()

    send()
    frames.all()
    evolve(lake.table(BRONZE), {"offset": BucketTransform(3), "topic": IdentityTransform()})
    evolve(lake.table(REJECTED), {"reason": TruncateTransform(4)})
    evolve(lake.table(SILVER[0]), {"exchange_date": MonthTransform(), "symbol": BucketTransform(4)})
    evolve(lake.table(SILVER[1]), {"timestamp": HourTransform(), "price": TruncateTransform(100)}, keep=True)
    evolve(lake.table(GOLD), {"symbol": BucketTransform(4)})
    send()
    frames.all()
    oracle.check(lake)
    for name in TABLES:
        assert_rows_in_their_partitions(lake.table(name))
        if name != REJECTED:
            assert specs_of_files(lake.table(name)) == {0, 1}, name
    lake.run_kafka()  # k2 goes on from there
    oracle.check(lake)

    iceberg = IcebergCatalog(session, "iceberg")
    for name in (BRONZE, SILVER[0]):
        later_us = int(time.time() + 40 * 86_400) * 1_000_000
        planned = retention.plan(session, iceberg, name, 1, later_us)
        assert {partition.fate for partition in planned} == {"due"}
        assert sum(partition.rows for partition in planned) == lake.total(name)
        found = retention.drop(iceberg, iceberg.load(NAMESPACE, name), name, planned, 1)
        assert found == sum(len(partition.files) for partition in planned)
        assert lake.total(name) == 0

    gold = lake.table(GOLD)
    row = gold.scan(limit=1).to_arrow().to_pylist()[0]
    days = [row["exchange_date"], row["exchange_date"] + timedelta(days=1)]
    rows = [row | {"message_id": f"theirs {day}", "exchange_date": day} for day in days]
    gold.append(pa.Table.from_pylist(rows, schema=gold.schema().as_arrow()))
    day = date.fromisoformat(str(days[1]))
    with pytest.raises(ConfigurationError, match=f"--from .* --to {day}"):
        gold_rebuild(session, frames.of_gold, Days(day, day))
