"""The plain DataFrame path beside the k2 process: the same rows, verdicts and source offsets, on the same tables."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

import pytest
from confluent_kafka import TopicCollection
from confluent_kafka.admin import AdminClient
from engines import Spark
from hostile import send_hostile
from kafka_oracle import Oracle
from pyiceberg.types import DecimalType
from recreated import Generations, recreate
from recreated import check as check_generations
from service_warehouse import Lake
from spark_frames import Frames, assert_same, places, progress_of, session_of
from warehouse import BRONZE, GOLD, REJECTED, SILVER

from k2.spark.dataframe import OffsetsError, bronze_step, silver_rebuild
from k2.spark.utils.errors import ConfigurationError
from stack.services import Services

pytestmark = pytest.mark.timeout(900)  # a machine that does much else besides


def k2_beside(k2: Path, folder: Path, lake: Lake) -> Lake:
    """A warehouse of k2's own that reads the same topics."""
    beside = Lake.local(k2, folder / "k2", lake.variables["K2_KAFKA"])
    for name in ("K2_TOPICS", "K2_REGISTRY"):
        if name in lake.variables:
            beside.variables[name] = lake.variables[name]
    return beside


def compare(
    k2: Path,
    folder: Path,
    services: Services,
    spark: Spark,
    lake: Lake,
    oracle: Oracle,
    topics: list[str],
    seed: int,
    count: int,
    rows_per_step: int,
) -> None:
    for topic in topics:
        oracle.send(topic, count)
    oracle.flush()
    beside = k2_beside(k2, folder, lake)
    frames = Frames(session_of(spark, lake), lake, topics, rows_per_step)
    results = frames.all()
    report = beside.run_kafka()
    oracle.check(lake)
    oracle.check(beside, files=False)
    assert_same(lake, beside)
    for layer, results_of in results.items():
        assert sum(one.rows_in for one in results_of) == report[layer]["rows_in"], layer
        assert sum(one.rows_out for one in results_of) == report[layer]["rows_out"], layer
    assert sum((one.rejected for one in results["silver"]), Counter()) == report["silver"]["rejected"]
    assert sum(one.duplicates for one in results["gold"]) == report["gold"]["duplicates"] > 0
    frames.assert_no_branches()
    # The documents are the same, byte by byte, but for the table's uuid and what hangs on snapshots.
    for name in (BRONZE, REJECTED, *SILVER):
        ours, theirs = (progress_of(one.table(name)) for one in (lake, beside))
        assert places(ours) == places(theirs), name
        assert ours.rules == theirs.rules, name

    services.start("registry")
    registry = services.registry.url
    for one in (lake, beside):
        one.variables["K2_REGISTRY"] = registry
    send_hostile(oracle, topics, registry, seed, count)
    frames = Frames(session_of(spark, lake), lake, topics)
    results = frames.all()
    report = beside.run_kafka()
    assert_same(lake, beside)
    rejected = sum((one.rejected for one in results["silver"]), Counter())
    assert rejected == report["silver"]["rejected"]
    conflicts = sum(one.identity_conflicts for one in results["gold"])
    assert conflicts == report["gold"]["identity_conflicts"] >= 2 * len(topics)
    assert {"truncated", "malformed", "trailing_bytes", "schema_not_resolvable", "frame_other"} <= rejected.keys()


def test_both_engines_give_the_same_rows(
    k2: Path,
    tmp_path: Path,
    services: Services,
    spark: Spark,
    lake: Lake,
    oracle: Oracle,
    topics: list[str],
    seed: int,
) -> None:
    compare(k2, tmp_path, services, spark, lake, oracle, topics, seed, 400, 500_000)


@pytest.mark.long
@pytest.mark.parametrize("turn", range(4))
def test_both_engines_give_the_same_rows_of_many(
    k2: Path,
    tmp_path: Path,
    services: Services,
    spark: Spark,
    lake: Lake,
    oracle: Oracle,
    topics: list[str],
    seed: int,
    turn: int,
) -> None:
    compare(k2, tmp_path, services, spark, lake, oracle, topics, seed + turn, 6000, 5000)


# In turns.


def test_engines_take_turns_on_the_same_tables(frames: Frames, lake: Lake, oracle: Oracle, topics: list[str]) -> None:
    for topic in topics:
        oracle.send(topic, 400)
    oracle.flush()
    lake.run_kafka("--layer", "bronze", "--rows-per-commit", "300")
    frames.silver()
    lake.k2_run("run", "--layer", "gold", "--until-caught-up")
    oracle.check(lake, files=False)
    for topic in topics:
        oracle.send(topic, 400)
    oracle.flush()
    # Swapped, and in the middle of what there is to do.
    frames.of_bronze.rows_per_step = 500
    assert bronze_step(frames.spark, frames.of_bronze).behind > 0
    lake.k2_run("run", "--layer", "silver", "--until-caught-up")
    frames.gold()
    lake.run_kafka("--layer", "bronze")
    frames.silver()
    lake.k2_run("run", "--layer", "gold", "--until-caught-up")
    oracle.check(lake)
    frames.assert_no_branches()
    assert [frames.bronze(), frames.silver(), frames.gold()] == [[], [], []]
    heads = lake.heads()
    assert lake.run_kafka()["bronze"]["rows_in"] == 0
    assert lake.heads() == heads, "both engines know that there is nothing left to do"


def test_topics_that_are_not_what_they_were(
    frames: Frames, lake: Lake, oracle: Oracle, topics: list[str], services: Services
) -> None:
    oracle.send(topics[0], 20, partition=0)
    oracle.flush()
    frames.of_bronze.start = "latest"
    assert frames.bronze() == []
    oracle.give_up_all()
    oracle.send(topics[0], 30, partition=0)
    oracle.flush()
    assert [one.rows_in for one in frames.bronze()] == [30]
    admin = AdminClient({"bootstrap.servers": oracle.brokers})
    described = admin.describe_topics(TopicCollection(topics))
    ids = {name: str(future.result(20).topic_id) for name, future in described.items()}
    assert {key.topic: key.topic_id for key in progress_of(lake.table(BRONZE)).positions} == ids
    oracle.send(topics[0], 10, partition=0)
    oracle.flush()
    oracle.forget_before(topics[0], 0, 55)
    with pytest.raises(OffsetsError, match="5 messages were deleted before they were read"):
        bronze_step(frames.spark, frames.of_bronze)
    partitions = oracle.partitions[topics[1]]
    oracle.delete([topics[1]])
    time.sleep(1)
    oracle.create(topics[1], partitions)
    frames.of_bronze.topics = topics[1:]
    with pytest.raises(OffsetsError, match="was recreated"):
        bronze_step(frames.spark, frames.of_bronze)
    frames.of_bronze.topics = ["nothing.binance"]
    with pytest.raises(ConfigurationError, match="no Kafka topic"):
        bronze_step(frames.spark, frames.of_bronze)
    frames.assert_no_branches()


def test_a_recreated_topic_that_was_accepted(lake: Lake, oracle: Oracle, topics: list[str], frames: Frames) -> None:
    """Rows of both topics have the same offsets, in one step and in one rebuild."""
    generations: Generations = []
    for topic in topics:
        oracle.send(topic, 60)
    oracle.flush()
    frames.bronze()
    generations.append((oracle, oracle.topic_ids()))
    fresh = recreate(oracle, topics[0], seed=21, partitions=oracle.partitions[topics[0]])
    fresh.send(topics[0], 90)
    fresh.flush()
    generations.append((fresh, fresh.topic_ids()))
    with pytest.raises(OffsetsError, match=f"k2 offsets accept --topic {topics[0]}"):
        frames.bronze()
    lake.k2_run("offsets", "accept", "--topic", topics[0])
    frames.all()
    check_generations(lake, generations)
    silver_rebuild(frames.spark, frames.of_silver)
    check_generations(lake, generations)
    frames.assert_no_branches()


def test_columns_that_others_have_changed(lake: Lake, oracle: Oracle, topics: list[str], frames: Frames) -> None:
    """They are found by their ids: renamed and widened between two steps, named as before for the oracle."""
    renamed = {BRONZE: ("offset", "place"), REJECTED: ("topic", "subject"), SILVER[0]: ("message_id", "uid")}
    renamed[GOLD] = ("symbol", "pair")
    for step in range(2):
        for topic in topics:
            oracle.send(topic, 200)
        oracle.flush()
        frames.all()
        for name, (old, new) in renamed.items():
            with lake.table(name).update_schema() as change:
                change.rename_column(old if step == 0 else new, new if step == 0 else old)
                if step == 0 and name == SILVER[0]:
                    change.update_column("price", field_type=DecimalType(38, 14))
    oracle.check(lake)
    held = lake.total(BRONZE)
    for name, column in ((BRONZE, "headers"), (BRONZE, "topic_id"), (REJECTED, "topic_id")):
        with lake.table(name).update_schema() as change:
            change.delete_column(column)  # as tables of an earlier K2: Bronze and Silver go on
    with lake.table(GOLD).update_schema(allow_incompatible_changes=True) as change:
        change.delete_column("currency")
    for topic in topics:
        oracle.send(topic, 10)
    oracle.flush()
    with pytest.raises(ConfigurationError, match=r"gold_crypto_trades: the column currency \(field id 9\) was dropped"):
        frames.all()
    assert lake.total(BRONZE) == held + 10 * len(topics) == sum(lake.total(name) for name in (*SILVER, REJECTED))
