"""PyIceberg and Spark write to our tables between our commits, and we read what they wrote."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable
from datetime import date, datetime, time, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from conftest import Simulate
from engines import Spark
from pyiceberg.partitioning import PartitionField, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.transforms import BucketTransform
from pyiceberg.types import (
    BinaryType,
    BooleanType,
    DateType,
    DecimalType,
    DoubleType,
    FixedType,
    FloatType,
    IntegerType,
    ListType,
    LongType,
    MapType,
    NestedField,
    StringType,
    StructType,
    TimestampType,
    TimestamptzType,
    TimeType,
    UUIDType,
)
from reading import Row, gold_of, read_bytes
from warehouse import BRONZE, GOLD, NAMESPACE, SILVER, Warehouse

TRADES = 6_000
STEPS = ("--rows-per-commit", "1500")


@pytest.fixture(scope="module")
def whole(simulate: Simulate) -> list[tuple[str, Path]]:
    return [(exchange, simulate(exchange, TRADES, 31, suffix=".log")) for exchange in ("binance", "kraken")]


@pytest.fixture(scope="module")
def half(whole: list[tuple[str, Path]], tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, Path]]:
    """The same recordings before their second half was received."""
    folder = tmp_path_factory.mktemp("half")
    made = []
    for exchange, path in whole:
        lines = read_bytes(path).splitlines(keepends=True)
        part = folder / path.name
        part.write_bytes(b"".join(lines[: len(lines) // 2]))
        made.append((exchange, part))
    return made


def other_trade(row: Row, number: int) -> Row:
    """A trade that only the foreign writer knows, with an id that is not of our making."""
    return row | {"message_id": str(uuid.UUID(int=number)), "trade_id": f"FOREIGN-{number}", "source_sequence": None}


def append(warehouse: Warehouse, name: str, rows: Iterable[Row]) -> None:
    table = warehouse.table(name)
    columns = [field.name for field in table.schema().fields]
    picked = [{column: row[column] for column in columns} for row in rows]
    table.append(pa.Table.from_pylist(picked, schema=table.schema().as_arrow()))


def by_id(rows: Iterable[Row]) -> dict[str, Row]:
    return {row["message_id"]: row for row in rows}


def assert_settled(warehouse: Warehouse, whole: list[tuple[str, Path]]) -> None:
    report = warehouse.run(whole)
    assert [report[layer]["rows_in"] for layer in ("bronze", "silver", "gold")] == [0, 0, 0]


def test_pyiceberg_appends_between_our_commits(
    warehouse: Warehouse, half: list[tuple[str, Path]], whole: list[tuple[str, Path]]
) -> None:
    expected = gold_of(*whole)
    known = list(gold_of(*half).values())
    coming = [row for row in expected.values() if row["message_id"] not in by_id(known)]
    warehouse.run(half, *STEPS)
    binance = [row for row in known if row["exchange"] == "BINANCE"]
    in_silver = [other_trade(binance[i], i) for i in range(5)]
    in_gold = [other_trade(known[i], 100 + i) for i in range(5)]
    append(warehouse, SILVER[0], in_silver)
    append(warehouse, GOLD, in_gold)
    append(warehouse, SILVER[0], binance[:7])  # again what Gold has
    append(warehouse, GOLD, coming[:20])  # what Silver is still to bring
    warehouse.run([], "--layer", "silver")
    append(warehouse, SILVER[0], in_silver)
    report = warehouse.run(whole, *STEPS)
    assert report["gold"]["duplicates"] >= 7 + 20 + 5
    assert warehouse.gold() == expected | by_id(in_silver) | by_id(in_gold)
    assert_settled(warehouse, whole)


def test_pyiceberg_changes_properties_and_tags(
    warehouse: Warehouse, half: list[tuple[str, Path]], whole: list[tuple[str, Path]]
) -> None:
    warehouse.run(half)
    for name in (BRONZE, *SILVER, GOLD):
        table = warehouse.table(name)
        with table.transaction() as transaction:
            transaction.set_properties({"owner": "another"})
        head = table.current_snapshot()
        assert head is not None
        with table.manage_snapshots() as change:
            change.create_tag(head.snapshot_id, "theirs")
    warehouse.run(whole, *STEPS)
    assert warehouse.gold() == gold_of(*whole)
    for name in (BRONZE, *SILVER, GOLD):
        metadata = warehouse.table(name).metadata
        assert metadata.properties["owner"] == "another"
        assert {"theirs", "k2-offsets", "main"} <= metadata.refs.keys()


def test_spark_appends_and_compacts_between_our_commits(
    warehouse: Warehouse, spark: Spark, half: list[tuple[str, Path]], whole: list[tuple[str, Path]]
) -> None:
    expected = gold_of(*whole)
    warehouse.run(half, "--layer", "bronze", *STEPS)
    warehouse.run([], "--layer", "silver", *STEPS)
    sql = lambda text: spark.sql(warehouse.folder, text)  # noqa: E731
    columns = ", ".join(f.name for f in warehouse.table(SILVER[1]).schema().fields if f.name != "message_id")
    sql(
        f"INSERT INTO {{ns}}.{SILVER[1]} SELECT concat('spark-', message_id), {columns} "
        f"FROM {{ns}}.{SILVER[1]} WHERE source_sequence IS NOT NULL ORDER BY source_sequence LIMIT 3"
    )
    foreign = {
        row["message_id"]: row | {"exchange_hour": row["timestamp"].hour}
        for row in warehouse.rows(SILVER[1])
        if row["message_id"].startswith("spark-")
    }
    assert len(foreign) == 3
    compact = "CALL iceberg.system.rewrite_data_files(table => '{table}', options => map('rewrite-all', 'true'))"
    for name in SILVER:  # before Gold has read it
        sql(compact.format(table=f"{NAMESPACE}.{name}"))
    warehouse.run(half, *STEPS)
    for name in (BRONZE, *SILVER, GOLD):
        sql(compact.format(table=f"{NAMESPACE}.{name}"))
        sql(f"CALL iceberg.system.rewrite_manifests('{NAMESPACE}.{name}')")
    assert warehouse.table(GOLD).current_snapshot().summary["operation"].value == "replace"  # type: ignore
    assert_settled(warehouse, half)
    warehouse.run(whole, *STEPS)
    assert warehouse.gold() == expected | foreign
    assert_settled(warehouse, whole)


def test_spark_expires_snapshots(
    warehouse: Warehouse, spark: Spark, half: list[tuple[str, Path]], whole: list[tuple[str, Path]]
) -> None:
    """Not even the snapshots that a layer stands at are left; the tag keeps the offsets."""
    warehouse.run(half, *STEPS)
    warehouse.run(whole, "--layer", "bronze", *STEPS)
    warehouse.run([], "--layer", "silver", *STEPS)
    for name in (BRONZE, *SILVER, GOLD):
        spark.sql(
            warehouse.folder,
            f"CALL iceberg.system.expire_snapshots(table => '{NAMESPACE}.{name}', "
            "older_than => TIMESTAMP '2100-01-01 00:00:00', retain_last => 1)",
        )
        assert len(warehouse.table(name).metadata.snapshots) <= 2
    warehouse.run(whole, *STEPS)
    assert warehouse.gold() == gold_of(*whole)
    assert_settled(warehouse, whole)


def test_a_foreign_delete_in_silver_stops_gold(
    warehouse: Warehouse, spark: Spark, half: list[tuple[str, Path]]
) -> None:
    warehouse.run(half, "--layer", "bronze")
    warehouse.run([], "--layer", "silver")
    warehouse.run([], "--layer", "gold")
    spark.sql(warehouse.folder, f"DELETE FROM {{ns}}.{SILVER[1]} WHERE source_sequence % 10 = 0")
    done = warehouse.k2_run("run", "--layer", "gold", expect=1)
    assert "overwrite" in done.stderr
    assert SILVER[1] in done.stderr


def test_delete_files_of_others_are_refused_never_ignored(
    warehouse: Warehouse, spark: Spark, half: list[tuple[str, Path]]
) -> None:
    warehouse.run(half)
    spark.sql(warehouse.folder, f"ALTER TABLE {{ns}}.{GOLD} SET TBLPROPERTIES ('write.delete.mode'='merge-on-read')")
    spark.sql(warehouse.folder, f"DELETE FROM {{ns}}.{GOLD} WHERE source_sequence % 10 = 0")
    done = warehouse.k2_run("query", f"SELECT count(*) FROM {GOLD}", expect=None)
    assert done.returncode != 0
    assert "row-level deletes" in done.stderr


def test_we_read_a_table_of_pyiceberg_with_every_type(warehouse: Warehouse) -> None:
    warehouse.k2_run("tables", "create")
    schema = Schema(
        NestedField(1, "id", LongType(), required=True),
        NestedField(2, "flag", BooleanType()),
        NestedField(3, "small", IntegerType()),
        NestedField(4, "single", FloatType()),
        NestedField(5, "double", DoubleType()),
        NestedField(6, "day", DateType()),
        NestedField(7, "clock", TimeType()),
        NestedField(8, "local", TimestampType()),
        NestedField(9, "moment", TimestamptzType()),
        NestedField(10, "text", StringType()),
        NestedField(11, "blob", BinaryType()),
        NestedField(12, "key", UUIDType()),
        NestedField(13, "four", FixedType(4)),
        NestedField(14, "money", DecimalType(38, 10)),
        NestedField(15, "many", ListType(16, IntegerType(), element_required=False)),
        NestedField(17, "pairs", MapType(18, StringType(), 19, DoubleType(), value_required=False)),
        NestedField(20, "point", StructType(NestedField(21, "x", IntegerType()), NestedField(22, "y", StringType()))),
    )
    spec = PartitionSpec(PartitionField(1, 1000, BucketTransform(4), "id_bucket"))
    table = warehouse.catalog().create_table((NAMESPACE, "every_type"), schema, partition_spec=spec)
    full: Row = {
        "id": 1,
        "flag": True,
        "small": -7,
        "single": 0.5,
        "double": 0.1,
        "day": date(1969, 12, 31),
        "clock": time(1, 2, 3, 4),
        "local": datetime(1969, 12, 31, 23, 59, 59, 999999),
        "moment": datetime(2024, 8, 9, tzinfo=timezone.utc),
        "text": 'žlutý, "kůň"\n',
        "blob": b"\x00\xff",
        "key": uuid.UUID(int=5).bytes,
        "four": b"abcd",
        "money": Decimal("-1234567890123456789012345678.0123456789"),
        "many": [1, None, 3],
        "pairs": [("a", 1.5), ("b", None)],
        "point": {"x": 1, "y": None},
    }
    empty = dict.fromkeys(full) | {"id": 2}
    arrow = table.schema().as_arrow()
    table.append(pa.Table.from_pylist([full], schema=arrow))
    table.append(pa.Table.from_pylist([empty], schema=arrow))
    found = json.loads(
        warehouse.k2_run("query", "SELECT * FROM every_type ORDER BY id", "--output", "json").stdout,
        parse_float=Decimal,
    )
    assert found[1] == empty
    row: dict[str, Any] = found[0]
    for name in ("id", "flag", "small", "text"):
        assert row[name] == full[name]
    assert Decimal(row["money"]) == full["money"]
    assert (row["single"], row["double"]) == (Decimal("0.5"), Decimal("0.1"))
    assert row["day"] == "1969-12-31"
    assert row["clock"].startswith("01:02:03.000004")
    assert row["local"] == "1969-12-31T23:59:59.999999"
    assert row["moment"] == "2024-08-09T00:00:00.000000Z"
    assert row["key"] == str(uuid.UUID(int=5))
    counted = warehouse.json(
        "query",
        "SELECT id, octet_length(blob) AS blob, octet_length(four) AS four, many[3] AS third, len(many) AS many, "
        "pairs['a'] AS a, point.x AS x FROM every_type WHERE id = 1",
    )
    assert counted == [{"id": 1, "blob": 2, "four": 4, "third": 3, "many": 3, "a": 1.5, "x": 1}]
    for condition, ids in (("day < '1970-01-01'", [1]), ("money < 0", [1]), ("text IS NULL", [2]), ("id = 2", [2])):
        rows = warehouse.json("query", f"SELECT id FROM every_type WHERE {condition}")
        assert [one["id"] for one in rows] == ids, condition


def test_we_read_a_table_of_spark_whose_schema_has_moved_on(warehouse: Warehouse, spark: Spark) -> None:
    warehouse.k2_run("tables", "create")
    for text in (
        "CREATE TABLE {ns}.moved (id int, name string, amount decimal(9,2), moment timestamp) USING iceberg "
        "PARTITIONED BY (days(moment)) TBLPROPERTIES ('format-version'='2')",
        "INSERT INTO {ns}.moved VALUES (1, 'one', 1.10, TIMESTAMP '2024-01-01 10:00:00'), "
        "(2, NULL, 2.20, TIMESTAMP '2024-01-02 10:00:00')",
        "ALTER TABLE {ns}.moved ALTER COLUMN id TYPE bigint",
        "ALTER TABLE {ns}.moved RENAME COLUMN name TO title",
        "ALTER TABLE {ns}.moved ADD COLUMN extra string AFTER id",
        "ALTER TABLE {ns}.moved ADD PARTITION FIELD truncate(2, title)",
        "INSERT INTO {ns}.moved VALUES (3000000000, 'x', 'three', 3.30, TIMESTAMP '2024-01-03 10:00:00')",
        "ALTER TABLE {ns}.moved DROP COLUMN amount",
    ):
        spark.sql(warehouse.folder, text)
    rows = warehouse.json("query", "SELECT id, extra, title FROM moved ORDER BY id")
    assert rows == [
        {"id": 1, "extra": None, "title": "one"},
        {"id": 2, "extra": None, "title": None},
        {"id": 3000000000, "extra": "x", "title": "three"},
    ]
    assert warehouse.json("query", "SELECT id FROM moved WHERE moment >= TIMESTAMPTZ '2024-01-03 00:00:00Z'") == [
        {"id": 3000000000}
    ]
