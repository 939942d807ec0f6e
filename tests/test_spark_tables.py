"""The Python package makes the tables that k2 makes, and looks after them without k2 noticing."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.fs
import pyarrow.parquet as pq
import pytest
from conftest import Simulate
from engines import Spark
from pyiceberg.table import Table
from pyspark.sql import SparkSession
from reading import gold_of, read_bytes
from service_warehouse import Lake, files_named
from warehouse import ALL_TABLES, BRONZE, GOLD, NAMESPACE, REJECTED, SILVER, TABLES, k2_environment

from k2 import __version__ as k2_version
from k2.spark import schemas
from k2.spark.dataframe.progress import find_progress
from k2.spark.dataframe.tables import metadata_of
from k2.spark.engine.native import NativeEngine, Plan
from k2.spark.jobs import create_bronze_table, create_gold_table, create_silver_tables, maintenance
from k2.spark.jobs.tables import create_tables
from k2.spark.maintenance import retention
from k2.spark.utils.errors import (
    ConfigurationError,
    DataError,
    K2Error,
    RaceError,
    UnavailableError,
    UnknownOutcomeError,
)
from k2.spark.utils.explain import explain
from k2.spark.utils.iceberg import IcebergCatalog
from stack.services import Services

TRADES = 2_000
FAR_BACK = ("--start", "2024-03-01T23:00:00Z", "--trades-per-second", "1", "--malformed-ppm", "3000")
HOUR_US = 3_600_000_000


@pytest.fixture
def lake(k2: Path, services: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lake:
    made = Lake.rest(k2, tmp_path / "lake", services)
    for name, value in made.variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("K2_PROGRAM", str(k2))
    return made


@pytest.fixture
def session(lake: Lake, spark: Spark) -> SparkSession:
    return spark.on_rest(lake.variables)


def definition(table: Table) -> dict[str, Any]:
    """All that is fixed when a table is made, as PyIceberg reads it."""
    metadata = table.metadata
    head = table.current_snapshot()
    assert head is not None, "every table has a head to commit on"
    assert head.summary is not None
    return {
        "format": metadata.format_version,
        "schema": table.schema().model_dump(),
        "last column": metadata.last_column_id,
        "spec": [field.model_dump() for field in table.spec().fields],
        "order": [table.sort_order().order_id, [field.model_dump() for field in table.sort_order().fields]],
        "properties": {key: value for key, value in table.properties.items() if key != "owner"},
        "operation": head.summary.operation,
        "rows": head.summary["total-records"],
        "location": table.location(),
    }


def test_the_copy_of_the_definitions_is_the_programs(k2: Path) -> None:
    done = subprocess.run(
        [k2, "tables", "definitions"], capture_output=True, text=True, check=True, timeout=60, env=k2_environment()
    )
    assert json.loads(done.stdout) == schemas.DOCUMENT, (
        "run `build/release/bin/k2 tables definitions > python/src/k2/spark/schemas.json`"
    )
    assert schemas.TABLES == ALL_TABLES
    assert (schemas.BRONZE, schemas.REJECTED, schemas.SILVER[:2], schemas.GOLD) == (BRONZE, REJECTED, SILVER, GOLD)


def test_tables_made_by_spark_are_those_that_k2_makes(lake: Lake, session: SparkSession, simulate: Simulate) -> None:
    lake.k2_run("tables", "create")
    by_k2 = {name: definition(lake.table(name)) for name in TABLES}
    lake.drop_tables()

    made: dict[str, str] = {}
    for names in (create_bronze_table.TABLES, create_silver_tables.TABLES, create_gold_table.TABLES):
        made |= create_tables(session, names, lake.variables["K2_WAREHOUSE"])
    assert made == dict.fromkeys(ALL_TABLES, "made")
    for name in TABLES:
        assert definition(lake.table(name)) == by_k2[name]
        read_back = session.table(f"iceberg.{NAMESPACE}.{name}").schema
        for found, written in zip(read_back, schemas.table(name).struct_type(), strict=True):
            assert (found.name, found.dataType, found.nullable) == (written.name, written.dataType, written.nullable)
            assert found.metadata.get("comment", "") == written.metadata["comment"]
    assert create_tables(session, TABLES) == dict.fromkeys(TABLES, "there")
    assert [len(lake.table(name).metadata.snapshots) for name in TABLES] == [1] * len(TABLES)

    recording = [("binance", simulate("binance", 500, 5))]
    lake.run(recording)
    assert lake.gold().keys() == gold_of(*recording).keys()


def test_sql_says_the_same_as_far_as_it_can(lake: Lake, session: SparkSession) -> None:
    create_tables(session, (GOLD,), lake.variables["K2_WAREHOUSE"])
    by_api = definition(lake.table(GOLD))
    lake.drop_tables()
    session.sql(schemas.table(GOLD).create_sql(location=by_api["location"]))
    session.sql(
        f"ALTER TABLE iceberg.{NAMESPACE}.{GOLD} WRITE ORDERED BY {', '.join(schemas.table(GOLD).ordered_by())}"
    )
    table = lake.table(GOLD)
    assert [field.field_id for field in table.schema().fields] == [field["id"] for field in by_api["schema"]["fields"]]
    assert [field.model_dump() for field in table.spec().fields] == by_api["spec"]
    assert [field.model_dump() for field in table.sort_order().fields] == by_api["order"][1]


def test_a_table_of_another_form_is_told(lake: Lake, session: SparkSession) -> None:
    session.sql(f"CREATE NAMESPACE IF NOT EXISTS iceberg.{NAMESPACE}")
    session.sql(f"CREATE TABLE iceberg.{NAMESPACE}.{GOLD} (message_id string, price double) USING iceberg")
    with pytest.raises(ConfigurationError, match=r"gold_crypto_trades: there is no column trade_id.*migrate"):
        create_tables(session, (GOLD,))


def test_keys_that_the_store_refuses_are_told(lake: Lake, spark: Spark) -> None:
    stranger = spark.on_rest(lake.variables | {"AWS_SECRET_ACCESS_KEY": "not-the-secret"})
    with pytest.raises(UnavailableError, match=r"the S3 store refuses the keys: .*AWS_SECRET_ACCESS_KEY"):
        create_tables(stranger, (GOLD,), lake.variables["K2_WAREHOUSE"])
    # What was begun is finished by who may.
    assert create_tables(spark.on_rest(lake.variables), (GOLD,)) == {GOLD: "there"}
    assert lake.table(GOLD).current_snapshot() is not None


# Maintenance.


def halves(recordings: list[tuple[str, Path]], folder: Path) -> list[tuple[str, Path]]:
    made = []
    for exchange, path in recordings:
        lines = read_bytes(path).splitlines(keepends=True)
        part = folder / path.name
        part.write_bytes(b"".join(lines[: len(lines) // 2]))
        made.append((exchange, part))
    return made


def options(*words: str) -> argparse.Namespace:
    return maintenance.parser().parse_args(words)


def maintained(
    session: SparkSession, *words: str, tables: Sequence[str] = TABLES, now_us: int | None = None
) -> list[dict[str, Any]]:
    given = options(*words)
    rows, error = maintenance.Maintenance(session, given, now_us).run(given.steps or maintenance.STEPS, tables)
    assert error is None, rows
    return rows


def of(rows: list[dict[str, Any]], step: str, table: str) -> dict[str, Any]:
    return next(row for row in rows if row["step"] == step and row["table"] == table)


def later_us(hours: float) -> int:
    return int(time.time() * 1_000_000 + hours * HOUR_US)


BY_SPARK: tuple[str, ...] = ()
BY_K2 = ("--engine", "native", "--settled", "0s")
engines = pytest.mark.parametrize("engine", [BY_SPARK, BY_K2], ids=["spark", "native"])


@engines
@pytest.mark.parametrize("tables", [(BRONZE, SILVER[0], GOLD), pytest.param(TABLES, marks=pytest.mark.long)])
def test_k2_goes_on_exactly_after_maintenance(
    lake: Lake,
    session: SparkSession,
    simulate: Simulate,
    tmp_path: Path,
    tables: tuple[str, ...],
    engine: tuple[str, ...],
) -> None:
    whole = [(exchange, simulate(exchange, TRADES, 41, *FAR_BACK, suffix=".log")) for exchange in ("binance", "kraken")]
    half = halves(whole, tmp_path)
    lake.run(half, "--rows-per-commit", "300")
    # Bronze goes ahead: rows that are rewritten before Silver has read them.
    ahead = [("binance", whole[0][1]), half[1]]
    lake.run(ahead, "--rows-per-commit", "300", "--layer", "bronze")
    before = {name: lake.total(name) for name in TABLES}
    tags = {name: lake.table(name).metadata.refs["k2-offsets"].snapshot_id for name in TABLES}
    gold_before = lake.gold()

    # Nothing but what tags keep is left of the time before: Silver finds its rows by the bounds of rewritten files.
    steps = ("rewrite", "expire") if tables != TABLES else ("rewrite", "manifests", "expire")
    words = ("--expire-older-than", "10m", "--min-input-files", "2", *engine)
    rows = maintained(session, *steps, *words, tables=tables, now_us=later_us(2))
    for name in tables:
        assert of(rows, "rewrite", name)["files"] > of(rows, "rewrite", name)["into"] > 0, rows
        assert of(rows, "expire", name)["snapshots"] > 0, rows
    assert {name: lake.total(name) for name in TABLES} == before
    assert lake.gold() == gold_before
    for name in TABLES:
        refs = lake.table(name).metadata.refs
        if engine is BY_SPARK:
            assert refs["k2-offsets"].snapshot_id == tags[name], "the tag is where K2 has put it"
        assert lake.table(name).snapshot_by_id(refs["k2-offsets"].snapshot_id) is not None
    lake.assert_files_exist()

    report = lake.run(whole, "--rows-per-commit", "500")
    assert report["bronze"]["rows_in"] > 0
    expected = gold_of(*whole)
    assert lake.gold() == expected
    assert_settled(lake, whole)
    if tables == TABLES:  # in the midst of it, again: what k2 has written on top is joined with what Spark has
        maintained(session, *steps, *words, now_us=later_us(2))
        lake.assert_files_exist()
        # Of Silver's history nothing is left between its tag and the rewritten manifests: Gold may read its rows again.
        again = lake.run(whole)
        assert [again[layer]["rows_in"] for layer in ("bronze", "silver")] == [0, 0]
        assert again["gold"]["rows_out"] == 0
        assert lake.gold() == expected
        assert_settled(lake, whole)


def assert_settled(lake: Lake, recordings: list[tuple[str, Path]]) -> None:
    report = lake.run(recordings)
    assert [report[layer]["rows_in"] for layer in ("bronze", "silver", "gold")] == [0, 0, 0]


def procedures_table(session: SparkSession, name: str) -> Any:
    return IcebergCatalog(session, "iceberg").load(NAMESPACE, name)


@engines
def test_gold_keeps_its_order_and_bloom_filters(
    lake: Lake, session: SparkSession, simulate: Simulate, engine: tuple[str, ...]
) -> None:
    recording = [("kraken", simulate("kraken", 1_000, 44, *FAR_BACK))]
    lake.run(recording, "--rows-per-commit", "200")
    maintained(session, "rewrite", "--min-input-files", "2", *engine, tables=(GOLD,))
    files = lake.table(GOLD).inspect.files().to_pylist()
    store = lake.store
    assert store is not None
    for file in files:
        parquet = pq.ParquetFile(file["file_path"].removeprefix("s3://"), filesystem=store.filesystem())
        rows = parquet.read(["symbol", "timestamp"]).to_pylist()
        assert rows == sorted(rows, key=lambda row: (row["symbol"], row["timestamp"]))
    data = store.filesystem().open_input_file(files[0]["file_path"].removeprefix("s3://")).read()
    with tempfile.NamedTemporaryFile(suffix=".parquet") as copy:
        copy.write(data)
        copy.flush()
        query = "SELECT bloom_filter_offset FROM parquet_metadata(?) WHERE path_in_schema = 'message_id'"
        offsets = duckdb.connect().execute(query, [copy.name]).fetchall()
    assert offsets
    assert all(offset for (offset,) in offsets), "message_id has a Bloom filter"


def test_files_that_go_while_they_are_joined_do_not_come_back(
    lake: Lake, session: SparkSession, simulate: Simulate
) -> None:
    for seed in (51, 52):  # of two days
        start = ("--start", f"2024-03-0{seed - 50}T10:00:00Z", "--first-id", f"{seed}00000")
        lake.run([("binance", simulate("binance", 1_000, seed, *start))], "--rows-per-commit", "200")
    first_day = 1_000

    class Slow(NativeEngine):
        plans = 0

        def run(self, plan: Plan) -> list[str]:
            results = super().run(plan)
            self.plans += 1
            if self.plans == 1:
                lake.table(GOLD).delete("exchange_date = '2024-03-01'")
            return results

    engine = Slow(session)
    held = lake.total(GOLD)
    done = engine.compact(GOLD, min_input_files=2, settled_s=0)
    assert engine.plans == 2, "the first one was refused"
    assert lake.total(GOLD) == held - first_day
    assert done["files"] > done["into"] > 0
    lake.assert_files_exist()


def test_retention_drops_what_k2_would_drop(lake: Lake, session: SparkSession, simulate: Simulate) -> None:
    recordings = [(exchange, simulate(exchange, TRADES, 42, *FAR_BACK)) for exchange in ("binance", "kraken")]
    lake.run(recordings, "--rows-per-commit", "1000")
    late = simulate("binance", 200, 43, "--start", "2024-03-09T12:00:00Z", "--first-id", "7000000")
    lake.run([("binance", late)], "--layer", "bronze")
    before = {name: lake.total(name) for name in TABLES}
    gold = lake.gold()
    short = ("--retain-bronze", "1s", "--retain-silver", "1s", "--retain-rejected", "1s")
    time.sleep(1.1)
    k2_says = {
        (row["table"], row["partition"].split("=")[1]): row["fate"]
        for row in json.loads(lake.k2_run("maintain", "retention", "--dry-run", "--output", "json", *short).stdout)
        if row["table"] != GOLD
    }
    fates = {"to drop": "due"}
    planned = maintained(session, "retention", "--dry-run", *short)
    spark_says = {
        (row["table"], part["partition"]): part["fate"] for row in planned for part in row.get("partitions", ())
    }
    assert spark_says == {key: fates.get(fate, fate) for key, fate in k2_says.items()}
    assert "held" in spark_says.values(), "Silver has yet to read the last day"
    assert {name: lake.total(name) for name in TABLES} == before

    rows = maintained(session, "retention", *short, tables=(BRONZE, SILVER[0]))
    assert of(rows, "retention", BRONZE)["rows"] == before[BRONZE] - 200
    assert {name: lake.total(name) for name in TABLES} == before | {BRONZE: 200, SILVER[0]: 0}
    assert lake.gold() == gold
    assert "k2.commit-times" in lake.table(BRONZE).properties
    assert lake.json("maintain", "retention", "--dry-run", *short), "k2 reads what was noted"
    events = lake.json("audit")
    assert [(row["table"], row["event"], row["rows"]) for row in events] == [
        (BRONZE, "retention", before[BRONZE] - 200),
        (SILVER[0], "retention", before[SILVER[0]]),
    ]
    assert {(row["engine"], row["version"]) for row in events} == {("k2 on spark", k2_version)}
    assert all("2024-03-01 (" in row["detail"] for row in events)
    recorded = json.loads(lake.table(BRONZE).properties["k2.audit"])["events"]
    assert [event["snapshot"] for event in recorded] == [events[0]["snapshot_id"]], "in the commit of the event"
    # Spark's expiry takes the snapshots, not what they told.
    lake.table(BRONZE).append(lake.table(BRONZE).scan().to_arrow().slice(0, 0))
    maintained(session, "expire", "--expire-older-than", "10m", tables=(BRONZE, SILVER[0]), now_us=later_us(2))
    left = {snapshot.snapshot_id for snapshot in lake.table(BRONZE).metadata.snapshots}
    assert str(events[0]["snapshot_id"]) not in {str(one) for one in left}
    assert lake.json("audit") == events
    lake.run([*recordings, ("binance", late)])
    assert lake.gold() == gold_of(*recordings, ("binance", late))


def test_commit_times_are_noted_as_k2_notes_them(lake: Lake, session: SparkSession, simulate: Simulate) -> None:
    lake.run([("binance", simulate("binance", 2_000, 46, *FAR_BACK))], "--rows-per-commit", "300")
    table = procedures_table(session, BRONZE)
    noted = retention.CommitTimes(table).renewed(int(time.time() * 1000))
    lake.k2_run("maintain", "retention")
    assert lake.table(BRONZE).properties["k2.commit-times"] == noted


def test_orphans_of_old_go_and_files_on_their_way_stay(lake: Lake, session: SparkSession, simulate: Simulate) -> None:
    lake.run([("binance", simulate("binance", 500, 47, *FAR_BACK))])
    store = lake.store
    assert store is not None
    location = lake.table(SILVER[0]).location().removeprefix("s3://")
    orphan = f"{location}/data/exchange_date_day=2024-03-01/0123456789abcdef-0.parquet"
    with store.filesystem().open_output_stream(orphan) as file:
        file.write(b"of an attempt that never was committed")
    named = {path for name in TABLES for path in files_named(lake.table(name))}

    def is_there() -> bool:
        return bool(store.filesystem().get_file_info(orphan).type != pyarrow.fs.FileType.NotFound)

    # All of today's files are younger than a day.
    rows = maintained(session, "orphans", "--orphans-older-than", "24h", tables=(BRONZE, SILVER[0]))
    assert {row["files"] for row in rows} == {0}
    assert is_there()
    # The procedure itself looks at the clock: seen from two days ahead it refuses what the job has asked.
    table = procedures_table(session, SILVER[0])
    jvm: Any = session.sparkContext._jvm
    action = jvm.org.apache.iceberg.spark.actions.SparkActions.get(session._jsparkSession).deleteOrphanFiles(table)
    result = action.olderThan(later_us(1) // 1000).usePrefixListing(True).execute()
    assert [str(path).removeprefix("s3://") for path in result.orphanFileLocations()] == [orphan]
    assert not is_there()
    assert named == {path for name in TABLES for path in files_named(lake.table(name))}
    lake.assert_files_exist()


def test_offsets_that_iceberg_would_expire_stop_maintenance(
    lake: Lake, session: SparkSession, simulate: Simulate
) -> None:
    lake.run([("binance", simulate("binance", 500, 48, *FAR_BACK))])
    session.sql(
        f"ALTER TABLE iceberg.{NAMESPACE}.{BRONZE} SET TBLPROPERTIES ('history.expire.max-ref-age-ms' = '1000')"
    )
    given = options("expire")
    rows, error = maintenance.Maintenance(session, given).run(["expire"], [BRONZE, GOLD])
    assert isinstance(error, DataError)
    assert "max-ref-age" in str(error)
    assert "error" not in of(rows, "expire", GOLD), "the other tables are looked after"
    assert "k2-offsets" in lake.table(BRONZE).metadata.refs
    assert find_progress(metadata_of(procedures_table(session, BRONZE))).progress.positions


# The command lines.


def job(name: str, *words: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    root = Path(__file__).resolve().parent.parent
    variables = k2_environment({"PYTHONPATH": str(root / "python" / "src")} | (env or {}))
    return subprocess.run(
        [sys.executable, "-m", f"k2.spark.jobs.{name}", *words],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=variables,
    )


@pytest.mark.parametrize(
    ("name", "words", "code", "said"),
    [
        ("maintenance", ["rewite"], 2, "no step 'rewite'"),
        ("maintenance", ["--table", "gold"], 2, "not one of K2's tables"),
        ("maintenance", ["--retain-gold", "soon"], 2, "not a time"),
        ("maintenance", ["--retain-gold", "0s"], 2, "--retain-gold is 0"),
        ("maintenance", ["--orphans-older-than", "1h"], 2, "below 24h"),
        ("maintenance", ["--settled", "forever"], 2, "--settled is forever"),
        ("maintenance", ["--expire-older-than", "0s"], 2, "below 10m"),
        ("create_gold_table", ["--conf", "spark.x"], 2, "KEY=VALUE"),
        ("create_gold_table", ["--master", "sparc://x:1"], 2, "not one that Spark supports"),
        ("create_silver_tables", ["--catalog", "rest.example"], 2, "catalog_uri"),
    ],
)
def test_words_that_are_wrong(name: str, words: list[str], code: int, said: str) -> None:
    done = job(name, *words)
    assert done.returncode == code, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_the_tables_as_sql() -> None:
    done = job("create_silver_tables", "--ddl", "--warehouse", "s3://lake/x")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("CREATE TABLE") == len(schemas.EXCHANGES) + 1
    assert "LOCATION 's3://lake/x/market_data/silver_kraken_trades'" in done.stdout


def test_a_job_by_its_command_line(lake: Lake) -> None:
    local = ("--master", "local[1]", "--conf", "spark.ui.enabled=false", "--conf", "spark.driver.host=127.0.0.1")
    done = job("create_bronze_table", *local, "--output", "json", env=lake.variables)
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads(done.stdout) == [{"table": BRONZE, "outcome": "made"}]
    assert lake.total(BRONZE) == 0


@pytest.mark.parametrize(
    ("java", "kind"),
    [
        ("org.apache.iceberg.exceptions.CommitStateUnknownException: 503", UnknownOutcomeError),
        ("org.apache.iceberg.exceptions.CommitFailedException: branch main has changed", RaceError),
        ("Traceback (most recent call last):\n  ...\nModuleNotFoundError: No module named 'k2'", ConfigurationError),
    ],
)
def test_outcomes_have_their_exit_codes(java: str, kind: type[K2Error]) -> None:
    told = explain(RuntimeError(f"An error occurred while calling o1.sql.\n: {java}\n\tat x.y(Z.java:1)"), "gold")
    assert type(told) is kind
    assert java.rpartition(".")[2].strip() in str(told)
