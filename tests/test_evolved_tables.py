"""Schemas that others evolve under K2: columns are found by field id, what K2 needs and cannot have stops one layer."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import Simulate
from fuzz_engines import plain
from pyiceberg.types import DecimalType, LongType, StringType
from reading import gold_of, read_bytes
from warehouse import (
    BRONZE,
    GOLD,
    REJECTED,
    SILVER,
    TABLES,
    Row,
    Warehouse,
    assert_nothing_lost,
    k2_environment,
    recording_flags,
)

PROPERTY = "k2.columns"
MAPPING = "schema.name-mapping.default"
Recordings = list[tuple[str, Path]]


@pytest.fixture(scope="module")
def whole(simulate: Simulate) -> Recordings:
    return [(exchange, simulate(exchange, 2000, 83, "--malformed-ppm", "20000")) for exchange in ("binance", "kraken")]


@pytest.fixture(scope="module")
def half(whole: Recordings, tmp_path_factory: pytest.TempPathFactory) -> Recordings:
    """The same recordings before their second half was received."""
    made = []
    for exchange, path in whole:
        lines = read_bytes(path).splitlines(keepends=True)
        part = tmp_path_factory.mktemp("half") / f"{exchange}.log"
        part.write_bytes(b"".join(lines[: len(lines) // 2]))
        made.append((exchange, part))
    return made


def evolve(warehouse: Warehouse) -> None:
    """Everything that is worked with, at once, in every table."""
    renamed = {
        BRONZE: ("offset", "place"),
        REJECTED: ("topic", "subject"),
        SILVER[0]: ("message_id", "uid"),
        SILVER[1]: ("timestamp", "happened"),
        GOLD: ("currency", "quote"),
    }
    for name in TABLES:
        with warehouse.table(name).update_schema() as change:
            change.rename_column(*renamed[name])
            change.add_column("theirs", StringType())
            if name in (BRONZE, REJECTED):
                change.update_column("partition", field_type=LongType())
            else:
                change.update_column("price", field_type=DecimalType(38, 14))
                change.move_after("side", "quantity")
            if name == GOLD:
                change.update_column("exchange_hour", field_type=LongType())
                change.rename_column("symbol", "pair")
        with warehouse.table(name).update_schema() as change:
            change.add_column(renamed[name][0], LongType())  # another column, under the name that is free now


def expected_gold(recordings: Recordings) -> dict[str, Row]:
    """With Gold's names after evolve()."""
    expected = {}
    for message_id, row in gold_of(*recordings).items():
        names = {"currency": "quote", "symbol": "pair"}
        changed = {names.get(name, name): value for name, value in row.items()}
        expected[message_id] = changed | {"theirs": None, "currency": None}
    return expected


def newest_file(warehouse: Warehouse, name: str) -> Path:
    paths = [task.file.file_path for task in warehouse.table(name).scan().plan_files()]
    return max((Path(path.removeprefix("file://")) for path in paths), key=lambda path: path.stat().st_mtime_ns)


def column_ids(warehouse: Warehouse, name: str) -> dict[str, int]:
    ids: dict[str, int] = json.loads(warehouse.table(name).properties[PROPERTY])
    return ids


def test_ids_are_written_down_when_a_table_is_made(warehouse: Warehouse) -> None:
    warehouse.k2_run("tables", "create")
    for name in TABLES:
        schema = warehouse.table(name).schema()
        assert column_ids(warehouse, name) == {field.name: field.field_id for field in schema.fields}


@pytest.mark.parametrize("handover", ["192MB", "0"])
def test_renamed_moved_widened_and_added_columns(
    warehouse: Warehouse, half: Recordings, whole: Recordings, handover: str
) -> None:
    warehouse.run(half)
    for name in TABLES:  # as tables of a K2 that knew no such property: found by the names that they had first
        with warehouse.table(name).transaction() as change:
            change.remove_properties(PROPERTY)
    before = {name: warehouse.table(name).schema() for name in TABLES}
    evolve(warehouse)
    warehouse.run(whole, "--batch-cache-size", handover)
    assert warehouse.gold() == expected_gold(whole)
    for name in TABLES:
        table = warehouse.table(name)
        assert column_ids(warehouse, name) == {field.name: field.field_id for field in before[name].fields}
        written = pq.read_schema(newest_file(warehouse, name))
        ids = {field.name: int(field.metadata[b"PARQUET:field_id"]) for field in written}
        assert ids == {field.name: field.field_id for field in table.schema().fields}, f"{name}: files have its names"
    bronze = {(r["topic"], r["partition"], r["place"]) for r in warehouse.rows(BRONZE)}
    rejected = {(r["subject"], r["partition"], r["offset"]) for r in warehouse.rows(REJECTED)}
    silver = sum(len(warehouse.rows(name, ("price",))) for name in SILVER)
    assert rejected < bronze
    assert silver + len(rejected) == len(bronze)
    query = f"SELECT count(*), count(quote), count(currency), min(exchange_hour) >= 0 FROM {GOLD}"
    (row,) = json.loads(warehouse.k2_run("query", query, "--output", "json").stdout)
    assert list(row.values()) == [len(warehouse.gold()), len(warehouse.gold()), 0, True]
    pair = next(iter(warehouse.gold().values()))["pair"]
    candles = json.loads(warehouse.k2_run("ohlcv", pair, "--interval", "1h", "--output", "json").stdout)
    assert sum(one["trades"] for one in candles) == sum(one["pair"] == pair for one in warehouse.gold().values())


def test_tasks_in_other_processes(warehouse: Warehouse, half: Recordings, whole: Recordings) -> None:
    warehouse.run(half)
    evolve(warehouse)
    warehouse.run(whole, "--layer", "bronze")
    for layer in ("silver", "gold"):
        for _ in range(20):
            plan = warehouse.k2_run("plan", "--layer", layer, "--tasks", "3").stdout
            if not json.loads(plan)["commits"]:
                break
            results = [warehouse.k2_run("task", stdin=json.dumps(task)).stdout for task in json.loads(plan)["tasks"]]
            path = warehouse.folder / "plan.json"
            path.write_text(plan)
            warehouse.k2_run("commit", "--plan", path, stdin="".join(results))
    assert warehouse.gold() == expected_gold(whole)


def test_columns_of_others_keep_their_values(warehouse: Warehouse, half: Recordings, whole: Recordings) -> None:
    """Through compaction, of Silver's rows and Gold's; a rebuild of Gold keeps those that Silver has too."""
    for recordings in (half, whole):
        warehouse.run(recordings, "--rows-per-commit", "400")
        if recordings is half:
            evolve(warehouse)
    noted = {}
    for name in (SILVER[0], GOLD):
        table = warehouse.table(name)
        rows = table.scan().to_arrow()
        key = "uid" if name == SILVER[0] else "message_id"
        index = rows.schema.get_field_index("theirs")
        field = rows.schema.field(index)
        notes = pa.array([f"note {value}" for value in rows[key].to_pylist()], field.type)
        table.overwrite(rows.set_column(index, field, notes))
        noted[name] = sorted(notes.to_pylist())
    for name in (SILVER[0], GOLD):
        files = len(list(warehouse.table(name).scan().plan_files()))
        done = warehouse.k2_run("maintain", "compact", "--table", name, "--min-input-files", "2", "--settled", "0s")
        assert sorted(row["theirs"] for row in warehouse.rows(name, ("theirs",))) == noted[name], done.stdout
        assert len(list(warehouse.table(name).scan().plan_files())) <= files
    assert warehouse.gold().keys() == gold_of(*whole).keys()


Change = Callable[[Any], None]


def dropped(change: Any) -> None:
    change.delete_column("currency")


REFUSALS: dict[str, tuple[str, Change, str]] = {
    "dropped": (GOLD, dropped, r"the column currency \(field id 9\) was dropped"),
    "silver": (SILVER[0], dropped, r"cannot (read|write to) market_data.silver_binance_trades: the column currency"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_what_k2_needs_stops_the_layer(warehouse: Warehouse, half: Recordings, whole: Recordings, case: str) -> None:
    name, change, message = REFUSALS[case]
    warehouse.run(half)
    with warehouse.table(name).update_schema(allow_incompatible_changes=True) as schema:
        change(schema)
    with warehouse.table(name).update_schema() as schema:  # another column, whatever its name
        schema.add_column("currency", StringType())
    warehouse.run(whole, "--layer", "bronze")
    if name == GOLD:
        warehouse.run([], "--layer", "silver")
    head = warehouse.table(name).metadata.current_snapshot_id
    refused = warehouse.k2_run("run", "--layer", "gold" if name == GOLD else "silver", expect=2)
    assert re.search(message, refused.stderr)
    assert "k2 tables migrate" in refused.stderr
    assert warehouse.table(name).metadata.current_snapshot_id == head
    assert f"{name}: took up column currency" in warehouse.k2_run("tables", "migrate").stdout
    warehouse.run(whole)
    if name == GOLD:
        gold = warehouse.gold()
        assert gold.keys() == gold_of(*whole).keys()
        assert {row["currency"] for row in gold.values()} > {None}
        assert_nothing_lost(warehouse)


def test_required_columns_of_others(warehouse: Warehouse, half: Recordings, whole: Recordings) -> None:
    """Before it has a value in each row no reader could read it, so that only an empty table gets one."""
    warehouse.k2_run("tables", "create")
    with warehouse.table(GOLD).update_schema(allow_incompatible_changes=True) as change:
        change.add_column("theirs", StringType(), required=True)
    warehouse.run(half, "--layer", "bronze")
    warehouse.run([], "--layer", "silver")
    refused = warehouse.k2_run("run", "--layer", "gold", expect=2)
    told = r"write to market_data.gold_crypto_trades: the column theirs \(field id \d+\) is required"
    assert re.search(told, refused.stderr)
    with warehouse.table(GOLD).update_schema() as change:
        change.make_column_optional("theirs")
    warehouse.run(whole)
    assert {key: row | {"theirs": None} for key, row in gold_of(*whole).items()} == warehouse.gold()


def test_optional_columns_may_be_dropped(warehouse: Warehouse, half: Recordings, whole: Recordings) -> None:
    warehouse.run(half)
    for name in (*SILVER, GOLD):
        with warehouse.table(name).update_schema() as change:
            change.delete_column("vendor_data")
            change.delete_column("source_sequence")
    with warehouse.table(BRONZE).update_schema() as change:
        change.delete_column("message_key")
    warehouse.run(whole)
    gone = ("vendor_data", "source_sequence")
    expected = {
        key: {name: value for name, value in row.items() if name not in gone} for key, row in gold_of(*whole).items()
    }
    assert warehouse.gold() == expected
    warehouse.k2_run("ohlcv", next(iter(expected.values()))["symbol"])


def without_ids(table: pa.Table) -> pa.Table:
    schema = pa.schema([plain(field) for field in table.schema])
    return pa.table([column.cast(kind.type) for column, kind in zip(table.columns, schema, strict=True)], schema=schema)


def test_files_without_field_ids(warehouse: Warehouse, half: Recordings, whole: Recordings, tmp_path: Path) -> None:
    """Of trades that K2 has not seen yet: found by the name mapping, by queries and by Gold's deduplication."""
    other = Warehouse(warehouse.k2, tmp_path / "other")
    other.run(whole)
    warehouse.run(half)
    known = set(warehouse.gold())
    rows = other.table(GOLD).scan().to_arrow()
    new = rows.filter(pa.array([one not in known for one in rows["message_id"].to_pylist()]))
    hours = list(zip(new["exchange_hour"].to_pylist(), new["exchange_date"].to_pylist(), strict=True))
    new = new.filter(pa.array([hour == hours[0] for hour in hours])).slice(0, 200)
    path = warehouse.folder / "outside.parquet"
    pq.write_table(without_ids(new), path)
    warehouse.table(GOLD).add_files([str(path)])
    ids = new["message_id"].to_pylist()
    mapping = warehouse.table(GOLD).properties[MAPPING]

    query = f"SELECT count(message_id), sum(quantity), count(vendor_data) FROM {GOLD}"
    scanned = warehouse.table(GOLD).scan().to_arrow()
    (row,) = json.loads(warehouse.k2_run("query", query, "--output", "json").stdout)
    values = [Decimal(str(value)) for value in row.values()]
    vendor = scanned.num_rows - scanned["vendor_data"].null_count
    assert values == [scanned.num_rows, sum(scanned["quantity"].to_pylist()), vendor]

    with warehouse.table(GOLD).transaction() as change:
        change.remove_properties(MAPPING)
    told = warehouse.k2_run("query", query, expect=1).stderr
    assert "outside.parquet" in told
    assert MAPPING in told
    refused = warehouse.k2_run("run", *recording_flags(whole), expect=1).stderr
    assert "outside.parquet" in refused
    assert MAPPING in refused
    with warehouse.table(GOLD).transaction() as change:
        change.set_properties({MAPPING: mapping})
    with warehouse.table(GOLD).update_schema() as change:
        change.rename_column("currency", "quote")  # the mapping keeps the old name as another one
    warehouse.run(whole)
    gold = warehouse.gold()
    assert set(ids) < gold.keys() == gold_of(*whole).keys()
    assert {gold[one]["quote"] for one in ids} <= {"USDT", "BTC", "ETH", "USD", "EUR", "USDC"}
    warehouse.k2_run("maintain", "compact", "--table", GOLD, "--min-input-files", "2", "--settled", "0s")
    assert warehouse.gold() == gold
    live = [task.file.file_path for task in warehouse.table(GOLD).scan().plan_files()]
    assert not any(path.endswith("outside.parquet") for path in live)


THROWS = {
    "gold.manifests": (("run",), r"internal error in the layer gold: failpoint gold\.manifests \(std::logic_error\)"),
    "silver.data-file": (("run",), r"internal error in a task of silver: failpoint"),
    "catalog.before-swap": (("tables", "create"), r"internal error in k2 tables: failpoint"),
}


@pytest.mark.parametrize("failpoint", THROWS)
def test_exceptions_are_told_with_their_place(warehouse: Warehouse, half: Recordings, failpoint: str) -> None:
    command, message = THROWS[failpoint]
    flags = recording_flags(half) if command == ("run",) else []
    if flags:
        warehouse.k2_run("tables", "create")
    failed = warehouse.k2_run(*command, *flags, expect=5, env={"K2_TEST_THROW_AT": failpoint})
    assert re.search(message, failed.stderr), failed.stderr
    warehouse.run(half)
    assert warehouse.gold() == gold_of(*half)
    assert_nothing_lost(warehouse)


def test_a_worker_tells_an_exception_and_goes_on(warehouse: Warehouse, half: Recordings) -> None:
    warehouse.run(half, "--layer", "bronze")
    tasks = json.loads(warehouse.k2_run("plan", "--layer", "silver", "--tasks", "1").stdout)["tasks"]
    lines = [json.dumps(tasks[0] | {"attempt_id": f"{tasks[0]['attempt_id']}-{end}"}) for end in "ab"]
    worker = subprocess.Popen(
        warehouse.command("task", "--worker"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=k2_environment({"K2_TEST_THROW_AT": "silver.data-file"}),
    )
    assert worker.stdin is not None
    assert worker.stdout is not None
    answers = []
    for line in lines:
        print(line, file=worker.stdin, flush=True)
        answers.append(json.loads(worker.stdout.readline()))
    worker.stdin.close()
    assert worker.wait(timeout=60) == 0
    assert answers[0]["exit_code"] == 5
    assert "internal error in k2 task: failpoint" in answers[0]["error"]
    assert answers[1]["rows_out"] > 0
