"""A Kafka topic that was deleted and created again, and accepted into the same tables: `k2 offsets accept --topic`."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path

import pyarrow as pa
import pytest
from kafka_oracle import Maker, Oracle
from recreated import Generations, check, recreate
from service_warehouse import Lake
from warehouse import BRONZE, REJECTED

from stack.services import Services


@pytest.fixture
def oracle(services: Services, seed: int) -> Oracle:
    return Oracle(services.kafka.brokers, seed)


@pytest.fixture
def topic(oracle: Oracle) -> Iterator[str]:
    made = oracle.create(f"t{uuid.uuid4().hex[:8]}.trades.binance", partitions=2)
    yield made
    oracle.delete([made])


@pytest.fixture
def lake(k2: Path, tmp_path: Path, services: Services, topic: str) -> Iterator[Lake]:
    made = Lake.local(k2, tmp_path / "lake", services.kafka.brokers)
    made.variables["K2_TOPICS"] = topic
    yield made
    made.kill_all()


def accept(lake: Lake, topic: str, *args: str) -> str:
    return lake.k2_run("offsets", "accept", "--topic", topic, *args).stdout


def test_a_service_reads_it_into_the_same_tables_once_it_is_accepted(lake: Lake, oracle: Oracle, topic: str) -> None:
    oracle.send(topic, 300)
    oracle.flush()
    lake.run_kafka()
    generations: Generations = [(oracle, oracle.topic_ids())]
    running = lake.begin("run")
    lake.await_rows(oracle.expected_counts())
    fresh = recreate(oracle, topic, seed=11)
    fresh.send(topic, 500)  # more than there was: the offsets of both overlap
    fresh.flush()
    generations.append((fresh, fresh.topic_ids()))
    running.await_words("cannot continue reading a source", 40)
    said = running.said()
    assert f"k2 offsets accept --topic {topic} --dry-run" in said
    plan = accept(lake, topic, "--dry-run")
    assert generations[0][1][topic] in plan
    assert generations[1][1][topic] in plan
    before = lake.heads()
    assert lake.heads() == before, "a dry run changes nothing"
    accept(lake, topic)
    lake.await_rows({BRONZE: 800})
    running.stop()
    lake.run_kafka()
    check(lake, generations)
    # It goes on as any topic, and nothing is left to accept.
    fresh.send(topic, 100)
    fresh.flush()
    lake.run_kafka()
    check(lake, generations)
    again = lake.k2_run("offsets", "accept", "--topic", topic, expect=2)
    assert "Bronze already reads Kafka topic" in again.stderr


def test_a_crash_between_the_tables_leaves_none_of_the_other_out(
    lake: Lake, oracle: Oracle, topic: str, seed: int
) -> None:
    """rejected_trades holds rows of the first topic at the offsets that are caught up in the second."""
    oracle.maker = Maker(seed, broken=0.5)
    oracle.send(topic, 200)
    oracle.flush()
    lake.run_kafka()
    generations: Generations = [(oracle, oracle.topic_ids())]
    fresh = recreate(oracle, topic, seed=12)
    fresh.send(topic, 200)
    fresh.flush()
    generations.append((fresh, fresh.topic_ids()))
    accept(lake, topic)
    crashed = lake.begin("run", "--until-caught-up", env={"K2_TEST_CRASH_AT": "silver.manifests:1"})
    assert crashed.wait() == -9
    assert lake.total(REJECTED) > 0
    lake.run_kafka()
    check(lake, generations)
    lake.k2_run("rebuild", "--layer", "silver")
    check(lake, generations)


def test_offsets_are_shown_and_set_by_the_topic_s_id(lake: Lake, oracle: Oracle, topic: str) -> None:
    oracle.send(topic, 50)
    oracle.flush()
    lake.run_kafka()
    first = oracle.topic_ids()[topic]
    fresh = recreate(oracle, topic, seed=13, partitions=3)
    fresh.send(topic, 60)
    fresh.flush()
    accept(lake, topic)
    lake.run_kafka()
    second = fresh.topic_ids()[topic]
    shown = json.loads(lake.k2_run("offsets", "show", "--output", "json").stdout)
    places = {(one["topic_id"], one["partition"]) for one in shown if one["table"] == BRONZE}
    assert places == {(first, 0), (first, 1), (second, 0), (second, 1), (second, 2)}
    ahead = ("offsets", "set", "--table", BRONZE, "--topic", topic, "--partition", "1", "--next", "5000")
    refused = lake.k2_run(*ahead, "--accept-loss", expect=2)
    assert first in refused.stderr
    assert "--topic-id" in refused.stderr
    lake.k2_run(*ahead, "--accept-loss", "--topic-id", second)
    shown = json.loads(lake.k2_run("offsets", "show", "--output", "json").stdout)
    moved = {one["topic_id"] for one in shown if one["table"] == BRONZE and str(one["next_offset"]) == "5000"}
    assert moved == {second}


def test_what_cannot_be_accepted_is_told(lake: Lake, oracle: Oracle, topic: str) -> None:
    lake.k2_run("tables", "create")
    never = lake.k2_run("offsets", "accept", "--topic", topic, expect=2)
    assert "has read no Kafka topic" in never.stderr
    without = lake.k2_run("offsets", "accept", expect=2)
    assert "--topic" in without.stderr
    assert "snapshot" in without.stderr
    oracle.send(topic, 10)
    oracle.flush()
    lake.run_kafka()
    # A table that an earlier version made has no column to tell the topics apart by.
    table = lake.table(REJECTED)
    with table.update_schema(allow_incompatible_changes=True) as update:
        update.delete_column("topic_id")
    recreate(oracle, topic, seed=14)
    refused = lake.k2_run("offsets", "accept", "--topic", topic, expect=2)
    assert "k2 tables migrate" in refused.stderr
    lake.k2_run("tables", "migrate")
    accept(lake, topic)


def test_rows_of_an_earlier_version_are_of_the_topic_that_was_first(lake: Lake, oracle: Oracle, topic: str) -> None:
    """They have no topic_id. Some of them are read by Silver only after the other topic was accepted."""
    lake.k2_run("tables", "create")
    for name in (BRONZE, REJECTED):
        with lake.table(name).update_schema(allow_incompatible_changes=True) as update:
            update.delete_column("topic_id")
    oracle.send(topic, 200)
    oracle.flush()
    lake.run_kafka()
    oracle.send(topic, 200)
    oracle.flush()
    lake.run_kafka("--layer", "bronze")
    generations: Generations = [(oracle, {topic: None})]
    lake.k2_run("tables", "migrate")
    fresh = recreate(oracle, topic, seed=15)
    fresh.send(topic, 400)
    fresh.flush()
    generations.append((fresh, fresh.topic_ids()))
    accept(lake, topic)
    lake.run_kafka("--layer", "bronze")
    # One file holds rows of both topics.
    lake.k2_run("maintain", "compact", "--table", BRONZE, "--min-input-files", "2", "--settled", "0s")
    lake.run_kafka()
    check(lake, generations)
    lake.k2_run("rebuild", "--layer", "rejected")
    check(lake, generations)
    lake.k2_run("rebuild", "--layer", "silver")
    check(lake, generations)


def test_what_silver_has_passed_of_one_it_has_not_passed_of_the_other(lake: Lake, oracle: Oracle, topic: str) -> None:
    """Rows of rejected_trades are validated again up to where Silver is in their own topic."""
    oracle.maker = Maker(1, broken=0)
    oracle.send(topic, 200, partition=0)
    oracle.flush()
    lake.run_kafka()
    first = oracle.topic_ids()[topic]
    fresh = recreate(oracle, topic, seed=16)
    fresh.maker = Maker(2, broken=0)
    fresh.send(topic, 150, partition=0)
    fresh.flush()
    accept(lake, topic)
    lake.run_kafka("--layer", "bronze")
    second = fresh.topic_ids()[topic]
    held = lake.arrow(BRONZE, ("topic_id", "partition", "offset", "avro_payload")).to_pylist()
    good = {row["topic_id"]: row for row in held if row["offset"] == 7}
    table = lake.table(REJECTED)
    stamp = datetime(2024, 1, 2, tzinfo=timezone.utc)
    rows = [
        {
            "topic": topic,
            "partition": 0,
            "offset": 7,
            "kafka_timestamp": stamp,
            "schema_id": 1,
            "payload": good[topic_id]["avro_payload"],
            "reason": "timestamp_too_old",
            "detail": "as older rules found",
            "ingestion_date": stamp.date(),
            "rejected_at": stamp,
            "topic_id": topic_id,
        }
        for topic_id in (first, second)
    ]
    table.append(pa.Table.from_pylist(rows, schema=table.schema().as_arrow()))
    lake.k2_run("rebuild", "--layer", "rejected")
    assert lake.arrow(REJECTED, ("topic_id",)).to_pylist() == [{"topic_id": second}], "Silver has not been there yet"
