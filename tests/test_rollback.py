"""Tables whose branch main another engine has rolled back, or set to a branch of its own."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from conftest import Simulate
from reading import gold_of, read_bytes
from test_foreign_writers import other_trade
from warehouse import BRONZE, GOLD, REJECTED, SILVER, Warehouse, assert_nothing_lost, recording_flags

TRADES = 2_000
OFFSETS_TAG = "k2-offsets"
STEPS = ("--rows-per-commit", "500")
Recordings = list[tuple[str, Path]]


@pytest.fixture(scope="module")
def whole(simulate: Simulate) -> Recordings:
    return [(exchange, simulate(exchange, TRADES, 53, suffix=".log")) for exchange in ("binance", "kraken")]


@pytest.fixture(scope="module")
def half(whole: Recordings, tmp_path_factory: pytest.TempPathFactory) -> Recordings:
    folder = tmp_path_factory.mktemp("half")
    for _, path in whole:
        lines = read_bytes(path).splitlines(keepends=True)
        (folder / path.name).write_bytes(b"".join(lines[: len(lines) // 2]))
    return [(exchange, folder / path.name) for exchange, path in whole]


def main_of(warehouse: Warehouse, table: str) -> int:
    head = warehouse.table(table).current_snapshot()
    assert head is not None
    return head.snapshot_id


def set_main(warehouse: Warehouse, table: str, snapshot_id: int) -> None:
    with warehouse.table(table).manage_snapshots() as change:
        change.set_current_snapshot(snapshot_id)


def accept(warehouse: Warehouse, table: str, expect: int = 0) -> str:
    return warehouse.k2_run("offsets", "set", "--table", table, "--accept-loss", expect=expect).stderr


@pytest.mark.parametrize("table", [BRONZE, SILVER[0], GOLD])
def test_a_rollback_that_was_meant_is_read_again(
    warehouse: Warehouse, half: Recordings, whole: Recordings, table: str
) -> None:
    """The command that the error names goes on from main's own offsets, of each table."""
    warehouse.run(half, *STEPS)
    before = main_of(warehouse, table)
    warehouse.run(whole, *STEPS)
    expected = gold_of(*whole)
    assert warehouse.gold() == expected
    set_main(warehouse, table, before)
    stopped = warehouse.k2_run("run", *recording_flags(whole), expect=1).stderr
    assert f"/{table} was rolled back" in stopped
    assert "--accept-loss" in stopped
    accept(warehouse, table)
    warehouse.run(whole, *STEPS)
    assert warehouse.gold() == expected
    assert_nothing_lost(warehouse)


def test_a_silver_table_that_was_rolled_back_stops_no_other(
    warehouse: Warehouse, half: Recordings, whole: Recordings
) -> None:
    warehouse.run(half, *STEPS)
    before = main_of(warehouse, SILVER[0])
    tagged = warehouse.table(SILVER[0]).metadata.refs[OFFSETS_TAG].snapshot_id
    set_main(warehouse, SILVER[0], warehouse.table(SILVER[0]).metadata.snapshots[-2].snapshot_id)
    stopped = warehouse.run(whole, *STEPS, expect=1)
    assert stopped is None
    kraken = {one for one, row in gold_of(*whole).items() if row["exchange"] == "KRAKEN"}
    assert {one for one, row in warehouse.gold().items() if row["exchange"] == "KRAKEN"} == kraken
    # Nor is anything rebuilt without it: rejected_trades holds its rows too.
    rejected = warehouse.counts()[REJECTED]
    assert "was rolled back" in warehouse.k2_run("rebuild", "--layer", "silver", expect=1).stderr
    assert warehouse.counts()[REJECTED] == rejected
    assert tagged == before
    set_main(warehouse, SILVER[0], before)
    warehouse.run(whole, *STEPS)
    assert warehouse.gold() == gold_of(*whole)
    assert_nothing_lost(warehouse)


def test_gold_reads_a_branch_that_became_silvers_main(
    warehouse: Warehouse, half: Recordings, whole: Recordings
) -> None:
    """Its rows are older, by their sequence number, than what Gold has read."""
    warehouse.run(half, *STEPS)
    table = warehouse.table(SILVER[0])
    with table.manage_snapshots() as change:
        change.create_branch(main_of(warehouse, SILVER[0]), "audit")
    known = next(row for row in warehouse.gold().values() if row["exchange"] == "BINANCE")
    theirs = other_trade(known, 7)
    columns = [field.name for field in table.schema().fields]
    picked = [{column: theirs[column] for column in columns}]
    warehouse.table(SILVER[0]).append(pa.Table.from_pylist(picked, schema=table.schema().as_arrow()), branch="audit")
    warehouse.run(whole, *STEPS)
    assert theirs["message_id"] not in warehouse.gold()
    set_main(warehouse, SILVER[0], warehouse.table(SILVER[0]).metadata.refs["audit"].snapshot_id)
    accept(warehouse, SILVER[0])
    warehouse.run(whole, *STEPS)
    assert warehouse.gold().keys() == gold_of(*whole).keys() | {theirs["message_id"]}


def test_a_main_whose_offsets_are_expired_is_not_read_from_the_beginning(
    warehouse: Warehouse, half: Recordings, whole: Recordings
) -> None:
    """Somebody's tag keeps a snapshot of theirs, and nothing before it."""
    warehouse.run(half, *STEPS)
    with warehouse.table(BRONZE).transaction() as change:
        change.delete("offset < 0")
    table = warehouse.table(BRONZE)
    rows = table.scan(limit=1).to_arrow().slice(0, 0)
    table.append(rows)
    theirs = main_of(warehouse, BRONZE)
    with warehouse.table(BRONZE).manage_snapshots() as change:
        change.create_tag(theirs, "theirs")
    warehouse.run(whole, *STEPS)
    newest = main_of(warehouse, BRONZE)
    older = [one.snapshot_id for one in warehouse.table(BRONZE).snapshots() if one.snapshot_id not in (theirs, newest)]
    warehouse.table(BRONZE).maintenance.expire_snapshots().by_ids(older).commit()
    set_main(warehouse, BRONZE, theirs)
    assert "holds no source offsets" in accept(warehouse, BRONZE, expect=1)
    set_main(warehouse, BRONZE, newest)
    warehouse.run(whole, *STEPS)
    assert warehouse.gold() == gold_of(*whole)
    assert_nothing_lost(warehouse)


def test_rejected_trades_does_not_forget_what_silver_has_passed(
    warehouse: Warehouse, half: Recordings, whole: Recordings
) -> None:
    warehouse.run(half, *STEPS)
    back = {name: main_of(warehouse, name) for name in (REJECTED, *SILVER)}
    warehouse.run(whole, *STEPS)
    newest = main_of(warehouse, REJECTED)
    set_main(warehouse, REJECTED, back[REJECTED])
    assert "would be in no table" in accept(warehouse, REJECTED, expect=1)
    set_main(warehouse, REJECTED, newest)
    assert_nothing_lost(warehouse)
    # With Silver it goes back as a whole.
    for name in (*SILVER, REJECTED):
        set_main(warehouse, name, back[name])
    for name in (*SILVER, REJECTED):
        accept(warehouse, name)
    warehouse.run(whole, *STEPS)
    assert warehouse.gold() == gold_of(*whole)
    assert_nothing_lost(warehouse)
