"""Schemas of the registry that refer to others, ids that it does not have, and one that it cannot be asked for."""

from __future__ import annotations

import struct
import time
import uuid
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

from hostile import register_referring
from kafka_oracle import Verdict
from registry_world import World, register
from scripted_registry import ScriptedRegistry
from warehouse import BRONZE, GOLD, REJECTED

DELAY_S = 0.02
IDS = 3_000


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


def test_decimals_of_a_smaller_scale(world: World) -> None:
    """Other producers' schemas have fewer decimals: their values are taken exactly. More decimals are refused."""
    oracle, lake = world.oracle, world.lake
    world.send(20)

    def write_with(price_scale: int, quantity: dict[str, Any]) -> None:
        of = {"price": {"type": "bytes", "logicalType": "decimal", "precision": 18, "scale": price_scale}}
        of["quantity"] = quantity
        schema = world.first | {
            "fields": [one | {"type": of.get(one["name"], one["type"])} for one in world.first["fields"]]
        }
        subject = f"t{uuid.uuid4().hex[:8]}"
        oracle.maker.write_with(register(world.registry.url, subject, schema), schema)

    fixed = {"type": "fixed", "name": "Amount", "size": 12, "logicalType": "decimal", "precision": 20, "scale": 0}
    write_with(2, fixed)
    ends = {"price": Decimal("9999999999.99"), "quantity": Decimal(10) ** 16 - 1}
    for exact in ({"price": Decimal("61837.63"), "quantity": Decimal(3)}, ends):
        oracle.send_one(world.topics[0], oracle.maker.framed(oracle.maker.trade("binance") | exact))
    for name, value in (("price", Decimal(10) ** 10), ("quantity", Decimal(10) ** 16)):
        made = oracle.maker.framed(oracle.maker.trade("binance") | ends | {name: value})
        oracle.send_one(world.topics[0], replace(made, verdict=Verdict(None, f"{name}_out_of_range")))
    write_with(15, fixed)
    made = oracle.maker.framed(oracle.maker.trade("binance") | {"price": Decimal("1.5"), "quantity": Decimal(3)})
    oracle.send_one(world.topics[0], replace(made, verdict=Verdict(None, "schema_not_resolvable")))
    oracle.flush()
    lake.run_kafka()
    assert lake.total(REJECTED) == 3
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
