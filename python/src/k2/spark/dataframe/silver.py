"""Bronze to Silver: each message decoded and judged; it goes to its exchange's table, or to rejected_trades.

The JVM decides about messages that it can prove to be good trades (shape.py), the exact judge in Python (judge.py)
about all others.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from pyspark import StorageLevel, cloudpickle
from pyspark.sql import functions as f
from pyspark.sql import types as t

from k2.spark.dataframe import avro, judge, messages
from k2.spark.dataframe.judge import RULES_VERSION, TRADE_AGE_US_MAX, TRADE_AHEAD_US_MAX, Judge
from k2.spark.dataframe.progress import (
    RECORDING_CLUSTER,
    DroppedUnread,
    Metadata,
    Move,
    OffsetsError,
    Position,
    Progress,
    SourceKey,
    UpstreamHint,
    dropped_unread,
    find_progress,
    times_summary,
)
from k2.spark.dataframe.publish import publish
from k2.spark.dataframe.registry import Schemas
from k2.spark.dataframe.shape import TRADE_FIELDS, FastSchema, fast_schema
from k2.spark.dataframe.step import LakeOptions, StepResult, offset_of, shares
from k2.spark.dataframe.tables import (
    BRONZE,
    EXCHANGES,
    RECORDING_PREFIX,
    REJECTED,
    Exchange,
    Table,
    any_of,
    exchange_of_topic,
    file_count,
)
from k2.spark.utils.errors import ConfigurationError, DataError

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, SparkSession

# Spark's workers need not have this package.
for _module in (avro, judge, messages):
    cloudpickle.register_pickle_by_value(_module)

_DAY_US = 86_400_000_000
_FAST_YEARS_END_US = 4_102_444_800_000_000  # 2100: what is outside 1970 to 2100 is the exact judge's
_SAMPLED = 1000
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


@dataclass
class SilverOptions(LakeOptions):
    """`schemas`: keep it between steps. `owns`: the source partitions that are this process's work; all, without it."""

    schemas: Schemas = field(default_factory=Schemas)
    owns: Callable[[str, int], bool] | None = None


@dataclass(frozen=True)
class _Range:
    """The offsets of one source that a step decides about."""

    key: SourceKey
    exchange: Exchange
    begin: Position  # as Silver has committed it
    rejected_begin: Position  # as rejected_trades has
    end: Position
    already_judged: bool
    in_silver: bool
    in_rejected: bool
    whole: bool  # `end` is where Bronze stands

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
class _Counts:
    """Of one source in a step."""

    rows: int = 0
    accepted: int = 0


def silver_step(spark: SparkSession, options: SilverOptions) -> StepResult:
    """Judges at most about `rows_per_step` rows of Bronze that were not yet, and commits rejected_trades first."""
    return _Step(spark, options).run()


def silver_settle(spark: SparkSession, options: SilverOptions) -> StepResult:
    """Brings rejected_trades to the offsets of the others, when it stands behind for lack of rows."""
    return _Step(spark, options).settle()


class _Step:
    def __init__(self, spark: SparkSession, options: SilverOptions) -> None:
        self.spark = spark
        self.options = options
        self.result = StepResult("silver")
        self.bronze = options.table(spark, BRONZE)
        self.rejected = options.table(spark, REJECTED)
        self.silver = {one.silver_table: options.table(spark, one.silver_table) for one in EXCHANGES}

    # Plan.

    def _load(self) -> None:
        # Bronze last: what the others have read must be in it.
        self.rejected_progress = find_progress(self.rejected.metadata_with_head()).progress
        self.silver_progress = {
            name: find_progress(table.metadata_with_head()).progress for name, table in self.silver.items()
        }
        self.bronze_metadata: Metadata = self.bronze.metadata_with_head()
        self.bronze_progress = find_progress(self.bronze_metadata).progress

    def _owns(self, key: SourceKey) -> bool:
        return self.options.owns is None or self.options.owns(key.topic, key.partition)

    def _ranges(self) -> list[_Range]:
        dropped = dropped_unread(self.bronze_metadata)
        ranges = []
        for key, bronze_end in sorted(self.bronze_progress.positions.items()):
            if self._owns(key):
                found = self._range(key, bronze_end, dropped)
                if found.pending > 0:
                    ranges.append(found)
        self.result.behind_by_source = {one.key: one.pending for one in ranges}
        # Rows that are judged already are caught up alone, before anything is judged anew.
        return [one for one in ranges if one.already_judged] or ranges

    def _range(self, key: SourceKey, bronze_end: Position, dropped: DroppedUnread | None) -> _Range:
        exchange = exchange_of_topic(key.topic)
        silver, rejected = self.silver_progress[exchange.silver_table], self.rejected_progress
        if max(silver.rules, rejected.rules) > RULES_VERSION:
            raise ConfigurationError(
                f"{exchange.silver_table} was judged by rules of version {max(silver.rules, rejected.rules)}, this k2 "
                f"has version {RULES_VERSION}; use a newer k2"
            )
        begin = silver.positions.get(key, Position())
        rejected_begin = rejected.positions.get(key, Position())
        # rejected_trades is committed first: where it stands ahead, a crash came between the two.
        judged = rejected_begin.next_offset > begin.next_offset
        end, whole = (rejected_begin, True) if judged else (bronze_end, True)
        gap = dropped.gaps.get(key) if dropped else None
        if gap is not None and begin.next_offset <= gap.last and end.next_offset > gap.first:
            if begin.next_offset >= gap.first:
                raise OffsetsError(
                    f"Bronze's retention has dropped rows that {exchange.silver_table} had not read: it stands at "
                    f"offset {begin.next_offset} of {key.topic}, partition {key.partition}, and offsets up to "
                    f"{gap.last} are gone ({gap.rows} rows at most). To go on without them: `k2 offsets set --table "
                    f"{exchange.silver_table} --topic {key.topic} --partition {key.partition} --next {gap.last + 1} "
                    "--accept-loss`"
                )
            # Rows that were dropped unread are no part of any range: what lies before them is judged, then it stops.
            end, whole = Position(gap.first, end.leader_epoch), False
        return _Range(
            key,
            exchange,
            begin,
            rejected_begin,
            end,
            judged,
            key in silver.positions,
            key in rejected.positions,
            whole,
        )

    def _cut(self, ranges: Sequence[_Range], rows_max: int) -> list[_Range]:
        taken = shares({one.key: one.pending for one in ranges}, rows_max)
        cut = []
        for one in ranges:
            if taken[one.key] == one.pending:
                cut.append(one)
            else:
                end = Position(one.begin.next_offset + taken[one.key], one.end.leader_epoch)
                cut.append(replace(one, end=end, whole=False))
        return cut

    # Run.

    def run(self) -> StepResult:
        began = time.monotonic()
        self._load()
        ranges = self._ranges()
        if not ranges:
            self.result.plan_s = time.monotonic() - began
            return self.result
        rows_max = self.options.rows_per_step
        while True:
            cut = self._cut(ranges, rows_max)
            self.result.plan_s = time.monotonic() - began
            if self._move(cut):
                break
            rows_max *= 8  # nothing but gaps of offsets up to there
        for one in cut:
            if one.key in self.result.behind_by_source:
                self.result.behind_by_source[one.key] -= one.pending
        self.result.behind = sum(self.result.behind_by_source.values())
        return self.result

    def _move(self, ranges: list[_Range]) -> bool:
        since = time.monotonic()
        assert self.bronze_metadata.head_id is not None
        rows = self.bronze.rows(self.bronze_metadata.head_id).where(any_of(one.holds() for one in ranges))
        judged = any(one.already_judged for one in ranges)
        work = _Work(self.spark, rows, ranges, self.options.schemas, judged)
        try:
            if judged:
                work.leave_out(self._rejected_places(ranges))
            counts = work.count()
            ranges = self._without_gaps(ranges, counts)
            if not ranges:
                return False
            ranges = self._check_counts(ranges, counts)
            self.result.rows_in = work.rows_in
            self.result.rejected = work.rejected
            self.result.run_s += time.monotonic() - since
            self._commit(ranges, work)
        finally:
            work.close()
        return True

    def _rejected_places(self, ranges: Sequence[_Range]) -> DataFrame:
        """Of ranges that were judged before a crash."""
        head = self.rejected.current().head_id
        assert head is not None
        places = self.rejected.rows(head).where(any_of(one.holds() for one in ranges))
        return places.select("topic", "partition", "offset")

    def _without_gaps(self, ranges: list[_Range], counts: Mapping[tuple[str, int], _Counts]) -> list[_Range]:
        """A range that was cut moves only over rows that are read: what lies before the cut may be a gap or a loss,
        which the count of a whole range tells apart."""
        return [one for one in ranges if one.whole or counts[one.key.topic, one.key.partition].rows > 0]

    def _check_counts(self, ranges: list[_Range], counts: Mapping[tuple[str, int], _Counts]) -> list[_Range]:
        """Stops when some of Bronze's rows are missing: nothing is skipped in silence. A recording numbers its messages
        without gaps; Kafka's offsets have gaps, but Bronze has counted its rows up to where it stands."""
        checked = []
        for one in ranges:
            rows, expected = counts[one.key.topic, one.key.partition].rows, -1
            if one.key.cluster == RECORDING_CLUSTER:
                expected = one.pending
            else:
                before = one.begin.messages if one.in_silver else 0
                counted = -1 if before < 0 else before + rows
                if not one.whole:
                    one = replace(one, end=replace(one.end, messages=counted))
                if counted >= 0 and one.end.messages >= 0:
                    expected = one.end.messages - before
            if expected >= 0 and rows != expected:
                raise OffsetsError(
                    f"Bronze holds {rows} rows where it must hold {expected}, from offset {one.begin.next_offset} to "
                    f"{one.end.next_offset} of {one.key.topic}, partition {one.key.partition}: rows were deleted "
                    "before they were read, or added twice. See `k2 offsets show`; `k2 offsets set --accept-loss` goes "
                    "on without them"
                )
            checked.append(one)
        return checked

    # Commit.

    def _hint(self) -> dict[str, UpstreamHint]:
        metadata, head = self.bronze_metadata, self.bronze_metadata.head_id or 0
        return {self.bronze.key: UpstreamHint(metadata.uuid, head, metadata.sequence_of(head))}

    def _commit(self, ranges: list[_Range], work: _Work) -> None:
        # rejected_trades first: a crash after it leaves Silver behind, and Silver then takes what it has not.
        rejected_rows = sum(work.rejected.values())
        if rejected_rows and not any(one.already_judged for one in ranges):
            base, after = Progress(), Progress(upstream=self._hint(), rules=RULES_VERSION)
            for one in ranges:
                if one.in_rejected:
                    base.positions[one.key] = one.rejected_begin
                after.positions[one.key] = one.end
            refused = work.rejected_rows(self.rejected)
            self._publish(self.rejected, Move(base, after), refused, rejected_rows, work.rejected_times)
        for exchange in EXCHANGES:
            own = [one for one in ranges if one.exchange is exchange]
            if not own:
                continue
            base, after = Progress(), Progress(upstream=self._hint(), rules=RULES_VERSION)
            for one in own:
                if one.in_silver:
                    base.positions[one.key] = one.begin
                after.positions[one.key] = one.end
            table = self.silver[exchange.silver_table]
            count = work.accepted[exchange.silver_table]
            rows = work.silver_rows(table, exchange) if count else None
            self._publish(table, Move(base, after), rows, count, work.times)
            self.result.rows_out += count

    def _publish(
        self, table: Table, move: Move, rows: DataFrame | None, count: int, times: tuple[int, int] | None
    ) -> None:
        write = None if rows is None else (lambda branch, summary: table.append(rows, branch, summary))
        self.result.took(publish(table, move, write, times_summary(times), self.options.policy, expected_rows=count))

    def settle(self) -> StepResult:
        self._load()
        base, after = Progress(), Progress(upstream=self._hint(), rules=RULES_VERSION)
        for progress in self.silver_progress.values():
            for key, position in progress.positions.items():
                known = self.rejected_progress.positions
                if not self._owns(key) or offset_of(known, key) >= position.next_offset:
                    continue
                if key in known:
                    base.positions[key] = known[key]
                after.positions[key] = position
        if after.positions:
            self.result.took(publish(self.rejected, Move(base, after), policy=self.options.policy))
        return self.result


class _Work:
    """The rows of a step with their verdicts, each decoded once and kept until the tables are written."""

    def __init__(
        self, spark: SparkSession, rows: DataFrame, ranges: Sequence[_Range], schemas: Schemas, judged: bool
    ) -> None:
        self.spark = spark
        self.ranges = ranges
        self.schemas = schemas
        self.judged = judged
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

    def close(self) -> None:
        for frame in (self.verdicts, self.decided):
            if frame is not None:
                frame.unpersist()

    def leave_out(self, places: DataFrame) -> None:
        self.rows = self.rows.join(places, ["topic", "partition", "offset"], "left_anti")

    def count(self) -> dict[tuple[str, int], _Counts]:
        """Judges all rows. Counts by topic and partition; rows that were left out count, too."""
        self.decided = self._decide().persist(StorageLevel.MEMORY_AND_DISK)
        day = f.expr(f"cast(trade.timestamp div {_DAY_US} as int)")
        micros = f.expr("unix_micros(kafka_timestamp)")
        found = self.decided.groupBy("topic", "partition").agg(
            f.count("*"), f.count("trade"), f.min(micros), f.max(micros), f.min(day), f.max(day)
        )
        counts = {(one.key.topic, one.key.partition): _Counts() for one in self.ranges}
        table_of = {one.key.topic: one.exchange.silver_table for one in self.ranges}
        slow = 0
        for topic, partition, rows, good, oldest, newest, first_day, last_day in found.collect():
            counts[topic, partition] = _Counts(rows, good)
            self.rows_in += rows
            self.accepted[table_of[topic]] += good
            self.times = _span(self.times, oldest, newest)
            self.days = _span(self.days, first_day, last_day)
            slow += rows - good
        if slow:
            self._judge(table_of)
        if self.judged:
            for topic, partition, rows in self.all_rows.groupBy("topic", "partition").count().collect():
                counts[topic, partition].rows = rows
        return counts

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
            "exchange",
            "trade",
            f.when(f.col("trade").isNull(), payload).alias("avro_payload"),
        )

    def _exchange(self) -> Column:
        names: dict[str, list[str]] = {}
        for one in self.ranges:
            names.setdefault(one.exchange.message_name, []).append(one.key.topic)
        chosen: Column | None = None
        for name, topics in names.items():
            fits = f.col("topic").isin(sorted(set(topics)))
            chosen = f.when(fits, name) if chosen is None else chosen.when(fits, name)
        assert chosen is not None
        return chosen

    def _fast_schemas(self) -> list[tuple[FastSchema, list[tuple[bool, int]]]]:
        """Those of ids that were met before, or stand in a sample of the rows; ids of one schema together."""
        if not self.schemas.seen:
            self.schemas.seen |= _ids_in(self.rows.limit(_SAMPLED))
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
        ids = _ids_in(slow)
        known: dict[bool, dict[int, str]] = {False: {}, True: {}}
        for kind, schema_id in sorted(ids):
            found = self.schemas.of(kind, schema_id)
            if found is not None:
                known[kind][schema_id] = found
                if len(self.schemas.seen) < 64:
                    self.schemas.seen.add((kind, schema_id))
        verdict = _judge_udf(known[False], known[True], self.judged)
        arguments = (f.col("avro_payload"), f.col("exchange"), f.col("topic").startswith(RECORDING_PREFIX))
        self.verdicts = slow.withColumn("verdict", verdict(*arguments)).persist(StorageLevel.MEMORY_AND_DISK)
        micros = f.expr("unix_micros(kafka_timestamp)")
        found_rows = self.verdicts.groupBy("topic", "verdict.reason").agg(
            f.count("*"),
            f.min(micros),
            f.max(micros),
            f.min("verdict.day"),
            f.max("verdict.day"),
            f.min(f.struct("partition", "offset", "verdict.detail")),
        )
        for topic, reason, count, oldest, newest, first_day, last_day, example in found_rows.collect():
            if reason is None:
                self.accepted[table_of[topic]] += count
                self.slow_accepted += count
                self.days = _span(self.days, first_day, last_day)
                continue
            if self.judged:
                raise DataError(
                    f"the row at offset {example[1]} of {topic} was accepted before a crash and cannot be read now "
                    f"({example[2]}): was a schema changed?"
                )
            self.rejected[reason] += count
            self.rejected_times = _span(self.rejected_times, oldest, newest)

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
        )
        count = sum(self.rejected.values())
        rows = rows.coalesce(file_count(count, self.spark.sparkContext.defaultParallelism))
        rows = rows.sortWithinPartitions("ingestion_date", "topic", "partition", "offset")
        return rows.select(*table.columns(table.current(), {name: f.col(name) for name in rows.columns}))

    def silver_rows(self, table: Table, exchange: Exchange) -> DataFrame:
        assert self.decided is not None
        own = f.col("exchange") == exchange.message_name
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
        count = self.accepted[exchange.silver_table]
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


def _ids_in(rows: DataFrame) -> set[tuple[bool, int]]:
    """Schema ids of the rows' messages, and whether they are of recordings."""
    framed = rows.where("length(avro_payload) >= 5 AND substring(avro_payload, 1, 1) = X'00'")
    recording = f.col("topic").startswith(RECORDING_PREFIX)
    found = framed.select(recording, f.expr("substring(avro_payload, 2, 4)")).distinct().collect()
    return {(bool(kind), int.from_bytes(header, "big", signed=True)) for kind, header in found}


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
        AND trade.timestamp BETWEEN 0 AND {_FAST_YEARS_END_US}
        AND trade.ingestion_timestamp BETWEEN 0 AND {_FAST_YEARS_END_US}
        AND trade.timestamp - trade.ingestion_timestamp BETWEEN -{TRADE_AGE_US_MAX} AND {TRADE_AHEAD_US_MAX}"""
    )


def _judge_udf(of_topics: dict[int, str], of_recordings: dict[int, str], judged: bool) -> Any:
    judges: dict[bool, Judge] = {}

    def decide(payload: bytearray | None, exchange: str, recording: bool) -> tuple[Any, ...]:
        if not judges:
            judges.update({False: Judge(of_topics), True: Judge(of_recordings)})
        found = judges[recording].verdict(None if payload is None else bytes(payload), exchange, judged)
        return (found.reason, found.detail, found.schema_id, *(found.row or (None,) * 16))

    return f.udf(decide, _VERDICT)
