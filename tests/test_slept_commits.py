"""A k2 that was stopped, or slept with its machine, between writing its files and naming them: what was removed as
orphan files meanwhile is never named, and the step is done again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import Simulate
from reading import Row, gold_of
from service_warehouse import Lake, wait_until
from warehouse import GOLD, SILVER, TABLES, assert_nothing_lost, recording_flags

TRADES = 3_000
TWO_DAYS = "172800 172800"
BY_BOOT_CLOCK_ALONE = "0 172800"
FLAGS = ("--rows-per-commit", "700")


@pytest.fixture(scope="module")
def recordings(simulate: Simulate) -> list[tuple[str, Path]]:
    return [(exchange, simulate(exchange, TRADES, 7, "--malformed-ppm", "3000")) for exchange in ("binance", "kraken")]


@pytest.fixture(scope="module")
def expected(recordings: list[tuple[str, Path]]) -> dict[str, Row]:
    return gold_of(*recordings)


@pytest.fixture
def lake(k2: Path, tmp_path: Path) -> Iterator[Lake]:
    made = Lake.local(k2, tmp_path / "lake", "")
    made.variables["K2_TEST_CLOCK"] = str(tmp_path / "clock")
    yield made
    made.kill_all()


def set_clock(lake: Lake, shift: str) -> None:
    Path(lake.variables["K2_TEST_CLOCK"]).write_text(shift)


def remove_orphans(lake: Lake) -> int:
    """As somebody does two days later, by that time's clock."""
    set_clock(lake, TWO_DAYS)
    return sum(row["files"] for row in lake.json("maintain", "orphans", "--older-than", "1d"))


@pytest.mark.parametrize(
    ("layer", "step", "shift"),
    [
        ("bronze", "bronze.manifests:2", TWO_DAYS),
        ("silver", "rejected.manifests:1", BY_BOOT_CLOCK_ALONE),
        ("silver", "catalog.before-swap:3", TWO_DAYS),
        ("gold", "catalog.before-swap:2", BY_BOOT_CLOCK_ALONE),
    ],
)
def test_a_process_that_was_stopped(
    lake: Lake, recordings: list[tuple[str, Path]], expected: dict[str, Row], layer: str, step: str, shift: str
) -> None:
    above = {"bronze": (), "silver": ("bronze",), "gold": ("bronze", "silver")}[layer]
    sources = recording_flags(recordings)
    for name in above:
        lake.k2_run("run", "--layer", name, *FLAGS, *(sources if name == "bronze" else ()))
    if layer == "bronze":
        lake.k2_run("tables", "create")
    flags = ("--layer", layer, *FLAGS, *(sources if layer == "bronze" else ()))
    process = lake.begin("run", *flags, env={"K2_TEST_STOP_AT": step})
    wait_until(lambda: process.stopped() or process.code is not None, 40, process.said, every_s=0.02)
    assert process.stopped(), process.said()
    assert remove_orphans(lake) > 0, "the attempt's files were to go"
    set_clock(lake, shift)
    process.resume()
    assert process.wait(60) == 0, process.said()
    assert "timed out" in process.said()

    lake.assert_files_exist()
    lake.run(recordings)
    gold = lake.gold()
    assert gold.keys() == expected.keys()
    assert all(gold[message_id] == row for message_id, row in expected.items())
    assert_nothing_lost(lake)
    lake.assert_files_exist()


def test_a_plan_that_waited(lake: Lake, recordings: list[tuple[str, Path]], expected: dict[str, Row]) -> None:
    """`k2 commit` knows the age of a plan by the wall clock alone."""
    for layer in ("bronze", "silver"):
        lake.k2_run("run", "--layer", layer, *(recording_flags(recordings) if layer == "bronze" else ()))
    text = lake.k2_run("plan", "--layer", "gold").stdout
    plan = lake.folder.parent / "plan.json"
    plan.write_text(text)
    results = "".join(
        lake.k2_run("task", stdin=json.dumps(task)).stdout.strip() + "\n" for task in json.loads(text)["tasks"]
    )
    assert remove_orphans(lake) > 0
    said = lake.k2_run("commit", "--plan", str(plan), stdin=results, expect=1).stderr
    assert "timed out" in said
    set_clock(lake, "120 0")
    said = lake.k2_run("commit", "--plan", str(plan), stdin=results, expect=1).stderr
    assert "was removed or changed before a commit could reference it" in said, (
        "young enough, and looked at all the same"
    )
    lake.assert_files_exist()
    lake.run(recordings)
    gold = lake.gold()
    assert gold.keys() == expected.keys()
    assert all(gold[message_id] == row for message_id, row in expected.items())
    assert lake.counts()[GOLD] == len(expected)
    assert {name for name in TABLES if lake.counts()[name]} >= {*SILVER, GOLD}
