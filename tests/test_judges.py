"""PyIceberg, DuckDB and Spark read every table as we mean it."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import Simulate
from engines import Spark, duckdb_with_iceberg
from pyiceberg.conversions import from_bytes
from pyiceberg.manifest import DataFile
from pyiceberg.schema import Schema
from pyiceberg.types import PrimitiveType
from reading import gold_of
from warehouse import BRONZE, GOLD, REJECTED, SILVER, TABLES, Warehouse

TRADES = 6_000

# Name, type, required: as the documentation lists them, ids from 1 on.
TRADE_COLUMNS = [
    ("message_id", "string", True),
    ("trade_id", "string", True),
    ("symbol", "string", True),
    ("exchange", "string", True),
    ("asset_class", "string", True),
    ("timestamp", "timestamptz", True),
    ("price", "decimal(24, 14)", True),
    ("quantity", "decimal(24, 8)", True),
    ("currency", "string", True),
    ("side", "string", True),
    ("trade_conditions", "list<string>", True),
    ("source_sequence", "long", False),
    ("ingestion_timestamp", "timestamptz", True),
    ("platform_sequence", "long", False),
    ("vendor_data", "map<string, string>", False),
    ("source", "string", False),
    ("exchange_date", "date", True),
]
COLUMNS = {
    BRONZE: [
        ("message_key", "binary", False),
        ("avro_payload", "binary", False),
        ("topic", "string", True),
        ("partition", "int", True),
        ("offset", "long", True),
        ("kafka_timestamp", "timestamptz", True),
        ("ingestion_timestamp", "timestamptz", True),
        ("ingestion_date", "date", True),
        ("headers", "list<struct<12: key: required string, 13: value: optional binary>>", False),
        ("topic_id", "string", False),
    ],
    REJECTED: [
        ("topic", "string", True),
        ("partition", "int", True),
        ("offset", "long", True),
        ("kafka_timestamp", "timestamptz", True),
        ("schema_id", "int", False),
        ("payload", "binary", False),
        ("reason", "string", True),
        ("detail", "string", True),
        ("ingestion_date", "date", True),
        ("rejected_at", "timestamptz", True),
        ("topic_id", "string", False),
        ("headers", "list<struct<14: key: required string, 15: value: optional binary>>", False),
    ],
    SILVER[0]: TRADE_COLUMNS,
    SILVER[1]: TRADE_COLUMNS,
    GOLD: [*TRADE_COLUMNS, ("exchange_hour", "int", True)],
}
PARTITIONS = {
    BRONZE: [("ingestion_date", "day")],
    REJECTED: [("ingestion_date", "day")],
    SILVER[0]: [("exchange_date", "day")],
    SILVER[1]: [("exchange_date", "day")],
    GOLD: [("exchange_date", "identity"), ("exchange_hour", "identity")],
}

TRADE_PROBE = (
    "count(*), count(DISTINCT message_id), sum(price), sum(quantity), min({micros}(timestamp)), "
    "max({micros}(ingestion_timestamp)), sum(source_sequence), count(platform_sequence), "
    "sum(cardinality(vendor_data)), "
    "sum({size}(trade_conditions)), min(cast(exchange_date AS string)), max(cast(exchange_date AS string)), "
    "max(concat(symbol, exchange, asset_class, currency, side, trade_id)), count(vendor_data['base_asset'])"
)
SOURCE_PROBE = (
    "count(*), sum(t.offset), count(DISTINCT topic), max(t.partition), min({micros}(kafka_timestamp)), "
    "min(cast(ingestion_date AS string)), max(cast(ingestion_date AS string)), "
)
PROBES = {
    BRONZE: SOURCE_PROBE + "sum(octet_length(avro_payload)), sum(octet_length(message_key)), count(message_key)",
    REJECTED: SOURCE_PROBE + "sum(octet_length(payload)), min(reason), max(detail), count(schema_id), sum(schema_id)",
    SILVER[0]: TRADE_PROBE,
    SILVER[1]: TRADE_PROBE,
    GOLD: TRADE_PROBE + ", min(exchange_hour), max(exchange_hour)",
}


@pytest.fixture(scope="module")
def recordings(simulate: Simulate) -> list[tuple[str, Path]]:
    """A session that crosses midnight, one trade in 200 of it spoilt."""
    flags = ("--start", "2024-01-02T23:59:50Z", "--trades-per-second", "300", "--malformed-ppm", "5000")
    return [(exchange, simulate(exchange, TRADES, 21, *flags)) for exchange in ("binance", "kraken")]


@pytest.fixture(scope="module")
def market(k2: Path, tmp_path_factory: pytest.TempPathFactory, recordings: list[tuple[str, Path]]) -> Warehouse:
    warehouse = Warehouse(k2, tmp_path_factory.mktemp("market") / "warehouse")
    warehouse.run(recordings, "--rows-per-commit", "1500")
    return warehouse


@pytest.fixture(scope="module")
def duck() -> duckdb.DuckDBPyConnection:
    return duckdb_with_iceberg()


def probe_duckdb(name: str, source: str) -> str:
    return f"SELECT {PROBES[name].format(micros='epoch_us', size='len')} FROM {source} AS t"


def probe_pyiceberg(market: Warehouse, name: str) -> tuple[Any, ...]:
    rows = market.table(name).scan().to_arrow()
    connection = duckdb.connect()
    connection.register("rows", rows)
    found = connection.execute(probe_duckdb(name, "rows")).fetchone()
    assert found is not None
    return tuple(found)


def scan_duckdb(market: Warehouse, name: str, snapshot: int | None = None) -> str:
    metadata = market.table(name).metadata_location.removeprefix("file://")
    return f"iceberg_scan('{metadata}'" + (f", snapshot_from_id={snapshot})" if snapshot else ")")


def test_the_market_itself(market: Warehouse, recordings: list[tuple[str, Path]]) -> None:
    expected = gold_of(*recordings)
    assert len(expected) == 2 * TRADES
    assert market.gold() == expected
    counts = market.counts()
    assert counts[REJECTED] > 20
    assert len({row["exchange_date"] for row in expected.values()}) == 2


@pytest.mark.parametrize("name", TABLES)
def test_schema_and_partitions(market: Warehouse, name: str) -> None:
    table = market.table(name)
    columns = [(field.name, str(field.field_type), field.required) for field in table.schema().fields]
    assert columns == COLUMNS[name]
    assert [field.field_id for field in table.schema().fields] == list(range(1, len(columns) + 1))
    assert table.format_version == 2
    by_id = {field.field_id: field.name for field in table.schema().fields}
    assert [(by_id[field.source_id], str(field.transform)) for field in table.spec().fields] == PARTITIONS[name]


@pytest.mark.parametrize("name", TABLES)
def test_pyiceberg_and_duckdb_and_k2_agree(market: Warehouse, duck: duckdb.DuckDBPyConnection, name: str) -> None:
    truth = probe_pyiceberg(market, name)
    assert truth[0] > 0
    assert duck.execute(probe_duckdb(name, scan_duckdb(market, name))).fetchone() == truth
    ours = market.k2_run("query", probe_duckdb(name, name), "--output", "csv").stdout.splitlines()[1]
    assert [str(value) for value in truth] == [cell.strip('"') for cell in ours.split(",")]


@pytest.mark.parametrize("name", TABLES)
def test_spark_agrees(market: Warehouse, spark: Spark, name: str) -> None:
    probe = PROBES[name].format(micros="unix_micros", size="size")
    (row,) = spark.sql(market.folder, f"SELECT {probe} FROM {{ns}}.{name} t")
    assert tuple(row) == probe_pyiceberg(market, name)
    fields = [field[:2] for field in spark.sql(market.folder, f"DESCRIBE TABLE {{ns}}.{name}")[: len(COLUMNS[name])]]
    types = {"long": "bigint", "timestamptz": "timestamp", "decimal(24, 14)": "decimal(24,14)"} | {
        "decimal(24, 8)": "decimal(24,8)",
        "list<string>": "array<string>",
        "map<string, string>": "map<string,string>",
        COLUMNS[BRONZE][8][1]: "array<struct<key:string,value:binary>>",
        COLUMNS[REJECTED][11][1]: "array<struct<key:string,value:binary>>",
    }
    assert [tuple(field) for field in fields] == [(col, types.get(kind, kind)) for col, kind, _ in COLUMNS[name]]


@pytest.mark.parametrize("name", TABLES)
def test_time_travel(market: Warehouse, duck: duckdb.DuckDBPyConnection, name: str) -> None:
    table = market.table(name)
    snapshots = table.metadata.snapshots
    assert len(snapshots) > 3
    for snapshot in snapshots[1:-1:2]:
        assert snapshot.summary is not None
        total = int(snapshot.summary["total-records"] or 0)
        assert table.scan(snapshot_id=snapshot.snapshot_id).count() == total
        scan = scan_duckdb(market, name, snapshot.snapshot_id)
        assert duck.execute(f"SELECT count(*) FROM {scan}").fetchone() == (total,)
        ours = market.k2_run(
            "query", f"SELECT count(*) AS n FROM {name}", "--as-of", str(snapshot.snapshot_id), "--output", "csv"
        )
        assert ours.stdout.split() == ["n", str(total)]


def test_spark_travels_in_time(market: Warehouse, spark: Spark) -> None:
    snapshot = market.table(GOLD).metadata.snapshots[2]
    assert snapshot.summary is not None
    (row,) = spark.sql(market.folder, f"SELECT count(*) FROM {{ns}}.{GOLD} VERSION AS OF {snapshot.snapshot_id}")
    assert row[0] == int(snapshot.summary["total-records"] or 0)


@pytest.mark.parametrize(
    "condition",
    [
        "exchange_date = '2024-01-03'",
        "exchange_date = '2024-01-02' and exchange_hour = 23",
        "timestamp < '2024-01-02T23:59:55+00:00'",
        "timestamp >= '2024-01-03T00:00:05+00:00'",
        "timestamp >= '2024-01-02T23:59:54+00:00' and timestamp < '2024-01-02T23:59:56+00:00'",
    ],
)
def test_pyiceberg_prunes(market: Warehouse, condition: str) -> None:
    table = market.table(GOLD)
    everything = table.scan()
    pruned = table.scan(row_filter=condition)
    assert 0 < len(list(pruned.plan_files())) < len(list(everything.plan_files()))
    connection = duckdb.connect()
    connection.register("gold", everything.to_arrow())
    wanted = connection.execute(f"SELECT message_id FROM gold WHERE {condition}").fetchall()
    assert wanted
    assert {(message_id,) for message_id in pruned.to_arrow()["message_id"].to_pylist()} == set(wanted)


def data_files(market: Warehouse, name: str) -> list[DataFile]:
    return [task.file for task in market.table(name).scan().plan_files()]


def as_text(value: Any) -> Any:
    return value.encode() if isinstance(value, str) else value


def check_bounds(file: DataFile, schema: Schema, rows: pa.Table) -> int:
    """Bounds enclose the values, counts are exact; returns how many columns have bounds."""
    bounded = 0
    for field in schema.fields:
        if not isinstance(field.field_type, PrimitiveType):
            continue
        column = rows[field.name]
        if field.field_id in file.null_value_counts:
            assert file.null_value_counts[field.field_id] == column.null_count
            assert file.value_counts[field.field_id] == rows.num_rows
        lower, upper = file.lower_bounds.get(field.field_id), file.upper_bounds.get(field.field_id)
        values = [value for value in column.to_pylist() if value is not None]
        if not values:
            assert lower is None
            assert upper is None
            continue
        for bound, enclosing in ((lower, min), (upper, max)):
            if bound is None:
                continue
            bounded += 1
            decoded = pa.scalar(from_bytes(field.field_type, bound), column.type).as_py()
            extreme = as_text(enclosing(values))
            assert enclosing(as_text(decoded), extreme) == as_text(decoded), f"{field.name}: {decoded!r} {extreme!r}"
    return bounded


def with_ids(fields: Any) -> dict[str, int]:
    """Parquet field ids by path, nested ones too."""
    ids: dict[str, int] = {}

    def walk(prefix: str, field: pa.Field) -> None:
        path = f"{prefix}{field.name}"
        if field.metadata and b"PARQUET:field_id" in field.metadata:
            ids[path] = int(field.metadata[b"PARQUET:field_id"])
        if pa.types.is_map(field.type):
            walk(f"{path}.", field.type.key_field)
            walk(f"{path}.", field.type.item_field)
        elif pa.types.is_list(field.type):
            walk(f"{path}.", field.type.value_field)
        elif pa.types.is_struct(field.type):
            for member in field.type:
                walk(f"{path}.", member)

    for field in fields:
        walk("", field)
    return ids


@pytest.mark.parametrize("name", TABLES)
def test_data_files_are_as_the_manifests_say(market: Warehouse, name: str) -> None:
    table = market.table(name)
    wanted = sorted(table.schema().field_ids)
    for file in data_files(market, name):
        path = Path(file.file_path.removeprefix("file://"))
        rows = pq.read_table(path, partitioning=None)
        assert rows.num_rows == file.record_count
        assert path.stat().st_size == file.file_size_in_bytes
        # Parquet's Java readers pass over the bounds of strings in a file whose writer they cannot tell.
        assert re.fullmatch(r"k2 version \d+\.\d+\.\d+", pq.read_metadata(path).created_by)
        assert sorted(with_ids(pq.read_schema(path)).values()) == wanted
        assert check_bounds(file, table.schema(), rows) >= 8
        source = table.schema().find_field(table.spec().fields[0].source_id).name
        days = {(day - date(1970, 1, 1)).days for day in rows[source].to_pylist()}
        assert days == {file.partition[0]}
        if name == GOLD:
            assert set(rows["exchange_hour"].to_pylist()) == {file.partition[1]}


@pytest.mark.parametrize("name", TABLES)
def test_partition_summaries_enclose_the_files(market: Warehouse, name: str) -> None:
    table = market.table(name)
    snapshot = table.current_snapshot()
    assert snapshot is not None
    kinds = [field.field_type for field in table.spec().partition_type(table.schema()).fields]
    live = 0
    for manifest in snapshot.manifests(table.io):
        entries = manifest.fetch_manifest_entry(table.io)
        live += sum(entry.data_file.record_count for entry in entries)
        assert manifest.partitions is not None
        for place, (summary, kind) in enumerate(zip(manifest.partitions, kinds, strict=True)):
            assert isinstance(kind, PrimitiveType)
            assert summary.lower_bound is not None
            assert summary.upper_bound is not None
            bounds = [from_bytes(kind, bound) for bound in (summary.lower_bound, summary.upper_bound)]
            values = [entry.data_file.partition[place] for entry in entries]
            assert bounds == [min(values), max(values)]
            assert not summary.contains_null
    assert live == market.counts()[name]
