"""The rows of Bronze that a Silver step takes: a range of offsets of each source partition."""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pyspark.sql import functions as f

from k2.spark.dataframe.progress import RECORDING_CLUSTER, OffsetGap, Position, SourceKey
from k2.spark.dataframe.tables import any_of
from k2.spark.schemas import Exchange

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame


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
    without_topic_id: bool = True  # rows that have no topic_id are of it, too
    source: str = ""  # the topic's id, where others of the ranges are of another topic of that name (see named_apart)

    @property
    def counted_as(self) -> tuple[str, str, int]:
        return self.key.topic, self.source, self.key.partition

    @property
    def pending(self) -> int:
        return self.end.next_offset - self.begin.next_offset

    def holds(self) -> Column:
        return (
            self.of_its_topic()
            & (f.col("partition") == self.key.partition)
            & (f.col("offset") >= self.begin.next_offset)
            & (f.col("offset") < self.end.next_offset)
        )

    def of_its_topic(self) -> Column:
        named = f.col("topic") == self.key.topic
        if self.key.cluster == RECORDING_CLUSTER:
            return named
        topic_id = f.col("topic_id")
        own = topic_id == self.key.topic_id
        return named & ((own | topic_id.isNull()) if self.without_topic_id else own)


def named_apart(ranges: Sequence[Range], recreated: Set[str]) -> list[Range]:
    """The ranges with what tells topics of one name apart, where one of them was recreated as the other."""
    ids: dict[str, set[str]] = {}
    for one in ranges:
        ids.setdefault(one.key.topic, set()).add(one.key.topic_id)
    return [
        replace(
            one,
            without_topic_id=one.key.topic_id not in recreated,
            source=one.key.topic_id if len(ids[one.key.topic]) > 1 else "",
        )
        for one in ranges
    ]


PLACE = ("topic", "source", "partition", "offset")


def of_ranges(rows: DataFrame, ranges: Sequence[Range]) -> DataFrame:
    """The rows of the ranges, with a column `source` as these say."""
    source = f.lit("")
    for one in {one.counted_as[:2]: one for one in ranges if one.source}.values():
        source = f.when(one.of_its_topic(), one.source).otherwise(source)
    return rows.where(any_of(one.holds() for one in ranges)).withColumn("source", source)
