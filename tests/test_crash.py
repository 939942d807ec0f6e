"""The process is killed at every named step, or at any moment: the runs after it end in the right state."""

from __future__ import annotations

import random
import signal
import subprocess
import time
from pathlib import Path

import pytest
from conftest import Simulate
from reading import Row, gold_of
from warehouse import GOLD, TABLES, Warehouse, assert_nothing_lost, recording_flags

TRADES = 12_000
STEPS = ("--rows-per-commit", "1800")

# Named in src/base/failpoint.h; each is passed at least `times` times by a run of the recordings below.
FAILPOINTS = {
    "bronze.data-file": 6,
    "bronze.manifests": 6,
    "bronze.done": 6,
    "silver.data-file": 6,
    "silver.rejected-data-file": 3,
    "rejected.manifests": 3,
    "rejected.done": 3,
    "silver.manifests": 6,
    "silver.done": 6,
    "gold.data-file": 6,
    "gold.manifests": 6,
    "gold.done": 6,
    "catalog.metadata-written": 20,
    "catalog.before-swap": 20,
    "catalog.after-swap": 20,
}


@pytest.fixture(scope="module")
def recordings(simulate: Simulate) -> list[tuple[str, Path]]:
    flags = ("--malformed-ppm", "3000", "--duplicates-ppm", "20000")
    return [
        ("binance", simulate("binance", TRADES, 11, *flags)),
        ("kraken", simulate("kraken", TRADES, 12, *flags, suffix=".gz")),
    ]


@pytest.fixture(scope="module")
def expected(recordings: list[tuple[str, Path]]) -> dict[str, Row]:
    return gold_of(*recordings)


def killed(done: subprocess.CompletedProcess[str]) -> bool:
    assert done.returncode in (0, -signal.SIGKILL), f"exit {done.returncode}: {done.stderr}"
    return done.returncode != 0


def assert_right(warehouse: Warehouse, recordings: list[tuple[str, Path]], expected: dict[str, Row]) -> None:
    """Gold as expected, nothing lost on the way, and nothing left to do."""
    gold = warehouse.gold()
    assert gold.keys() == expected.keys()
    assert all(gold[message_id] == row for message_id, row in expected.items())
    assert_nothing_lost(warehouse)
    heads = {name: warehouse.table(name).metadata.current_snapshot_id for name in TABLES}
    report = warehouse.run(recordings)
    assert [report[layer]["rows_in"] for layer in ("bronze", "silver", "gold")] == [0, 0, 0]
    assert heads == {name: warehouse.table(name).metadata.current_snapshot_id for name in TABLES}


def test_the_uninterrupted_run(
    warehouse: Warehouse, recordings: list[tuple[str, Path]], expected: dict[str, Row]
) -> None:
    assert len(expected) == 2 * TRADES
    report = warehouse.run(recordings, *STEPS)
    assert report["gold"]["commits"] >= 6
    assert sum(report["silver"]["rejected"].values()) > 20
    assert_right(warehouse, recordings, expected)


def crash_once(
    warehouse: Warehouse, recordings: list[tuple[str, Path]], expected: dict[str, Row], failpoint: str, passage: int
) -> None:
    done = warehouse.k2_run(
        "run", *recording_flags(recordings), *STEPS, env={"K2_TEST_CRASH_AT": f"{failpoint}:{passage}"}, expect=None
    )
    assert killed(done), f"{failpoint}:{passage} was not passed"
    warehouse.run(recordings, *STEPS)
    assert_right(warehouse, recordings, expected)


@pytest.mark.parametrize("failpoint", FAILPOINTS)
def test_killed_at_a_step(
    warehouse: Warehouse, recordings: list[tuple[str, Path]], expected: dict[str, Row], failpoint: str
) -> None:
    crash_once(warehouse, recordings, expected, failpoint, max(2, FAILPOINTS[failpoint] // 2))


@pytest.mark.parametrize("layer", ["bronze", "silver", "gold"])
def test_killed_again_and_again_in_one_layer(
    warehouse: Warehouse, recordings: list[tuple[str, Path]], expected: dict[str, Row], layer: str
) -> None:
    """Each try dies at the layer's next step, before its commit or after it."""
    steps = [name for name in FAILPOINTS if name.startswith(layer) or (layer == "silver" and "rejected" in name)]
    for attempt in range(2 * len(steps)):
        crash = {"K2_TEST_CRASH_AT": f"{steps[attempt % len(steps)]}:1"}
        done = warehouse.k2_run("run", *recording_flags(recordings), *STEPS, env=crash, expect=None)
        killed(done)
    warehouse.run(recordings, *STEPS)
    assert_right(warehouse, recordings, expected)


def random_kills(
    warehouse: Warehouse, recordings: list[tuple[str, Path]], seed: int, longest_s: float, kills: int
) -> int:
    """Kills runs at random moments until one ends by itself, or `kills` were killed; returns how many were."""
    chance = random.Random(seed)
    for kill in range(kills):
        process = warehouse.start("run", *recording_flags(recordings), "--rows-per-commit", "600")
        try:
            _, errors = process.communicate(timeout=chance.uniform(0.02, longest_s))
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            continue
        assert process.returncode == 0, errors
        return kill
    return kills


def test_killed_at_random(
    warehouse: Warehouse, recordings: list[tuple[str, Path]], expected: dict[str, Row], seed: int
) -> None:
    random_kills(warehouse, recordings, seed, 1.5, 12)
    warehouse.run(recordings, *STEPS)
    assert_right(warehouse, recordings, expected)


def wait_for_rows(warehouse: Warehouse, name: str, rows: int, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()[1]
        if (warehouse.folder / "catalog.db").exists():
            done = warehouse.k2_run("query", f"SELECT count(*) AS n FROM {name}", "--output", "csv", expect=None)
            if done.returncode == 0 and int(done.stdout.split()[-1]) >= rows:
                return
        time.sleep(0.2)
    pytest.fail(f"{name} did not reach {rows} rows")


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_following_run_with_what_was_read(
    warehouse: Warehouse, recordings: list[tuple[str, Path]], expected: dict[str, Row], stop: signal.Signals
) -> None:
    process = warehouse.start("run", *recording_flags(recordings), "--follow", *STEPS)
    wait_for_rows(warehouse, GOLD, len(expected), process)
    process.send_signal(stop)
    output, errors = process.communicate(timeout=30)
    assert process.returncode == 0, errors
    assert "Gold" in output
    assert_right(warehouse, recordings, expected)


def test_sigterm_in_the_middle(
    warehouse: Warehouse, recordings: list[tuple[str, Path]], expected: dict[str, Row]
) -> None:
    process = warehouse.start("run", *recording_flags(recordings), "--rows-per-commit", "500")
    wait_for_rows(warehouse, "bronze_trades", 1, process)
    process.terminate()
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert_nothing_lost(warehouse)
    counts = warehouse.counts()
    assert counts["bronze_trades"] > 0
    gold = warehouse.gold()
    assert all(expected[message_id] == row for message_id, row in gold.items())
    silver = {row["message_id"] for name in TABLES if "silver" in name for row in warehouse.rows(name, ("message_id",))}
    assert gold.keys() == silver, "what was read reached Gold"
    warehouse.run(recordings, *STEPS)
    assert_right(warehouse, recordings, expected)


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("failpoint", FAILPOINTS)
def test_killed_at_every_passage(
    k2: Path, tmp_path: Path, recordings: list[tuple[str, Path]], expected: dict[str, Row], failpoint: str
) -> None:
    for passage in range(1, FAILPOINTS[failpoint] + 1):
        crash_once(Warehouse(k2, tmp_path / str(passage)), recordings, expected, failpoint, passage)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_killed_at_random_for_long(
    k2: Path, tmp_path: Path, recordings: list[tuple[str, Path]], expected: dict[str, Row], seed: int
) -> None:
    for turn in range(20):
        warehouse = Warehouse(k2, tmp_path / str(turn))
        random_kills(warehouse, recordings, seed + turn, 0.3 + 0.1 * turn, 60)
        warehouse.run(recordings, *STEPS)
        assert_right(warehouse, recordings, expected)
