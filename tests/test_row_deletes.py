"""Rows that others delete by delete files: position deletes of Spark, equality deletes as streaming writers make them.

K2's queries and layers must see what PyIceberg, Spark and DuckDB's iceberg extension see.
"""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest
from conftest import Simulate
from engines import Spark, duckdb_with_iceberg
from reading import gold_of
from row_deletes import delete_equal
from warehouse import BRONZE, GOLD, SILVER, Warehouse, files_named

TRADES = 3_000


@pytest.fixture(scope="module")
def recordings(simulate: Simulate) -> list[tuple[str, Path]]:
    return [(exchange, simulate(exchange, TRADES, 47)) for exchange in ("binance", "kraken")]


def ids_by_k2(warehouse: Warehouse, table: str, where: str = "true") -> list[str]:
    rows = warehouse.json("query", f"SELECT message_id FROM {table} WHERE {where} ORDER BY 1")
    return [row["message_id"] for row in rows]


def ids_by_spark(warehouse: Warehouse, spark: Spark, table: str) -> list[str]:
    return sorted(row[0] for row in spark.sql(warehouse.folder, f"SELECT message_id FROM {{ns}}.{table}"))


def ids_by_duckdb(warehouse: Warehouse, table: str) -> list[str]:
    location = warehouse.table(table).metadata_location
    rows = duckdb_with_iceberg().execute(f"SELECT message_id FROM iceberg_scan('{location}') ORDER BY 1").fetchall()
    return [row[0] for row in rows]


def merge_on_read(warehouse: Warehouse, spark: Spark, table: str, where: str) -> None:
    spark.sql(warehouse.folder, f"ALTER TABLE {{ns}}.{table} SET TBLPROPERTIES ('write.delete.mode'='merge-on-read')")
    spark.sql(warehouse.folder, f"DELETE FROM {{ns}}.{table} WHERE {where}")


def test_queries_and_compaction_apply_deletes_as_other_engines_do(
    warehouse: Warehouse, spark: Spark, recordings: list[tuple[str, Path]]
) -> None:
    warehouse.run(recordings)
    everything = gold_of(*recordings)
    assert sorted(everything) == ids_by_k2(warehouse, GOLD)
    merge_on_read(warehouse, spark, GOLD, "exchange = 'BINANCE' AND source_sequence % 10 = 0")
    assert warehouse.table(GOLD).current_snapshot().summary["total-position-deletes"] != "0"  # type: ignore[union-attr]
    left = ids_by_spark(warehouse, spark, GOLD)
    assert TRADES < len(left) < len(everything)
    assert ids_by_k2(warehouse, GOLD) == left == sorted(warehouse.gold()) == ids_by_duckdb(warehouse, GOLD)
    assert warehouse.json("query", f"SELECT count(*) AS n FROM {GOLD}") == [{"n": len(left)}]
    assert ids_by_k2(warehouse, GOLD, "source_sequence % 10 = 0 AND exchange = 'BINANCE'") == []
    before = warehouse.table(GOLD).metadata.snapshots[-2].snapshot_id
    past = warehouse.json("query", "--as-of", str(before), f"SELECT count(*) AS n FROM {GOLD}")
    assert past == [{"n": len(everything)}]

    gone = [*left[::17], "no such id"]
    delete_equal(warehouse, GOLD, "message_id", gone)
    left = sorted(set(left) - set(gone))
    assert ids_by_spark(warehouse, spark, GOLD) == left == ids_by_duckdb(warehouse, GOLD)
    assert ids_by_k2(warehouse, GOLD) == left
    listed = {row["table"]: row for row in warehouse.json("tables")}
    assert listed[GOLD]["delete_files"] > 1
    described = warehouse.json("tables", "describe", GOLD, "--files")
    assert {one["content"] for one in described["delete_files"]} == {"position deletes", "equality deletes"}
    assert any(file["deletes"] for file in described["files"])
    total = warehouse.json("query", f"SELECT sum(quantity) AS v FROM {GOLD} WHERE symbol = 'BTCUSDT'")
    candles = warehouse.json("ohlcv", "BTCUSDT", "--interval", "1d", "--exchange", "BINANCE")
    assert sum(float(one["volume"]) for one in candles) == pytest.approx(float(total[0]["v"]))

    warehouse.k2_run("maintain", "compact", "--table", GOLD, "--settled", "0s")
    summary = warehouse.table(GOLD).current_snapshot().summary  # type: ignore[union-attr]
    assert summary["total-delete-files"] == summary["total-position-deletes"] == "0"  # type: ignore[index]
    assert int(summary["total-records"] or 0) == len(left)  # type: ignore[index]
    assert ids_by_k2(warehouse, GOLD) == left == sorted(warehouse.gold()) == ids_by_spark(warehouse, spark, GOLD)
    assert ids_by_duckdb(warehouse, GOLD) == left
    # What Gold lacks comes again by a rebuild alone, which says so.
    warehouse.run(recordings)
    assert ids_by_k2(warehouse, GOLD) == left
    warned = warehouse.k2_run("rebuild", "--layer", "gold").stderr
    assert f"trades={len(everything) - len(left)}" in warned
    assert warehouse.gold() == everything
    warehouse.k2_run("maintain", "expire", "--older-than", "0s")
    named = [Path("/" + path.removeprefix("file:").lstrip("/")) for path in files_named(warehouse.table(GOLD))]
    missing = [path for path in named if not path.exists()]
    assert not missing


def test_layers_read_no_row_that_was_deleted_above(
    warehouse: Warehouse, spark: Spark, recordings: list[tuple[str, Path]]
) -> None:
    """By both engines of other hands: rows of Bronze before Silver reads them, of Silver before Gold does."""
    warehouse.run(recordings, "--layer", "bronze")
    merge_on_read(warehouse, spark, BRONZE, "offset % 7 = 3")
    live = warehouse.rows(BRONZE, ("topic", "offset"))
    warehouse.run([], "--layer", "silver")
    taken = sum(len(warehouse.rows(name, ("message_id",))) for name in SILVER)
    rejected = warehouse.rows("rejected_trades", ("topic", "offset"))
    assert taken + len(rejected) == len(live), "each row that is left, once"
    assert all(row["offset"] % 7 != 3 for row in rejected)
    binance = ids_by_k2(warehouse, SILVER[0])
    merge_on_read(warehouse, spark, SILVER[1], "source_sequence % 3 = 0")
    delete_equal(warehouse, SILVER[0], "message_id", binance[::5])
    expected = {one for name in SILVER for one in ids_by_spark(warehouse, spark, name)}
    assert expected == {one for name in SILVER for one in ids_by_k2(warehouse, name)}
    warehouse.run([], "--layer", "gold")
    assert warehouse.gold().keys() == expected
    warehouse.run(recordings)
    assert warehouse.gold().keys() == expected


def test_a_table_of_format_version_3_hides_no_other(warehouse: Warehouse, recordings: list[tuple[str, Path]]) -> None:
    warehouse.run(recordings)
    location = Path(warehouse.table(SILVER[1]).metadata_location.removeprefix("file://"))
    upgraded = location.with_name(f"99999-{location.name.partition('-')[2]}")
    upgraded.write_text(json.dumps(json.loads(location.read_text()) | {"format-version": 3, "next-row-id": 0}))
    with sqlite3.connect(warehouse.folder / "catalog.db") as db:
        db.execute(
            "UPDATE iceberg_tables SET metadata_location = ? WHERE table_name = ?", (f"file://{upgraded}", SILVER[1])
        )
    listed = {row["table"]: row for row in warehouse.json("tables")}
    assert "format version 3" in listed[SILVER[1]]["error"]
    assert listed[GOLD]["rows"] == len(gold_of(*recordings))
    assert listed[GOLD]["error"] is None
    assert warehouse.json("query", f"SELECT count(*) AS n FROM {GOLD}") == [{"n": listed[GOLD]["rows"]}]
    refused = warehouse.k2_run("query", f"SELECT count(*) FROM {SILVER[1]}", expect=None)
    assert refused.returncode != 0
    assert "format version 3" in refused.stderr
