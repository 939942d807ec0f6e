"""Warehouses that are moved and copied: what reads, what refuses, and what `k2 tables relocate` makes of them, as
PyIceberg and DuckDB read it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pyarrow.fs
import pyarrow.parquet as pq
import pytest
from conftest import Simulate
from places import (
    PATH_ID,
    at_ref,
    contents,
    delete_by_position,
    local,
    named_by,
    read_by_duckdb,
    relocate,
    with_history,
)
from service_warehouse import Lake
from warehouse import ALL_TABLES, BRONZE, GOLD, NAMESPACE, SILVER, Warehouse, assert_nothing_lost, files_named

from stack.services import Services


@pytest.fixture
def recordings(simulate: Simulate) -> list[tuple[str, Path]]:
    return [(exchange, simulate(exchange, 1_500, 5)) for exchange in ("binance", "kraken")]


@pytest.fixture
def more(simulate: Simulate) -> tuple[str, Path]:
    return ("binance", simulate("binance", 500, 6, "--first-id", "9000000"))


@pytest.fixture
def lake(warehouse: Warehouse, recordings: list[tuple[str, Path]]) -> Warehouse:
    return with_history(warehouse, recordings)


def test_a_copy_is_read_and_writes_nothing_until_it_is_relocated(
    lake: Warehouse, recordings: list[tuple[str, Path]], more: tuple[str, Path], tmp_path: Path
) -> None:
    gone = delete_by_position(lake, GOLD)
    expected = lake.gold()
    assert gone not in expected, "PyIceberg applies the delete"
    snapshots = lake.table(GOLD).metadata.snapshots
    early = {row["message_id"] for row in at_ref(lake, "early")}
    counts, original = lake.counts(), contents(lake.folder)
    copy = Warehouse(lake.k2, tmp_path / "copy")
    shutil.copytree(lake.folder, copy.folder)

    # Read, by the copy's own files; whatever writes or deletes is refused, and says what to do.
    assert copy.counts() == counts
    read = copy.k2_run("query", f"SELECT count(*) AS n FROM {SILVER[0]}", "--output", "json")
    assert str(counts[SILVER[0]]) in read.stdout
    assert "is a copy of the warehouse" in read.stderr
    copy.k2_run("tables", "describe", GOLD)
    copy.k2_run("offsets", "show")
    copy.k2_run("maintain", "orphans", "--dry-run")
    writing = [
        ("run", "--recording", f"binance={recordings[0][1]}"),
        ("maintain", "retention"),
        ("maintain", "expire"),
        ("maintain", "orphans"),
        ("maintain", "compact"),
        ("rebuild", "--layer", "gold"),
        ("plan", "--layer", "gold"),
        ("tables", "create"),
        ("tables", "migrate"),
        ("offsets", "set", "--table", BRONZE, "--topic", "x", "--next", "1"),
    ]
    for command in writing:
        done = copy.k2_run(*command, expect=2)
        assert "k2 tables relocate" in done.stderr, command
    data = next(Path(path) for path in files_named(lake.table(SILVER[0])) if path.endswith(".parquet"))
    aside = (copy.folder / data.relative_to(lake.folder)).rename(tmp_path / "aside")
    copy.k2_run("query", f"SELECT sum(price) FROM {SILVER[0]}", expect=None)
    failed = copy.k2_run("query", f"SELECT sum(price) FROM {SILVER[0]}", expect=None)
    assert failed.returncode != 0, "the original's file was read in silence"
    told = copy.k2_run("tables", "relocate", "--dry-run", "--output", "json", expect=1)
    assert data.name in told.stdout
    aside.rename(copy.folder / data.relative_to(lake.folder))

    before = contents(copy.folder)
    planned = relocate(copy, "--dry-run")
    assert {name for name, row in planned.items() if row["outcome"] in ("to relocate", "in place")} == set(ALL_TABLES)
    assert {n: h for n, h in contents(copy.folder).items() if "catalog.db" not in n} == {
        n: h for n, h in before.items() if "catalog.db" not in n
    }
    done = relocate(copy)
    assert {row["outcome"] for row in done.values()} <= {"relocated", "in place"}
    assert done[GOLD]["delete_files"] == 1

    # PyIceberg and DuckDB read the copy alone; time travel, branches and tags are those of the original.
    assert not named_by(copy.folder, lake.folder)
    table = copy.table(GOLD)
    assert str(table.location()).startswith(f"file://{copy.folder}")
    assert [s.snapshot_id for s in table.metadata.snapshots] == [s.snapshot_id for s in snapshots]
    assert {row["message_id"] for row in at_ref(copy, "early")} == early
    assert set(table.metadata.refs) == set(lake.table(GOLD).metadata.refs)
    assert local(table.metadata.statistics[0].statistics_path).is_relative_to(copy.folder)
    assert copy.gold() == expected
    deletes = next(path for path in files_named(table) if path.endswith("-deletes.parquet"))
    rows = pq.read_table(deletes)
    assert rows["file_path"][0].as_py().startswith(f"file://{copy.folder}/")
    assert rows.schema.field("file_path").metadata[b"PARQUET:field_id"] == str(PATH_ID).encode()
    assert read_by_duckdb(copy, GOLD) == len(expected)
    for name in (BRONZE, *SILVER):
        assert read_by_duckdb(copy, name) == counts[name]
    assert contents(lake.folder) == original, "the original was touched"
    assert {row["outcome"] for row in relocate(copy, "--from", str(lake.folder)).values()} == {"in place"}
    assert "nothing to relocate" in copy.k2_run("tables", "relocate").stderr


def test_both_go_on_apart(
    lake: Warehouse, recordings: list[tuple[str, Path]], more: tuple[str, Path], tmp_path: Path
) -> None:
    expected = lake.gold()
    copy = Warehouse(lake.k2, tmp_path / "copy")
    shutil.copytree(lake.folder, copy.folder)
    relocate(copy)
    report = copy.run(recordings)
    assert [report[layer]["rows_in"] for layer in ("bronze", "silver", "gold")] == [0, 0, 0], (
        "it went on where it stood"
    )
    original = contents(lake.folder)
    copy.run([more], "--rows-per-commit", "100")
    copy.k2_run("maintain", "compact", "--settled", "0s", "--min-input-files", "2")
    copy.k2_run("maintain", "expire", "--older-than", "0s", expect=None)
    old = (os.stat(copy.folder).st_mtime - 5 * 86_400,) * 2
    for path in copy.folder.rglob("*"):
        if path.is_file() and path.parent != copy.folder:
            os.utime(path, old)
    copy.k2_run("maintain", "orphans")
    assert contents(lake.folder) == original, "the copy wrote into the original, or deleted there"
    assert lake.gold() == expected
    assert_nothing_lost(copy)
    assert expected.keys() < copy.gold().keys()
    lake.run([more])
    assert lake.gold().keys() == copy.gold().keys()


def test_a_moved_warehouse_is_not_made_anew(lake: Warehouse, more: tuple[str, Path], tmp_path: Path) -> None:
    expected, old = lake.gold(), lake.folder
    moved = Warehouse(lake.k2, tmp_path / "elsewhere" / "lake")
    moved.folder.parent.mkdir()
    old.rename(moved.folder)
    assert moved.counts()[GOLD] == len(expected)
    for command in (("tables", "create"), ("run", "--recording", f"binance={more[1]}"), ("maintain", "orphans")):
        done = moved.k2_run(*command, expect=2)
        assert "was moved to" in done.stderr
        assert "k2 tables relocate" in done.stderr
    assert not old.exists(), "something was written at the old place"
    relocate(moved)
    assert moved.gold() == expected
    moved.run([more])
    assert expected.keys() < moved.gold().keys()
    assert_nothing_lost(moved)
    assert not old.exists()


@pytest.mark.parametrize(
    "place", ["relocate.manifest:3", "relocate.metadata-written:2", "catalog.before-swap:2", "relocate.table:2"]
)
def test_killed_within(lake: Warehouse, tmp_path: Path, place: str) -> None:
    expected = lake.gold()
    original = contents(lake.folder)
    copy = Warehouse(lake.k2, tmp_path / "copy")
    shutil.copytree(lake.folder, copy.folder)
    copy.k2_run("tables", "relocate", env={"K2_TEST_CRASH_AT": place}, expect=-9)
    assert copy.counts()[GOLD] == len(expected), "half relocated it is read as before"
    copy.k2_run("tables", "create", expect=2)
    done = relocate(copy)
    assert {row["outcome"] for row in done.values()} <= {"relocated", "in place"}
    assert not named_by(copy.folder, lake.folder)
    assert copy.gold() == expected
    assert_nothing_lost(copy)
    assert contents(lake.folder) == original


def test_links_are_no_other_place(lake: Warehouse, more: tuple[str, Path], tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(lake.folder)
    for folder in (tmp_path / "link", Path(f"{lake.folder}/"), lake.folder / ".." / lake.folder.name):
        assert "nothing to relocate" in Warehouse(lake.k2, folder).k2_run("tables", "relocate").stderr
    Warehouse(lake.k2, tmp_path / "link").run([more])
    relative = Warehouse(lake.k2, Path(lake.folder.name))
    relative.k2_run("tables", "create", cwd=lake.folder.parent)
    assert_nothing_lost(lake)


def test_a_copy_that_shares_files_with_its_original_stays_one(lake: Warehouse, tmp_path: Path) -> None:
    linked = Warehouse(lake.k2, tmp_path / "linked")
    shutil.copytree(lake.folder, linked.folder)
    (linked.folder / "catalog.db").unlink()
    os.link(lake.folder / "catalog.db", linked.folder / "catalog.db")
    before = contents(lake.folder / NAMESPACE)
    assert "catalog.db is the same file" in linked.k2_run("tables", "relocate", expect=2).stderr
    shutil.copy(lake.folder / "catalog.db", tmp_path / "own.db")
    (linked.folder / "catalog.db").unlink()
    shutil.copy(tmp_path / "own.db", linked.folder / "catalog.db")
    shutil.rmtree(linked.folder / NAMESPACE / GOLD)
    (linked.folder / NAMESPACE / GOLD).symlink_to(lake.folder / NAMESPACE / GOLD)
    done = linked.k2_run("tables", "relocate", "--output", "json", expect=1)
    assert "is a link to the original's" in done.stdout
    linked.k2_run("tables", "create", expect=2)
    assert contents(lake.folder / NAMESPACE) == before


def test_metadata_in_a_folder_of_its_own(lake: Warehouse, more: tuple[str, Path], tmp_path: Path) -> None:
    """write.metadata.path: what is written goes there, and moves with the warehouse."""
    apart = lake.folder / "apart" / "gold"
    with lake.table(GOLD).transaction() as change:
        change.set_properties({"write.metadata.path": f"file://{apart}"})
    lake.run([more])
    table = lake.table(GOLD)
    head = table.current_snapshot()
    assert head is not None
    written = [table.metadata_location, head.manifest_list]
    assert {str(local(path).parent) for path in written} == {str(apart)}
    expected = lake.gold()
    copy = Warehouse(lake.k2, tmp_path / "copy")
    shutil.copytree(lake.folder, copy.folder)
    relocate(copy)
    assert copy.table(GOLD).metadata.properties["write.metadata.path"] == f"file://{copy.folder}/apart/gold"
    assert local(copy.table(GOLD).metadata_location).parent == copy.folder / "apart" / "gold"
    assert not named_by(copy.folder, lake.folder)
    assert copy.gold() == expected
    # And one outside of the copy is what both would write to.
    with lake.table(GOLD).transaction() as change:
        change.set_properties({"write.metadata.path": f"file://{tmp_path}/outside"})
    other = Warehouse(lake.k2, tmp_path / "other")
    shutil.copytree(lake.folder, other.folder)
    done = other.k2_run("tables", "relocate", "--output", "json", expect=1)
    assert "write.metadata.path" in done.stdout


def test_on_a_store(
    k2: Path, services: Services, tmp_path: Path, recordings: list[tuple[str, Path]], more: tuple[str, Path]
) -> None:
    """A prefix is copied, its metadata is written again, and the catalog is told of it by its own API."""
    lake = Lake.rest(k2, tmp_path / "lake", services)
    lake.run(recordings, env={"K2_KAFKA": ""})
    expected = lake.gold()
    old = lake.variables["K2_WAREHOUSE"]
    new = f"{old}-copy"
    files = services.s3.filesystem()
    pyarrow.fs.copy_files(
        old.removeprefix("s3://"), new.removeprefix("s3://"), source_filesystem=files, destination_filesystem=files
    )
    assert "--from" in lake.k2_run("tables", "relocate", expect=2).stderr
    done = lake.k2_run("tables", "relocate", "--from", old, "--to", new, "--output", "json")
    assert "/register" in done.stderr
    assert lake.gold() == expected, "the catalog knows the original"
    catalog = lake.catalog()
    for name in ALL_TABLES:
        catalog.drop_table((NAMESPACE, name))
    lake.variables["K2_WAREHOUSE"] = new
    recovered = {row["table"]: row for row in lake.json("tables", "recover")}
    assert {row["outcome"] for row in recovered.values()} == {"registered"}
    files.delete_dir(old.removeprefix("s3://"))
    assert lake.gold() == expected
    assert lake.table(GOLD).location().startswith(new)
    lake.run([*recordings, more], env={"K2_KAFKA": ""})
    assert expected.keys() < lake.gold().keys()
