"""`k2 run --kafka` on real brokers: every offset once, whatever the topics and the processes do."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from kafka_oracle import Oracle
from service_warehouse import Lake

from stack.services import Services


@pytest.fixture
def oracle(services: Services, seed: int) -> Oracle:
    return Oracle(services.kafka.brokers, seed)


@pytest.fixture
def topics(oracle: Oracle) -> Iterator[list[str]]:
    """Two topics of this test alone, with four partitions each."""
    stem = f"t{uuid.uuid4().hex[:8]}.trades"
    made = [oracle.create(f"{stem}.{exchange}") for exchange in ("binance", "kraken")]
    yield made
    oracle.delete(set(oracle.partitions))


def of_topics(lake: Lake, topics: list[str]) -> Lake:
    lake.variables["K2_TOPICS"] = ",".join(topics)
    return lake


@pytest.fixture
def lake(k2: Path, tmp_path: Path, services: Services, topics: list[str]) -> Iterator[Lake]:
    made = of_topics(Lake.local(k2, tmp_path / "lake", services.kafka.brokers), topics)
    yield made
    made.kill_all()


@pytest.fixture
def rest(k2: Path, tmp_path: Path, services: Services, topics: list[str]) -> Iterator[Lake]:
    made = of_topics(Lake.rest(k2, tmp_path / "lake", services), topics)
    yield made
    made.kill_all()


def rows_in(report: dict) -> list[int]:
    return [report[layer]["rows_in"] for layer in ("bronze", "silver", "gold")]


@pytest.mark.parametrize("where", ["lake", "rest"])
def test_until_caught_up_twice(request: pytest.FixtureRequest, where: str, oracle: Oracle, topics: list[str]) -> None:
    lake: Lake = request.getfixturevalue(where)
    for topic in topics:
        oracle.send(topic, 3000)
    oracle.flush()
    report = lake.run_kafka()
    assert report["bronze"]["rows_in"] == 6000
    assert sum(report["silver"]["rejected"].values()) > 50
    assert report["gold"]["duplicates"] > 50
    oracle.check(lake)
    heads = lake.heads()
    assert rows_in(lake.run_kafka()) == [0, 0, 0]
    assert lake.heads() == heads
    for topic in topics:
        oracle.send(topic, 500)
    oracle.flush()
    assert lake.run_kafka()["bronze"]["rows_in"] == 1000
    oracle.check(lake)
