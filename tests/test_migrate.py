"""`k2 tables migrate` of tables of the older format: in place, one commit a table, killed anywhere, for all readers."""

from __future__ import annotations

import json
import signal
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest
from conftest import Simulate
from engines import Spark, duckdb_with_iceberg
from older_format import make_older_tables
from pyiceberg.types import DecimalType
from reading import Row, gold_of
from test_rest_catalog import RestWarehouse, rest  # noqa: F401
from warehouse import GOLD, REJECTED, SILVER, Warehouse, assert_nothing_lost

from k2.spark import columns, schemas
from k2.spark.dataframe.registry import Schemas
from k2.spark.utils.errors import ConfigurationError

TRADES = 2_000
NARROW, PRICE, QUANTITY = DecimalType(18, 8), DecimalType(24, 14), DecimalType(24, 8)
# Frames whose numbers only the present types hold: a price of 13 decimals, a quantity of eleven digits.
FINE = (
    '{{"e":"trade","E":1704153600000,"s":"PEPEBTC","t":{number},"p":"{price}","q":"{quantity}",'
    '"T":1704153600000,"m":true,"M":true}}'
)


@pytest.fixture(scope="module")
def recordings(simulate: Simulate) -> list[tuple[str, Path]]:
    return [(exchange, simulate(exchange, TRADES, 91, "--malformed-ppm", "3000")) for exchange in ("binance", "kraken")]


@pytest.fixture(scope="module")
def expected(recordings: list[tuple[str, Path]]) -> dict[str, Row]:
    return without_source(gold_of(*recordings))


def without_source(gold: dict[str, Row]) -> dict[str, Row]:
    """The older format has no such column, and null in it once it is migrated."""
    return {key: {name: value for name, value in row.items() if name != "source"} for key, row in gold.items()}


@pytest.fixture
def older(warehouse: Warehouse, recordings: list[tuple[str, Path]]) -> Warehouse:
    make_older_tables(warehouse)
    warehouse.run(recordings)
    return warehouse


def fine_trades(folder: Path, *numbers: tuple[str, str]) -> tuple[str, Path]:
    path = folder / "fine.log"
    frames = (FINE.format(number=i, price=price, quantity=quantity) for i, (price, quantity) in enumerate(numbers, 1))
    path.write_text("".join(f"{1_704_153_600_100_000_000 + i} {frame}\n" for i, frame in enumerate(frames)))
    return "binance", path


def types_of(warehouse: Warehouse, name: str) -> tuple[object, object]:
    schema = warehouse.table(name).schema()
    return schema.find_type("price"), schema.find_type("quantity")


def test_an_older_warehouse_works_and_says_what_it_is(
    older: Warehouse, expected: dict[str, Row], recordings: list[tuple[str, Path]], tmp_path: Path
) -> None:
    for name in (*SILVER, GOLD):
        assert types_of(older, name) == (NARROW, NARROW), name
    gold = older.gold()
    assert without_source(gold) == expected
    told = older.k2_run("run", "--recording", f"binance={recordings[0][1]}").stderr
    assert told.count("the warehouse has an older format") == 1
    assert "k2 tables migrate" in told
    doctor = older.k2_run("doctor").stdout
    assert "of an older format, with prices and quantities of decimal(18,8): " in doctor
    assert GOLD in doctor
    # What it does not hold is kept, with the reason and what to do.
    older.run([fine_trades(tmp_path, ("0.0000000001234", "1"), ("1", "46116860414"), ("1.5", "2"))])
    found = {row["reason"]: row["detail"] for row in older.rows(REJECTED) if "older format" in row["detail"]}
    assert found.keys() == {"price_out_of_range", "quantity_out_of_range"}
    assert all("k2 tables migrate" in detail for detail in found.values())
    assert len(older.gold()) == len(gold) + 1


def test_migrated_in_place(
    older: Warehouse,
    expected: dict[str, Row],
    recordings: list[tuple[str, Path]],
    tmp_path: Path,
    spark: Spark,
) -> None:
    older.run([fine_trades(tmp_path, ("0.0000000001234", "46116860414.5"))], expect=1)
    before = {name: older.table(name) for name in (*SILVER, GOLD)}
    planned = older.k2_run("tables", "migrate", "--dry-run").stdout
    rows = older.counts()
    for name in (*SILVER, GOLD):
        assert f"{name}: column price is decimal(24, 14), was decimal(18, 8)" in planned
        assert f"{name}: {rows[name]:,} rows in " in planned
    assert "nothing was" in planned
    assert older.table(GOLD).metadata_location == before[GOLD].metadata_location
    candles = ("ohlcv", "BTCUSDT", "--interval", "1h")
    then = older.json(*candles)

    done = older.k2_run("tables", "migrate")
    assert f"{len(older.counts()) - 2} tables changed" in done.stdout, done.stdout
    assert "of an older format" not in older.k2_run("doctor").stdout
    for name, table in before.items():
        assert types_of(older, name) == (PRICE, QUANTITY), name
        now = older.table(name)
        assert now.metadata.table_uuid == table.metadata.table_uuid
        head, former = now.current_snapshot(), table.current_snapshot()
        assert head
        assert former
        assert head.summary
        assert head.summary.operation.value == "replace"
        offsets = [json.loads(one.summary.additional_properties["k2.offsets"]) for one in (head, former)]  # type: ignore[union-attr]
        assert offsets[0] == offsets[1], name
        assert json.loads(now.properties["k2.columns"])["price"] == now.schema().find_field("price").field_id
    gold = older.gold()
    assert without_source(gold) == expected

    # What was rejected for its format only is taken now; nothing else comes twice.
    older.k2_run("rebuild", "--layer", "rejected")
    assert older.run(recordings)["gold"]["duplicates"] == 0
    gold = older.gold()
    fine = [row for row in gold.values() if row["symbol"] == "PEPEBTC"]
    assert [(row["price"], row["quantity"]) for row in fine] == [(Decimal("0.0000000001234"), Decimal("46116860414.5"))]
    assert len(gold) == len(expected) + 1
    assert_nothing_lost(older)

    # Others read the head by the present schema, and the past by that of then.
    location = older.table(GOLD).metadata_location.removeprefix("file://")
    duck = duckdb_with_iceberg()
    total = sum(row["price"] for row in gold.values())
    assert duck.execute(f"SELECT count(*), sum(price) FROM iceberg_scan('{location}')").fetchone() == (len(gold), total)
    assert pl.scan_iceberg(older.table(GOLD)).select(pl.col("price").sum()).collect().item() == total
    (row,) = spark.sql(older.folder, f"SELECT count(*), sum(price) FROM {{ns}}.{GOLD}")
    assert tuple(row) == (len(gold), total)
    snapshot = before[GOLD].current_snapshot()
    assert snapshot
    total = sum(row["price"] for row in expected.values())
    old = older.table(GOLD).scan(snapshot_id=snapshot.snapshot_id).to_arrow()
    assert (old.num_rows, sum(old["price"].to_pylist())) == (len(expected), total)
    assert str(old["price"].type) == "decimal128(18, 8)"
    scan = f"iceberg_scan('{location}', snapshot_from_id => {snapshot.snapshot_id})"
    assert duck.execute(f"SELECT count(*), sum(price) FROM {scan}").fetchone() == (len(expected), total)
    (row,) = spark.sql(
        older.folder, f"SELECT count(*), sum(price) FROM {{ns}}.{GOLD} VERSION AS OF {snapshot.snapshot_id}"
    )
    assert tuple(row) == (len(expected), total)
    as_of = ("--as-of", str(snapshot.snapshot_id))
    ours = older.json("query", f"SELECT sum(price)::VARCHAR AS total FROM {GOLD}", *as_of)
    assert Decimal(ours[0]["total"]) == total
    assert older.json(*candles, *as_of) == then


@pytest.mark.parametrize(
    "failpoint", ["compaction.data-file:1", "compaction.data-file:3", "catalog.before-swap:1", "catalog.after-swap:1"]
)
def test_killed_and_run_again(older: Warehouse, expected: dict[str, Row], failpoint: str) -> None:
    done = older.k2_run("tables", "migrate", env={"K2_TEST_CRASH_AT": failpoint}, expect=None)
    assert done.returncode == -signal.SIGKILL, f"{failpoint} was not passed: {done.stdout} {done.stderr}"
    assert without_source(older.gold()) == expected
    for name in (*SILVER, GOLD):
        assert types_of(older, name) in ((NARROW, NARROW), (PRICE, QUANTITY)), "both columns, or none"
    older.k2_run("tables", "migrate")
    assert without_source(older.gold()) == expected
    assert "0 tables changed" in older.k2_run("tables", "migrate").stdout
    older.k2_run("maintain", "orphans", "--older-than", "0s", "--force", expect=None)
    assert without_source(older.gold()) == expected


def test_behind_a_rest_catalog(
    rest: RestWarehouse,  # noqa: F811
    recordings: list[tuple[str, Path]],
    expected: dict[str, Row],
) -> None:
    make_older_tables(rest, rest.pyiceberg())
    rest.run(recordings[:1])
    rest.k2_run("tables", "migrate")
    assert types_of(rest, GOLD) == (PRICE, QUANTITY)
    rest.run(recordings)
    assert without_source(rest.gold()) == expected
    head = rest.table(GOLD).metadata
    assert head.snapshot_by_id(head.current_snapshot_id or 0).schema_id == head.current_schema_id  # type: ignore[union-attr]


@pytest.mark.parametrize("text", ['"string"', "no JSON"])
def test_another_schema_under_an_id_of_k2s_own(warehouse: Warehouse, tmp_path: Path, text: str) -> None:
    """What 0.1 let be somebody's: the run stops, for its messages would be read as TradeV3."""
    path = tmp_path / "3.avsc"
    path.write_text(text)
    said = "3.avsc is not the schema that k2 has under the id 3"
    flags = ("--schemas", str(tmp_path), "--layer", "silver")
    warehouse.k2_run("tables", "create")
    assert said in warehouse.k2_run("run", *flags, expect=2).stderr
    assert said in warehouse.k2_run("doctor", "--schemas", str(tmp_path), expect=None).stdout
    with pytest.raises(ConfigurationError, match=said):
        Schemas(folder=str(tmp_path))
    path.write_text(schemas.TRADE_SCHEMA_JSON)
    warehouse.k2_run("run", *flags)
    Schemas(folder=str(tmp_path))


def test_the_dataframe_path_asks_for_it(older: Warehouse) -> None:
    """Spark would round what the older format cannot hold."""
    table = older.table(GOLD)
    document = json.loads(table.metadata.model_dump_json(by_alias=True))
    (schema,) = (one for one in document["schemas"] if one["schema-id"] == table.metadata.current_schema_id)
    ids = columns.column_ids(GOLD, document["properties"], document["schemas"])
    for writing in (True, False):
        with pytest.raises(ConfigurationError, match="k2 tables migrate"):
            columns.check(GOLD, ids, schema["fields"], writing=writing)
