"""A catalog that is lost, or restored from a copy that is too old: nothing is made beside the files, nothing of them is
removed, and `k2 tables recover` finds the newest state in them, after which K2 goes on without losing or doubling."""

from __future__ import annotations

import itertools
import os
import shutil
import time
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.fs
import pytest
from conftest import Simulate
from places import contents, copy_of_catalog, local, lose_catalog, outcomes, recover, restore_catalog
from s3_versions import VersionedBucket
from service_warehouse import Lake
from warehouse import ALL_TABLES, BRONZE, GOLD, NAMESPACE, SILVER, Warehouse, assert_nothing_lost, recording_flags

from stack.services import Services

DAY_S = 86_400
Recordings = list[tuple[str, Path]]


@pytest.fixture
def recordings(simulate: Simulate) -> Recordings:
    return [(exchange, simulate(exchange, 1_500, 5)) for exchange in ("binance", "kraken")]


@pytest.fixture
def longer(simulate: Simulate) -> Recordings:
    return [(exchange, simulate(exchange, 2_000, 6, "--first-id", "9000000")) for exchange in ("binance", "kraken")]


@pytest.fixture
def lake(warehouse: Warehouse, recordings: Recordings) -> Warehouse:
    warehouse.run(recordings, "--rows-per-commit", "500")
    table = warehouse.table(GOLD)
    table.manage_snapshots().create_tag(table.metadata.snapshots[1].snapshot_id, "early").commit()
    return warehouse


def grow_old(folder: Path) -> None:
    then = time.time() - 5 * DAY_S
    for path in folder.rglob("*"):
        if path.is_file() and not path.name.startswith("catalog.db"):
            os.utime(path, (then, then))


def state(warehouse: Warehouse) -> dict[str, Any]:
    return {
        name: (warehouse.table(name).metadata_location, warehouse.table(name).metadata.refs, warehouse.counts()[name])
        for name in ALL_TABLES
    }


def goes_on(warehouse: Warehouse, recordings: Recordings, gold: int, in_folder: bool = True) -> None:
    report = warehouse.run(recordings)
    assert [report[layer]["rows_in"] for layer in ("bronze", "silver", "gold")] == [0, 0, 0], "read again"
    assert len(warehouse.gold()) == gold
    if in_folder:
        assert_nothing_lost(warehouse)


def test_a_lost_catalog(lake: Warehouse, recordings: Recordings, longer: Recordings) -> None:
    before, gold = state(lake), lake.gold()
    lose_catalog(lake)
    grow_old(lake.folder)
    files = contents(lake.folder)
    for command in (("tables",), ("tables", "create"), ("run", *recording_flags(recordings)), ("maintain", "orphans")):
        said = lake.k2_run(*command, expect=1).stderr
        assert "k2 tables recover" in said, command
    assert contents(lake.folder) == files, "something was made beside the files, or removed"
    planned = recover(lake, "--dry-run")
    assert outcomes(planned) == dict.fromkeys(ALL_TABLES, "to register")
    assert contents(lake.folder) == files
    done = recover(lake)
    assert outcomes(done) == dict.fromkeys(ALL_TABLES, "registered")
    assert state(lake) == before
    assert outcomes(recover(lake)) == dict.fromkeys(ALL_TABLES, "in order")
    goes_on(lake, recordings, len(gold))
    lake.run(longer)
    assert gold.keys() < lake.gold().keys()
    assert_nothing_lost(lake)


def test_a_fresh_catalog_beside_old_files_makes_and_removes_nothing(lake: Warehouse, tmp_path: Path) -> None:
    """As another tool, or an older version, would have made one."""
    lose_catalog(lake)
    other = Warehouse(lake.k2, tmp_path / "other")
    other.k2_run("tables", "create")
    catalog = lake.catalog()
    catalog.create_namespace(NAMESPACE)
    said = lake.k2_run("tables", "create", expect=2).stderr
    assert "k2 tables recover" in said
    # A table that another engine has made at the same place: orphan removal looks before it removes.
    theirs = other.table(GOLD)
    catalog.create_table(
        (NAMESPACE, GOLD),
        theirs.schema(),
        location=f"file://{lake.folder}/{NAMESPACE}/{GOLD}",
        partition_spec=theirs.spec(),
    )
    grow_old(lake.folder)
    files = contents(lake.folder / NAMESPACE)
    said = lake.k2_run("maintain", "orphans", "--table", GOLD, expect=1).stderr
    assert "is the metadata of another table" in said
    assert contents(lake.folder / NAMESPACE) == files
    done = recover(lake, expect=0)
    assert done[GOLD]["outcome"] in ("in order", "left out")
    assert {done[name]["outcome"] for name in ALL_TABLES if name != GOLD} == {"registered"}


def test_a_restored_catalog_names_files_that_are_gone(
    lake: Warehouse, recordings: Recordings, longer: Recordings, tmp_path: Path
) -> None:
    old = copy_of_catalog(lake, tmp_path / "backup")
    lake.run(longer, "--rows-per-commit", "80")
    gold, before = lake.gold(), state(lake)
    restore_catalog(lake, old)
    said = lake.k2_run("tables", "describe", GOLD, expect=1).stderr
    assert "is gone" in said
    assert "commits later" in said
    assert "k2 tables recover" in said
    assert "there is no table" not in said
    for command in (("run", *recording_flags(recordings)), ("tables", "create"), ("maintain", "orphans")):
        assert "k2 tables recover" in lake.k2_run(*command, expect=1).stderr, command
    done = recover(lake)
    assert set(outcomes(done).values()) <= {"moved on", "in order"}
    assert done[GOLD]["outcome"] == "moved on"
    assert state(lake) == before
    goes_on(lake, [*recordings, *longer], len(gold))


def test_a_restored_catalog_whose_files_are_still_there(
    lake: Warehouse, recordings: Recordings, longer: Recordings, tmp_path: Path
) -> None:
    """A few commits behind it can be read; a commit would part from what was committed since."""
    old = copy_of_catalog(lake, tmp_path / "backup")
    lake.run(longer, "--rows-per-commit", "1000")
    gold, before = lake.gold(), state(lake)
    restore_catalog(lake, old)
    lake.k2_run("tables")
    said = lake.k2_run("run", *recording_flags(recordings), expect=1).stderr
    assert "is older than the table's files" in said
    assert "k2 tables recover" in said
    assert set(outcomes(recover(lake)).values()) <= {"moved on", "in order"}
    assert {name: row[2] for name, row in state(lake).items()} == {name: row[2] for name, row in before.items()}
    goes_on(lake, [*recordings, *longer], len(gold))


def test_an_attempt_that_was_killed_is_no_newer_state(
    lake: Warehouse, recordings: Recordings, longer: Recordings
) -> None:
    current = lake.table(GOLD).metadata_location
    gold = len(lake.gold())
    lake.k2_run("run", *recording_flags(longer), env={"K2_TEST_CRASH_AT": "catalog.metadata-written:1"}, expect=-9)
    assert outcomes(recover(lake))[BRONZE] == "in order"
    assert lake.table(GOLD).metadata_location == current
    # Without a catalog the attempt is the end of the chain: all its files are there, and it is taken. The run goes on
    # from there as from any commit.
    lose_catalog(lake)
    assert outcomes(recover(lake)) == dict.fromkeys(ALL_TABLES, "registered")
    lake.run([*recordings, *longer])
    assert_nothing_lost(lake)
    assert len(lake.gold()) > gold


def test_two_ends_are_not_chosen_between(lake: Warehouse, tmp_path: Path) -> None:
    table = lake.table(GOLD)
    current = local(table.metadata_location)
    number = current.name.split("-")[0]
    sibling = current.with_name(f"{number}-00000000-0000-4000-8000-000000000000.metadata.json")
    shutil.copy(current, sibling)
    assert outcomes(recover(lake))[GOLD] == "in order", "the catalog says which"
    lose_catalog(lake)
    done = recover(lake, expect=1)
    assert {row["outcome"] for name, row in done.items() if name != GOLD} == {"registered"}
    assert done[GOLD]["outcome"] == "not recovered"
    assert sibling.name in done[GOLD]["note"]
    assert current.name in done[GOLD]["note"]
    done = recover(lake, "--use", f"{GOLD}={current}")
    assert done[GOLD]["outcome"] == "registered"
    assert local(lake.table(GOLD).metadata_location) == current


def test_a_state_that_is_not_whole_is_passed_over(lake: Warehouse, longer: Recordings) -> None:
    before = lake.table(SILVER[0]).metadata_location
    lake.run(longer[:1])
    table = lake.table(SILVER[0])
    newest = table.metadata_location
    head = table.current_snapshot()
    assert head is not None
    added = [
        entry.data_file.file_path
        for manifest in head.manifests(table.io)
        if manifest.added_snapshot_id == head.snapshot_id
        for entry in manifest.fetch_manifest_entry(table.io)
    ]
    local(added[0]).unlink()
    lose_catalog(lake)
    row = recover(lake)[SILVER[0]]
    assert row["metadata"] == before
    assert Path(newest).name in row["note"]
    assert local(added[0]).name in row["note"]


def test_lost_and_moved(lake: Warehouse, recordings: Recordings, tmp_path: Path) -> None:
    gold = lake.gold()
    moved = Warehouse(lake.k2, tmp_path / "moved")
    lake.folder.rename(moved.folder)
    lose_catalog(moved)
    assert outcomes(recover(moved)) == dict.fromkeys(ALL_TABLES, "registered")
    assert "k2 tables relocate" in moved.k2_run("run", *recording_flags(recordings), expect=2).stderr
    moved.k2_run("tables", "relocate")
    assert not lake.folder.exists()
    goes_on(moved, recordings, len(gold))


@pytest.mark.parametrize("registered", [1, len(ALL_TABLES)])
def test_lost_and_moved_and_killed(lake: Warehouse, recordings: Recordings, tmp_path: Path, registered: int) -> None:
    """A catalog that names tables by their former place knows that place, from the first table on."""
    gold = lake.gold()
    moved = Warehouse(lake.k2, tmp_path / "moved")
    lake.folder.rename(moved.folder)
    lose_catalog(moved)
    moved.k2_run("tables", "recover", env={"K2_TEST_CRASH_AT": f"recover.table:{registered}"}, expect=-9)
    assert "k2 tables relocate" in moved.k2_run("run", *recording_flags(recordings), expect=2).stderr
    expected = ["in order"] * registered + ["registered"] * (len(ALL_TABLES) - registered)
    assert sorted(outcomes(recover(moved)).values()) == expected
    moved.k2_run("tables", "relocate")
    assert not lake.folder.exists()
    goes_on(moved, recordings, len(gold))


def test_metadata_in_a_folder_of_its_own(
    lake: Warehouse, recordings: Recordings, longer: Recordings, tmp_path: Path
) -> None:
    """write.metadata.path, within the warehouse and outside of it."""
    outside = tmp_path / "outside"
    places = {GOLD: lake.folder / "apart" / "gold", SILVER[0]: outside}
    for name, place in places.items():
        with lake.table(name).transaction() as change:
            change.set_properties({"write.metadata.path": f"file://{place}"})
    lake.run(longer)
    before, gold = state(lake), lake.gold()
    lose_catalog(lake)
    # Of the one outside, the warehouse holds the states before the property was set.
    assert recover(lake, "--dry-run")[SILVER[0]]["metadata"] != before[SILVER[0]][0]
    recover(lake, "--metadata", str(outside))
    assert state(lake) == before
    goes_on(lake, [*recordings, *longer], len(gold))


def test_a_damaged_catalog_is_replaced(lake: Warehouse, recordings: Recordings) -> None:
    gold = lake.gold()
    lose_catalog(lake)
    (lake.folder / "catalog.db").write_bytes(b"x" * 8192)
    assert "k2 tables recover" in lake.k2_run("tables", expect=1).stderr
    (lake.folder / "catalog.db").unlink()
    recover(lake)
    goes_on(lake, recordings, len(gold))


def test_tables_of_others_are_found_too(lake: Warehouse) -> None:
    catalog = lake.catalog()
    catalog.create_namespace("theirs")
    table = catalog.create_table(
        ("theirs", "notes"), lake.table(GOLD).schema(), location=f"file://{lake.folder}/theirs/notes"
    )
    table.append(lake.table(GOLD).scan(limit=3).to_arrow())
    lose_catalog(lake)
    recover(lake)
    assert lake.catalog().load_table(("theirs", "notes")).scan().to_arrow().num_rows == 3


def test_a_rest_catalog_that_lost_its_tables(
    k2: Path, services: Services, tmp_path: Path, recordings: Recordings, longer: Recordings
) -> None:
    """On a store; PyIceberg drops the entries, as a database without them is."""
    lake = Lake.rest(k2, tmp_path / "lake", services)
    lake.run(recordings, env={"K2_KAFKA": ""})
    gold = lake.gold()
    table = lake.table(GOLD)
    table.manage_snapshots().create_tag(table.metadata.snapshots[0].snapshot_id, "early").commit()
    before = {name: (lake.table(name).metadata_location, lake.table(name).metadata.refs) for name in ALL_TABLES}
    catalog = lake.catalog()
    for name in ALL_TABLES:
        catalog.drop_table((NAMESPACE, name))
    said = lake.k2_run("run", *recording_flags(recordings), env={"K2_KAFKA": ""}, expect=2).stderr
    assert "k2 tables recover" in said
    assert outcomes(recover(lake)) == dict.fromkeys(ALL_TABLES, "registered")
    assert {name: (lake.table(name).metadata_location, lake.table(name).metadata.refs) for name in ALL_TABLES} == before
    lake.run([*recordings, *longer], env={"K2_KAFKA": ""})
    assert gold.keys() < lake.gold().keys()


def test_a_rest_catalog_whose_metadata_file_is_gone(
    k2: Path, services: Services, tmp_path: Path, recordings: Recordings
) -> None:
    """As after its database was restored: the catalog names a file that is not there, and newer ones are."""
    lake = Lake.rest(k2, tmp_path / "lake", services)
    lake.run(recordings, "--rows-per-commit", "500", env={"K2_KAFKA": ""})
    gold = lake.gold()
    files: pyarrow.fs.S3FileSystem = services.s3.filesystem()
    current = lake.table(GOLD).metadata_location.removeprefix("s3://")
    files.move(current, current.replace(".metadata.json", ".aside"))
    said = lake.k2_run("tables", "describe", GOLD, expect=None)
    assert said.returncode != 0
    assert "k2 tables create" not in said.stderr
    assert "k2 tables recover" in said.stderr
    done = recover(lake, expect=1)
    assert "without purging" in done[GOLD]["note"], "this catalog does not let a table be registered over another"
    lake.catalog().drop_table((NAMESPACE, GOLD))
    assert recover(lake)[GOLD]["outcome"] == "registered"
    lake.run(recordings, env={"K2_KAFKA": ""})
    assert lake.gold().keys() == gold.keys()


# Drills: each state of the catalog that a backup may hold, on a lake that has gone on for long.


@pytest.mark.long
@pytest.mark.parametrize("commits_ago", [1, 5, 25, 150])
def test_drill_a_catalog_from_some_time_ago(
    warehouse: Warehouse, simulate: Simulate, tmp_path: Path, commits_ago: int
) -> None:
    steps = [("binance", simulate("binance", 300, 100 + number)) for number in range(20)]
    backups: list[tuple[int, Path]] = []
    commits: Iterator[int] = itertools.count()
    for number, step in enumerate(steps):
        warehouse.run([step], "--rows-per-commit", "30")
        made = next(commits) * 10
        backups.append((made, copy_of_catalog(warehouse, tmp_path / f"backup-{number}")))
        if number == 10:
            warehouse.table(GOLD).append(foreign_rows(warehouse))
    gold, before = warehouse.gold(), state(warehouse)
    newest = backups[-1][0]
    chosen = next(folder for made, folder in backups if newest - made <= commits_ago)
    restore_catalog(warehouse, chosen)
    recover(warehouse)
    assert {name: row[2] for name, row in state(warehouse).items()} == {name: row[2] for name, row in before.items()}
    goes_on(warehouse, steps, len(gold))


def foreign_rows(warehouse: Warehouse) -> Any:
    table = warehouse.table(GOLD)
    row = table.scan(limit=1).to_arrow()
    index = row.schema.get_field_index("message_id")
    return row.set_column(index, row.schema.field(index), pyarrow.array(["foreign"])).cast(table.schema().as_arrow())


HOURS = 27


@pytest.mark.long
@pytest.mark.parametrize(("hours_ago", "why"), [(1, "is older than the table's files"), (24, "commits later")])
def test_drill_a_catalog_from_hours_ago(k2: Path, tmp_path: Path, simulate: Simulate, hours_ago: int, why: str) -> None:
    """A lake that has gone on by the hour for more than a day, by its clock, and was looked after each hour."""
    lake = Lake.local(k2, tmp_path / "lake", "")
    lake.variables["K2_TEST_CLOCK"] = str(tmp_path / "clock")
    steps, backups = [], []
    for hour in range(1, HOURS + 1):
        (tmp_path / "clock").write_text(f"{(hour - HOURS) * 3600} {(hour - HOURS) * 3600}")
        exchange = ("binance", "kraken")[hour % 2]
        recording = simulate(exchange, 200, 500 + hour, "--first-id", str(hour * 1_000_000))
        steps.append((exchange, recording))
        lake.run(steps[-1:], "--rows-per-commit", "25")
        lake.k2_run("maintain", "compact", "--settled", "0s", "--min-input-files", "4")
        lake.k2_run("maintain", "expire")
        backups.append(copy_of_catalog(lake, tmp_path / f"backup-{hour}"))
    gold, before = lake.gold(), state(lake)
    restore_catalog(lake, backups[-1 - hours_ago])
    said = lake.k2_run("run", *recording_flags(steps), expect=1).stderr
    assert why in said
    assert "k2 tables recover" in said
    assert outcomes(recover(lake))[GOLD] == "moved on"
    assert state(lake) == before
    goes_on(lake, steps, len(gold))
    late = ("binance", simulate("binance", 200, 600, "--first-id", "900000000"))
    lake.run([late])
    assert gold.keys() < lake.gold().keys()
    assert_nothing_lost(lake)


@pytest.mark.long
def test_drill_files_restored_from_versions(
    k2: Path, services: Services, tmp_path: Path, recordings: Recordings, longer: Recordings
) -> None:
    """A versioned bucket is brought back after all of it was deleted, and to a time before the last commits. Then files
    that came later are gone, and those that were removed since are back."""
    lake = Lake.rest(k2, tmp_path / "lake", services)
    keys = (lake.variables["AWS_ACCESS_KEY_ID"], lake.variables["AWS_SECRET_ACCESS_KEY"])
    bucket = VersionedBucket(services.s3.endpoint, *keys, f"versions-{os.urandom(4).hex()}")
    lake.variables |= {"K2_WAREHOUSE": f"s3://{bucket.name}/lake", "K2_KAFKA": ""}
    lake.run(recordings, "--rows-per-commit", "300")
    gold, counts = lake.gold(), lake.counts()
    then = between_seconds()
    lake.run(longer, "--rows-per-commit", "100")
    lake.k2_run("maintain", "compact", "--settled", "0s", "--min-input-files", "2")
    lake.k2_run("maintain", "expire", "--older-than", "0s")
    everything, before = lake.gold(), state(lake)

    now = between_seconds()
    services.s3.filesystem().delete_dir(f"{bucket.name}/lake")
    assert lake.k2_run("query", f"SELECT count(*) FROM {GOLD}", expect=None).returncode != 0
    assert bucket.restore("lake/", now) > 0
    assert set(outcomes(recover(lake)).values()) == {"in order"}
    assert state(lake) == before
    goes_on(lake, [*recordings, *longer], len(everything), in_folder=False)

    assert bucket.restore("lake/", then) > 0, "metadata files of that time were removed since"
    done = recover(lake, expect=1)
    assert "without purging" in done[GOLD]["note"], "this catalog does not let a table be registered over another"
    for name in ALL_TABLES:
        lake.catalog().drop_table((NAMESPACE, name))
    assert outcomes(recover(lake)) == dict.fromkeys(ALL_TABLES, "registered")
    assert (lake.gold(), lake.counts()) == (gold, counts)
    lake.assert_files_exist()
    lake.run([*recordings, *longer])
    assert lake.gold() == everything
    lake.assert_files_exist()


def between_seconds() -> datetime:
    """A time that no version of a file has, by whole seconds."""
    time.sleep(1.5)
    now = datetime.now(timezone.utc)
    time.sleep(1.5)
    return now
