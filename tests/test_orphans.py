"""`k2 maintain orphans`: what killed runs have left goes, by its age, and nothing that the tables name: PyIceberg says
what that is."""

from __future__ import annotations

import os
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow.fs
import pytest
from conftest import Simulate
from places import add_statistics
from service_warehouse import Lake
from test_kafka_clock import LIBRARY, Clock
from warehouse import ALL_TABLES, GOLD, SILVER, TABLES, Warehouse, assert_nothing_lost, files_named, recording_flags

from stack.services import Services

DAY_S = 86_400
KILLED_AT = ("bronze.data-file:2", "silver.data-file:2", "gold.manifests:2", "catalog.metadata-written:12")


def files_below(folder: Path) -> set[str]:
    return {str(path) for path in folder.rglob("*") if path.is_file()}


def grow_old(folder: Path, days: float) -> None:
    then = time.time() - days * DAY_S
    for path in folder.rglob("*"):
        if path.is_file() and path.parent != folder:
            os.utime(path, (then, then))


def orphans(warehouse: Warehouse, *flags: str) -> dict[str, dict[str, Any]]:
    return {row["table"]: row for row in warehouse.json("maintain", "orphans", *flags)}


def test_what_killed_runs_left(warehouse: Warehouse, simulate: Simulate) -> None:
    recordings = [(exchange, simulate(exchange, 2_000, 3)) for exchange in ("binance", "kraken")]
    steps = ("--rows-per-commit", "500")
    for place in KILLED_AT:
        flags = ("run", *recording_flags(recordings), *steps)
        warehouse.k2_run(*flags, env={"K2_TEST_CRASH_AT": place}, expect=-9)
    warehouse.run(recordings, *steps)
    warehouse.table(GOLD).manage_snapshots().create_branch(
        warehouse.table(GOLD).metadata.snapshots[0].snapshot_id, "old"
    ).commit()
    statistics = add_statistics(warehouse, scheme="file:")
    own = warehouse.folder / "market_data" / GOLD / "data" / "of a person.txt"
    own.write_text("mine")
    grow_old(warehouse.folder, 4)

    named = {name: files_named(warehouse.table(name)) for name in ALL_TABLES}
    before = {name: files_below(warehouse.folder / "market_data" / name) for name in ALL_TABLES}
    left = {name: before[name] - named[name] - {str(statistics), str(own)} for name in ALL_TABLES}
    assert sum(map(len, left.values())) >= len(KILLED_AT), left
    told = orphans(warehouse, "--dry-run")
    assert {name: row["files"] for name, row in told.items()} == {name: len(left[name]) for name in ALL_TABLES}
    listed = {
        row["file"].removeprefix("file://") for row in warehouse.json("maintain", "orphans", "--dry-run", "--files")
    }
    assert listed == set().union(*left.values())
    assert {name: files_below(warehouse.folder / "market_data" / name) for name in ALL_TABLES} == before

    done = orphans(warehouse)
    assert {name: row["bytes"] for name, row in done.items()} == {name: row["bytes"] for name, row in told.items()}
    for name in ALL_TABLES:
        assert files_below(warehouse.folder / "market_data" / name) == before[name] - left[name], name
    assert all(row["files"] == 0 for row in orphans(warehouse).values())
    assert_nothing_lost(warehouse)
    report = warehouse.run(recordings)
    assert [report[layer]["rows_in"] for layer in ("bronze", "silver", "gold")] == [0, 0, 0]


def test_young_ones_stay(warehouse: Warehouse, simulate: Simulate) -> None:
    warehouse.run([("binance", simulate("binance", 500, 3))])
    left = warehouse.folder / "market_data" / GOLD / "data" / "left.parquet"
    left.write_bytes(b"PAR1")
    assert orphans(warehouse)[GOLD]["files"] == 0
    grow_old(warehouse.folder, 2)
    assert orphans(warehouse)[GOLD]["files"] == 0
    said = warehouse.k2_run("maintain", "orphans", "--older-than", "23h", expect=2).stderr
    assert "younger than 24 hours" in said
    assert left.exists()
    assert orphans(warehouse, "--older-than", "1d", "--table", SILVER[0]).keys() == {SILVER[0]}
    assert left.exists()
    assert orphans(warehouse, "--older-than", "1d")[GOLD]["files"] == 1
    assert not left.exists()


def test_what_cannot_be_read_may_name_anything(warehouse: Warehouse, simulate: Simulate) -> None:
    warehouse.run([("binance", simulate("binance", 500, 3))])
    table = warehouse.table(GOLD)
    left = Path(table.location().removeprefix("file://")) / "data" / "left.parquet"
    left.write_bytes(b"PAR1")
    grow_old(warehouse.folder, 4)
    head = table.current_snapshot()
    assert head is not None
    manifest = Path(head.manifests(table.io)[0].manifest_path.removeprefix("file://"))
    aside = manifest.rename(manifest.with_suffix(".aside"))
    before = files_below(warehouse.folder / "market_data" / GOLD)
    said = warehouse.k2_run("maintain", "orphans", expect=None)
    assert said.returncode != 0
    assert manifest.name in said.stderr
    assert files_below(warehouse.folder / "market_data" / GOLD) == before
    aside.rename(manifest)
    assert orphans(warehouse)[GOLD]["files"] == 1
    assert not left.exists()


@pytest.mark.skipif(not LIBRARY.exists(), reason="libfaketime is missing")
def test_on_s3(k2: Path, services: Services, tmp_path: Path, simulate: Simulate) -> None:
    """Objects cannot be made older; so k2's clock goes ahead."""
    lake = Lake.rest(k2, tmp_path / "lake", services)
    lake.run([("binance", simulate("binance", 2_000, 3))], env={"K2_KAFKA": ""})
    files = services.s3.filesystem()

    def below(name: str) -> set[str]:
        selector = pyarrow.fs.FileSelector(lake.table(name).location().removeprefix("s3://"), recursive=True)
        return {info.path for info in files.get_file_info(selector) if info.is_file}

    before = {name: below(name) for name in TABLES}
    left = f"{lake.table(GOLD).location().removeprefix('s3://')}/data/exchange_date=2024-01-02/left.parquet"
    with files.open_output_stream(left) as out:
        out.write(b"PAR1")
    assert all(row["files"] == 0 for row in orphans(lake).values())
    clock = Clock(tmp_path)
    clock.set(timedelta(days=4))
    done = lake.k2_run("maintain", "orphans", "--files", "--output", "csv", env=clock.variables).stdout
    assert [line.split(",")[1] for line in done.splitlines()[1:]] == [f"s3://{left}"]
    for name in TABLES:
        assert below(name) == before[name]
        assert {path.removeprefix("s3://") for path in files_named(lake.table(name))} <= before[name]
