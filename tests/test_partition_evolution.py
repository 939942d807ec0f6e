"""Other engines evolve the partitioning of K2's tables: K2 writes by the spec that is the table's now, and knows the
files of every spec that it ever had."""

from __future__ import annotations

import json
import sqlite3
import time
import uuid
from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from conftest import Simulate
from engines import duckdb_with_iceberg
from partitions import assert_rows_in_their_partitions, evolve, make_void, specs_of_files
from pyiceberg.expressions import And, EqualTo
from pyiceberg.transforms import (
    BucketTransform,
    DayTransform,
    HourTransform,
    IdentityTransform,
    MonthTransform,
    TruncateTransform,
    YearTransform,
)
from reading import Row, gold_of, read_bytes
from service_warehouse import Process, wait_until
from warehouse import BRONZE, GOLD, NAMESPACE, REJECTED, SILVER, TABLES, Warehouse, assert_nothing_lost, k2_environment

MIDNIGHT = ("--start", "2024-03-01T23:50:00Z", "--trades-per-second", "1", "--malformed-ppm", "20000")
TRADES = 1_100
STEPS = ("--rows-per-commit", "400")
Recordings = list[tuple[str, Path]]


@pytest.fixture(scope="module")
def whole(simulate: Simulate) -> Recordings:
    """Two exchanges, two days, a few hours."""
    flags = (*MIDNIGHT, "--duplicates-ppm", "30000")
    return [(exchange, simulate(exchange, TRADES, 41, *flags, suffix=".log")) for exchange in ("binance", "kraken")]


@pytest.fixture(scope="module")
def half(whole: Recordings, tmp_path_factory: pytest.TempPathFactory) -> Recordings:
    folder = tmp_path_factory.mktemp("half")
    made = []
    for exchange, path in whole:
        lines = read_bytes(path).splitlines(keepends=True)
        (folder / path.name).write_bytes(b"".join(lines[: len(lines) // 2]))
        made.append((exchange, folder / path.name))
    return made


def append(warehouse: Warehouse, rows: Sequence[Row]) -> None:
    table = warehouse.table(GOLD)
    columns = [field.name for field in table.schema().fields]
    picked = [{column: row[column] for column in columns} for row in rows]
    table.append(pa.Table.from_pylist(picked, schema=table.schema().as_arrow()))


def foreign(row: Row, number: int) -> Row:
    return row | {"message_id": str(uuid.UUID(int=number)), "trade_id": f"FOREIGN-{number}", "source_sequence": None}


def assert_found_by_filters(warehouse: Warehouse, name: str, columns: Sequence[str]) -> None:
    """Each value of some columns, by the filters of PyIceberg, DuckDB's iceberg extension and k2: as many rows as a
    reading without a filter has."""
    table = warehouse.table(name)
    rows = table.scan(selected_fields=tuple(columns)).to_arrow().to_pylist()
    duckdb = duckdb_with_iceberg()
    location = table.metadata_location.removeprefix("file://")
    ours: list[tuple[str, int]] = []
    for column in columns:
        counted = Counter(row[column] for row in rows)
        for value, count in list(counted.items())[:6]:
            by_filter = table.scan(EqualTo(column, value), selected_fields=(column,)).to_arrow()
            assert by_filter.num_rows == count, f"PyIceberg: {name}.{column} = {value}"
            where = f'WHERE "{column}" = \'' + str(value).replace("'", "''") + "'"
            found = duckdb.execute(f"SELECT count(*) FROM iceberg_scan('{location}') {where}").fetchone()
            assert found == (count,), f"DuckDB: {name} {where}"
            ours.append((where, count))
    selects = [f"SELECT {i} AS i, count(*) AS n FROM {name} {where}" for i, (where, _) in enumerate(ours)]
    by_k2 = {row["i"]: row["n"] for row in warehouse.json("query", " UNION ALL ".join(selects))}
    assert by_k2 == dict(enumerate(count for _, count in ours)), ours


GOLD_SPECS: dict[str, Any] = {
    "symbol too": (True, {"symbol": IdentityTransform()}),
    "symbol": (False, {"symbol": IdentityTransform()}),
    "buckets": (False, {"symbol": BucketTransform(16)}),
    "hours": (False, {"timestamp": HourTransform(), "exchange": TruncateTransform(3)}),
    "nothing": (False, {}),
}


@pytest.mark.parametrize(
    "spec", [pytest.param(name, marks=pytest.mark.long) if name == "symbol" else name for name in GOLD_SPECS]
)
def test_gold_holds_each_trade_once(warehouse: Warehouse, half: Recordings, whole: Recordings, spec: str) -> None:
    """Whatever Gold is partitioned by, and with another writer between."""
    keep, fields = GOLD_SPECS[spec]
    expected = gold_of(*whole)
    warehouse.run(half, *STEPS)
    known = warehouse.gold()
    coming = [row for row in expected.values() if row["message_id"] not in known]
    evolve(warehouse.table(GOLD), fields, keep)
    theirs = [foreign(row, number) for number, row in enumerate(list(known.values())[::40])]
    append(warehouse, [*coming[::3], *theirs])
    warehouse.run(whole, *STEPS)
    held = expected | {row["message_id"]: row for row in theirs}
    assert warehouse.gold() == held
    gold = warehouse.table(GOLD)
    assert specs_of_files(gold) == set(gold.specs()), "files of both specs"
    assert_rows_in_their_partitions(gold)
    assert_found_by_filters(warehouse, GOLD, ("symbol", "exchange_date", "exchange_hour"))
    hour = And(EqualTo("exchange_date", "2024-03-02"), EqualTo("exchange_hour", 0))
    assert gold.scan(hour).to_arrow().num_rows == sum(
        str(row["exchange_date"]) == "2024-03-02" and row["exchange_hour"] == 0 for row in held.values()
    )
    # A replay finds all of them, in files of either spec, and by whoever wrote them.
    again = warehouse.folder.parent / "again.log"
    again.write_bytes(b"1709333000000000001 not a trade\n" + read_bytes(whole[0][1]))
    assert warehouse.run([("binance", again)])["gold"]["rows_out"] == 0
    assert warehouse.gold() == held
    report = warehouse.json("maintain", "compact", "--settled", "0s", "--min-input-files", "2", "--table", GOLD)
    assert report[0]["files_before"] > report[0]["files_after"] > 0
    assert warehouse.gold() == held
    gold = warehouse.table(GOLD)
    assert_rows_in_their_partitions(gold)
    assert_found_by_filters(warehouse, GOLD, ("symbol", "exchange_hour"))


def test_every_table(warehouse: Warehouse, half: Recordings, whole: Recordings, k2: Path, tmp_path: Path) -> None:
    straight = Warehouse(k2, tmp_path / "straight")
    straight.run(whole)
    both = (warehouse, straight)
    warehouse.run(half, *STEPS)
    evolve(warehouse.table(BRONZE), {"offset": BucketTransform(3), "topic": TruncateTransform(12)})
    evolve(warehouse.table(REJECTED), {"reason": IdentityTransform(), "kafka_timestamp": DayTransform()})
    evolve(warehouse.table(SILVER[0]), {"exchange_date": MonthTransform(), "symbol": TruncateTransform(3)})
    # The trade ids of Kraken's first protocol hold slashes and colons.
    evolve(warehouse.table(SILVER[1]), {"timestamp": HourTransform(), "trade_id": TruncateTransform(9)}, keep=True)
    evolve(warehouse.table(GOLD), {"exchange_date": YearTransform(), "price": BucketTransform(4)})
    warehouse.run(whole, *STEPS)

    def assert_same() -> None:
        # Which copy of a trade was first is told within one file of Bronze alone.
        of_trades = [{id: row | {"ingestion_timestamp": 0} for id, row in one.gold().items()} for one in both]
        assert of_trades[0] == of_trades[1]
        for name in (BRONZE, REJECTED):
            keys = ("topic", "partition", "offset")
            assert sorted(warehouse.rows(name, keys), key=str) == sorted(straight.rows(name, keys), key=str), name
        for name in SILVER:
            ids = ("message_id", "timestamp", "price")
            assert sorted(warehouse.rows(name, ids), key=str) == sorted(straight.rows(name, ids), key=str), name
        assert_nothing_lost(warehouse)
        for name in TABLES:
            assert_rows_in_their_partitions(warehouse.table(name))

    assert_same()
    assert all(len(specs_of_files(warehouse.table(name))) == 2 for name in TABLES)
    assert_found_by_filters(warehouse, BRONZE, ("offset", "ingestion_date"))
    assert_found_by_filters(warehouse, REJECTED, ("reason", "ingestion_date"))
    assert_found_by_filters(warehouse, SILVER[0], ("symbol", "exchange_date"))
    assert_found_by_filters(warehouse, SILVER[1], ("symbol", "trade_id"))
    warehouse.k2_run("maintain", "compact", "--settled", "0s", "--min-input-files", "2")
    assert_same()
    for layer in ("silver", "gold"):
        warehouse.k2_run("rebuild", "--layer", layer)
    assert_same()
    for name in (*SILVER, REJECTED, GOLD):
        assert specs_of_files(warehouse.table(name)) == {warehouse.table(name).spec().spec_id}, "rebuilt as it is now"
    described = warehouse.json("tables", "describe", GOLD, "--files")
    assert {file["spec_id"] for file in described["files"]} == {described["spec_id"]}
    assert all(file["partition"].startswith("by_exchange_date_year=2024/") for file in described["files"])


def test_a_field_that_became_void(warehouse: Warehouse, half: Recordings, whole: Recordings) -> None:
    warehouse.run(half)
    for name in TABLES:
        make_void(warehouse.table(name))
    warehouse.run(whole, *STEPS)
    assert warehouse.gold() == gold_of(*whole)
    for name in TABLES:
        table = warehouse.table(name)
        assert len(specs_of_files(table)) == 2
        assert_rows_in_their_partitions(table)
    assert_found_by_filters(warehouse, GOLD, ("exchange_date", "symbol"))


@pytest.mark.parametrize("layer", ["bronze", "silver", "gold"])
def test_a_spec_that_changes_within_a_step(warehouse: Warehouse, whole: Recordings, tmp_path: Path, layer: str) -> None:
    """Between the writing of a step's files and their commit: they are of the old spec, which Iceberg allows; the next
    step's are of the new one."""
    name, column = {"bronze": (BRONZE, "topic"), "silver": (SILVER[0], "symbol"), "gold": (GOLD, "symbol")}[layer]
    layers = ["bronze", "silver", "gold"]
    for above in layers[: layers.index(layer)]:
        warehouse.run(whole if above == "bronze" else [], "--layer", above, *STEPS)
    flags = [f for exchange, path in whole for f in ("--recording", f"{exchange}={path}")] if layer == "bronze" else []
    command = warehouse.command("run", *flags, "--layer", layer, *STEPS)
    process = Process(command, k2_environment({"K2_TEST_STOP_AT": f"{layer}.manifests:2"}), tmp_path / "log")
    try:
        wait_until(lambda: process.stopped() or process.code is not None, 40, process.said, every_s=0.02)
        assert process.code is None, process.said()
        evolve(warehouse.table(name), {column: BucketTransform(5)}, keep=True)
        process.resume()
        assert process.wait(60) == 0, process.said()
    finally:
        process.kill()
    warehouse.run(whole, *STEPS)
    assert warehouse.gold() == gold_of(*whole)
    table = warehouse.table(name)
    assert specs_of_files(table) == set(table.specs())
    assert_rows_in_their_partitions(table)


def retention(warehouse: Warehouse, *args: str) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for row in json.loads(warehouse.k2_run("maintain", "retention", *args, "--output", "json").stdout):
        found.setdefault(row["table"], []).append(row)
    return found


def test_retention_by_the_days_of_the_rows(warehouse: Warehouse, simulate: Simulate) -> None:
    """Tables whose partitions name no day any more: the bounds of the dates tell it."""
    later = (datetime.now(timezone.utc) + timedelta(days=1)).strftime("%Y-%m-%dT12:00:00Z")  # all of one day
    old = ("binance", simulate("binance", 400, 3, *MIDNIGHT))
    new = (
        "binance",
        simulate(
            "binance",
            400,
            4,
            "--start",
            later,
            "--trades-per-second",
            "1",
            "--first-id",
            "70000",
            "--malformed-ppm",
            "20000",
        ),
    )
    warehouse.run([old])
    evolve(warehouse.table(BRONZE), {"topic": IdentityTransform()})
    evolve(warehouse.table(SILVER[0]), {})
    evolve(warehouse.table(REJECTED), {"reason": BucketTransform(4)})
    again = warehouse.folder.parent / "again.log"
    again.write_bytes(b"1709333000000000001 not a trade\n" + read_bytes(old[1]))
    warehouse.run([("binance", again), new], "--rows-per-commit", "100000")
    gold = warehouse.gold()
    silver = warehouse.table(SILVER[0])
    rows = silver.scan().to_arrow()
    silver.append(rows)  # another writer's file, of rows of all days
    warehouse.run([], "--layer", "gold")
    assert warehouse.gold() == gold
    time.sleep(1.1)
    short = ("--retain-bronze", "1s", "--retain-silver", "1s", "--retain-rejected", "1s")
    done = retention(warehouse, *short)
    for name, column in ((BRONZE, "ingestion_date"), (REJECTED, "ingestion_date")):
        assert {row["fate"] for row in done[name]} == {"dropped", "kept"}
        assert {str(row[column]) for row in warehouse.rows(name, (column,))} & {"2024-03-01", "2024-03-02"} == set()
        assert_rows_in_their_partitions(warehouse.table(name))
    told = [row["why"] for row in done[SILVER[0]] if row["fate"] == "kept"]
    assert len(told) == 1
    assert "1 of its files hold rows since 2024-03-01 too" in told[0], "the other writer's"
    left = warehouse.rows(SILVER[0], ("message_id", "exchange_date"))
    recent = [row for row in left if row["exchange_date"].year > 2024]
    assert len(left) == rows.num_rows + len(recent) // 2, "and none of K2's own"
    # Compaction puts the days apart, and then the old ones go.
    warehouse.k2_run("maintain", "compact", "--settled", "0s", "--table", SILVER[0])
    assert len(warehouse.rows(SILVER[0], ("message_id",))) == len(left)
    time.sleep(1.1)
    retention(warehouse, *short)
    assert len(warehouse.rows(SILVER[0], ("message_id",))) == len(recent)
    assert warehouse.gold() == gold


def test_days_of_gold_are_rebuilt_where_files_are_of_days(warehouse: Warehouse, whole: Recordings) -> None:
    """Files of several days are replaced as a whole, or not at all."""
    warehouse.run(whole)
    held = warehouse.gold()
    evolve(warehouse.table(GOLD), {"symbol": BucketTransform(2)})
    day = ("rebuild", "--layer", "gold", "--from", "2024-03-02", "--to", "2024-03-02")
    warehouse.k2_run(*day)
    assert warehouse.gold() == held
    assert_rows_in_their_partitions(warehouse.table(GOLD))
    theirs = [foreign(row, number) for number, row in enumerate(held.values())]
    append(warehouse, theirs)  # of both days, in files of a bucket each
    before = {task.file.file_path for task in warehouse.table(GOLD).scan().plan_files()}
    said = warehouse.k2_run(*day, expect=2).stderr
    assert "--from 2024-03-01 --to 2024-03-02" in said
    assert {task.file.file_path for task in warehouse.table(GOLD).scan().plan_files()} == before
    warehouse.k2_run("maintain", "compact", "--settled", "0s", "--table", GOLD)
    said = warehouse.k2_run(*day, expect=1).stderr
    assert "no longer in the upstream layer" in said, "nobody has their trades but Gold"
    assert len(warehouse.gold()) == 2 * len(held)


def test_a_transform_that_k2_does_not_know_stops_its_table(warehouse: Warehouse, half: Recordings) -> None:
    warehouse.run(half, "--layer", "bronze")
    table = warehouse.table(SILVER[1])
    path = Path(table.metadata_location.removeprefix("file://"))
    document = json.loads(path.read_text())
    document["partition-specs"].append(
        {"spec-id": 1, "fields": [{"source-id": 3, "field-id": 1001, "name": "z", "transform": "zorder[4]"}]}
    )
    document |= {"default-spec-id": 1, "last-partition-id": 1001}
    changed = path.with_name(f"00099-{uuid.uuid4()}.metadata.json")
    changed.write_text(json.dumps(document))
    with sqlite3.connect(warehouse.folder / "catalog.db") as catalog:
        catalog.execute(
            "UPDATE iceberg_tables SET metadata_location = ? WHERE table_namespace = ? AND table_name = ?",
            (f"file://{changed}", NAMESPACE, SILVER[1]),
        )
    said = warehouse.k2_run("run", "--layer", "silver", expect=None)
    assert said.returncode != 0
    assert SILVER[1] in said.stderr
    assert "zorder[4]" in said.stderr
    assert "Remove the field" in said.stderr
    assert warehouse.counts()[BRONZE] > 0
