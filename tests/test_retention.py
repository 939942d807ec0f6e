"""Retention and expiry by the k2 binary: what goes, what stays, and that other engines read what is left."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from conftest import Simulate
from engines import duckdb_with_iceberg
from warehouse import BRONZE, GOLD, NAMESPACE, REJECTED, SILVER, TABLES, Warehouse, files_named

TRADES = 2_000
OLD = ("--start", "2024-03-01T23:30:00Z", "--trades-per-second", "1", "--malformed-ppm", "5000")
LATER = ("--start", "2024-03-05T12:00:00Z", "--trades-per-second", "1", "--first-id", "7000000")
SHORT = ("--retain-bronze", "1s", "--retain-silver", "1s", "--retain-rejected", "1s")


@pytest.fixture
def recordings(simulate: Simulate) -> list[tuple[str, Path]]:
    return [(exchange, simulate(exchange, TRADES, 71, *OLD)) for exchange in ("binance", "kraken")]


def retention(warehouse: Warehouse, *args: str) -> list[dict[str, Any]]:
    return json.loads(warehouse.k2_run("maintain", "retention", *args, "--output", "json").stdout)  # type: ignore[no-any-return]


def on_disk(warehouse: Warehouse, table: str) -> set[str]:
    folder = warehouse.folder / NAMESPACE / table
    return {str(path) for path in folder.rglob("*") if path.is_file()}


def assert_nothing_live_is_missing(warehouse: Warehouse) -> None:
    for name in TABLES:
        missing = files_named(warehouse.table(name)) - on_disk(warehouse, name)
        assert not missing, f"{name}: {missing}"


def duckdb_count(warehouse: Warehouse, name: str) -> int:
    location = warehouse.table(name).metadata_location.removeprefix("file://")
    row = duckdb_with_iceberg().execute(f"SELECT count(*) FROM iceberg_scan('{location}')").fetchone()
    assert row is not None
    return int(row[0])


def test_fresh_rows_of_old_days_stay(warehouse: Warehouse, recordings: list[tuple[str, Path]]) -> None:
    warehouse.run(recordings)
    before = warehouse.counts()
    rows = retention(warehouse)
    assert {row["fate"] for row in rows} == {"kept"}
    assert {row["table"] for row in rows} == set(TABLES)
    assert all("committed" in row["why"] for row in rows if row["table"] != GOLD)
    assert warehouse.counts() == before


def test_drops_whole_partitions_and_expiry_frees_the_disk(
    warehouse: Warehouse, recordings: list[tuple[str, Path]], simulate: Simulate
) -> None:
    warehouse.run(recordings, "--rows-per-commit", "500")
    time.sleep(1.1)
    gold = warehouse.gold()
    before = warehouse.counts()
    planned = retention(warehouse, "--dry-run", *SHORT)
    assert warehouse.counts() == before
    assert {row["fate"] for row in planned if row["table"] != GOLD} == {"to drop"}
    assert {row["partition"] for row in planned if row["table"] == BRONZE} == {
        f"ingestion_date_day=2024-03-0{day}" for day in (1, 2)
    }
    assert sum(row["rows"] for row in planned if row["table"] == BRONZE) == before[BRONZE]

    done = retention(warehouse, *SHORT)
    assert {row["fate"] for row in done if row["table"] != GOLD} == {"dropped"}
    assert all(row["unread_rows"] == 0 for row in done)
    after = warehouse.counts()
    assert [after[name] for name in (BRONZE, REJECTED, *SILVER)] == [0, 0, 0, 0]
    assert warehouse.gold() == gold
    assert [duckdb_count(warehouse, name) for name in (BRONZE, GOLD)] == [0, len(gold)]
    head = warehouse.table(BRONZE).current_snapshot()
    assert head is not None
    assert head.summary is not None
    assert head.summary.operation.value == "delete"
    assert "k2.retention" in head.summary.additional_properties
    assert_nothing_live_is_missing(warehouse)

    data = [path for path in on_disk(warehouse, BRONZE) if path.endswith(".parquet")]
    assert data, "older snapshots name them"
    dry = warehouse.json("maintain", "expire", "--older-than", "0s", "--dry-run")
    assert next(row["data_files"] for row in dry if row["table"] == BRONZE) == len(data)
    assert [path for path in on_disk(warehouse, BRONZE) if path.endswith(".parquet")] == data
    warehouse.k2_run("maintain", "expire", "--older-than", "0s")
    assert not [path for path in on_disk(warehouse, BRONZE) if path.endswith(".parquet")]
    for name in TABLES:
        table = warehouse.table(name)
        assert on_disk(warehouse, name) == files_named(table), f"{name}: exactly what is named"
        assert "k2-offsets" in table.metadata.refs
    assert warehouse.gold() == gold

    # The pipeline goes on: nothing is read again, and what is new comes through.
    warehouse.run([*recordings, ("binance", simulate("binance", 500, 72, *LATER))])
    assert len(warehouse.gold()) == len(gold) + 500
    assert warehouse.counts()[BRONZE] == 500
    assert duckdb_count(warehouse, GOLD) == len(gold) + 500
    assert_nothing_live_is_missing(warehouse)


def test_held_for_silver_then_dropped_and_accepted(
    warehouse: Warehouse, recordings: list[tuple[str, Path]], simulate: Simulate
) -> None:
    warehouse.run(recordings)
    late = simulate("binance", 500, 73, *LATER)
    warehouse.run([("binance", late)], "--layer", "bronze")
    time.sleep(1.1)
    rows = retention(warehouse, *SHORT)
    held = [row for row in rows if row["fate"] == "held"]
    assert [(row["table"], row["unread_rows"]) for row in held] == [(BRONZE, 500)]
    assert warehouse.counts()[BRONZE] == 500
    done = retention(warehouse, *SHORT, "--retention-hold", "0s")
    assert [row["unread_rows"] for row in done if row["table"] == BRONZE] == [500]
    assert warehouse.counts()[BRONZE] == 0
    stopped = warehouse.k2_run("run", "--layer", "silver", expect=1)
    assert "--accept-loss" in stopped.stderr
    command = stopped.stderr.split("`k2 ")[1].split("`")[0].split()
    warehouse.k2_run(*command)
    warehouse.k2_run("run", "--layer", "silver")
    assert_nothing_live_is_missing(warehouse)


def test_held_for_gold_then_dropped_and_accepted(warehouse: Warehouse, recordings: list[tuple[str, Path]]) -> None:
    warehouse.run(recordings, "--layer", "bronze")
    warehouse.k2_run("run", "--layer", "silver")
    time.sleep(1.1)
    held = [row["table"] for row in retention(warehouse, *SHORT) if row["fate"] == "held"]
    assert set(held) == set(SILVER)
    lost = sum(warehouse.counts()[name] for name in SILVER)
    retention(warehouse, *SHORT, "--retention-hold", "0s")
    warehouse.k2_run("maintain", "expire", "--older-than", "0s")
    stopped = warehouse.k2_run("run", "--layer", "gold", expect=1)
    assert "before Gold had read them" in stopped.stderr
    warehouse.k2_run("offsets", "set", "--table", GOLD, "--accept-loss")
    warehouse.k2_run("run", "--layer", "gold")
    notes = [
        snapshot.summary.additional_properties.get("k2.offsets-set", "")
        for snapshot in warehouse.table(GOLD).metadata.snapshots
        if snapshot.summary is not None
    ]
    accepted = [note for note in notes if "dropped on" in note]
    assert len(accepted) == 1
    counts = [int(part.split(" rows")[0]) for part in accepted[0].split("without ")[1:]]
    assert sum(counts) == lost


@pytest.mark.parametrize("step", ["retention.manifests", "catalog.before-swap", "catalog.after-swap", "retention.done"])
def test_killed_retention_drops_once(warehouse: Warehouse, recordings: list[tuple[str, Path]], step: str) -> None:
    warehouse.run(recordings)
    gold = warehouse.gold()
    retention(warehouse)  # notes the commit times
    time.sleep(1.1)
    killed = warehouse.k2_run("maintain", "retention", *SHORT, env={"K2_TEST_CRASH_AT": step}, expect=None)
    assert killed.returncode == -9
    assert_nothing_live_is_missing(warehouse)
    retention(warehouse, *SHORT)
    assert warehouse.counts()[BRONZE] == 0
    warehouse.run(recordings)
    assert warehouse.gold() == gold
    assert_nothing_live_is_missing(warehouse)


@pytest.mark.parametrize("step", ["expire.committed", "expire.deleted:1", "expire.deleted:4"])
def test_killed_expiry_deletes_nothing_live(
    warehouse: Warehouse, recordings: list[tuple[str, Path]], step: str
) -> None:
    warehouse.run(recordings, "--rows-per-commit", "500")
    time.sleep(1.1)
    retention(warehouse, *SHORT)
    gold = warehouse.gold()
    killed = warehouse.k2_run("maintain", "expire", "--older-than", "0s", env={"K2_TEST_CRASH_AT": step}, expect=None)
    assert killed.returncode == -9
    assert_nothing_live_is_missing(warehouse)
    warehouse.k2_run("maintain", "expire", "--older-than", "0s")
    assert_nothing_live_is_missing(warehouse)
    assert warehouse.gold() == gold


def test_settings_come_from_everywhere(
    warehouse: Warehouse, recordings: list[tuple[str, Path]], tmp_path: Path
) -> None:
    warehouse.run(recordings)
    time.sleep(1.1)
    (tmp_path / "k2.toml").write_text('retain-bronze = "1s"\nretain-silver = "forever"\n')
    done = warehouse.k2_run(
        "maintain", "retention", "--dry-run", "--output", "json", cwd=tmp_path, env={"K2_RETAIN_REJECTED": "1s"}
    )
    fates = {row["table"]: (row["fate"], row["why"]) for row in json.loads(done.stdout)}
    assert fates[BRONZE][0] == "to drop"
    assert fates[REJECTED][0] == "to drop"
    assert fates[SILVER[0]] == ("kept", "kept for ever")
    assert fates[GOLD] == ("kept", "kept for ever")
    for bad in ("0s", "7", "soon", "-1d"):
        refused = warehouse.k2_run("maintain", "retention", f"--retain-gold={bad}", expect=2)
        assert "retain-gold" in refused.stderr
    warehouse.k2_run("maintain", "retention", "--output", "parquet", expect=2)
    warehouse.k2_run("maintain", "expire", "--older-than", "yesterday", expect=2)
    warehouse.k2_run("maintain", expect=2)
