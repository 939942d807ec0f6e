"""One commit that replaces files of a table by others with new rows: what a rebuild makes (docs/rebuild.md).

The new rows go first to a branch that nobody reads, where they can be looked at. Then Iceberg's overwrite, on another
branch at the head, removes the files that were planned to go and adds those of the first branch, and is published as
any step is (publish.py). Where main has moved by others' commits, the same files are removed and added at the new head:
what others have appended stays.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

from pyspark.sql import functions as f

from k2.spark import schemas
from k2.spark.dataframe.progress import REBUILT_KEY, Metadata, Move
from k2.spark.dataframe.publish import Policy, Published, Publisher, Staged, Write
from k2.spark.dataframe.tables import Table, TaskSets
from k2.spark.utils.errors import DataError, RaceError

if TYPE_CHECKING:
    from pyspark.sql import DataFrame


@dataclass(frozen=True)
class Days:
    """By exchange_date, both included; None: without a limit."""

    first: date | None = None
    last: date | None = None


def live_tasks(table: Table, metadata: Metadata, days: Days | None = None) -> list[Any]:
    """The files of the head, those of some days alone, with the deletes that apply to each."""
    if metadata.head_id is None:
        return []
    scan = table.java.newScan().useSnapshot(metadata.head_id)
    expressions = table.jvm.org.apache.iceberg.expressions.Expressions
    if days is not None:  # of a table of trades; rejected_trades has no such column
        date_column = table.column_now(metadata, "exchange_date")
        if days.first is not None:
            scan = scan.filter(expressions.greaterThanOrEqual(date_column, days.first.isoformat()))
        if days.last is not None:
            scan = scan.filter(expressions.lessThanOrEqual(date_column, days.last.isoformat()))
    return list(table.scan_tasks(scan))


class Replacement(Publisher):
    """One commit of one table, which takes the place of the files of `removed`, tasks of a scan."""

    def __init__(
        self, table: Table, metadata: Metadata, move: Move, removed: Sequence[Any], policy: Policy | None = None
    ) -> None:
        super().__init__(table, move, {REBUILT_KEY: "1"}, policy)
        self.uuid = metadata.uuid
        self.removed = removed
        self.drafted: Staged | None = None

    @property
    def empty(self) -> bool:
        """There is nothing to remove and nothing to add."""
        return not self.removed and self.drafted is None

    def draft(self, write: Write, rows: int) -> None:
        """Puts so many rows on a branch of their own. close() drops it; publish() does so too."""
        self._begin()
        self.expected_rows = rows
        staged = self._stage(write, self.uuid)
        self._count(staged)
        self.drafted = staged
        self._tell("drafted")

    def written(self) -> DataFrame | None:
        """The rows of the draft, as they were written."""
        if self.drafted is None:
            return None
        return self.table.added_rows(self.drafted.parent_id, self.drafted.snapshot_id)

    @contextmanager
    def vanishing(self) -> Iterator[DataFrame]:
        """Each message_id once that the removed files have and the draft has not, while the context lasts."""
        read = TaskSets()
        try:
            lost = read.rows(self.table, self.removed).select("message_id")
            written = self.written()
            if written is not None:
                lost = lost.join(written.select("message_id"), "message_id", "left_anti")
            yield lost.distinct()
        finally:
            read.close()

    def returning(self) -> int:
        """How many message_ids the draft has that the removed files have not, or not any more: rows that were deleted
        from the table come back."""
        written = self.written()
        if written is None or not self.removed:
            return 0
        read = TaskSets()
        try:
            there = read.rows(self.table, self.removed).select("message_id")
            return written.select("message_id").distinct().join(there, "message_id", "left_anti").count()
        finally:
            read.close()

    def publish(self, write: Write | None = None) -> Published:
        """`write` is none: the rows are those of the draft."""
        self._begin()
        return super().publish(write)

    def _begin(self) -> None:
        """Patience is with the commit, and not with what comes before it: rows are read and validated for long."""
        self.began, self.writing_s = time.monotonic(), 0.0

    def close(self) -> None:
        self._remove_branches()

    # Staging.

    def _stage(self, write: Write | None, uuid_before: str, source: Staged | None = None) -> Staged:
        staged = super()._stage(write, self.uuid, source)
        if write is None:
            self._check_removed(staged)
        return staged

    def _append(self, branch: str, summary: Mapping[str, str], source: Staged | None) -> None:
        """The same files go and come at each try."""
        overwrite = self.table.java.newOverwrite().toBranch(branch)
        for name, value in summary.items():
            overwrite = overwrite.set(name, value)
        if self.drafted is not None:
            snapshot = self.table.current().snapshots.get(self.drafted.snapshot_id)
            if snapshot is None:
                raise DataError(
                    f"{self.table.key}: the branch {self.drafted.branch}, which held the new rows, is gone; nothing "
                    "was committed. Was it removed as a leftover of a crashed run?"
                )
            # Tells expiry by other engines that the files of that snapshot live on in this one.
            overwrite = overwrite.set("source-snapshot-id", str(self.drafted.snapshot_id))
            for file in self.table.added_files(snapshot):
                overwrite = overwrite.addFile(file)
        for task in self.removed:
            overwrite = overwrite.deleteFile(task.file())
        overwrite.commit()

    def _check_removed(self, staged: Staged) -> None:
        """Iceberg's overwrite says nothing of files to remove that are not there."""
        summary = self.table.current().snapshots[staged.snapshot_id].summary
        if int(summary.get("deleted-data-files", 0)) == len(self.removed):
            return
        scan = self.table.java.newScan().useSnapshot(staged.parent_id)
        there = {str(task.file().path()) for task in self.table.scan_tasks(scan)}
        gone = [path for path in (str(task.file().path()) for task in self.removed) if path not in there]
        raise RaceError(
            f"{self.table.key}: {len(gone)} of the {len(self.removed)} files to remove are no longer in the table "
            f"(for example {min(gone, default='?')}); nothing was committed"
        )


def check_nothing_vanishes(replacements: Sequence[Replacement], rejected: DataFrame | None) -> None:
    """Each message_id of the removed rows must be written again to the same table, or be one of `rejected`, the ids of
    rows that are rejected now. Raises DataError. Warns where trades come in that the table does not hold now."""
    for one in replacements:
        if not one.removed or one.table.name == schemas.REJECTED:
            continue
        with one.vanishing() as lost:
            count, example = _told(lost)
            if count and rejected is not None:
                count, example = _told(lost.join(rejected, "message_id", "left_anti"))
        if count:
            raise DataError(
                f"cannot rebuild {one.table.name}: {count} of its trades are no longer in the upstream layer (for "
                f"example message_id {example}). Nothing was changed"
            )
        if returning := one.returning():
            warnings.warn(
                f"the rebuild of {one.table.name} adds {returning} trades that it does not hold now: rows deleted "
                "from it reappear, unless changed validation rules accept them for the first time",
                stacklevel=2,
            )


def _told(ids: DataFrame) -> tuple[int, str]:
    row = ids.agg(f.count("*"), f.min("message_id")).collect()[0]
    return int(row[0]), str(row[1])
