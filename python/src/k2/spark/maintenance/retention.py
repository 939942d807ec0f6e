"""Drops partitions that are expired by retention. The rules (docs/retention.md) are in k2.native; here are the facts
that they ask for, read by Spark. A row that is not read yet is never dropped: `k2 maintain retention` does that after
its hold, and writes down what was lost."""

from __future__ import annotations

import bisect
import json
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from types import ModuleType
from typing import TYPE_CHECKING, Any

from k2.spark import schemas
from k2.spark.dataframe.progress import (
    STANDS_TAG_PREFIX,
    Metadata,
    Positions,
    Progress,
    find_progress,
    offset_of,
)
from k2.spark.dataframe.tables import metadata_of
from k2.spark.maintenance import procedures
from k2.spark.maintenance.audit import RETENTION_KEY, record_within
from k2.spark.maintenance.offsets import read_sequence
from k2.spark.utils.committer import committer
from k2.spark.utils.errors import ConfigurationError, DataError
from k2.spark.utils.iceberg import IcebergCatalog

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

COMMIT_TIMES_KEY = "k2.commit-times"
DAY_US = 86_400_000_000
HOUR_MS = 3_600_000
EPOCH = date(1970, 1, 1)


class FilesMovedError(DataError):
    """The table is not as it was planned on: plan again."""


@dataclass
class Partition:
    """The files whose newest rows are of one day: a day's partition, unless the table is partitioned otherwise."""

    day: str  # ISO date; empty: nothing tells it
    first_days: Counter[str] = field(default_factory=Counter)  # of the oldest rows, by file; empty: not known
    files: list[str] = field(default_factory=list)
    rows: int = 0
    rows_by_sequence: Counter[int] = field(default_factory=Counter)
    newest_commit_ms: int | None = 0  # None: of a file whose commit's time is not known
    newest_commit_exact: bool = True  # else it was no later
    unread_rows: int = 0
    needed: bool = False  # by Silver, to catch up with rejected_trades
    fate: str = "kept"
    reason: str = ""

    @property
    def first_day(self) -> str:
        return min(self.first_days)

    def decide(self, native: ModuleType, metadata: Metadata, limit_us: int, now_us: int) -> None:
        told = native.retention_decision(
            limit_us=limit_us,
            now_us=now_us,
            hold_us=None,
            end_us=(_number_of_day(self.day) + 1) * DAY_US if self.day else None,
            first_days={_number_of_day(day): files for day, files in self.first_days.items() if day},
            newest_commit_us=None if self.newest_commit_ms is None else self.newest_commit_ms * 1000,
            newest_commit_exact=self.newest_commit_exact,
            may_drop=metadata.properties.get("gc.enabled", "true").lower() == "true",
            unread_rows=self.unread_rows,
            blocked=any(ref.startswith(STANDS_TAG_PREFIX) for ref in metadata.refs),
            needed=self.needed,
        )
        self.fate, self.reason = "due" if told.fate == "dropped" else told.fate, told.reason

    def add_commit(self, ms: int | None, exact: bool) -> None:
        if ms is None or self.newest_commit_ms is None:
            self.newest_commit_ms = None
        elif ms > self.newest_commit_ms:
            self.newest_commit_ms, self.newest_commit_exact = ms, exact


def load_native() -> ModuleType:
    """k2.native, for the driver alone: workers need nothing of it here."""
    try:
        from k2 import native
    except ImportError as error:
        raise ConfigurationError(
            f"retention has its rules in k2.native: {error}. Install K2's wheel (pip install ./python), or leave the "
            "step out and run `k2 maintain retention`"
        ) from None
    return native


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

    def of(self, snapshot_id: int | None, sequence: int) -> tuple[int | None, bool]:
        """When, and whether it was just then; else by then. None: not known."""
        if snapshot_id in self.snapshots:
            return self.snapshots[snapshot_id].timestamp_ms, True
        at = bisect.bisect_left(self._sequences, sequence)
        return self.reached[self._sequences[at]] if at < len(self._sequences) else None, False

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
    """Each partition that is there, oldest first, with its fate: kept, held (not read by the downstream layer), due."""
    native = load_native()
    table = iceberg.load(schemas.NAMESPACE, name)
    if limit_us is None or table.currentSnapshot() is None:
        return []
    metadata = metadata_of(table)
    partitions = _partitions(spark, iceberg, table, name)
    for partition in partitions:
        partition.decide(native, metadata, limit_us, now_us)
    due = [partition for partition in partitions if partition.fate == "due"]
    if due:
        _look_for_unread(spark, iceberg, native, table, name, due)
        for partition in due:
            partition.decide(native, metadata, limit_us, now_us)
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
        partition = found.setdefault(last, Partition(last))
        partition.first_days[first] += 1
        partition.files.append(row["path"])
        partition.rows += row["rows"]
        partition.rows_by_sequence[row["sequence"]] += row["rows"]
        partition.add_commit(*times.of(row["snapshot_id"], row["sequence"]))
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
        return str(EPOCH + timedelta(days=int.from_bytes(bound, "little", signed=True)))
    except OverflowError:  # beyond the year 9999
        return ""


def _number_of_day(iso: str) -> int:
    return (date.fromisoformat(iso) - EPOCH).days


def _look_for_unread(
    spark: SparkSession, iceberg: IcebergCatalog, native: ModuleType, table: Any, name: str, due: Sequence[Partition]
) -> None:
    if name in schemas.SILVER:
        hint = _progress_of(iceberg, schemas.GOLD).upstream.get(f"{schemas.NAMESPACE}.{name}")
        read = read_sequence(metadata_of(table), hint) if hint else 0
        for partition in due:
            partition.unread_rows = sum(
                rows for sequence, rows in partition.rows_by_sequence.items() if sequence > read
            )
    elif name in (schemas.BRONZE, schemas.REJECTED):
        own = find_progress(metadata_of(table)).progress.positions
        silver: Positions = {}
        for exchange in schemas.EXCHANGES:
            if not iceberg.exists(schemas.NAMESPACE, exchange.silver):
                continue  # it has read nothing
            for source, at in _progress_of(iceberg, exchange.silver).positions.items():
                if schemas.exchange_of_topic(source.topic) == exchange:
                    silver[source] = at
        if name == schemas.BRONZE:
            _look_for_unread_offsets(spark, iceberg, native, table, due, own, silver)
        elif any(offset_of(silver, source) < at.next_offset for source, at in own.items()):
            for partition in due:
                partition.unread_rows, partition.needed = partition.rows, True


def _progress_of(iceberg: IcebergCatalog, name: str) -> Progress:
    return find_progress(metadata_of(iceberg.load(schemas.NAMESPACE, name))).progress


def _look_for_unread_offsets(
    spark: SparkSession,
    iceberg: IcebergCatalog,
    native: ModuleType,
    table: Any,
    due: Sequence[Partition],
    own: Positions,
    silver: Positions,
) -> None:
    last = max(partition.day for partition in due)
    date, topic, number, offset = (
        f"`{iceberg.column_now(table, schemas.BRONZE, column)}`"
        for column in ("ingestion_date", "topic", "partition", "offset")
    )
    found = spark.sql(
        f"SELECT {date} AS day, {topic} AS topic, {number} AS partition, min({offset}) AS first, "
        f"max({offset}) AS last, count(*) AS rows FROM {iceberg.name}.{schemas.NAMESPACE}.{schemas.BRONZE} "
        f"WHERE {date} <= DATE'{last}' GROUP BY 1, 2, 3"
    ).collect()
    for row in found:
        sources = [one for one in own if one.topic == row["topic"] and one.partition == row["partition"]]
        unread = [
            native.unread_rows(
                first=row["first"],
                last=row["last"],
                rows=row["rows"],
                read_to=offset_of(silver, one),
                end=own[one].next_offset,
            )
            for one in sources
        ]
        for partition in due:
            if partition.first_day <= str(row["day"]) <= partition.day:
                partition.unread_rows += max(unread, default=row["rows"])


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
    told = load_native().dropped_text(
        [(partition.day, partition.rows) for partition in due], limit_us=limit_us, now_us=int(time.time() * 1_000_000)
    )
    for key, value in {RETENTION_KEY: told, **committer()}.items():
        delete.set(key, value)
    delete.commit()
    record_within(transaction)
    transaction.commitTransaction()
    for partition in due:
        partition.fate = "dropped"
    return found
