"""The rows of a Silver step, validated by k2.native on Spark's workers: result and row together, each once."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

from pyspark import StorageLevel
from pyspark.sql import functions as f
from pyspark.sql import types as t

from k2.spark import schemas as definitions
from k2.spark.dataframe.native_module import refused_by_worker, ship_native
from k2.spark.dataframe.on_workers import validating
from k2.spark.dataframe.ranges import PLACE, Range
from k2.spark.dataframe.registry import SchemaKey, ref_of, ref_text
from k2.spark.dataframe.tables import JAVA_ERRORS, Table, file_count
from k2.spark.schemas import RECORDING_PREFIX, RULES, SILVER, Exchange

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, SparkSession

RULES_VERSION: int = RULES["version"]
_BATCH_BYTES_MAX = 512 << 20  # of messages that are handed over together: Arrow's limit is 2 GiB
_BATCH_ROWS = "spark.sql.execution.arrow.maxRecordsPerBatch"
_SETS = {False: "topics", True: "recordings"}
_FRAME_BYTES_MAX = 17  # a byte 1 and a GUID
_KEPT = (
    t.StructField("topic", t.StringType()),
    t.StructField("source", t.StringType()),
    t.StructField("partition", t.IntegerType()),
    t.StructField("offset", t.LongType()),
    t.StructField("kafka_timestamp", t.TimestampType()),
    t.StructField("ingestion_date", t.DateType()),
    t.StructField("topic_id", t.StringType()),
)
_TRADE = t.StructType(
    [t.StructField(one.name, one.dataType, one.nullable) for one in definitions.table(SILVER[0]).struct_type().fields]
)
_RESULT = (
    t.StructField("trade", _TRADE),  # null where the message is rejected
    t.StructField("reason", t.StringType()),
    t.StructField("detail", t.StringType()),
    t.StructField("schema_id", t.IntegerType()),
    t.StructField("payload", t.BinaryType()),  # of rejected messages
    t.StructField("message_id", t.StringType()),  # the same
)


@dataclass
class Counts:
    """Of one source in a step."""

    rows: int = 0
    accepted: int = 0


@dataclass(frozen=True)
class Named:
    """Messages of one source that name the same schema."""

    of: tuple[str, str, int]  # the range's counted_as
    key: SchemaKey
    first_offset: int


class Validation:
    """The rows of a step with what became of each, kept until the tables are written. `with_ids`: of rejected messages
    the message_id, too, where it can be read."""

    def __init__(self, spark: SparkSession, rows: DataFrame, ranges: Sequence[Range], with_ids: bool = False) -> None:
        self.spark = spark
        self.ranges = ranges
        self.with_ids = with_ids
        self.native = ship_native(spark)
        self.some_left_out = False
        self.all_rows = rows
        self.rows = rows
        self.validated: DataFrame | None = None
        self.rows_in = 0
        self.rejected: Counter[str] = Counter()
        self.accepted: Counter[str] = Counter()
        self.times: tuple[int, int] | None = None
        self.rejected_times: tuple[int, int] | None = None
        self.days: set[date] = set()
        self._bytes = 0
        self._bytes_max = 0

    def close(self) -> None:
        if self.validated is not None:
            self.validated.unpersist()

    def leave_out(self, places: DataFrame) -> None:
        self.some_left_out = True
        self.rows = self.rows.join(places, list(PLACE), "left_anti")

    def named(self) -> list[Named]:
        """The schemas that the rows' messages name, by source, those of the lowest offsets first."""
        # As much as tells what a message names; the names themselves are k2.native's to read.
        prefix = f.expr(
            "CASE substring(avro_payload, 1, 1) WHEN X'00' THEN substring(avro_payload, 1, 5) "
            f"WHEN X'01' THEN substring(avro_payload, 1, {_FRAME_BYTES_MAX}) END"
        )
        shown = f.expr(
            f"transform(headers, h -> struct(h.key, substring(h.value, 1, {_FRAME_BYTES_MAX + 1}) AS value))"
        )
        size = f.length("avro_payload")
        rows = self.rows.withColumn("headers", self._schema_headers())
        groups = rows.groupBy("topic", "source", "partition", shown.alias("h"), prefix.alias("p")).agg(
            f.min("offset"), f.sum(size), f.max(size)
        )
        found: dict[tuple[tuple[str, str, int], SchemaKey], int] = {}
        for topic, source, partition, headers, start, first, total, largest in groups.collect():
            self._bytes += total or 0
            self._bytes_max = max(self._bytes_max, largest or 0)
            if largest is None:  # tombstones
                continue
            given = [(key, None if value is None else bytes(value)) for key, value in headers or ()]
            name = self.native.schema_name(bytes(start or b""), given)
            if name is not None:
                key = topic.startswith(RECORDING_PREFIX), ref_of(name)
                place = (topic, source, partition), key
                found[place] = min(first, found.get(place, first))
        named = (Named(of, key, first) for (of, key), first in found.items())
        return sorted(named, key=lambda one: one.first_offset)

    def _schema_headers(self) -> Column:
        """The headers that may name a schema; null where there are none."""
        keys = ", ".join(f"'{key}'" for key in self.native.SCHEMA_HEADERS)
        return f.expr(f"nullif(filter(headers, h -> h.key IN ({keys})), array())")

    def count(self, schemas: Mapping[SchemaKey, str]) -> dict[tuple[str, str, int], Counts]:
        """Validates all rows with the schemas that there are. Counts by the ranges' `counted_as`; rows that were left
        out count, too."""
        counts = {one.counted_as: Counts() for one in self.ranges}
        table_of = {one.key.topic: one.exchange.silver for one in self.ranges}
        micros = f.expr("unix_micros(kafka_timestamp)")
        with self._batches_that_fit():
            self.validated = self._validate(schemas).persist(StorageLevel.MEMORY_AND_DISK)
            found = self.validated.groupBy("topic", "source", "partition", "reason").agg(
                f.count("*"), f.min(micros), f.max(micros), f.min("trade.exchange_date"), f.max("trade.exchange_date")
            )
            try:
                groups = found.collect()
            except JAVA_ERRORS as error:
                raise refused_by_worker(error) or error from None
        for topic, source, partition, reason, rows, oldest, newest, first_day, last_day in groups:
            count = counts[topic, source, partition]
            count.rows += rows
            self.rows_in += rows
            self.times = _span(self.times, oldest, newest)
            if reason is None:
                count.accepted += rows
                self.accepted[table_of[topic]] += rows
                self.days |= {first_day, last_day}
            else:
                self.rejected[reason] += rows
                self.rejected_times = _span(self.rejected_times, oldest, newest)
        if self.some_left_out:
            for topic, source, partition, rows in (
                self.all_rows.groupBy("topic", "source", "partition").count().collect()
            ):
                counts[topic, source, partition].rows = rows
        return counts

    def _validate(self, schemas: Mapping[SchemaKey, str]) -> DataFrame:
        topics = {
            one.key.topic: (one.exchange.topic, _SETS[one.key.topic.startswith(RECORDING_PREFIX)])
            for one in self.ranges
        }
        sets: dict[str, dict[str, str]] = {name: {} for name in _SETS.values()}
        for (recording, ref), text in schemas.items():
            sets[_SETS[recording]][ref_text(ref)] = text
        headers = t.StructField("headers", _without_metadata(self.rows.schema["headers"].dataType))
        given = f.expr("nullif(headers, array())").cast(headers.dataType).alias("headers")
        kept = [*_KEPT, headers]
        names = [one.name for one in kept]
        rows = self.rows.select(*names[:-1], given, "avro_payload")
        validate = validating(topics, sets, names, RULES_VERSION, self.with_ids)
        validated = rows.mapInArrow(validate, t.StructType([*kept, *_RESULT]))
        return validated.withColumn("headers", f.when(f.col("reason").isNotNull(), f.col("headers")))

    @contextmanager
    def _batches_that_fit(self) -> Iterator[None]:
        """Fewer rows together where messages are large: Spark cuts batches by rows alone."""
        before = self.spark.conf.get(_BATCH_ROWS)
        rows = int(before or 0)
        fit = max(1, _BATCH_BYTES_MAX // max(1, self._bytes_max))
        if self._bytes <= _BATCH_BYTES_MAX or 0 < rows <= fit:
            yield
            return
        self.spark.conf.set(_BATCH_ROWS, str(fit))
        try:
            yield
        finally:
            self.spark.conf.set(_BATCH_ROWS, str(before))

    def has_doubles(self) -> bool:
        """Whether an offset is there twice: others may have appended a row again."""
        places = self.all_rows.select(*PLACE)
        return places.count() > places.distinct().count()

    def rejected_ids(self) -> DataFrame | None:
        """Each message_id once of what is rejected, as far as it can be decoded; None: nothing is rejected."""
        assert self.with_ids
        assert self.validated is not None
        if not self.rejected:
            return None
        return self.validated.where("message_id IS NOT NULL").select("message_id").distinct()

    # Rows to write.

    def rejected_rows(self, table: Table) -> DataFrame:
        assert self.validated is not None
        rows = self.validated.where("reason IS NOT NULL").select(
            "topic",
            "partition",
            "offset",
            "kafka_timestamp",
            "schema_id",
            "payload",
            "reason",
            "detail",
            "ingestion_date",
            f.expr(f"timestamp_micros({int(time.time() * 1_000_000)})").alias("rejected_at"),
            "topic_id",
            "headers",
        )
        count = sum(self.rejected.values())
        rows = rows.coalesce(file_count(count, self.spark.sparkContext.defaultParallelism))
        rows = rows.sortWithinPartitions("ingestion_date", "topic", "partition", "offset")
        return rows.select(*table.columns(table.current(), {name: f.col(name) for name in rows.columns}))

    def silver_rows(self, table: Table, exchange: Exchange) -> DataFrame:
        assert self.validated is not None
        topics = sorted({one.key.topic for one in self.ranges if one.exchange is exchange})
        order = [f.col(name).alias(f"_{name}") for name in ("topic", "partition", "offset")]
        good = self.validated.where(f.col("topic").isin(topics) & f.col("reason").isNull())
        rows = good.select(*order, "trade.*")
        rows = rows.coalesce(file_count(self.accepted[exchange.silver], self.spark.sparkContext.defaultParallelism))
        if len(self.days) > 1:
            rows = rows.sortWithinPartitions("exchange_date", "_topic", "_partition", "_offset")
        known = {one.name: f.col(one.name) for one in _TRADE.fields}
        return rows.select(*table.columns(table.current(), known))


def _without_metadata(kind: t.DataType) -> t.DataType:
    """As Arrow's types are, which Spark holds the answer against: without the comments of a table's columns."""
    if isinstance(kind, t.ArrayType):
        return t.ArrayType(_without_metadata(kind.elementType), kind.containsNull)
    if isinstance(kind, t.StructType):
        members = (t.StructField(one.name, _without_metadata(one.dataType), one.nullable) for one in kind.fields)
        return t.StructType(list(members))
    return kind


def _span(known: tuple[int, int] | None, low: int | None, high: int | None) -> tuple[int, int] | None:
    if low is None or high is None:
        return known
    return (min(known[0], low), max(known[1], high)) if known else (low, high)
