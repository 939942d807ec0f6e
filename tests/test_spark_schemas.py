"""Schemas on the DataFrame path: a registry that is away holds up only the partitions that wait for it; and k2.native
on the workers."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from kafka_oracle import Maker, Oracle, Verdict, documented_schema
from registry_world import NEW_FIELD
from scripted_registry import ScriptedRegistry
from service_warehouse import Lake
from spark_frames import Frames, new_lake
from warehouse import REJECTED, SILVER

from k2.spark.dataframe import Schemas, on_workers, registry, silver_rebuild, silver_step
from k2.spark.utils.errors import ConfigurationError, UnavailableError
from stack.services import Services

pytestmark = pytest.mark.timeout(900)  # a machine that does much else besides

FIRST = documented_schema()
SECOND = FIRST | {"fields": [*FIRST["fields"], NEW_FIELD]}
SECOND_ID = 7


@pytest.fixture
def scripted() -> Iterator[ScriptedRegistry]:
    made = ScriptedRegistry()
    made.id(1, FIRST)
    yield made
    made.stop()


@pytest.fixture
def oracle(services: Services, seed: int) -> Oracle:
    return Oracle(services.kafka.brokers, seed, Maker(seed, 1, broken=0))


@pytest.fixture
def lake(k2: Path, tmp_path: Path, services: Services, topics: list[str], scripted: ScriptedRegistry) -> Iterator[Lake]:
    made = new_lake(k2, tmp_path / "lake", services, topics)
    made.variables["K2_REGISTRY"] = scripted.url
    yield made
    made.kill_all()


def taken(lake: Lake) -> int:
    return sum(lake.total(name) for name in (*SILVER, REJECTED))


def test_a_registry_that_is_away_holds_up_its_partition_only(
    frames: Frames,
    lake: Lake,
    oracle: Oracle,
    topics: list[str],
    scripted: ScriptedRegistry,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The step ends before the first message that waits, partition by partition; nothing is rejected for it."""
    for topic in topics:
        oracle.send(topic, 50)
    oracle.flush()
    frames.bronze()
    frames.silver()
    at_first = taken(lake)
    scripted.stop()
    oracle.send(topics[0], 10, partition=0)
    oracle.maker.write_with(SECOND_ID, SECOND)
    oracle.send(topics[0], 20, partition=0)
    oracle.maker.write_with(1, FIRST)
    oracle.send(topics[0], 5, partition=0)  # behind those that wait
    oracle.send(topics[0], 30, partition=1)
    oracle.send(topics[1], 40)
    oracle.flush()
    frames.bronze()
    capsys.readouterr()
    done = silver_step(frames.spark, frames.of_silver)
    assert done.rows_in == taken(lake) - at_first == 10 + 30 + 40
    assert done.behind == 25
    said = capsys.readouterr().err
    assert said.count("a partition waits for the schema of a message; other partitions continue") == 1
    assert f"topic {topics[0]}, partition 0" in said
    assert f"schema id {SECOND_ID}" in said
    with pytest.raises(UnavailableError, match="schema registry"):
        silver_step(frames.spark, frames.of_silver)
    oracle.send(topics[1], 15)
    oracle.flush()
    frames.bronze()
    assert silver_step(frames.spark, frames.of_silver).rows_in == 15
    assert "waits for the schema" not in capsys.readouterr().err, "it is said once"
    knows_nothing = replace(frames.of_silver, schemas=Schemas(url=scripted.url))
    with pytest.raises(UnavailableError, match="schema registry"):
        silver_rebuild(frames.spark, knows_nothing)

    again = ScriptedRegistry()
    again.id(SECOND_ID, SECOND)
    frames.schemas.url = again.url
    frames.all()
    again.stop()
    assert not frames.schemas.held
    oracle.check(lake)
    frames.assert_no_branches()


def test_what_a_step_may_ask_for_is_limited(
    frames: Frames,
    lake: Lake,
    oracle: Oracle,
    topics: list[str],
    scripted: ScriptedRegistry,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of 40 ids that there are none of a step asks for 15; the others wait for the next ones, and none is asked for
    twice."""
    monkeypatch.setattr(registry, "ASKED_FOR_MAX", 15)
    for number in range(40):
        made = oracle.maker.framed(oracle.maker.trade("binance"))
        assert made.value
        value = b"\0" + struct.pack(">i", 10_000 + number) + made.value[5:]
        made = replace(made, value=value, verdict=Verdict(None, "unknown_schema_id"))
        oracle.send_one(topics[0], made, partition=0)
    oracle.send(topics[1], 20)
    oracle.flush()
    frames.bronze()
    done = [silver_step(frames.spark, frames.of_silver) for _ in range(3)]
    assert [one.rows_in for one in done] == [14 + 20, 15, 11], "14: schema 1 is asked for, too"
    assert done[-1].behind == 0
    assert len(scripted.asked) == len(set(scripted.asked)) == 41
    frames.silver()
    frames.gold()
    oracle.check(lake)


def test_workers_that_cannot_load_the_module(
    frames: Frames, oracle: Oracle, topics: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error names the platform, and what to do."""
    oracle.send(topics[0], 10)
    oracle.flush()
    frames.bronze()
    monkeypatch.setattr(on_workers, "MODULES", ("_k2_native_of_another_platform",))
    with pytest.raises(ConfigurationError, match=r"k2.native cannot be loaded on .*Linux.*Install K2's wheel for it"):
        silver_step(frames.spark, frames.of_silver)
    monkeypatch.undo()
    assert silver_step(frames.spark, frames.of_silver).rows_in == 10
