"""Kafka to Bronze: the messages as they came, by ranges of offsets."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pyspark import StorageLevel
from pyspark.sql import functions as f

from k2.spark.dataframe.kafka import NO_TOPIC_ID, End, KafkaAdmin, Topic, parse_start
from k2.spark.dataframe.progress import (
    Move,
    OffsetsError,
    Position,
    Positions,
    Progress,
    SourceKey,
    find_progress,
    times_summary,
)
from k2.spark.dataframe.publish import publish
from k2.spark.dataframe.step import LakeOptions, StepResult, shares
from k2.spark.dataframe.tables import JAVA_ERRORS, file_count, said, unavailable
from k2.spark.schemas import BRONZE, DEFAULT_TOPICS, RULES
from k2.spark.utils.errors import ConfigurationError, K2Error, one_line

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, SparkSession


def _how_to_go_on(topic: str) -> str:
    return (
        "Nothing was skipped, and nothing of the other topic was read; `k2 offsets show` shows the committed offsets. "
        f"If this is intended, `k2 offsets accept --topic {topic} --dry-run` shows what will be read; without "
        "--dry-run, the topic is read from its beginning into the same tables"
    )


@dataclass
class BronzeOptions(LakeOptions):
    """`topics`: names, or patterns that begin with ^. `start` (earliest, latest, a time as RFC 3339) holds for topics
    of which Bronze knows no partition yet. `kafka_settings`: of Kafka's Java client. Of each topic only the partitions
    from `first_partition` to `last_partition` are read: the others are another process's work."""

    brokers: str = ""
    topics: Sequence[str] = ()
    start: str = "earliest"
    kafka_settings: Mapping[str, str] = field(default_factory=dict)
    group: str = ""
    first_partition: int = 0
    last_partition: int = (1 << 31) - 1


def bronze_step(spark: SparkSession, options: BronzeOptions) -> StepResult:
    """Takes at most about `rows_per_step` messages that Bronze has not yet, and commits them with their offsets."""
    if not options.brokers or not options.topics:
        raise ConfigurationError("Bronze needs Kafka's brokers and the names of topics")
    with KafkaAdmin(spark, options.brokers, options.kafka_settings) as admin:
        return _Step(spark, options, admin).run()


class _Step:
    def __init__(self, spark: SparkSession, options: BronzeOptions, admin: KafkaAdmin) -> None:
        self.spark = spark
        self.options = options
        self.admin = admin
        self.table = options.table(spark, BRONZE)
        self.result = StepResult("bronze")
        self.topics: list[Topic] = []
        self.stopped: list[OffsetsError] = []  # of what cannot be read on; it holds up nothing else
        self.cluster = ""

    def run(self) -> StepResult:
        began = time.monotonic()
        progress = find_progress(self.table.metadata_with_head()).progress
        keys = self._sources()
        stopped = self._other_topics(progress.positions)
        keys = [key for key in keys if key.topic not in stopped]
        self.stopped = list(stopped.values())
        progress = self._begin_new(keys, progress)
        ranges = self._ranges(keys, progress)
        self.result.plan_s = time.monotonic() - began - self.result.commit_s
        if ranges:
            self._move(progress, ranges)
        elif self.stopped:
            raise self.stopped[0]
        return self.result

    def _sources(self) -> list[SourceKey]:
        self.cluster = self.admin.cluster_id()
        self.topics, missing = self.admin.topics(self.options.topics)
        default = tuple(self.options.topics) == DEFAULT_TOPICS
        if missing and not (default and self.topics):
            raise ConfigurationError(
                f"there is no Kafka topic {missing[0]} at {self.options.brokers}: choose another, or create it (`k2 "
                "produce --create-topics N`)"
            )
        if not self.topics:
            raise ConfigurationError(
                f"no Kafka topic at {self.options.brokers} matches {', '.join(self.options.topics)}"
            )
        return [
            SourceKey(self.cluster, topic.name, topic.id, partition)
            for topic in self.topics
            for partition in range(topic.partitions)
            if self.options.first_partition <= partition <= self.options.last_partition
        ]

    def _other_topics(self, committed: Positions) -> dict[str, OffsetsError]:
        """A topic that was recreated, or is of another cluster, is another source under the same name."""
        stopped = {}
        for topic in self.topics:
            others = [key for key in committed if key.topic == topic.name]
            if not others or any((key.cluster, key.topic_id) == (self.cluster, topic.id) for key in others):
                continue
            other = others[0]
            if other.cluster != self.cluster:
                stopped[topic.name] = OffsetsError(
                    f"the table has read Kafka topic {topic.name} of cluster {other.cluster}, but the brokers at "
                    f"{self.options.brokers} belong to cluster {self.cluster}. {_how_to_go_on(topic.name)}"
                )
                continue
            stopped[topic.name] = OffsetsError(
                f"Kafka topic {topic.name} was recreated: the table has read the topic with the id {other.topic_id}, "
                f"but its id is now {topic.id}. {_how_to_go_on(topic.name)}"
            )
        return stopped

    def _begin_new(self, keys: Sequence[SourceKey], progress: Progress) -> Progress:
        """Commits where sources begin that Bronze does not know yet, before anything is read of them."""
        unknown = [key for key in keys if key not in progress.positions]
        if not unknown:
            return progress
        known = {
            (key.cluster, key.topic, key.topic_id)
            for key in progress.positions
            if self.options.first_partition <= key.partition <= self.options.last_partition
        }
        # A partition that a known topic has got since begins at its very beginning.
        first_met = [key for key in unknown if (key.cluster, key.topic, key.topic_id) not in known]
        places = self.admin.offsets([(k.topic, k.partition) for k in first_met], parse_start(self.options.start))
        starts = {key: Position(0, messages=0) for key in unknown}
        for key in first_met:
            starts[key] = Position(places[key.topic, key.partition].offset, messages=0)
        move = Move(Progress(), Progress(starts))
        self.result.took(publish(self.table, move, policy=self.options.policy, confirm=self._confirm))
        return find_progress(self.table.refresh()).progress

    def _ranges(self, keys: Sequence[SourceKey], progress: Progress) -> dict[SourceKey, tuple[int, int]]:
        """Of each source that has more: the offsets to take."""
        places = [(key.topic, key.partition) for key in keys]
        first, last = self.admin.offsets(places, "earliest"), self.admin.offsets(places, "latest")
        pending: dict[SourceKey, int] = {}
        for key in keys:
            position = progress.positions[key]
            low, high = first[key.topic, key.partition].offset, last[key.topic, key.partition].offset
            if not low <= position.next_offset <= high:
                self.stopped.append(_lost(key, position, low, high))
                continue
            if high > position.next_offset:
                pending[key] = high - position.next_offset
        self.last: dict[SourceKey, End] = {key: last[key.topic, key.partition] for key in keys}
        taken = shares(pending, self.options.rows_per_step)
        self.result.behind_by_source = {key: pending.get(key, 0) - taken.get(key, 0) for key in keys}
        self.result.behind = sum(self.result.behind_by_source.values())
        return {
            key: (progress.positions[key].next_offset, progress.positions[key].next_offset + count)
            for key, count in taken.items()
        }

    def _read(self, ranges: Mapping[SourceKey, tuple[int, int]]) -> DataFrame:
        starting: dict[str, dict[str, int]] = {}
        ending: dict[str, dict[str, int]] = {}
        for key, (begin, end) in ranges.items():
            starting.setdefault(key.topic, {})[str(key.partition)] = begin
            ending.setdefault(key.topic, {})[str(key.partition)] = end
        parallelism = self.spark.sparkContext.defaultParallelism
        reader = (
            self.spark.read.format("kafka")
            .option("kafka.bootstrap.servers", self.options.brokers)
            .option("kafka.isolation.level", "read_committed")
            .option("assign", json.dumps({topic: sorted(map(int, at)) for topic, at in starting.items()}))
            .option("startingOffsets", json.dumps(starting))
            .option("endingOffsets", json.dumps(ending))
            .option("failOnDataLoss", "true")
            .option("includeHeaders", "true")
            .option("minPartitions", str(parallelism))
        )
        for name, value in self.options.kafka_settings.items():
            reader = reader.option(f"kafka.{name}", value)
        now = f.expr(f"timestamp_micros({int(time.time() * 1_000_000)})")
        stamp = f.col("timestamp")
        return reader.load().select(
            f.col("key").alias("message_key"),
            f.col("value").alias("avro_payload"),
            "topic",
            "partition",
            "offset",
            f.when(
                (f.col("timestampType") < 0) | ~f.unix_millis(stamp).between(0, RULES["time-us-end"] // 1000 - 1), now
            )
            .otherwise(stamp)
            .alias("kafka_timestamp"),
            now.alias("ingestion_timestamp"),
            f.expr(f"date_from_unix_date({int(time.time()) // 86_400})").alias("ingestion_date"),
            f.transform("headers", _header).alias("headers"),
            self._topic_id().alias("topic_id"),
        )

    def _topic_id(self) -> Column:
        chosen = f.lit(None).cast("string")
        for topic in self.topics:
            if topic.id != NO_TOPIC_ID:
                chosen = f.when(f.col("topic") == topic.name, topic.id).otherwise(chosen)
        return chosen

    def _move(self, progress: Progress, ranges: Mapping[SourceKey, tuple[int, int]]) -> None:
        since = time.monotonic()
        rows = self._read(ranges).persist(StorageLevel.MEMORY_AND_DISK)
        try:
            counted = self._count(rows)
            self.result.run_s += time.monotonic() - since
            base, after = Progress(), Progress()
            times: tuple[int, int] | None = None
            for key, (begin, end) in ranges.items():
                count, first, last, oldest, newest = counted.get((key.topic, key.partition), (0, begin, begin, 0, 0))
                if count > 0 and not begin <= first <= last < end:
                    raise OffsetsError(
                        f"Kafka returned offsets {first} to {last} of {key}, but {begin} to {end} were requested"
                    )
                before = progress.positions[key]
                base.positions[key] = before
                messages = before.messages + count if before.messages >= 0 else -1
                # The brokers tell the epoch of a partition's end alone. One of an earlier place would not do: a reader
                # that checks it would take the place for one that is lost.
                epoch = self.last[key].leader_epoch if end == self.last[key].offset else -1
                after.positions[key] = Position(end, epoch, messages)
                self.result.rows_in += count
                if count > 0:
                    times = (min(times[0], oldest), max(times[1], newest)) if times else (oldest, newest)
            tasks = file_count(self.result.rows_in, self.spark.sparkContext.defaultParallelism)
            metadata = self.table.current()
            known = {name: f.col(name) for name in rows.columns}
            laid_out = rows.coalesce(tasks).select(*self.table.columns(metadata, known))
            write = (
                (lambda branch, summary: self.table.append(laid_out, branch, summary)) if self.result.rows_in else None
            )
            published = publish(
                self.table,
                Move(base, after),
                write,
                times_summary(times),
                self.options.policy,
                self._confirm,
                expected_rows=self.result.rows_in,
            )
            self.result.took(published)
            self.result.rows_out = published.rows
        finally:
            rows.unpersist()
        self._show_group(after.positions)

    def _count(self, rows: DataFrame) -> dict[tuple[str, int], tuple[int, int, int, int, int]]:
        """By topic and partition: rows, first and last offset, oldest and newest message in microseconds."""
        micros = f.expr("unix_micros(kafka_timestamp)")
        counts = (f.count("*"), f.min("offset"), f.max("offset"), f.min(micros), f.max(micros))
        try:
            found = rows.groupBy("topic", "partition").agg(*counts).collect()
        except JAVA_ERRORS as error:
            text = said(error)
            if "OffsetOutOfRange" in text or "data loss" in text.lower() or "were lost" in text.lower():
                raise OffsetsError(
                    f"Kafka at {self.options.brokers} no longer has all messages that it had when the step was "
                    f"planned: {one_line(text)}. Nothing was skipped"
                ) from None
            raise unavailable(error, f"cannot read Kafka at {self.options.brokers}") from None
        return {(row[0], row[1]): tuple(row[2:]) for row in found}

    def _confirm(self) -> None:
        """Between reading and committing: the topics still are those that were read."""
        now, missing = self.admin.topics([topic.name for topic in self.topics])
        if missing:
            raise OffsetsError(
                f"Kafka topic {missing[0]} no longer exists in cluster {self.cluster}. Remove it from the topics; if a "
                "topic of this name is created again, it is another topic"
            )
        for before, after in zip(self.topics, now, strict=True):
            if before.id != after.id:
                raise OffsetsError(
                    f"Kafka topic {before.name} was recreated while it was read: its id was {before.id} and is "
                    f"now {after.id}. {_how_to_go_on(before.name)}"
                )

    def _show_group(self, positions: Positions) -> None:
        if not self.options.group:
            return
        try:
            offsets = {(key.topic, key.partition): at.next_offset for key, at in positions.items()}
            self.admin.commit_group(self.options.group, offsets)
        except K2Error:
            pass  # only lag tools read it


def _header(one: Column) -> Column:
    """Kafka's headers have keys; Spark's type does not say so."""
    return f.struct(f.coalesce(one["key"], f.lit("")).alias("key"), one["value"].alias("value"))


def _lost(key: SourceKey, position: Position, low: int, high: int) -> OffsetsError:
    at = position.next_offset
    missing = f"; {low - at} messages were deleted before they were read" if low > at else ""
    return OffsetsError(
        f"cannot continue reading Kafka topic {key.topic}, partition {key.partition} at offset {at} (leader epoch "
        f"{position.leader_epoch}): it now has the offsets {low} to {high}{missing}. Nothing was skipped. See `k2 "
        f"offsets show`; to skip the missing messages: `k2 offsets set --table bronze_trades --topic {key.topic} "
        f"--partition {key.partition} --next {low if low > at else 'OFFSET'} --accept-loss`"
    )
