"""Moved and copied warehouses on Spark: what writes refuses, and a relocated one reads as PyIceberg reads it."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pytest
from conftest import Simulate
from engines import Spark
from places import contents, delete_by_position, relocate, with_history
from pyspark.sql import SparkSession
from warehouse import ALL_TABLES, BRONZE, GOLD, NAMESPACE, SILVER, Warehouse, assert_nothing_lost

from k2.spark.dataframe import GoldOptions, LakeOptions, SilverOptions, gold_step, silver_step
from k2.spark.dataframe.rebuild import gold_rebuild
from k2.spark.jobs import maintenance
from k2.spark.jobs.tables import create_tables
from k2.spark.utils.errors import ConfigurationError, DataError
from k2.spark.utils.place import check_catalog_place

pytestmark = pytest.mark.timeout(900)  # a machine that does much else besides


@pytest.fixture
def recordings(simulate: Simulate) -> list[tuple[str, Path]]:
    return [(exchange, simulate(exchange, 1_500, 5)) for exchange in ("binance", "kraken")]


@pytest.fixture
def lake(warehouse: Warehouse, recordings: list[tuple[str, Path]]) -> Warehouse:
    return with_history(warehouse, recordings)


def copy_of(lake: Warehouse, folder: Path) -> Warehouse:
    shutil.copytree(lake.folder, folder)
    return Warehouse(lake.k2, folder)


def writers(session: SparkSession) -> dict[str, Callable[[], Any]]:
    """Everything of the package that writes through a session of Spark."""
    options = maintenance.parser().parse_args(["retention", "expire"])
    return {
        "bronze": lambda: LakeOptions().table(session, BRONZE).metadata_with_head(),  # once Kafka has answered
        "silver": lambda: silver_step(session, SilverOptions()),
        "gold": lambda: gold_step(session, GoldOptions()),
        "rebuild": lambda: gold_rebuild(session, GoldOptions()),
        "tables": lambda: create_tables(session, ALL_TABLES),
        "maintenance": lambda: maintenance.Maintenance(session, options).run(["expire"], ALL_TABLES),
    }


def figures(rows: Any) -> dict[str, Any]:
    """Of a table of trades in Arrow, as SQL has them below."""
    return {
        "rows": rows.num_rows,
        "price": pc.sum(rows["price"]).as_py(),
        "quantity": pc.sum(rows["quantity"]).as_py(),
        "ids": len(pc.unique(rows["message_id"])),
        "first": pc.min(rows["message_id"]).as_py(),
        "last": pc.max(rows["message_id"]).as_py(),
    }


def figures_by_spark(session: SparkSession, name: str, at: str = "") -> dict[str, Any]:
    (row,) = session.sql(
        "SELECT count(*) AS rows, sum(price) AS price, sum(quantity) AS quantity, "
        "count(DISTINCT message_id) AS ids, min(message_id) AS first, max(message_id) AS last "
        f"FROM iceberg.{NAMESPACE}.{name} {at}"
    ).collect()
    return dict(row.asDict())


def test_a_copy_is_not_written_until_it_is_relocated(
    lake: Warehouse, recordings: list[tuple[str, Path]], spark: Spark, tmp_path: Path
) -> None:
    gone = delete_by_position(lake, GOLD)
    lake.run(recordings[:1], "--layer", "bronze")  # nothing new
    original = contents(lake.folder)
    copy = copy_of(lake, tmp_path / "copy")
    session = spark.of(copy.folder)
    session.conf.set("spark.sql.codegen.wholeStage", "false")  # to compile would take longer than all else
    session.conf.set("spark.sql.codegen.factoryMode", "NO_CODEGEN")
    for name, write in writers(session).items():
        with pytest.raises(ConfigurationError) as told:
            write()
        assert "is a copy of the warehouse" in str(told.value), name
        assert f"k2 tables relocate --warehouse {copy.folder}" in str(told.value), name
    assert contents(lake.folder) == original

    relocate(copy)
    shutil.move(lake.folder, tmp_path / "aside")  # nothing is read at the old place
    for name in (*SILVER, GOLD):
        table = copy.table(name)
        assert figures_by_spark(session, name) == figures(table.scan().to_arrow()), name
    table = copy.table(GOLD)
    early = table.scan(snapshot_id=table.metadata.refs["early"].snapshot_id).to_arrow()
    assert figures_by_spark(session, GOLD, "VERSION AS OF 'early'") == figures(early)
    rows = table.scan(row_filter="exchange_hour < 12 and price > 100").to_arrow()
    by_spark = figures_by_spark(session, GOLD, "WHERE exchange_hour < 12 AND price > 100")
    assert by_spark == figures(rows)
    assert isinstance(by_spark["price"], Decimal)
    assert session.sql(f"SELECT 1 FROM iceberg.{NAMESPACE}.{GOLD} WHERE message_id = '{gone}'").count() == 0
    (bronze,) = session.sql(
        f"SELECT count(*), sum(offset), sum(length(avro_payload)) FROM iceberg.{NAMESPACE}.{BRONZE}"
    ).collect()
    held = copy.table(BRONZE).scan().to_arrow()
    lengths = pc.sum(pc.binary_length(held["avro_payload"])).as_py()
    assert tuple(bronze) == (held.num_rows, pc.sum(held["offset"]).as_py(), lengths)

    # And it is a warehouse like any other: both engines write to it.
    assert create_tables(session, ALL_TABLES) == dict.fromkeys(ALL_TABLES, "there")
    assert gold_step(session, GoldOptions()).rows_in == 0
    options = maintenance.parser().parse_args(["expire"])
    assert maintenance.Maintenance(session, options).run(["expire"], [GOLD])[1] is None
    report = copy.run(recordings)
    assert [report[layer]["rows_in"] for layer in ("bronze", "silver", "gold")] == [0, 0, 0]
    assert not lake.folder.exists()


def test_a_moved_one_is_told_apart_from_a_copy(lake: Warehouse, spark: Spark, tmp_path: Path) -> None:
    moved = Warehouse(lake.k2, tmp_path / "moved")
    lake.folder.rename(moved.folder)
    with pytest.raises(ConfigurationError, match=f"{lake.folder} was moved to {moved.folder}.*relocate"):
        gold_step(spark.of(moved.folder), GoldOptions())
    relocate(moved)
    assert gold_step(spark.of(moved.folder), GoldOptions()).rows_in == 0
    assert_nothing_lost(moved)


def test_a_copied_hadoop_catalog(spark: Spark, tmp_path: Path) -> None:
    """It finds tables by their folders, and each table's metadata names the place that it was made in."""

    def session_on(folder: Path) -> SparkSession:
        session = spark.session.newSession()
        prefix = "spark.sql.catalog.iceberg"
        for key, value in {"": "org.apache.iceberg.spark.SparkCatalog", ".type": "hadoop"}.items():
            session.conf.set(f"{prefix}{key}", value)
        session.conf.set(f"{prefix}.warehouse", f"file://{folder}")
        session.conf.set(f"{prefix}.cache-enabled", "false")
        return session

    made = session_on(tmp_path / "hadoop")
    assert create_tables(made, ALL_TABLES) == dict.fromkeys(ALL_TABLES, "made")
    assert gold_step(made, GoldOptions()).rows_in == 0
    (tmp_path / "link").symlink_to(tmp_path / "hadoop")
    assert gold_step(session_on(tmp_path / "link"), GoldOptions()).rows_in == 0
    shutil.copytree(tmp_path / "hadoop", tmp_path / "copied")
    copied = session_on(tmp_path / "copied")
    for write in (lambda: gold_step(copied, GoldOptions()), lambda: create_tables(copied, ALL_TABLES)):
        with pytest.raises(ConfigurationError, match="was moved or copied"):
            write()


# Without Spark.


def check(folder: Path) -> None:
    settings = {"spark.sql.catalog.iceberg.uri": f"jdbc:sqlite:{folder}/catalog.db"}
    check_catalog_place("iceberg", lambda key: settings.get(key, ""))


def forget_place(folder: Path) -> None:
    """As a catalog of an older version is."""
    with sqlite3.connect(folder / "catalog.db") as db:
        db.execute("DROP TABLE k2_warehouse")


def test_by_other_names_it_is_the_same_place(lake: Warehouse, tmp_path: Path) -> None:
    check(lake.folder)
    (tmp_path / "link").symlink_to(lake.folder)
    check(tmp_path / "link")
    check(lake.folder / ".." / lake.folder.name)
    check(tmp_path / "nothing yet")
    check_catalog_place("iceberg", lambda _: "jdbc:postgresql://db/catalog")
    forget_place(lake.folder)
    check(lake.folder)
    check(tmp_path / "link")


def test_catalogs_that_remember_no_place(lake: Warehouse, tmp_path: Path) -> None:
    """Where a table's files lie tells it."""
    forget_place(lake.folder)
    copy = copy_of(lake, tmp_path / "copy")
    with pytest.raises(ConfigurationError, match="is a copy of the warehouse"):
        check(copy.folder)
    lake.folder.rename(tmp_path / "gone")
    with pytest.raises(ConfigurationError, match="was moved to"):
        check(copy.folder)
    with sqlite3.connect(copy.folder / "catalog.db") as db:
        db.execute("UPDATE iceberg_tables SET metadata_location = 's3://lake/m.json'")
    check(copy.folder)


def test_both_say_the_same_of_a_catalog(lake: Warehouse, tmp_path: Path) -> None:
    copy = copy_of(lake, tmp_path / "copy")
    with pytest.raises(ConfigurationError) as told:
        check(copy.folder)
    assert str(told.value) in copy.k2_run("tables", "create", expect=2).stderr
    (copy.folder / "catalog.db").write_bytes(b"x" * 8192)
    with pytest.raises(DataError, match="k2 tables recover"):
        check(copy.folder)
