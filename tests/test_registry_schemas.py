"""Schemas of the registry that refer to others, ids that it does not have, and one that it cannot be asked for."""

from __future__ import annotations

import struct
import time
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hostile import register_referring
from kafka_oracle import Verdict
from scripted_registry import ScriptedRegistry
from test_registry_outage import World
from warehouse import BRONZE, GOLD, REJECTED

from stack.services import Services

DELAY_S = 0.02
IDS = 3_000


@pytest.fixture
def world(k2: Path, tmp_path: Path, services: Services, seed: int) -> Iterator[World]:
    made = World(k2, tmp_path, services, seed)
    yield made
    made.lake.kill_all()
    made.oracle.delete(made.topics)


def test_a_schema_that_refers_to_others(world: World) -> None:
    """Its messages are trades like those of the whole schema; nothing is rejected."""
    oracle, lake, registry = world.oracle, world.lake, world.registry.url
    stem = f"t{uuid.uuid4().hex[:8]}"
    schema_id = register_referring(registry, stem, world.first)
    absent = {"name": "market", "type": ["null", "string"], "default": None}
    world.send(50)
    oracle.maker.write_with(schema_id, world.first | {"fields": [absent, *world.first["fields"]]})
    world.send(50)
    lake.run_kafka()
    assert lake.total(REJECTED) == 0
    oracle.check(lake)


def test_many_unknown_ids(world: World, tmp_path: Path) -> None:
    """Asked side by side over a few connections, and each once."""
    oracle, lake = world.oracle, world.lake
    world.send(50)
    topic = world.topics[0]
    for number in range(IDS):
        made = oracle.maker.framed(oracle.maker.trade("binance"))
        value = b"\0" + struct.pack(">i", 10_000_000 + number) + made.value[5:]
        oracle.send_one(topic, replace(made, value=value, verdict=Verdict(None, "unknown_schema_id")))
    oracle.flush()
    slow = ScriptedRegistry(DELAY_S)
    slow.id(world.first_id, world.first)
    try:
        begin = time.monotonic()
        lake.run_kafka(env={"K2_REGISTRY": slow.url, "K2_SCHEMA_CACHE": str(tmp_path / "none yet")})
        took = time.monotonic() - begin
    finally:
        slow.stop()
    assert lake.total(REJECTED) == IDS
    assert len(slow.asked) == IDS + 1
    assert slow.connections <= 17
    assert took < IDS * DELAY_S / 2, f"{IDS} ids took {took:.1f} s"
    oracle.check(lake)


def test_an_unknown_id_holds_up_its_partition_only(world: World, tmp_path: Path) -> None:
    """While the registry is away, other partitions and topics are validated; then nothing is missing."""
    oracle, lake, registry = world.oracle, world.lake, world.registry
    world.send(200)
    service = lake.begin("run")
    lake.await_rows(oracle.expected_counts())
    registry.kill()
    before = oracle.expected_counts()[GOLD]
    world.with_the_second()
    oracle.send(world.topics[0], 30, partition=0)
    oracle.flush()
    waiting = oracle.expected_counts()[GOLD] - before
    lake.await_rows({BRONZE: oracle.expected_counts()[BRONZE]})
    service.await_words("registry")
    world.with_the_first()
    held = lake.total(GOLD)
    elsewhere = 0
    for round_ in range(3):
        for topic, partition in ((world.topics[0], 1), (world.topics[0], 3), (world.topics[1], 0)):
            oracle.send(topic, 40, partition)
        oracle.flush()
        elsewhere = oracle.expected_counts()[GOLD] - waiting
        lake.await_rows({GOLD: elsewhere}, timeout_s=30)
        assert lake.total(GOLD) == elsewhere, round_
    assert elsewhere > held
    oracle.send(world.topics[0], 30, partition=0)  # of the known schema, behind those that wait
    oracle.flush()
    time.sleep(1)
    assert lake.total(GOLD) == elsewhere
    assert lake.total(REJECTED) == 0
    assert service.code is None

    registry.start()
    lake.await_rows(oracle.expected_counts())
    service.stop()
    assert lake.total(REJECTED) == 0
    oracle.check(lake)
