"""PyIceberg and Spark write to our tables between our commits, and we read what they wrote."""

from __future__ import annotations

import json
import re
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
from warehouse import BRONZE, GOLD, NAMESPACE, REJECTED, SILVER, Warehouse

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


def test_spark_deletes_and_updates_rows_of_silver(
    warehouse: Warehouse, spark: Spark, half: list[tuple[str, Path]], whole: list[tuple[str, Path]]
) -> None:
    """By copy-on-write: what Gold has stays, what came before others have changed it comes, and nothing comes twice."""
    warehouse.run(half, "--layer", "bronze")
    warehouse.run([], "--layer", "silver", *STEPS)
    warehouse.run([], "--layer", "gold")
    spark.sql(warehouse.folder, f"DELETE FROM {{ns}}.{SILVER[1]} WHERE source_sequence % 10 = 0")
    assert warehouse.table(SILVER[1]).current_snapshot().summary["operation"].value == "overwrite"  # type: ignore
    report = warehouse.run([], "--layer", "gold")
    assert report["gold"]["rows_out"] == 0
    assert report["gold"]["duplicates"] > 0
    warehouse.run(whole, "--layer", "bronze", *STEPS)
    warehouse.run([], "--layer", "silver", *STEPS)
    spark.sql(warehouse.folder, f"UPDATE {{ns}}.{SILVER[0]} SET currency = 'X' WHERE source_sequence % 100 = 0")
    warehouse.run([], "--layer", "gold", *STEPS)
    assert warehouse.gold() == gold_of(*whole)
    assert_settled(warehouse, whole)


def test_pyiceberg_deletes_and_overwrites_in_every_layer(
    warehouse: Warehouse, half: list[tuple[str, Path]], whole: list[tuple[str, Path]]
) -> None:
    warehouse.run(half, *STEPS)
    known = list(gold_of(*half).values())
    theirs = other_trade(next(row for row in known if row["exchange"] == "BINANCE"), 7)
    warehouse.table(BRONZE).delete("offset < 100")
    silver = warehouse.table(SILVER[0])
    columns = [field.name for field in silver.schema().fields]
    taken = known[0]["message_id"]
    silver.overwrite(
        pa.Table.from_pylist([{name: theirs[name] for name in columns}], schema=silver.schema().as_arrow()),
        overwrite_filter=f"message_id = '{taken}'",
    )
    gone = [row["message_id"] for row in known[-3:]]
    warehouse.table(GOLD).delete(" or ".join(f"message_id = '{one}'" for one in gone))
    warehouse.run(whole, *STEPS)
    expected = {key: row for key, row in gold_of(*whole).items() if key not in gone}
    assert warehouse.gold() == expected | by_id([theirs | {"exchange_hour": theirs["timestamp"].hour}])
    assert_settled(warehouse, whole)


def stands(warehouse: Warehouse, *layer: str) -> list[str]:
    """The words of `k2 offsets accept` in the error of a run of the layer, which stands."""
    said = warehouse.k2_run("run", *layer, expect=1).stderr
    found = re.search(r"`k2 (offsets accept \w+ \d+) --dry-run`", said)
    assert found, said
    return found[1].split()


def test_rows_that_left_bronze_unread_are_accepted(warehouse: Warehouse, half: list[tuple[str, Path]]) -> None:
    """The other exchange goes on meanwhile."""
    warehouse.run(half, "--layer", "bronze", *STEPS)
    bronze = warehouse.table(BRONZE)
    topics = {row["topic"] for row in warehouse.rows(BRONZE, ("topic",))}
    topic = next(topic for topic in topics if topic.startswith("recording/binance/"))
    bronze.delete(f"topic = '{topic}' and offset >= 500 and offset < 600")
    foreign = bronze.current_snapshot()
    assert foreign is not None
    command = stands(warehouse, "--layer", "silver")
    assert command == ["offsets", "accept", BRONZE, str(foreign.snapshot_id)]
    assert warehouse.counts()[SILVER[1]] > 0
    refs = warehouse.table(BRONZE).metadata.refs
    assert refs["k2-stands-silver-binance"].snapshot_id == foreign.snapshot_id
    assert refs["k2-stands-silver-binance-before"].snapshot_id == foreign.parent_snapshot_id
    (line,) = warehouse.json(*command, "--dry-run")
    assert (line["table"], line["missing"], line["skipped"]) == (SILVER[0], 100, 0)
    assert stands(warehouse, "--layer", "silver") == command, "a dry run changes nothing"
    warehouse.k2_run(*command)
    summary = warehouse.table(SILVER[0]).current_snapshot().summary  # type: ignore[union-attr]
    assert "100 missing" in summary["k2.offsets-accepted"]  # type: ignore[index]
    assert "k2-stands-silver-binance" not in warehouse.table(BRONZE).metadata.refs
    warehouse.run([], "--layer", "silver", *STEPS)
    warehouse.run(half, *STEPS)
    places = [(row["topic"], row["offset"]) for row in warehouse.rows(BRONZE, ("topic", "offset"))]
    assert not [place for place in places if place[0] == topic and 500 <= place[1] < 600]
    counts = warehouse.counts()
    assert counts[SILVER[0]] + counts[SILVER[1]] + counts[REJECTED] == len(places)
    refused = warehouse.k2_run(*command, expect=2).stderr
    assert "no layer is blocked at" in refused


def test_trades_that_were_moved_to_another_hour_are_accepted(
    warehouse: Warehouse, spark: Spark, half: list[tuple[str, Path]]
) -> None:
    warehouse.run(half, *STEPS)
    before = warehouse.gold()
    spark.sql(
        warehouse.folder,
        f"UPDATE {{ns}}.{SILVER[0]} SET timestamp = timestamp + INTERVAL 1 HOUR WHERE source_sequence % 50 = 0",
    )
    foreign = warehouse.table(SILVER[0]).current_snapshot()
    assert foreign is not None
    command = stands(warehouse, "--layer", "gold")
    assert command == ["offsets", "accept", SILVER[0], str(foreign.snapshot_id)]
    assert warehouse.gold() == before
    lines = warehouse.json(*command, "--dry-run")
    read = sum(line["read"] for line in lines)
    assert 0 < read < sum(line["skipped"] for line in lines)
    warehouse.k2_run(*command)
    report = warehouse.run([], "--layer", "gold")
    assert report["gold"]["rows_out"] == read
    assert "k2-stands-gold" not in warehouse.table(SILVER[0]).metadata.refs
    warehouse.run(half)


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
