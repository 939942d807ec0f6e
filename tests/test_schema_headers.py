"""Schemas that messages name otherwise than by an id before them: GUIDs, and ids in Kafka's headers."""

from __future__ import annotations

import json
import struct
import urllib.request
import uuid
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hostile import register_referring
from kafka_oracle import Headers, Made, Verdict
from registry_world import World
from scripted_registry import ScriptedRegistry
from warehouse import BRONZE, GOLD, REJECTED

GUID = uuid.UUID("89791e5c-4b6a-4d21-9f60-00abcdefff02")
NOBODYS = uuid.UUID("89791e5c-4b6a-4d21-9f60-00abcdefff03")
# The bytes that confluent-kafka 2.16.1 sends with its header_schema_id_serializer: 1 and the GUID.
CONFLUENT, GLOBAL, CONTENT = "__value_schema_id", "apicurio.value.globalId", "apicurio.value.contentId"


def long(number: int) -> bytes:
    return struct.pack(">q", number)


def named(world: World, prefix: bytes, headers: Headers, known: bool = True) -> str:
    """Sends a trade whose schema is named so, which is a row of Gold or rejected. Its message_id."""
    made = world.oracle.maker.framed(world.oracle.maker.trade("binance"))
    assert made.value is not None
    assert made.verdict.row is not None
    message = Made(made.key, prefix + made.value[5:], made.verdict, headers)
    if not known:
        message = replace(message, verdict=Verdict(None, "unknown_schema_id"))
    world.oracle.send_one(world.topics[0], message)
    return str(made.verdict.row["message_id"])


def details(world: World) -> set[str]:
    return set(world.lake.arrow(REJECTED, ["detail"]).column("detail").to_pylist())


def test_guids(world: World, tmp_path: Path) -> None:
    """In front of a message or in Confluent's header; one that the registry does not have is told."""
    world.send(20)
    header = b"\1" + GUID.bytes
    expected = {
        named(world, b"", [(CONFLUENT, header)]),
        named(world, header, []),
        named(world, header, [("trace", b"x"), (CONFLUENT, None)]),
        named(world, b"", [(CONFLUENT, b"\0" + struct.pack(">i", world.first_id))]),
        named(world, b"", [(CONFLUENT, b"\1" + NOBODYS.bytes), (CONFLUENT, header)]),
    }
    named(world, b"", [(CONFLUENT, b"\1" + NOBODYS.bytes)], known=False)
    named(world, b"", [(GLOBAL, long(world.first_id))], known=False)
    world.oracle.flush()
    registry = ScriptedRegistry()
    registry.id(world.first_id, world.first)
    registry.guid(GUID, world.first)
    try:
        world.lake.run_kafka(env={"K2_REGISTRY": registry.url, "K2_SCHEMA_CACHE": str(tmp_path / "other")})
        assert registry.asked.count(f"/schemas/guids/{GUID}") == 1
    finally:
        registry.stop()
    assert details(world) == {f"no schema has the GUID {NOBODYS}", f"no schema has the global id {world.first_id}"}
    world.oracle.check(world.lake)
    assert expected <= set(world.lake.arrow(GOLD, ["message_id"]).column("message_id").to_pylist())


@pytest.mark.parametrize("version", ["v2", "v3"])
def test_ids_of_apicurio(world: World, tmp_path: Path, version: str) -> None:
    named(world, b"", [(GLOBAL, long(1 << 33))])
    named(world, b"", [(GLOBAL, long(5)), (CONTENT, long(9))])
    named(world, b"\0" + struct.pack(">i", world.first_id), [(CONTENT, b"7")])
    named(world, b"", [(GLOBAL, long(9))], known=False)
    named(world, b"\1" + GUID.bytes, [], known=False)
    world.oracle.flush()
    registry = ScriptedRegistry(apicurio=version)
    registry.id(world.first_id, world.first)
    registry.artifact(f"ids/globalIds/{1 << 33}", world.first)
    registry.artifact("ids/contentIds/9", world.first)
    try:
        world.lake.run_kafka(env={"K2_REGISTRY": registry.url, "K2_SCHEMA_CACHE": str(tmp_path / "other")})
    finally:
        registry.stop()
    assert details(world) == {"no schema has the global id 9", f"no schema has the GUID {GUID}"}
    world.oracle.check(world.lake)


def ids_of(world: World, subject: str) -> tuple[int, int]:
    """What Apicurio calls the subject's first version: its global id and its content id."""
    root = world.registry.url.partition("/apis/")[0]
    url = f"{root}/apis/registry/v2/groups/default/artifacts/{subject}/versions/1/meta"
    with urllib.request.urlopen(url, timeout=30) as answer:
        said: Any = json.load(answer)
    return int(said["globalId"]), int(said["contentId"])


def test_the_stacks_apicurio(world: World) -> None:
    """Its own ids, of a schema that refers to others too; it has no GUIDs."""
    subject = f"{world.topics[0].removesuffix('.trades.binance')}.first"
    stem = f"t{uuid.uuid4().hex[:8]}"
    referring = register_referring(world.registry.url, stem, world.first)
    global_id, content_id = ids_of(world, subject)
    named(world, b"", [(GLOBAL, long(global_id))])
    named(world, b"", [(CONTENT, long(content_id))])
    world.send(20)
    named(world, b"", [(CONTENT, long(1 << 40))], known=False)
    named(world, b"\1" + GUID.bytes, [], known=False)
    absent = {"name": "market", "type": ["null", "string"], "default": None}
    world.oracle.maker.write_with(referring, world.first | {"fields": [absent, *world.first["fields"]]})
    named(world, b"", [(CONTENT, long(referring))])
    world.oracle.flush()
    world.lake.run_kafka()
    assert details(world) == {f"no schema has the content id {1 << 40}", f"no schema has the GUID {GUID}"}
    world.oracle.check(world.lake)


def test_a_schema_that_came_too_late(world: World, tmp_path: Path) -> None:
    """`k2 rebuild --layer rejected` validates again what nobody knew by then."""
    header = b"\1" + GUID.bytes
    world.send(20)
    ids = {
        named(world, b"", [(CONFLUENT, header)]),
        named(world, header, []),
        named(world, b"", [(CONFLUENT, header), ("trace", None)]),
    }
    named(world, b"", [(CONFLUENT, b"\1" + NOBODYS.bytes)], known=False)
    world.oracle.flush()
    registry = ScriptedRegistry()
    registry.id(world.first_id, world.first)
    world.lake.variables |= {"K2_REGISTRY": registry.url, "K2_SCHEMA_CACHE": str(tmp_path / "other")}
    try:
        world.lake.run_kafka()
        assert len(details(world)) == 2
        assert world.lake.total(REJECTED) == 4
        registry.guid(GUID, world.first)
        world.lake.k2_run("rebuild", "--layer", "rejected")
        world.lake.run_kafka()
    finally:
        registry.stop()
    assert details(world) == {f"no schema has the GUID {NOBODYS}"}
    world.oracle.check(world.lake)
    assert ids <= set(world.lake.arrow(GOLD, ["message_id"]).column("message_id").to_pylist())


def test_a_guid_holds_up_its_partition_while_the_registry_is_away(world: World, tmp_path: Path) -> None:
    oracle, lake = world.oracle, world.lake
    registry = ScriptedRegistry()
    registry.id(world.first_id, world.first)
    lake.variables |= {"K2_REGISTRY": registry.url, "K2_SCHEMA_CACHE": str(tmp_path / "other")}
    world.send(40)
    service = lake.begin("run")
    lake.await_rows(oracle.expected_counts())
    registry.stop()
    made = oracle.maker.framed(oracle.maker.trade("binance"))
    assert made.value is not None
    waits = Made(made.key, made.value[5:], made.verdict, [(CONFLUENT, b"\1" + GUID.bytes)])
    before = oracle.expected_counts()[GOLD]
    oracle.send_one(world.topics[0], waits, 0)
    oracle.send(world.topics[0], 30, 1)
    oracle.flush()
    counts = oracle.expected_counts()
    lake.await_rows({BRONZE: counts[BRONZE], GOLD: counts[GOLD] - 1})
    assert before < lake.total(GOLD)
    service.await_words(str(GUID))
    service.stop(expect=None)  # 3: it waits for the registry
    again = ScriptedRegistry()
    again.guid(GUID, world.first)
    try:
        lake.run_kafka(env={"K2_REGISTRY": again.url})
    finally:
        again.stop()
    oracle.check(lake)
