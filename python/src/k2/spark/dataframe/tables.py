"""K2's tables as a Spark session sees them, through Iceberg's Java API."""

from __future__ import annotations

import math
import sys
import uuid
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from py4j.protocol import Py4JJavaError
from pyspark import SparkContext
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame
from pyspark.sql import functions as f

from k2.spark import columns, schemas
from k2.spark.dataframe.progress import Metadata, Snapshot
from k2.spark.schemas import EXCHANGES, Exchange
from k2.spark.utils.errors import ConfigurationError, SparkStoppedError, UnavailableError, one_line
from k2.spark.utils.explain import explain
from k2.spark.utils.place import check_catalog_place, check_table_place

if TYPE_CHECKING:
    from pyspark.sql import Column, SparkSession


def exchange_of_topic(topic: str) -> Exchange:
    """By `recording/<exchange>/<hash>`, or a name that ends in `.<exchange>`."""
    found = schemas.exchange_of_topic(topic)
    if found is None:
        names = " or ".join(f".{exchange.topic}" for exchange in EXCHANGES)
        raise ConfigurationError(f"topic {topic} belongs to no supported exchange; its name must end in {names}")
    return found


def metadata_of(table: Any) -> Metadata:
    """Of a Java table, as it was loaded last."""
    jvm: Any = SparkContext._jvm
    return Metadata.of_json(jvm.org.apache.iceberg.TableMetadataParser.toJson(table.operations().current()))


# PySpark gives some of Java's exceptions a class of its own.
JAVA_ERRORS = (Py4JJavaError, PySparkException)


def _java_exception(error: BaseException) -> Any:
    return getattr(error, "java_exception", None) or getattr(error, "_origin", None)


def activate(spark: SparkSession) -> None:
    """Iceberg's Java helpers look for the catalogs of the thread's active session."""
    session: Any = type(spark)
    jvm: Any = spark.sparkContext._jvm
    find = getattr(session, "_get_j_spark_session_module", None)  # of Spark 4
    (find(jvm) if find else jvm.SparkSession).setActiveSession(spark._jsparkSession)


def java_causes(error: BaseException) -> list[str]:
    """The names of a Java exception's classes, without their packages, and of what caused it."""
    names: list[str] = []
    at = _java_exception(error)
    while at is not None and len(names) < 10:
        names.append(str(at.getClass().getSimpleName()))
        at = at.getCause()
    return names


def said(error: BaseException) -> str:
    at = _java_exception(error)
    return one_line(at.toString() if at is not None else error)


def unavailable(error: BaseException, what: str) -> UnavailableError:
    """A service is away; or Spark itself has ended, which no waiting mends."""
    told = explain(error, what)
    return told if isinstance(told, SparkStoppedError) else UnavailableError(f"{what}: {said(error)}")


class Table:
    """One of K2's tables."""

    def __init__(self, spark: SparkSession, catalog: str, namespace: str, name: str) -> None:
        self.spark = spark
        self.catalog = catalog
        self.namespace = namespace
        self.name = name
        jvm: Any = spark.sparkContext._jvm
        self.jvm = jvm
        self._loaded: Any = None
        self._making = False
        self._catalog: Any = None

    @property
    def key(self) -> str:
        """Its name in documents."""
        return f"{self.namespace}.{self.name}"

    @property
    def identifier(self) -> str:
        return f"{self.catalog}.{self.namespace}.{self.name}"

    @property
    def java(self) -> Any:
        if self._loaded is None:
            check_catalog_place(self.catalog, self._conf)
            try:
                activate(self.spark)
                spark3 = self.jvm.org.apache.iceberg.spark.Spark3Util
                loaded = spark3.loadIcebergTable(self.spark._jsparkSession, self.identifier)
            except JAVA_ERRORS as error:
                causes = java_causes(error)
                if "NoSuchTableException" in causes and self._made_silver():
                    return self.java
                if {"NoSuchTableException", "NoSuchNamespaceException", "ParseException"} & set(causes):
                    raise ConfigurationError(
                        f"there is no table {self.identifier}: create K2's tables first (`k2 tables create`, or the "
                        "jobs create_bronze_table, create_silver_tables and create_gold_table)"
                    ) from None
                raise unavailable(error, f"cannot load {self.identifier}") from None
            check_table_place(loaded, self.catalog, self._conf)
            self._loaded = loaded
        return self._loaded

    def _made_silver(self) -> bool:
        """Makes a Silver table that is not there, as the program does: the warehouse is older than its exchange."""
        if self.namespace != schemas.NAMESPACE or self.name not in schemas.SILVER or self._making:
            return False
        from k2.spark.jobs.tables import create_tables  # which imports this module

        self._making = True
        create_tables(self.spark, [self.name], catalog=self.catalog)
        return True

    def _conf(self, key: str) -> str:
        return self.spark.conf.get(key, "") or ""

    def current(self) -> Metadata:
        """The metadata as it was loaded last."""
        return metadata_of(self.java)

    def refresh(self) -> Metadata:
        java = self.java
        try:
            java.refresh()
            return self.current()
        except JAVA_ERRORS as error:
            raise unavailable(error, f"cannot read {self.identifier}") from None

    def metadata_with_head(self) -> Metadata:
        """As it stands now. A table of other makers has no snapshot at first; K2's commits need one to stand on."""
        metadata = self.refresh()
        if metadata.head_id is None:
            self.java.newAppend().commit()
            metadata = self.refresh()
        return metadata

    def forget_cached(self) -> None:
        """Iceberg's catalog may keep a table of its own for Spark, which does not know what was committed here."""
        if self._catalog is None:
            activate(self.spark)
            self._catalog = self.jvm.org.apache.iceberg.spark.Spark3Util.loadIcebergCatalog(
                self.spark._jsparkSession, self.catalog
            )
        self._catalog.invalidateTable(self.jvm.org.apache.iceberg.catalog.TableIdentifier.parse(self.key))

    def rows(self, snapshot_id: int, options: Mapping[str, str] | None = None) -> DataFrame:
        self.forget_cached()
        reader = self.spark.read.format("iceberg").option("versionAsOf", str(snapshot_id))
        for name, value in (options or {}).items():
            reader = reader.option(name, value)
        return self.under_k2_names(reader.load(self.identifier))

    def added_rows(self, after: int, snapshot_id: int) -> DataFrame:
        """Those that appends after one snapshot, up to another, have added."""
        self.forget_cached()
        reader = self.spark.read.format("iceberg").option("start-snapshot-id", str(after))
        return self.under_k2_names(reader.option("end-snapshot-id", str(snapshot_id)).load(self.identifier))

    def column_ids(self, metadata: Metadata) -> dict[str, int]:
        return columns.column_ids(self.name, metadata.properties, metadata.schemas)

    def column_now(self, metadata: Metadata, name: str) -> str:
        """What the table calls the column of K2 now."""
        field_id = self.column_ids(metadata)[name]
        return next((field["name"] for field in metadata.fields if field["id"] == field_id), name)

    def under_k2_names(self, rows: DataFrame) -> DataFrame:
        """Rows as the table has them, with K2's columns under K2's names, and those that it has no more as nulls."""
        metadata = self.current()
        ids = self.column_ids(metadata)
        columns.check(self.name, ids, metadata.fields, writing=False)
        # Spark reads a snapshot of the past by the schema of its time.
        of_rows = [
            one["fields"] for one in metadata.schemas if [field["name"] for field in one["fields"]] == rows.columns
        ]
        fields = metadata.fields if not of_rows or metadata.fields in of_rows else of_rows[-1]
        names = columns.k2_names(ids, fields)
        types = {field.name: field.dataType for field in schemas.table(self.name).struct_type().fields}
        missing = [f.lit(None).cast(types[name]).alias(name) for name in types if name not in names]
        if names == rows.columns and not missing:
            return rows
        quoted = ["`" + one.replace("`", "``") + "`" for one in rows.columns]
        renamed = [f.col(old).alias(new) for old, new in zip(quoted, names, strict=True)]
        return rows.select(*renamed, *missing)

    def append(self, rows: DataFrame, branch: str, summary: Mapping[str, str]) -> None:
        """Writes the rows as they are laid out: a file for each of the table's partitions that a task holds. Rows come
        laid out for the partitions that K2 makes its tables with; those of another spec are put together here."""
        self.forget_cached()
        writer = self._clustered(rows).writeTo(f"{self.identifier}.`branch_{branch}`")
        options = {
            "use-table-distribution-and-ordering": "false",
            "distribution-mode": "none",
            "compression-level": "1",
            **{f"snapshot-property.{name}": value for name, value in summary.items()},
        }
        for name, value in options.items():
            writer = writer.option(name, value)
        writer.append()

    def _clustered(self, rows: DataFrame) -> DataFrame:
        """The rows of each task partition by partition, each partition's in the order they had."""
        keys = partition_keys(self.current(), self.name, self.catalog)
        if not keys:
            return rows
        numbered = rows.withColumn("_k2_order", f.monotonically_increasing_id())
        return numbered.sortWithinPartitions(*keys, "_k2_order").drop("_k2_order")

    def columns(self, metadata: Metadata, known: Mapping[str, Column]) -> list[Column]:
        """The table's columns in its order and under its names; those that K2 does not know are null. `known`: by K2's
        names."""
        self.forget_cached()
        ids = self.column_ids(metadata)
        columns.check(self.name, ids, metadata.fields, writing=True)
        types = {one.name: one.dataType for one in self.spark.table(self.identifier).schema.fields}
        chosen: list[Column] = []
        for one, key in zip(metadata.fields, columns.k2_names(ids, metadata.fields), strict=True):
            name = one["name"]
            value = known.get(key)
            chosen.append((f.lit(None).cast(types[name]) if value is None else value).alias(name))
        return chosen

    def added_files(self, snapshot: Snapshot) -> list[Any]:
        """The data files that a snapshot added, in their manifests' order."""
        java = self.java.snapshot(snapshot.snapshot_id)
        return list(java.addedDataFiles(self.java.io()))

    def removed_files(self, snapshot: Snapshot) -> list[Any]:
        java = self.java.snapshot(snapshot.snapshot_id)
        return list(java.removedDataFiles(self.java.io()))

    def set_stands_tags(self, tag: str, snapshot: Snapshot) -> None:
        """On the snapshot at which a layer stands, and on the one before it; those that are there stay."""
        metadata = self.refresh()
        if tag in metadata.refs or snapshot.snapshot_id not in metadata.snapshots:
            return
        manage = self.java.manageSnapshots().createTag(tag, snapshot.snapshot_id)
        if snapshot.parent_id in metadata.snapshots:
            manage = manage.createTag(f"{tag}-before", snapshot.parent_id)
        self._tag(manage)

    def remove_stands_tags(self, tag: str) -> None:
        there = [name for name in (tag, f"{tag}-before") if name in self.current().refs]
        if there:
            manage = self.java.manageSnapshots()
            for name in there:
                manage = manage.removeTag(name)
            self._tag(manage)

    def _tag(self, manage: Any) -> None:
        """The next step tries again where another writer was faster."""
        try:
            manage.commit()
        except JAVA_ERRORS as error:
            print(f"{self.key}: cannot update the tags of a blocked table yet: {said(error)}", file=sys.stderr)

    def scan_tasks(self, scan: Any) -> Iterator[Any]:
        """The files of a scan with the deletes that apply to each."""
        planned = scan.planFiles()
        try:
            tasks = planned.iterator()
            while tasks.hasNext():
                yield tasks.next()
        finally:
            planned.close()

    def snapshot_ids(self, after: int) -> dict[int, int]:
        """Of the commits that added the files which the table has, expired ones included: by sequence number, of those
        above `after`."""
        util, kinds = self.jvm.org.apache.iceberg.spark.SparkTableUtil, self.jvm.org.apache.iceberg.MetadataTableType
        entries = DataFrame(util.loadMetadataTable(self.spark._jsparkSession, self.java, kinds.ENTRIES), self.spark)
        added = entries.where(f"status < 2 AND data_file.content = 0 AND file_sequence_number > {after}")
        return dict(added.select("file_sequence_number", "snapshot_id").distinct().collect())


class TaskSets:
    """Tasks of scans, for Spark to read those files and no others, until closed."""

    def __init__(self) -> None:
        self._staged: list[tuple[Table, str]] = []

    def rows(self, table: Table, tasks: Iterable[Any]) -> DataFrame:
        name = f"k2-{uuid.uuid4().hex}"
        listed = table.jvm.java.util.ArrayList()
        for task in tasks:
            listed.add(task)
        self._manager(table).stageTasks(table.java, name, listed)
        self._staged.append((table, name))
        table.forget_cached()
        rows = table.spark.read.format("iceberg").option("scan-task-set-id", name).load(table.identifier)
        return table.under_k2_names(rows)

    def close(self) -> None:
        for table, name in self._staged:
            self._manager(table).removeTasks(table.java, name)
        self._staged.clear()

    def _manager(self, table: Table) -> Any:
        return table.jvm.org.apache.iceberg.spark.ScanTaskSetManager.get()


# Iceberg's functions for the transforms of partition fields, but for identity.
_TRANSFORM_FUNCTIONS = {"year": "years", "month": "months", "day": "days", "hour": "hours"}


def partition_keys(metadata: Metadata, name: str, catalog: str) -> list[Column]:
    """What tells rows of two partitions apart under the table's present spec; none where it is the spec that K2 makes
    the table with, or has no fields."""
    columns = {one["id"]: one["name"] for one in metadata.fields}
    fields = metadata.specs.get(metadata.spec_id, [])
    present = [(columns.get(one["source-id"]), one["transform"]) for one in fields]
    if name in schemas.TABLES:
        definition = schemas.table(name)
        made = {one["id"]: one["name"] for one in definition.schema["fields"]}
        if present == [(made[one["source-id"]], one["transform"]) for one in definition.partition_spec["fields"]]:
            return []
    keys: list[Column] = []
    for column, transform in present:
        if column is None or transform == "void":  # of a column that K2's rows have no values of: one partition
            continue
        quoted = f"`{column}`"
        kind, _, argument = transform.rstrip("]").partition("[")
        if kind == "identity":
            keys.append(f.col(quoted))
        elif kind in ("bucket", "truncate"):
            keys.append(f.expr(f"{catalog}.system.{kind}({argument}, {quoted})"))
        elif kind in _TRANSFORM_FUNCTIONS:
            keys.append(f.expr(f"{catalog}.system.{_TRANSFORM_FUNCTIONS[kind]}({quoted})"))
        else:
            raise ConfigurationError(
                f"cannot write table {name}: this K2 does not support its partition transform {transform}. "
                "Remove the field from the partition spec, or use a K2 that supports it; nothing was written"
            )
    return keys


def file_count(rows: int, parallelism: int, rows_per_file: int = 250_000) -> int:
    """How many tasks write so many rows: few enough for files of some size, enough for the cores."""
    return max(1, min(parallelism, math.ceil(rows / rows_per_file)))


def any_of(conditions: Iterable[Column]) -> Column:
    """As a tree of even depth: Spark walks through conditions by recursion."""
    level = list(conditions)
    if not level:
        return f.lit(False)
    while len(level) > 1:
        pairs = [level[i] | level[i + 1] for i in range(0, len(level) - 1, 2)]
        level = pairs + level[2 * len(pairs) :]
    return level[0]
