"""Several writers on the same tables at once: nothing lost, nothing doubled."""

from __future__ import annotations

import json
import signal
import subprocess
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pyarrow as pa
import pytest
from conftest import Simulate
from pyiceberg.exceptions import CommitFailedException, ValidationException
from reading import Row, gold_of
from sqlalchemy.exc import OperationalError
from warehouse import BRONZE, GOLD, SILVER, TABLES, Warehouse, assert_nothing_lost, recording_flags

TRADES = 8_000


@pytest.fixture(scope="module")
def recordings(simulate: Simulate) -> list[tuple[str, Path]]:
    flags = ("--malformed-ppm", "3000", "--duplicates-ppm", "20000")
    return [(exchange, simulate(exchange, TRADES, 41, *flags)) for exchange in ("binance", "kraken")]


@pytest.fixture(scope="module")
def expected(recordings: list[tuple[str, Path]]) -> dict[str, Row]:
    return gold_of(*recordings)


def finish(processes: list[subprocess.Popen[str]]) -> None:
    try:
        for process in processes:
            _, errors = process.communicate(timeout=60)
            assert process.returncode == 0, errors
    finally:
        for process in processes:
            process.kill()


@contextmanager
def standing_still(process: subprocess.Popen[str]) -> Iterator[None]:
    """Stops a process wherever it is, between its plan and its commit too, and lets it go on."""
    process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        process.send_signal(signal.SIGCONT)


def wait_for_gold(warehouse: Warehouse, rows: int, processes: list[subprocess.Popen[str]]) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        for process in processes:
            assert process.poll() is None, process.communicate()[1]
        if (warehouse.folder / "catalog.db").exists():
            tables = warehouse.k2_run("tables", "--output", "csv", expect=None)
            if f"{GOLD},{rows}," in tables.stdout:
                return
        time.sleep(0.3)
    pytest.fail(f"Gold did not reach {rows} rows")


def assert_settled(warehouse: Warehouse, recordings: list[tuple[str, Path]]) -> None:
    report = warehouse.run(recordings)
    assert [report[layer]["rows_in"] for layer in ("bronze", "silver", "gold")] == [0, 0, 0]


@pytest.mark.parametrize("rows", [300, 2000])
def test_two_runs_of_the_same_recordings(
    warehouse: Warehouse, recordings: list[tuple[str, Path]], expected: dict[str, Row], rows: int
) -> None:
    flags = [*recording_flags(recordings), "--rows-per-commit", str(rows)]
    finish([warehouse.start("run", *flags) for _ in range(2)])
    assert_settled(warehouse, recordings)
    assert warehouse.gold() == expected
    assert_nothing_lost(warehouse)


def test_two_runs_of_different_recordings(
    warehouse: Warehouse, recordings: list[tuple[str, Path]], expected: dict[str, Row]
) -> None:
    finish([warehouse.start("run", *recording_flags([one]), "--rows-per-commit", "500") for one in recordings])
    assert_settled(warehouse, recordings)
    assert warehouse.gold() == expected
    assert_nothing_lost(warehouse)


def test_three_processes_one_a_layer(
    warehouse: Warehouse, recordings: list[tuple[str, Path]], expected: dict[str, Row]
) -> None:
    steps = ("--follow", "--rows-per-commit", "500", "--commit-interval", "20ms")
    processes = [
        warehouse.start("run", "--layer", "bronze", *recording_flags(recordings), *steps),
        warehouse.start("run", "--layer", "silver", *steps),
        warehouse.start("run", "--layer", "gold", *steps),
    ]
    try:
        wait_for_gold(warehouse, len(expected), processes)
    finally:
        for process in processes:
            process.terminate()
    finish(processes)
    assert warehouse.gold() == expected
    assert_settled(warehouse, recordings)
    assert_nothing_lost(warehouse)


@pytest.mark.parametrize("name", [BRONZE, SILVER[0], GOLD])
def test_a_foreign_append_loop_beside_a_run(
    warehouse: Warehouse, recordings: list[tuple[str, Path]], expected: dict[str, Row], name: str
) -> None:
    """PyIceberg appends one row after the other to a table that k2 commits to."""
    warehouse.k2_run("tables", "create")
    table = warehouse.table(name)
    # PyIceberg needs longer for a commit than k2: it tries again at once, and what it began with stays in the history.
    patience = {"commit.retry.num-retries": "50", "commit.retry.min-wait-ms": "1", "commit.retry.max-wait-ms": "5"}
    with table.transaction() as transaction:
        transaction.set_properties(patience | {"k2.history.max-snapshots": "1000"})
    sample = next(iter(expected.values()))
    process = warehouse.start("run", *recording_flags(recordings), "--rows-per-commit", "200")
    appended: list[str] = []
    refused = False
    while process.poll() is None or len(appended) < 2:
        identity = str(uuid.uuid4())
        row: Row = sample | {"message_id": identity, "trade_id": f"FOREIGN-{identity}", "source_sequence": None}
        if name == BRONZE:
            row = {
                "message_key": None,
                "headers": None,
                "topic_id": None,
                "avro_payload": b"not a trade",
                "topic": "theirs",
                "partition": 0,
                "offset": len(appended),
                "kafka_timestamp": sample["timestamp"],
                "ingestion_timestamp": sample["timestamp"],
                "ingestion_date": sample["exchange_date"],
            }
        columns = [field.name for field in table.schema().fields]
        arrow = pa.Table.from_pylist([{column: row[column] for column in columns}], schema=table.schema().as_arrow())
        try:
            with standing_still(process) if refused else nullcontext():
                warehouse.table(name).append(arrow)
        except (CommitFailedException, OperationalError, ValidationException):
            refused = True  # k2 was first, by more commits perhaps than the table keeps snapshots
            continue
        refused = False
        appended.append(identity)
    finish([process])
    if name == SILVER[0]:
        warehouse.run(recordings)  # the last append may have come after the run
    assert_settled(warehouse, recordings)
    gold = warehouse.gold()
    assert gold.keys() == expected.keys() | (set() if name == BRONZE else set(appended))
    assert all(gold[message_id] == row for message_id, row in expected.items())
    assert warehouse.counts()[BRONZE] == report_rows(warehouse) + (len(appended) if name == BRONZE else 0)


def report_rows(warehouse: Warehouse) -> int:
    """Rows that k2 itself has put into Bronze, by its offsets."""
    return sum(row["next_offset"] for row in warehouse.json("offsets", "show") if row["table"] == BRONZE)


EVERYTHING = ",".join(TABLES)
UPKEEP = ("--retention-interval", "200ms", "--compact", EVERYTHING, "--compact-settled", "0s")


def test_two_maintainers(warehouse: Warehouse, recordings: list[tuple[str, Path]], expected: dict[str, Row]) -> None:
    """Two services that each move all layers and maintain all tables, and two of each command beside them."""
    warehouse.k2_run("tables", "create")
    steps = ("--follow", "--rows-per-commit", "200", "--commit-interval", "10ms", *UPKEEP)
    sources = recording_flags(recordings)
    services = [warehouse.start("run", *sources, *steps) for _ in range(2)]
    commands = (
        ("maintain", "compact", "--settled", "0s", "--min-input-files", "2"),
        ("maintain", "expire"),
        ("maintain", "retention"),
        ("maintain", "orphans", "--older-than", "1d"),
    )
    try:
        for command in commands:
            finish([warehouse.start(*command) for _ in range(2)])
        wait_for_gold(warehouse, len(expected), services)
        claims = {name: json.loads(warehouse.table(name).properties["k2.maintenance"]) for name in TABLES}
    finally:
        for process in services:
            process.terminate()
    finish(services)
    finish([warehouse.start(*commands[0]) for _ in range(2)])
    assert_settled(warehouse, recordings)
    assert warehouse.gold() == expected
    assert_nothing_lost(warehouse)
    for name, claim in claims.items():
        assert len({by for by, _, _ in claim["claims"].values()}) == 1, f"{name}: one of the two maintains it"
    assert len(list(warehouse.table(GOLD).scan().plan_files())) < 30, "small files were joined"


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_many_runs_of_the_same_recordings(
    k2: Path, tmp_path: Path, recordings: list[tuple[str, Path]], expected: dict[str, Row]
) -> None:
    for turn in range(10):
        warehouse = Warehouse(k2, tmp_path / str(turn))
        flags = [*recording_flags(recordings), "--rows-per-commit", str(200 + 100 * turn)]
        finish([warehouse.start("run", *flags) for _ in range(3)])
        assert_settled(warehouse, recordings)
        assert warehouse.gold() == expected
        assert_nothing_lost(warehouse)
