"""Schemas of the registry that refer to others."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from hostile import register_referring
from test_registry_outage import World
from warehouse import REJECTED

from stack.services import Services


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
