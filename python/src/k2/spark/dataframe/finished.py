"""Recordings that were read to their end, out of the table finished_sources: the documents of K2's tables no longer
name them (docs/source-offsets.md, "Finished recordings"). The k2 program moves them there; here they are found."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from pyspark.sql import functions as f

from k2.spark.dataframe.progress import (
    RECORDING_CLUSTER,
    Metadata,
    OffsetsError,
    Position,
    Positions,
    Progress,
    SourceKey,
    find_progress,
)
from k2.spark.dataframe.step import LakeOptions
from k2.spark.dataframe.tables import Table
from k2.spark.schemas import FINISHED
from k2.spark.utils.errors import ConfigurationError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def find_finished(
    spark: SparkSession,
    options: LakeOptions,
    table: Table,
    metadata: Metadata,
    keys: Collection[SourceKey] | None = None,
) -> Positions:
    """Where `table` stands in those of `keys`, or in all recordings, that its document does not name."""
    progress = find_progress(metadata).progress
    mark = progress.finished
    asked = None if keys is None else {key.topic for key in keys if _may_be_finished(key, progress)}
    if not mark.generation or (asked is not None and not asked):
        return {}
    finished = options.table(spark, FINISHED)
    rows = finished.rows(_checked_head(finished, table, progress))
    rows = rows.where((f.col("table_uuid") == metadata.uuid) & (f.col("generation") <= mark.generation))
    for first, last in mark.without:
        rows = rows.where(~f.col("generation").between(first, last))
    if asked is not None:
        rows = rows.where(f.col("topic").isin(sorted(asked)))
    places = ("next_offset", "next_line", "next_byte", "line_hash", "segment")
    newest = rows.groupBy("topic").agg(f.max_by(f.struct(*places), "generation").alias("place"))
    found: Positions = {}
    for topic, place in newest.collect():
        key = SourceKey(RECORDING_CLUSTER, topic, topic.rsplit("/", 1)[1], 0)
        if key not in progress.positions:
            offset, line, byte, line_hash, segment = place
            found[key] = Position(offset, next_line=line, next_byte=byte, line_hash=line_hash, segment=segment)
    return found


def _may_be_finished(key: SourceKey, progress: Progress) -> bool:
    return key.cluster == RECORDING_CLUSTER and key not in progress.positions


def _checked_head(finished: Table, table: Table, progress: Progress) -> int:
    """The head of finished_sources, if it can tell what the table's document says it can."""
    mark = progress.finished
    try:
        metadata = finished.metadata_with_head()
        generation = find_progress(metadata).progress.finished.generation
        same = metadata.uuid == mark.table_uuid
        why = "was rolled back" if same else "was replaced by another table"
        if same and generation >= mark.generation:
            assert metadata.head_id is not None
            return metadata.head_id
    except ConfigurationError:
        why = "does not exist"
    raise OffsetsError(
        f"{table.key} keeps the end positions of finished recordings in the table {finished.key}, but that table "
        f"{why}: K2 cannot tell whether a recording was already read. Restore it (`k2 tables recover`, if its files "
        f"still exist), or treat finished recordings as new with `k2 offsets set --table {table.name} --accept-loss`: "
        "if they are read again, their rows are duplicated"
    )
