"""Other engines on the same tables, as judges and as foreign writers: DuckDB's iceberg extension and Spark."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import duckdb
import duckdb_extension_avro
import duckdb_extension_httpfs
import duckdb_extension_iceberg
from pyspark.sql import SparkSession
from warehouse import NAMESPACE

ROOT = Path(__file__).resolve().parent.parent

SPARK_PACKAGES = (
    "org.apache.iceberg:iceberg-spark-runtime-3.5_2.12:1.12.0,org.apache.iceberg:iceberg-aws-bundle:1.12.0,"
    "org.xerial:sqlite-jdbc:3.46.1.3,org.apache.spark:spark-sql-kafka-0-10_2.12:3.5.7,"
    "org.apache.spark:spark-avro_2.12:3.5.7"
)


def duckdb_with_iceberg() -> duckdb.DuckDBPyConnection:
    """The extensions come as packages of PyPI and are loaded from there: nothing is fetched."""
    connection = duckdb.connect(config={"autoinstall_known_extensions": False, "autoload_known_extensions": False})
    for module in (duckdb_extension_avro, duckdb_extension_httpfs, duckdb_extension_iceberg):
        for path in Path(module.__file__).parent.glob("extensions/*/*.duckdb_extension"):
            connection.execute(f"LOAD '{path}'")
    return connection


def duckdb_on_rest(variables: Mapping[str, str]) -> duckdb.DuckDBPyConnection:
    """The REST catalog that K2's variables name, attached as `iceberg`."""
    connection = duckdb_with_iceberg()
    host = variables["K2_S3_ENDPOINT"].removeprefix("http://")
    connection.execute(
        f"CREATE SECRET (TYPE s3, KEY_ID '{variables['AWS_ACCESS_KEY_ID']}', "
        f"SECRET '{variables['AWS_SECRET_ACCESS_KEY']}', REGION '{variables['AWS_REGION']}', "
        f"ENDPOINT '{host}', URL_STYLE 'path', USE_SSL false)"
    )
    connection.execute(
        f"ATTACH '{variables['K2_CATALOG_WAREHOUSE']}' AS iceberg "
        f"(TYPE iceberg, ENDPOINT '{variables['K2_CATALOG']}', AUTHORIZATION_TYPE 'none')"
    )
    return connection


class Spark:
    """One JVM; each warehouse is the catalog `iceberg`, which is part of the layout, in a session of its own."""

    def __init__(self, session: SparkSession) -> None:
        self.session = session
        self.sessions: dict[Path, SparkSession] = {}

    def of(self, folder: Path) -> SparkSession:
        if folder not in self.sessions:
            session = self.session.newSession()
            settings = {
                "": "org.apache.iceberg.spark.SparkCatalog",
                ".type": "jdbc",
                ".uri": f"jdbc:sqlite:{folder}/catalog.db",
                ".jdbc.schema-version": "V1",
                ".warehouse": str(folder),
                ".cache-enabled": "false",
            }
            for key, value in settings.items():
                session.conf.set(f"spark.sql.catalog.iceberg{key}", value)
            self.sessions[folder] = session
        return self.sessions[folder]

    def on_rest(self, variables: Mapping[str, str]) -> SparkSession:
        """A session whose catalog `iceberg` is the REST catalog that K2's variables name."""
        session = self.session.newSession()
        settings = {
            "": "org.apache.iceberg.spark.SparkCatalog",
            ".type": "rest",
            ".uri": variables["K2_CATALOG"],
            ".cache-enabled": "false",
            ".io-impl": "org.apache.iceberg.aws.s3.S3FileIO",
            ".s3.endpoint": variables["K2_S3_ENDPOINT"],
            ".s3.path-style-access": "true",
            ".s3.access-key-id": variables["AWS_ACCESS_KEY_ID"],
            ".s3.secret-access-key": variables["AWS_SECRET_ACCESS_KEY"],
            ".client.region": variables["AWS_REGION"],
        }
        for key, value in settings.items():
            session.conf.set(f"spark.sql.catalog.iceberg{key}", value)
        return session

    def sql(self, folder: Path, text: str) -> list[Any]:
        """Runs text in which {ns} stands for catalog and namespace."""
        return self.of(folder).sql(text.format(ns=f"iceberg.{NAMESPACE}")).collect()


def spark_session(k2: Path) -> Iterator[Spark]:
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)  # with what the workers need: pyarrow
    session = (
        SparkSession.builder.master("local[2]")
        .appName("k2-tests")
        .config("spark.jars.packages", SPARK_PACKAGES)
        .config("spark.sql.extensions", "org.apache.iceberg.spark.extensions.IcebergSparkSessionExtensions")
        .config("spark.driver.memory", "1g")
        .config("spark.driver.bindAddress", "127.0.0.1")
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.ui.enabled", "false")
        .config("spark.sql.shuffle.partitions", "1")
        .config("spark.sql.session.timeZone", "UTC")
        .config("spark.executorEnv.PYTHONPATH", str(ROOT / "python" / "src"))
        .config("spark.executorEnv.K2_PROGRAM", str(k2))
        .getOrCreate()
    )
    session.sparkContext.setLogLevel("ERROR")
    yield Spark(session)
    session.stop()
