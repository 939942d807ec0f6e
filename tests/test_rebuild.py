"""`k2 rebuild`: the same rows again in one commit, for other engines too; refused where a trade would vanish."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from conftest import Simulate
from engines import duckdb_with_iceberg
from pyiceberg.table.snapshots import Operation
from warehouse import BRONZE, GOLD, REJECTED, SILVER, Warehouse

MIDNIGHT = ("--start", "2024-03-01T23:50:00Z", "--trades-per-second", "1", "--malformed-ppm", "20000")


@pytest.fixture
def filled(warehouse: Warehouse, simulate: Simulate) -> Warehouse:
    """Two exchanges, two days."""
    warehouse.run([(exchange, simulate(exchange, 1_000, 5, *MIDNIGHT)) for exchange in ("binance", "kraken")])
    return warehouse


def rows(warehouse: Warehouse, name: str) -> pa.Table:
    table = warehouse.table(name).scan().to_arrow()
    by_id = "message_id" in table.column_names
    table = table if by_id else table.drop_columns(["rejected_at"])
    order = ("message_id", "ingestion_timestamp") if by_id else ("topic", "partition", "offset")
    return table.sort_by([(key, "ascending") for key in order]).combine_chunks()


def paths(warehouse: Warehouse, name: str) -> set[str]:
    return {task.file.file_path for task in warehouse.table(name).scan().plan_files()}


def test_the_same_rows_in_one_commit(filled: Warehouse) -> None:
    tables = (REJECTED, *SILVER, GOLD)
    before = {name: rows(filled, name) for name in tables}
    files = {name: paths(filled, name) for name in tables}
    snapshots = {name: len(filled.table(name).history()) for name in tables}
    filled.k2_run("rebuild", "--layer", "silver")
    filled.k2_run("rebuild", "--layer", "gold")
    for name in tables:
        assert rows(filled, name) == before[name], name
        assert not paths(filled, name) & files[name]
        assert len(filled.table(name).history()) == snapshots[name] + 1
        snapshot = filled.table(name).current_snapshot()
        assert snapshot is not None
        assert snapshot.summary is not None
        assert snapshot.summary.operation == Operation.OVERWRITE
        location = filled.table(name).metadata_location.removeprefix("file://")
        counted = duckdb_with_iceberg().execute(f"SELECT count(*) FROM iceberg_scan('{location}')").fetchone()
        assert counted == (before[name].num_rows,)


def test_a_day_of_gold(filled: Warehouse) -> None:
    held, files = rows(filled, GOLD), paths(filled, GOLD)
    filled.k2_run("rebuild", "--layer", "gold", "--from", "2024-03-02", "--to", "2024-03-02")
    assert rows(filled, GOLD) == held
    new = paths(filled, GOLD) - files
    assert new
    assert all("exchange_date=2024-03-02" in path for path in new)
    assert all("exchange_date=2024-03-01" in path for path in paths(filled, GOLD) & files)


def test_refused_where_bronze_has_lost_rows(filled: Warehouse) -> None:
    bronze = filled.table(BRONZE)
    bronze.delete("ingestion_date = '2024-03-01'")  # somebody else's delete of whole files
    before = {name: rows(filled, name) for name in (REJECTED, *SILVER)}
    files = {name: paths(filled, name) for name in (REJECTED, *SILVER)}
    said = filled.k2_run("rebuild", "--layer", "silver", expect=1).stderr
    assert "cannot rebuild" in said
    assert "Nothing was changed" in said
    assert {name: rows(filled, name) for name in before} == before
    on_disk = {f"file://{path}" for name in before for path in Path(filled.folder).rglob(f"{name}/data/**/*.parquet")}
    assert on_disk == set().union(*files.values()), "files of a refused rebuild are left"


def test_what_it_asks_for(filled: Warehouse) -> None:
    for wrong, why in (
        (("--layer", "bronze"), "silver, gold and rejected can be rebuilt"),
        (("--layer", "silver", "--from", "2024-03-01"), "as a whole"),
        (("--layer", "gold", "--from", "2024-03-02", "--to", "2024-03-01"), "is after"),
        (("--layer", "gold", "--from", "yesterday"), "yesterday"),
    ):
        assert why in filled.k2_run("rebuild", *wrong, expect=2).stderr
