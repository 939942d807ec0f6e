"""The rows of a Silver step with their verdicts: good trades by the JVM, all else by the exact judge."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from pyspark import StorageLevel, cloudpickle
from pyspark.sql import functions as f
from pyspark.sql import types as t

from k2.spark.dataframe import avro_plan, avro_read, avro_schema, judge
from k2.spark.dataframe.judge import TIME_US_MIN, TRADE_AHEAD_US_MAX, Judge
from k2.spark.dataframe.progress import OffsetGap, Position, SourceKey
from k2.spark.dataframe.registry import Schemas
from k2.spark.dataframe.shape import TRADE_FIELDS, FastSchema, fast_schema
from k2.spark.dataframe.tables import Table, any_of, file_count
from k2.spark.schemas import RECORDING_PREFIX, Exchange

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, SparkSession

# Spark's workers need not have this package.
for _module in (avro_schema, avro_read, avro_plan, judge):
    cloudpickle.register_pickle_by_value(_module)

_DAY_US = 86_400_000_000
_FAST_YEARS_END_US = 4_102_444_800_000_000  # 2100: what is later is the exact judge's
_SAMPLED = 1000
SEEN_MAX = 64
_UNIT = Decimal("0.00000001")

_RAW_TYPES: dict[str, t.DataType] = {
    "asset_class": t.StringType(),
    "timestamp": t.LongType(),
    "price": t.LongType(),
    "quantity": t.LongType(),
    "trade_conditions": t.ArrayType(t.StringType(), containsNull=False),
    "source_sequence": t.LongType(),
    "ingestion_timestamp": t.LongType(),
    "platform_sequence": t.LongType(),
    "vendor_data": t.MapType(t.StringType(), t.StringType(), valueContainsNull=False),
}
_VERDICT = t.StructType(
    [
        t.StructField("reason", t.StringType()),
        t.StructField("detail", t.StringType()),
        t.StructField("schema_id", t.IntegerType()),
        *(t.StructField(name, _RAW_TYPES.get(name, t.StringType())) for name in TRADE_FIELDS),
        t.StructField("day", t.IntegerType()),
    ]
)


@dataclass(frozen=True)
class Range:
    """The offsets of one source that a step decides about."""

    key: SourceKey
    exchange: Exchange
    begin: Position  # as Silver has committed it
    rejected_begin: Position  # as rejected_trades has
    end: Position
    leave_out_rejected: bool  # rejected_trades stands ahead: of the rows that it holds, nothing is taken
    in_silver: bool
    in_rejected: bool
    whole: bool  # `end` is where Bronze stands
    gap: OffsetGap | None = None  # of rows that were dropped unread, where `end` is its first one
    accepted: bool = False  # what Bronze holds of it was accepted: its rows are not counted

    @property
    def pending(self) -> int:
        return self.end.next_offset - self.begin.next_offset

    def holds(self) -> Column:
        return (
            (f.col("topic") == self.key.topic)
            & (f.col("partition") == self.key.partition)
            & (f.col("offset") >= self.begin.next_offset)
            & (f.col("offset") < self.end.next_offset)
        )


@dataclass
class Counts:
    """Of one source in a step."""

    rows: int = 0
    accepted: int = 0


class Work:
    """The rows of a step with their verdicts, each decoded once and kept until the tables are written."""

    def __init__(self, spark: SparkSession, rows: DataFrame, ranges: Sequence[Range], schemas: Schemas) -> None:
        self.spark = spark
        self.ranges = ranges
        self.schemas = schemas
        self.some_left_out = False
        self.all_rows = rows
        self.rows = rows
        self.decided: DataFrame | None = None
        self.verdicts: DataFrame | None = None
        self.rows_in = 0
        self.rejected: Counter[str] = Counter()
        self.accepted: Counter[str] = Counter()
        self.times: tuple[int, int] | None = None
        self.rejected_times: tuple[int, int] | None = None
        self.days: tuple[int, int] | None = None
        self.slow_accepted = 0
        self.known: dict[bool, dict[int, str]] = {False: {}, True: {}}  # schemas by id, of recordings or not

    def close(self) -> None:
        for frame in (self.verdicts, self.decided):
            if frame is not None:
                frame.unpersist()

    def leave_out(self, places: DataFrame) -> None:
        self.some_left_out = True
        self.rows = self.rows.join(places, ["topic", "partition", "offset"], "left_anti")

    def count(self) -> dict[tuple[str, int], Counts]:
        """Judges all rows. Counts by topic and partition; rows that were left out count, too."""
        self.decided = self._decide().persist(StorageLevel.MEMORY_AND_DISK)
        day = f.expr(f"cast(trade.timestamp div {_DAY_US} as int)")
        micros = f.expr("unix_micros(kafka_timestamp)")
        found = self.decided.groupBy("topic", "partition").agg(
            f.count("*"), f.count("trade"), f.min(micros), f.max(micros), f.min(day), f.max(day)
        )
        counts = {(one.key.topic, one.key.partition): Counts() for one in self.ranges}
        table_of = {one.key.topic: one.exchange.silver for one in self.ranges}
        slow = 0
        for topic, partition, rows, good, oldest, newest, first_day, last_day in found.collect():
            counts[topic, partition] = Counts(rows, good)
            self.rows_in += rows
            self.accepted[table_of[topic]] += good
            self.times = _span(self.times, oldest, newest)
            self.days = _span(self.days, first_day, last_day)
            slow += rows - good
        if slow:
            self._judge(table_of)
        if self.some_left_out:
            for topic, partition, rows in self.all_rows.groupBy("topic", "partition").count().collect():
                counts[topic, partition].rows = rows
        return counts

    def has_doubles(self) -> bool:
        """Whether an offset is there twice: others may have appended a row again."""
        places = self.all_rows.select("topic", "partition", "offset")
        return places.count() > places.distinct().count()

    # The JVM's part.

    def _decide(self) -> DataFrame:
        """Adds `trade`, the raw trade of rows that are proven good, and keeps the payload of the others."""
        payload, topic = f.col("avro_payload"), f.col("topic")
        recording = topic.startswith(RECORDING_PREFIX)
        rows = self.rows.select(
            "topic",
            "partition",
            "offset",
            "kafka_timestamp",
            "ingestion_date",
            "topic_id",
            "avro_payload",
            self._exchange().alias("exchange"),
        )
        body = f.expr("substring(avro_payload, 6)")
        proven = []
        for i, (fast, keys) in enumerate(self._fast_schemas()):
            headed = any_of((recording == kind) & f.expr(_header_is(schema_id)) for kind, schema_id in keys)
            small = f.length(payload) <= judge.MESSAGE_BYTES_MAX
            shaped = f.when(headed & small, f.decode(body, "ISO-8859-1").rlike(fast.pattern))
            rows = rows.withColumn(f"body{i}", f.when(shaped, body))
            rows = rows.withColumn(f"message{i}", _from_avro(f.col(f"body{i}"), fast.schema))
            proven.append(f.when(f.col(f"body{i}").isNotNull(), _raw_trade(f"message{i}", fast)))
        trade = f.coalesce(*proven) if proven else f.lit(None).cast(_trade_type())
        rows = rows.withColumn("trade", trade)
        rows = rows.withColumn("trade", f.when(_valid(), f.col("trade")))
        return rows.select(
            "topic",
            "partition",
            "offset",
            "kafka_timestamp",
            "ingestion_date",
            "topic_id",
            "exchange",
            "trade",
            f.when(f.col("trade").isNull(), payload).alias("avro_payload"),
        )

    def _exchange(self) -> Column:
        names: dict[str, list[str]] = {}
        for one in self.ranges:
            names.setdefault(one.exchange.name, []).append(one.key.topic)
        chosen: Column | None = None
        for name, topics in names.items():
            fits = f.col("topic").isin(sorted(set(topics)))
            chosen = f.when(fits, name) if chosen is None else chosen.when(fits, name)
        assert chosen is not None
        return chosen

    def _fast_schemas(self) -> list[tuple[FastSchema, list[tuple[bool, int]]]]:
        """Those of ids that were met before, or stand in a sample of the rows; ids of one schema together."""
        if not self.schemas.seen:
            self.schemas.seen |= ids_in(self.rows.limit(_SAMPLED))
        by_json: dict[str, list[tuple[bool, int]]] = {}
        for kind, schema_id in sorted(self.schemas.seen):
            found = self.schemas.of(kind, schema_id)
            if found is not None:
                by_json.setdefault(found, []).append((kind, schema_id))
        usable = ((fast_schema(text), keys) for text, keys in by_json.items())
        return [(fast, keys) for fast, keys in usable if fast is not None][:8]

    # The exact judge's part.

    def _judge(self, table_of: Mapping[str, str]) -> None:
        assert self.decided is not None
        slow = self.decided.where("trade IS NULL")
        ids = ids_in(slow)
        for kind, schema_id in sorted(ids):
            found = self.schemas.of(kind, schema_id)
            if found is not None:
                self.known[kind][schema_id] = found
                if len(self.schemas.seen) < SEEN_MAX:
                    self.schemas.seen.add((kind, schema_id))
        self.verdicts = slow.withColumn("verdict", self._verdict()).persist(StorageLevel.MEMORY_AND_DISK)
        micros = f.expr("unix_micros(kafka_timestamp)")
        found_rows = self.verdicts.groupBy("topic", "verdict.reason").agg(
            f.count("*"),
            f.min(micros),
            f.max(micros),
            f.min("verdict.day"),
            f.max("verdict.day"),
        )
        for topic, reason, count, oldest, newest, first_day, last_day in found_rows.collect():
            if reason is None:
                self.accepted[table_of[topic]] += count
                self.slow_accepted += count
                self.days = _span(self.days, first_day, last_day)
                continue
            self.rejected[reason] += count
            self.rejected_times = _span(self.rejected_times, oldest, newest)

    def _verdict(self, decode_only: bool = False) -> Column:
        decide = _judge_udf(self.known[False], self.known[True], decode_only)
        found: Column = decide(f.col("avro_payload"), f.col("exchange"), f.col("topic").startswith(RECORDING_PREFIX))
        return found

    def rejected_ids(self) -> DataFrame | None:
        """Each message_id once of what is rejected, as far as it can be decoded; None: nothing is rejected."""
        if self.verdicts is None or not self.rejected:
            return None
        decoded = self.verdicts.where("verdict.reason IS NOT NULL").select(
            self._verdict(decode_only=True).alias("decoded")
        )
        return decoded.where("decoded.reason IS NULL").select("decoded.message_id").distinct()

    # Rows to write.

    def rejected_rows(self, table: Table) -> DataFrame:
        assert self.verdicts is not None
        rows = self.verdicts.where("verdict.reason IS NOT NULL").select(
            "topic",
            "partition",
            "offset",
            "kafka_timestamp",
            "verdict.schema_id",
            f.col("avro_payload").alias("payload"),
            "verdict.reason",
            "verdict.detail",
            "ingestion_date",
            f.expr(f"timestamp_micros({int(time.time() * 1_000_000)})").alias("rejected_at"),
            "topic_id",
        )
        count = sum(self.rejected.values())
        rows = rows.coalesce(file_count(count, self.spark.sparkContext.defaultParallelism))
        rows = rows.sortWithinPartitions("ingestion_date", "topic", "partition", "offset")
        return rows.select(*table.columns(table.current(), {name: f.col(name) for name in rows.columns}))

    def silver_rows(self, table: Table, exchange: Exchange) -> DataFrame:
        assert self.decided is not None
        own = f.col("exchange") == exchange.name
        order = [f.col(name).alias(f"_{name}") for name in ("topic", "partition", "offset")]
        day = f.expr(f"cast(trade.timestamp div {_DAY_US} as int)")
        good = self.decided.where(own & f.col("trade").isNotNull())
        rows = good.select(*order, "trade.*", day.alias("day"))
        if self.slow_accepted and self.verdicts is not None:
            others = self.verdicts.where(own & f.col("verdict.reason").isNull())
            raw = [f.col(f"verdict.{name}").alias(name) for name in (*TRADE_FIELDS, "day")]
            for name in ("price", "quantity"):
                at = TRADE_FIELDS.index(name)
                unscaled = f.col(f"verdict.{name}").cast("decimal(18,0)")
                raw[at] = (unscaled * f.lit(_UNIT)).cast("decimal(18,8)").alias(name)
            rows = rows.unionByName(others.select(*order, *raw))
        count = self.accepted[exchange.silver]
        rows = rows.coalesce(file_count(count, self.spark.sparkContext.defaultParallelism))
        if self.days is not None and self.days[0] != self.days[1]:
            rows = rows.sortWithinPartitions("day", "_topic", "_partition", "_offset")
        known = {name: f.col(name) for name in TRADE_FIELDS}
        known |= {name: f.expr(f"timestamp_micros({name})") for name in ("timestamp", "ingestion_timestamp")}
        known["exchange_date"] = f.expr("date_from_unix_date(day)")
        return rows.select(*table.columns(table.current(), known))


def _span(known: tuple[int, int] | None, low: int | None, high: int | None) -> tuple[int, int] | None:
    if low is None or high is None:
        return known
    return (min(known[0], low), max(known[1], high)) if known else (low, high)


def ids_in(rows: DataFrame, most: int | None = None) -> set[tuple[bool, int]]:
    """Schema ids of the rows' messages, and whether they are of recordings: all, or those that most messages have."""
    framed = rows.where("length(avro_payload) >= 5 AND substring(avro_payload, 1, 1) = X'00'")
    recording = f.col("topic").startswith(RECORDING_PREFIX)
    found = framed.groupBy(recording, f.expr("substring(avro_payload, 2, 4)")).count()
    found = found if most is None else found.orderBy(f.desc("count")).limit(most)
    return {(bool(kind), int.from_bytes(header, "big", signed=True)) for kind, header, _ in found.collect()}


def _header_is(schema_id: int) -> str:
    header = b"\0" + schema_id.to_bytes(4, "big", signed=True)
    return f"substring(avro_payload, 1, 5) = X'{header.hex()}'"


def _from_avro(body: Column, schema: str) -> Column:
    from pyspark.sql.avro.functions import from_avro

    return from_avro(body, schema, {"mode": "PERMISSIVE"})


def _trade_type() -> t.StructType:
    types = dict(_RAW_TYPES) | {"price": t.DecimalType(18, 8), "quantity": t.DecimalType(18, 8)}
    return t.StructType([t.StructField(name, types.get(name, t.StringType())) for name in TRADE_FIELDS])


def _raw_trade(message: str, fast: FastSchema) -> Column:
    """V2's fields in their order and types, times in microseconds, of what spark-avro made of a message."""
    fields = []
    for field_ in _trade_type().fields:
        name = fast.columns[field_.name]
        if name is None:
            value = (
                f.array().cast(field_.dataType)
                if field_.name == "trade_conditions"
                else f.lit(None).cast(field_.dataType)
            )
        elif field_.name in fast.symbols:
            symbols = f.array(*(f.lit(symbol) for symbol in fast.symbols[field_.name]))
            value = f.get(symbols, f.col(f"{message}.{name}"))
        else:
            value = f.col(f"{message}.{name}")
        fields.append(value.alias(field_.name))
    return f.struct(*fields)


def _valid() -> Column:
    """The rules of Silver, on `trade` and the topic's `exchange`; whatever is near a limit of Spark's is left out."""
    return f.expr(
        f"""trade.message_id <> '' AND trade.trade_id <> '' AND trade.symbol <> '' AND trade.currency IS NOT NULL
        AND trade.exchange = exchange AND trade.price > 0 AND trade.quantity > 0 AND trade.side IN ('BUY', 'SELL')
        AND trade.asset_class = 'crypto' AND trade.trade_conditions IS NOT NULL
        AND trade.timestamp BETWEEN {TIME_US_MIN} AND {_FAST_YEARS_END_US}
        AND trade.ingestion_timestamp BETWEEN {TIME_US_MIN} AND {_FAST_YEARS_END_US}
        AND trade.timestamp - trade.ingestion_timestamp <= {TRADE_AHEAD_US_MAX}"""
    )


def _judge_udf(of_topics: dict[int, str], of_recordings: dict[int, str], decode_only: bool) -> Any:
    judges: dict[bool, Judge] = {}

    def decide(payload: bytearray | None, exchange: str, recording: bool) -> tuple[Any, ...]:
        if not judges:
            judges.update({False: Judge(of_topics), True: Judge(of_recordings)})
        found = judges[recording].verdict(None if payload is None else bytes(payload), exchange, decode_only)
        return (found.reason, found.detail, found.schema_id, *(found.row or (None,) * 16))

    decide.__annotations__.clear()  # Spark 4 would look for types of its own in them, and warn
    return f.udf(decide, _VERDICT)
