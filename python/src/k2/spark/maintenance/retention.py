"""Drops partitions that are past their time, by K2's rules (docs/retention.md), but never a row that is not read yet:
`k2 maintain retention` does that after its hold, and writes down what was lost."""

from __future__ import annotations

import bisect
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

from k2.spark import schemas
from k2.spark.dataframe.progress import Metadata, Positions, Progress, find_progress, offset_of
from k2.spark.dataframe.tables import metadata_of
from k2.spark.maintenance import procedures
from k2.spark.maintenance.audit import RETENTION_KEY, record_within
from k2.spark.maintenance.offsets import read_sequence
from k2.spark.utils.committer import committer
from k2.spark.utils.errors import DataError
from k2.spark.utils.iceberg import IcebergCatalog

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

COMMIT_TIMES_KEY = "k2.commit-times"
NAMED_MAX = 4  # partitions in a snapshot's summary
DAY_US = 86_400_000_000
HOUR_MS = 3_600_000
DEFAULT_LIMITS_US: dict[str, int | None] = {
    schemas.BRONZE: 7 * DAY_US,
    schemas.REJECTED: 30 * DAY_US,
    schemas.GOLD: None,
} | dict.fromkeys(schemas.SILVER, 30 * DAY_US)


class FilesMovedError(DataError):
    """The table is not as it was planned on: plan again."""


@dataclass
class Partition:
    """The files whose newest rows are of one day: a day's partition, unless the table is partitioned otherwise."""

    day: str  # ISO date; empty: nothing tells it
    first_day: str = ""  # of the oldest rows; empty: not known
    files: list[str] = field(default_factory=list)
    rows: int = 0
    newest_commit_ms: int | None = 0  # None: of a file whose commit's time is not known
    newest_sequence: int = 0
    fate: str = "kept"
    reason: str = ""


class CommitTimes:
    """When a table had reached which sequence number: by its snapshots, and by what retention has noted before."""

    def __init__(self, table: Any) -> None:
        self.snapshots = metadata_of(table).snapshots
        self.property = str(table.properties().get(COMMIT_TIMES_KEY) or "")
        self.reached: dict[int, int] = {}
        self.newest_noted_ms = 0
        for snapshot in self.snapshots.values():
            self._note(snapshot.sequence_number, snapshot.timestamp_ms)
        for word in self.property.split():
            sequence, _, ms = word.partition("@")
            if not (sequence.isdigit() and ms.isdigit()):
                break
            self._note(int(sequence), int(ms))
            self.newest_noted_ms = max(self.newest_noted_ms, int(ms))
        self._sequences = sorted(self.reached)

    def _note(self, sequence: int, ms: int) -> None:
        self.reached[sequence] = min(ms, self.reached.get(sequence, ms))

    def of(self, snapshot_id: int | None, sequence: int) -> int | None:
        if snapshot_id in self.snapshots:
            return self.snapshots[snapshot_id].timestamp_ms
        at = bisect.bisect_left(self._sequences, sequence)
        return self.reached[self._sequences[at]] if at < len(self._sequences) else None

    def renewed(self, now_ms: int) -> str | None:
        """The property as it should stand; None where it is fresh enough. Older times lie a sixteenth of their age
        apart, as K2 itself keeps them."""
        if not self.reached:
            return None
        newest_ms = self.reached[self._sequences[-1]]
        if self.newest_noted_ms and newest_ms - self.newest_noted_ms < HOUR_MS:
            return None
        kept: list[tuple[int, int]] = []
        last = (0, 0)
        for sequence in reversed(self._sequences):
            ms, span_ms = self.reached[sequence], HOUR_MS
            while 2 * span_ms * 16 <= now_ms - ms:
                span_ms *= 2
            if (span := (span_ms, ms // span_ms)) != last:
                kept.append((sequence, ms))
            last = span
        text = " ".join(f"{sequence}@{ms}" for sequence, ms in reversed(kept))
        return text if text != self.property else None


def plan(spark: SparkSession, iceberg: IcebergCatalog, name: str, limit_us: int | None, now_us: int) -> list[Partition]:
    """Each partition that is there, oldest first, with its fate: kept, held (not read by the layer below), due."""
    table = iceberg.load(schemas.NAMESPACE, name)
    if limit_us is None or table.currentSnapshot() is None:
        return []
    partitions = _partitions(spark, iceberg, table, name)
    limit = timedelta(microseconds=limit_us)
    now = datetime.fromtimestamp(now_us / 1_000_000, timezone.utc)
    due = []
    for partition in partitions:
        if not partition.day:
            partition.reason = "neither its partition nor the bounds of its columns tell the days of its rows"
            continue
        end = datetime.fromisoformat(partition.day).replace(tzinfo=timezone.utc) + timedelta(days=1)
        if now < end + limit:
            partition.reason = "its date is not past the limit"
            if partition.first_day and partition.first_day < str((now - limit).date()):
                partition.reason += f"; it holds rows since {partition.first_day} too, which stay as long as the newest"
        elif partition.newest_commit_ms is None:
            partition.reason = "when its newest file was committed is not known yet"
        elif now_us < partition.newest_commit_ms * 1000 + limit_us:
            partition.reason = "its newest commit is not past the limit"
        else:
            partition.fate = "due"
            due.append(partition)
    if due:
        _hold_unread(spark, iceberg, table, name, due)
    return partitions


def _partitions(spark: SparkSession, iceberg: IcebergCatalog, table: Any, name: str) -> list[Partition]:
    times = CommitTimes(table)
    days = _Days(metadata_of(table), procedures.day_column(name))
    view = f"k2_entries_of_{name}"
    iceberg.view_of_entries(table, view)
    rows = spark.sql(
        f"SELECT {days.columns}, data_file.file_path AS path, data_file.record_count AS rows, snapshot_id, "
        f"file_sequence_number AS sequence FROM {view} WHERE status < 2 AND data_file.content = 0"
    ).collect()
    spark.catalog.dropTempView(view)
    found: dict[str, Partition] = {}
    for row in rows:
        first, last = days.of(row)
        partition = found.setdefault(last, Partition(last, first))
        partition.first_day = min(partition.first_day, first)
        partition.files.append(row["path"])
        partition.rows += row["rows"]
        partition.newest_sequence = max(partition.newest_sequence, row["sequence"])
        committed = times.of(row["snapshot_id"], row["sequence"])
        if committed is None or partition.newest_commit_ms is None:
            partition.newest_commit_ms = None
        else:
            partition.newest_commit_ms = max(partition.newest_commit_ms, committed)
    return [found[day] for day in sorted(found)]


class _Days:
    """The days that a file's rows are of: by the partition spec that it was written with, else by the bounds of the
    date column."""

    def __init__(self, metadata: Metadata, column: str) -> None:
        self.field_id = next(one["id"] for one in metadata.fields if one["name"] == column)
        # Names that each partition field of the date itself has, or had, by spec.
        names: dict[int, set[str]] = {}
        for fields in metadata.specs.values():
            for one in fields:
                names.setdefault(one["field-id"], set()).add(one["name"])
        self.names: dict[int, set[str]] = {}
        for spec_id, fields in metadata.specs.items():
            for one in fields:
                if one["source-id"] == self.field_id and one["transform"] in ("identity", "day"):
                    self.names[spec_id] = names[one["field-id"]]
        values = "to_json(data_file.partition)" if any(metadata.specs.values()) else "CAST(NULL AS STRING)"
        self.columns = (
            f"data_file.spec_id AS spec, {values} AS partition_values, "
            f"data_file.lower_bounds[{self.field_id}] AS lower, data_file.upper_bounds[{self.field_id}] AS upper"
        )

    def of(self, row: Any) -> tuple[str, str]:
        """First and last, as ISO dates; empty where nothing tells them."""
        values = json.loads(row["partition_values"] or "{}")
        for name in self.names.get(row["spec"], ()):
            if values.get(name) is not None:
                return values[name], values[name]
        return _day_of_bound(row["lower"]), _day_of_bound(row["upper"])


def _day_of_bound(bound: bytes | None) -> str:
    """Iceberg's single-value form of a date: days since 1970."""
    if bound is None or len(bound) != 4:
        return ""
    try:
        return str(date(1970, 1, 1) + timedelta(days=int.from_bytes(bound, "little", signed=True)))
    except OverflowError:  # beyond the year 9999
        return ""


def _hold_unread(spark: SparkSession, iceberg: IcebergCatalog, table: Any, name: str, due: Sequence[Partition]) -> None:
    if name in schemas.SILVER:
        hint = _progress_of(iceberg, schemas.GOLD).upstream.get(f"{schemas.NAMESPACE}.{name}")
        read = read_sequence(metadata_of(table), hint) if hint else 0
        for partition in due:
            if partition.newest_sequence > read:
                _hold(partition, "Gold has yet to read it")
    elif name in (schemas.BRONZE, schemas.REJECTED):
        own = find_progress(metadata_of(table)).progress.positions
        silver: Positions = {}
        for exchange in schemas.EXCHANGES:
            if not iceberg.exists(schemas.NAMESPACE, exchange.silver):
                continue  # it has read nothing
            for source, at in _progress_of(iceberg, exchange.silver).positions.items():
                if schemas.exchange_of_topic(source.topic) == exchange:
                    silver[source] = at
        if name == schemas.REJECTED:
            if any(offset_of(silver, source) < at.next_offset for source, at in own.items()):
                for partition in due:
                    _hold(partition, "Silver stands behind rejected_trades and needs these rows to catch up")
            return
        _hold_unread_bronze(spark, iceberg, due, own, silver)


def _progress_of(iceberg: IcebergCatalog, name: str) -> Progress:
    return find_progress(metadata_of(iceberg.load(schemas.NAMESPACE, name))).progress


def _hold_unread_bronze(
    spark: SparkSession,
    iceberg: IcebergCatalog,
    due: Sequence[Partition],
    own: Positions,
    silver: Positions,
) -> None:
    last = max(partition.day for partition in due)
    table = iceberg.load(schemas.NAMESPACE, schemas.BRONZE)
    date, topic, number, offset = (
        f"`{iceberg.column_now(table, schemas.BRONZE, column)}`"
        for column in ("ingestion_date", "topic", "partition", "offset")
    )
    rows = spark.sql(
        f"SELECT {date} AS day, {topic} AS topic, {number} AS partition, max({offset}) AS last "
        f"FROM {iceberg.name}.{schemas.NAMESPACE}.{schemas.BRONZE} WHERE {date} <= DATE'{last}' GROUP BY 1, 2, 3"
    ).collect()
    for row in rows:
        sources = [one for one in own if one.topic == row["topic"] and one.partition == row["partition"]]
        if sources and all(
            offset_of(silver, one) > row["last"] or offset_of(silver, one) >= own[one].next_offset for one in sources
        ):
            continue
        for partition in due:
            if partition.first_day <= str(row["day"]) <= partition.day:
                _hold(partition, f"Silver has yet to read {row['topic']}/{row['partition']}")


def _hold(partition: Partition, reason: str) -> None:
    partition.fate, partition.reason = "held", f"{reason}; `k2 maintain retention` drops it after its hold"


def note_commit_times(table: Any, now_ms: int) -> None:
    """Notes when the table's sequence numbers were reached, for the time when its snapshots are expired."""
    renewed = CommitTimes(table).renewed(now_ms)
    if renewed is not None:
        table.updateProperties().set(COMMIT_TIMES_KEY, renewed).commit()


def drop(iceberg: IcebergCatalog, table: Any, name: str, partitions: Sequence[Partition], limit_us: int) -> int:
    """Drops the partitions that are due, in one commit, and says how many files those were. It names the files: what
    others add to such a partition meanwhile stays, and where others have removed one of them the commit fails."""
    due = [partition for partition in partitions if partition.fate == "due"]
    wanted = {path for partition in due for path in partition.files}
    if not wanted:
        return 0
    transaction = table.newTransaction()
    delete = transaction.newDelete().validateFilesExist()
    found = 0
    # By what the scan gives: a delete by paths alone passes over manifests that it does not know to hold them.
    day_column = iceberg.column_now(table, name, procedures.day_column(name))
    for file in iceberg.data_files(table, day_column, max(partition.day for partition in due)):
        if str(file.path()) in wanted:
            delete.deleteFile(file)
            found += 1
    if found != len(wanted):
        raise FilesMovedError(f"{len(wanted) - found} files were removed by another writer meanwhile")
    now = datetime.fromtimestamp(time.time(), timezone.utc).isoformat()
    named = [f"{partition.day} ({partition.rows} rows)" for partition in due[:NAMED_MAX]]
    if len(due) > NAMED_MAX:
        named.append(f"and {len(due) - NAMED_MAX} more days")
    told = f"older than {limit_us // 3_600_000_000} hours at {now}: {', '.join(named)}"
    for key, value in {RETENTION_KEY: told, **committer()}.items():
        delete.set(key, value)
    delete.commit()
    record_within(transaction)
    transaction.commitTransaction()
    for partition in due:
        partition.fate = "dropped"
    return found
