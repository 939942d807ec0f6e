"""Silver again from Bronze, Gold again from Silver, after rules or code have changed (docs/rebuild.md).

All rows are made and looked at before the first table changes; then each table is replaced in one commit, which the
layer below passes over.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from datetime import date
from functools import partial
from typing import TYPE_CHECKING, Any

from pyspark.sql import functions as f

from k2.spark.dataframe.finished import find_finished
from k2.spark.dataframe.gold import File, GoldOptions, GoldStep, Upstream, chain_since, check_iceberg, files_of
from k2.spark.dataframe.overwrite import Days, Replacement, check_nothing_vanishes, live_tasks
from k2.spark.dataframe.progress import (
    RECORDING_CLUSTER,
    REVALIDATED_KEY,
    Move,
    OffsetsError,
    Position,
    Progress,
    SourceKey,
    offset_of,
    recreated_topics,
)
from k2.spark.dataframe.ranges import Range, named_apart, of_ranges
from k2.spark.dataframe.registry import Asking
from k2.spark.dataframe.silver import SilverOptions, SilverStep
from k2.spark.dataframe.step import StepResult
from k2.spark.dataframe.tables import Table, TaskSets
from k2.spark.dataframe.validation import RULES_VERSION, Validation
from k2.spark.schemas import EXCHANGES, GOLD, REJECTED, Exchange
from k2.spark.utils.errors import ConfigurationError, DataError, RaceError

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

# Of rows whose times are microseconds since 1970 in 64 bits.
_HOUR_MAX = 1 << 32


def silver_rebuild(spark: SparkSession, options: SilverOptions) -> StepResult:
    """Validates all rows again that Silver was made of. Raises OffsetsError or DataError where it is refused; nothing
    was changed then, but where another writer was faster in the middle of the tables: then rebuild once more."""
    return _Silver(spark, options).rebuild()


def gold_rebuild(spark: SparkSession, options: GoldOptions, days: Days | None = None) -> StepResult:
    """All of Gold, or some days of it, out of what Silver holds now. Refused as silver_rebuild is, and where Gold has
    moved on meanwhile (AnotherWriterError)."""
    check_iceberg(spark)
    return _Gold(spark, options, days or Days()).rebuild()


class _Silver(SilverStep):
    def rebuild(self) -> StepResult:
        began = time.monotonic()
        self._load()
        ranges = self._whole_ranges()
        self.result.plan_s = time.monotonic() - began
        if ranges:
            self._replace(ranges)
        return self.result

    def _whole_ranges(self) -> list[Range]:
        """All that each Silver table has taken."""
        ranges = []
        for exchange in EXCHANGES:
            self._check_not_revalidating(exchange)
            table, metadata = self.silver[exchange.silver], self.metadata[exchange.silver]
            taken = find_finished(self.spark, self.options, table, metadata)
            taken |= self.silver_progress[exchange.silver].positions
            for key, end in sorted(taken.items()):
                self._check_place(exchange, key, end)
                begin = Position(messages=0)
                known = key in self.rejected_progress.positions
                ranges.append(Range(key, exchange, begin, begin, end, False, True, known, True))
        return named_apart(ranges, recreated_topics(self.bronze_metadata))

    def _check_not_revalidating(self, exchange: Exchange) -> None:
        mark = self.metadata[exchange.silver].properties.get(REVALIDATED_KEY)
        if mark is not None and json.loads(mark).get("places"):
            raise RaceError(
                f"{exchange.silver} holds rows that are still in {REJECTED}: a rebuild of {REJECTED} was "
                "interrupted. Run `k2 rebuild --layer rejected` again, then retry"
            )

    def _check_place(self, exchange: Exchange, key: SourceKey, end: Position) -> None:
        table = self.silver[exchange.silver].key
        if offset_of(self.rejected_progress.positions, key) > end.next_offset:
            raise OffsetsError(
                f"{table} is behind {REJECTED} in {key}: run Silver until it is up to date, then rebuild"
            )
        if key.cluster != RECORDING_CLUSTER and end.messages < 0:
            raise OffsetsError(
                f"cannot rebuild {table}: it is unknown how many messages of {key} it has read, so messages missing "
                "from Bronze would go unnoticed"
            )

    def _replace(self, ranges: Sequence[Range]) -> None:
        since = time.monotonic()
        planned = {table.name: self._planned(table) for table in (self.rejected, *self.silver.values())}
        head = self.bronze_metadata.head_id
        assert head is not None
        rows = of_ranges(self.bronze.rows(head), ranges)
        work = Validation(self.spark, rows, ranges, with_ids=True)
        try:
            asking = Asking(self.options.schemas, limited=False)
            asking.learn(one.key for one in work.named())
            for error in asking.waiting.values():
                raise error
            counts = work.count(asking.found)
            for one in ranges:
                self._check_count(one, counts[one.counted_as].rows)
            self.result.rows_in, self.result.rejected = work.rows_in, work.rejected
            self._draft(planned[REJECTED], work.rejected_rows, sum(work.rejected.values()))
            for exchange in EXCHANGES:
                count = work.accepted[exchange.silver]
                self._draft(planned[exchange.silver], partial(work.silver_rows, exchange=exchange), count)
                self.result.rows_out += count
            check_nothing_vanishes(list(planned.values()), work.rejected_ids())
            self.result.run_s = time.monotonic() - since
            for replacement in planned.values():
                if not replacement.empty:
                    self.result.took(replacement.publish())
        finally:
            work.close()
            for replacement in planned.values():
                replacement.close()

    def _planned(self, table: Table) -> Replacement:
        """Of the files that held the rows which the offsets speak of: what comes in later stays."""
        metadata = self.metadata[table.name]
        move = Move(Progress(), Progress(rules=RULES_VERSION))
        return Replacement(table, metadata, move, live_tasks(table, metadata), self.options.policy)

    def _draft(self, replacement: Replacement, rows_of: Callable[[Table], DataFrame], count: int) -> None:
        if count:
            table = replacement.table
            rows = rows_of(table)
            replacement.draft(lambda branch, summary: table.append(rows, branch, summary), count)

    def _check_count(self, of: Range, rows: int) -> None:
        recording = of.key.cluster == RECORDING_CLUSTER
        expected = of.end.next_offset if recording else of.end.messages
        if rows != expected:
            raise DataError(
                f"cannot rebuild Silver: Bronze holds {rows} rows of {of.key} up to offset {of.end.next_offset}, but "
                f"Silver was built from {expected}. Nothing was changed"
            )


class _Gold(GoldStep):
    def __init__(self, spark: SparkSession, options: GoldOptions, days: Days) -> None:
        first = -_HOUR_MAX if days.first is None else _hour_of(days.first)
        last = _HOUR_MAX if days.last is None else _hour_of(days.last) + 23
        super().__init__(spark, options, None if days == Days() else (first, last))
        self.days = days

    def rebuild(self) -> StepResult:
        began = time.monotonic()
        upstreams = self._load()
        taken = [self._again(upstream) for upstream in upstreams]
        # A row that a step adds meanwhile may be among those that are written here.
        move = Move(Progress(), Progress(), base_snapshot_id=self.found.snapshot_id)
        removed = live_tasks(self.gold, self.metadata, self.days)
        self._check_within(removed)
        replacement = Replacement(self.gold, self.metadata, move, removed, self.options.policy)
        since = time.monotonic()
        self.result.plan_s = since - began
        try:
            if any(taken):
                with self.each_once(upstreams, taken) as kept:
                    self._draft(replacement, kept)
            check_nothing_vanishes([replacement], None)
            self.result.run_s = time.monotonic() - since
            if not replacement.empty:
                self.result.took(replacement.publish())
        finally:
            replacement.close()
        return self.result

    def _check_within(self, removed: Sequence[Any]) -> None:
        """Some days are rebuilt by replacing whole files: none may hold rows of other days, too, as those of a table
        that is, or was, partitioned otherwise may."""
        if self.days == Days() or len(self.metadata.specs) < 2 or not removed:
            return
        read = TaskSets()
        try:
            ends = read.rows(self.gold, removed).agg(f.min("exchange_date"), f.max("exchange_date")).collect()[0]
        finally:
            read.close()
        first, last = self.days.first or ends[0], self.days.last or ends[1]
        if ends[0] is None or (first <= ends[0] and ends[1] <= last):
            return
        raise ConfigurationError(
            f"cannot rebuild {GOLD}: it is not partitioned by day only, and some files also hold rows of other days. "
            f"Rebuild --from {min(first, ends[0])} --to {max(last, ends[1])}; nothing was changed"
        )

    def _draft(self, replacement: Replacement, kept: DataFrame) -> None:
        if self.result.rows_out:
            rows = self._laid_out(kept)
            replacement.draft(lambda branch, summary: self.gold.append(rows, branch, summary), self.result.rows_out)

    def _again(self, upstream: Upstream) -> list[File]:
        """What Silver holds now, but for files appended since Gold has read it. Where its history does not reach back
        so far, those too: the next step then finds their trades in Gold."""
        metadata, committed = upstream.metadata, upstream.committed
        if committed is None or committed.table_uuid != metadata.uuid or metadata.head_id is None:
            return []
        chain = chain_since(metadata, committed.snapshot_id)
        # What others have rewritten holds rows that Gold has.
        unread = self._appended(upstream, [one for one in chain or [] if not one.is_foreign_rewrite])
        files = files_of(live_tasks(upstream.table, metadata, self.days))
        return [file for file in files if file.path not in unread]

    def _with_stored(self, rows: DataFrame) -> DataFrame:
        """What Gold holds is replaced."""
        return rows


def _hour_of(day: date) -> int:
    return (day - date(1970, 1, 1)).days * 24
