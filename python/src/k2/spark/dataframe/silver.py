"""Bronze to Silver: each message is decoded and validated by k2.native on the workers (validation.py); it goes to its
exchange's table, or to rejected_trades."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from k2.spark.dataframe.finished import find_finished
from k2.spark.dataframe.progress import (
    RECORDING_CLUSTER,
    AcceptedSource,
    DroppedUnread,
    Metadata,
    Move,
    OffsetGap,
    OffsetsError,
    Position,
    Positions,
    Progress,
    SourceKey,
    StandsError,
    UpstreamHint,
    accepted,
    dropped_unread,
    find_progress,
    offset_of,
    recreated_topics,
    stands_at,
    stands_tag,
    times_summary,
)
from k2.spark.dataframe.publish import publish
from k2.spark.dataframe.ranges import PLACE, Range, named_apart, of_ranges
from k2.spark.dataframe.registry import Asking, Held, Schemas, ref_text
from k2.spark.dataframe.step import LakeOptions, StepResult, shares
from k2.spark.dataframe.tables import Table, exchange_of_topic
from k2.spark.dataframe.validation import RULES_VERSION, Counts, Validation
from k2.spark.schemas import BRONZE, EXCHANGES, REJECTED, Exchange
from k2.spark.utils.errors import ConfigurationError

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession


@dataclass
class SilverOptions(LakeOptions):
    """`schemas`: keep it between steps. `owns`: the source partitions that are this process's work; all, without it."""

    schemas: Schemas = field(default_factory=Schemas)
    owns: Callable[[str, int], bool] | None = None


def silver_step(spark: SparkSession, options: SilverOptions) -> StepResult:
    """Validates at most about `rows_per_step` rows of Bronze that were not yet, and commits rejected_trades first. A
    partition that has a message whose schema cannot be told at present waits there; the others go on. UnavailableError:
    nothing else is left to do."""
    return SilverStep(spark, options).run()


def silver_settle(spark: SparkSession, options: SilverOptions) -> StepResult:
    """Brings rejected_trades to the offsets of the others, when it stands behind for lack of rows."""
    return SilverStep(spark, options).settle()


class DoubledError(OffsetsError):
    """An offset of Bronze is there twice: the step is done again with each once."""


class HeldError(Exception):
    """Partitions wait for a schema: the step is planned again without what comes behind those messages."""


class SilverStep:
    def __init__(self, spark: SparkSession, options: SilverOptions) -> None:
        self.spark = spark
        self.options = options
        self.asking = Asking(options.schemas)
        self.result = StepResult("silver")
        self.bronze = options.table(spark, BRONZE)
        self.rejected = options.table(spark, REJECTED)
        self.silver = {one.silver: options.table(spark, one.silver) for one in EXCHANGES}

    # Plan.

    def _load(self) -> None:
        # Bronze last: what the others have read must be in it.
        own = (self.rejected, *self.silver.values())
        self.metadata: dict[str, Metadata] = {table.name: table.metadata_with_head() for table in own}
        self.rejected_progress = find_progress(self.metadata[REJECTED]).progress
        self.silver_progress = {name: find_progress(self.metadata[name]).progress for name in self.silver}
        self.bronze_metadata: Metadata = self.bronze.metadata_with_head()
        self.bronze_progress = find_progress(self.bronze_metadata).progress
        self._find_finished()

    def _find_finished(self) -> None:
        """Recordings that a document no longer names. Tables of one generation were level when it began: between them
        only the recordings matter that Bronze names. Else some may have left Bronze's document that Silver has yet to
        read."""
        named = dict(self.bronze_progress.positions)
        self.silver_finished: dict[str, Positions] = {}
        self.rejected_finished: Positions = {}
        for exchange in EXCHANGES:
            silver = self.silver_progress[exchange.silver]
            level = silver.finished.generation == self.bronze_progress.finished.generation
            if not level:
                ended = find_finished(self.spark, self.options, self.bronze, self.bronze_metadata)
                named |= {key: at for key, at in ended.items() if exchange_of_topic(key.topic) is exchange}
            unnamed = [
                key
                for key in named
                if key.cluster == RECORDING_CLUSTER
                and key not in silver.positions
                and exchange_of_topic(key.topic) is exchange
            ]
            table, metadata = self.silver[exchange.silver], self.metadata[exchange.silver]
            self.silver_finished[exchange.silver] = find_finished(self.spark, self.options, table, metadata, unnamed)
            if not level:
                at_rejected = self.rejected, self.metadata[REJECTED]
                self.rejected_finished |= find_finished(self.spark, self.options, *at_rejected, unnamed)
        self.bronze_progress.positions = named

    def _owns(self, key: SourceKey) -> bool:
        return self.options.owns is None or self.options.owns(key.topic, key.partition)

    def _ranges(self) -> list[Range]:
        dropped = dropped_unread(self.bronze_metadata)
        ranges = []
        for key, bronze_end in sorted(self.bronze_progress.positions.items()):
            if self._owns(key):
                found = self._range(key, bronze_end, dropped)
                if found.pending > 0:
                    ranges.append(found)
        ranges = named_apart(ranges, recreated_topics(self.bronze_metadata))
        self.result.behind_by_source = {one.key: one.pending for one in ranges}
        ranges = self._up_to_held(ranges)
        # Such ranges are caught up alone: only for them rejected_trades is read.
        return [one for one in ranges if one.leave_out_rejected] or ranges

    def _up_to_held(self, ranges: Sequence[Range]) -> list[Range]:
        """Up to the messages that wait for a schema, unless that can be had, or is known not to be, by now."""
        held = self.options.schemas.held
        self.asking.learn(held[one.key].key for one in ranges if one.key in held)
        self.held: list[Held] = []
        kept = []
        for one in ranges:
            at = held.get(one.key)
            error = self.asking.waiting.get(at.key) if at is not None else None
            if at is None or error is None or at.offset < one.begin.next_offset:
                held.pop(one.key, None)
                kept.append(one)
                continue
            at.error = error
            self.held.append(at)
            if at.offset < one.end.next_offset:
                one = replace(one, end=Position(at.offset, one.end.leader_epoch), whole=False, gap=None)
            if one.pending > 0:
                kept.append(one)
        return kept

    def _range(self, key: SourceKey, bronze_end: Position, dropped: DroppedUnread | None) -> Range:
        exchange = exchange_of_topic(key.topic)
        silver, rejected = self.silver_progress[exchange.silver], self.rejected_progress
        if max(silver.rules, rejected.rules) > RULES_VERSION:
            raise ConfigurationError(
                f"{exchange.silver} was validated by rules of version {max(silver.rules, rejected.rules)}, but this "
                f"k2 has version {RULES_VERSION}; use a newer k2"
            )
        begin = silver.positions.get(key) or self.silver_finished[exchange.silver].get(key, Position())
        rejected_begin = rejected.positions.get(key) or self.rejected_finished.get(key, Position())
        # rejected_trades is committed first: where it stands ahead, a crash came between the two, or somebody has set
        # its offset. Neither proves that a row is valid: rows that it holds are left out, all others are validated.
        ahead = rejected_begin.next_offset > begin.next_offset
        end, whole = bronze_end, True
        if ahead and rejected_begin.next_offset < bronze_end.next_offset:
            end = rejected_begin
        # Rows that somebody has accepted as they are come first, and are not counted.
        source = self._accepted(exchange).get(key)
        is_accepted = source is not None and begin.next_offset < source.end
        if source is not None and is_accepted and source.end < end.next_offset:
            end = Position(source.end, end.leader_epoch, messages=source.messages)
        gap = dropped.gaps.get(key) if dropped else None
        if gap is not None and begin.next_offset <= gap.last and end.next_offset > gap.first:
            if begin.next_offset >= gap.first:
                raise gap_error(key, exchange, begin, gap)
            # Rows that were dropped unread are no part of any range: what lies before them is judged, then it stops.
            end, whole = Position(gap.first, end.leader_epoch), False
        else:
            gap = None
        return Range(
            key,
            exchange,
            begin,
            rejected_begin,
            end,
            ahead,
            key in silver.positions,
            key in rejected.positions,
            whole,
            gap,
            is_accepted,
        )

    def _accepted(self, exchange: Exchange) -> Mapping[SourceKey, AcceptedSource]:
        return accepted(self.metadata[exchange.silver], self.bronze.key, self.bronze_metadata.uuid).sources

    def _cut(self, ranges: Sequence[Range], rows_max: int) -> list[Range]:
        taken = shares({one.key: one.pending for one in ranges}, rows_max)
        cut = []
        for one in ranges:
            if taken[one.key] == one.pending:
                cut.append(one)
            else:
                end = Position(one.begin.next_offset + taken[one.key], one.end.leader_epoch)
                cut.append(replace(one, end=end, whole=False, gap=None))
        return cut

    # Run.

    def run(self) -> StepResult:
        began = time.monotonic()
        self._load()
        ranges = self._ranges()
        rows_max = self.options.rows_per_step
        while ranges:
            cut = self._cut(ranges, rows_max)
            self.result.plan_s = time.monotonic() - began
            try:
                if self._moved(cut):
                    break
                rows_max *= 8  # nothing but gaps of offsets up to there
            except HeldError:
                ranges = self._ranges()
        if not ranges:
            if self.held:
                raise self.held[0].error
            for name in self.silver:
                self.bronze.remove_stands_tags(stands_tag(name))
            self.result.plan_s = time.monotonic() - began
            return self.result
        for one in cut:
            if one.key in self.result.behind_by_source:
                self.result.behind_by_source[one.key] -= one.pending
        self.result.behind = sum(self.result.behind_by_source.values())
        return self.result

    def _moved(self, ranges: list[Range]) -> bool:
        try:
            return self._move(ranges)
        except DoubledError:
            return self._move(ranges, once=True)

    def _move(self, ranges: list[Range], once: bool = False) -> bool:
        """`once`: each offset, though others may have appended a row again."""
        since = time.monotonic()
        assert self.bronze_metadata.head_id is not None
        rows = of_ranges(self.bronze.rows(self.bronze_metadata.head_id), ranges)
        if once:
            rows = rows.dropDuplicates(list(PLACE))
        work = Validation(self.spark, rows, ranges)
        try:
            if any(one.leave_out_rejected for one in ranges):
                work.leave_out(self._rejected_places(ranges))
            self._learn(work)
            counts = work.count(self.asking.found)
            ranges = with_rows(ranges, counts)
            if not ranges:
                return False
            # Rows of a range that is counted at its end alone would not be missed there.
            if not once and any(not one.whole or one.accepted for one in ranges) and work.has_doubles():
                raise DoubledError("rows of Bronze were read twice")
            ranges = self._check_counts(ranges, counts, once)
            self.result.rows_in = work.rows_in
            self.result.rejected = work.rejected
            self.result.run_s += time.monotonic() - since
            self._commit(ranges, work)
        finally:
            work.close()
        return True

    def _learn(self, work: Validation) -> None:
        """The schemas that the messages name."""
        named = work.named()
        self.asking.learn(one.key for one in named)
        key_of = {one.counted_as: one.key for one in work.ranges}
        found: set[SourceKey] = set()
        for one in named:  # the lowest offsets first
            error, key = self.asking.waiting.get(one.key), key_of[one.of]
            if error is not None and key not in found:
                found.add(key)
                self._hold(key, Held(one.first_offset, one.key, error))
        if found:
            raise HeldError

    def _hold(self, key: SourceKey, held: Held) -> None:
        before = self.options.schemas.held.get(key)
        if before is None or before.offset != held.offset:
            print(
                "silver: a partition waits for the schema of a message; other partitions continue: topic "
                f"{key.topic}, partition {key.partition}, offset {held.offset}, schema {ref_text(held.key[1])}: "
                f"{held.error}",
                file=sys.stderr,
            )
        self.options.schemas.held[key] = held

    def _rejected_places(self, ranges: Sequence[Range]) -> DataFrame:
        """What rejected_trades holds of the ranges."""
        head = self.rejected.current().head_id
        assert head is not None
        return of_ranges(self.rejected.rows(head), ranges).select(*PLACE)

    def _check_counts(
        self, ranges: list[Range], counts: Mapping[tuple[str, str, int], Counts], once: bool
    ) -> list[Range]:
        """Stops when some of Bronze's rows are missing: nothing is skipped in silence. A recording numbers its messages
        without gaps; Kafka's offsets have gaps, but Bronze has counted its rows up to where it stands."""
        checked = []
        for one in ranges:
            rows, expected = counts[one.counted_as].rows, -1
            if one.accepted:
                if not one.whole:
                    one = replace(one, end=replace(one.end, messages=-1))
            elif one.key.cluster == RECORDING_CLUSTER:
                expected = one.pending
            else:
                before = one.begin.messages if one.in_silver else 0
                counted = -1 if before < 0 else before + rows
                if not one.whole:
                    one = replace(one, end=replace(one.end, messages=counted))
                if counted >= 0 and one.end.messages >= 0:
                    expected = one.end.messages - before
            if rows > expected >= 0 and not once:
                raise DoubledError("rows of Bronze were read twice")
            if expected >= 0 and rows != expected:
                raise self._stands(one, rows, expected)
            checked.append(one)
        return checked

    def _stands(self, one: Range, rows: int, expected: int) -> StandsError:
        """Bronze keeps the snapshot that is named."""
        table, bronze = one.exchange.silver, self.bronze.name
        read = self.silver_progress[table].upstream.get(self.bronze.key)
        at = stands_at(self.bronze_metadata, table, read.snapshot_id if read else 0)
        assert at is not None
        self.bronze.set_stands_tags(stands_tag(table), at)
        return StandsError(
            f"{table} is blocked: {bronze} holds {rows} rows instead of {expected}, from offset "
            f"{one.begin.next_offset} to {one.end.next_offset} of {one.key.topic}, partition {one.key.partition}: rows "
            f"were removed before they were read, or others were added; last changed by {at}. `k2 offsets accept "
            f"{bronze} {at.snapshot_id} --dry-run` shows the rows; without --dry-run, {table} resumes with them"
        )

    # Commit.

    def _hint(self) -> dict[str, UpstreamHint]:
        metadata, head = self.bronze_metadata, self.bronze_metadata.head_id or 0
        return {self.bronze.key: UpstreamHint(metadata.uuid, head, metadata.sequence_of(head))}

    def _commit(self, ranges: list[Range], work: Validation) -> None:
        # rejected_trades first: a crash after it leaves Silver behind, and Silver then leaves out what it has.
        rejected_rows = sum(work.rejected.values())
        if rejected_rows:
            base = Progress(finished=self.rejected_progress.finished)
            after = Progress(upstream=self._hint(), rules=RULES_VERSION)
            for one in ranges:
                if one.in_rejected:
                    base.positions[one.key] = one.rejected_begin
                # It never goes back: beyond, too, it may hold rows.
                ahead = one.rejected_begin.next_offset > one.end.next_offset
                after.positions[one.key] = one.rejected_begin if ahead else one.end
            refused = work.rejected_rows(self.rejected)
            self._publish(self.rejected, Move(base, after), refused, rejected_rows, work.rejected_times)
        for exchange in EXCHANGES:
            own = [one for one in ranges if one.exchange is exchange]
            if not own:
                continue
            base = Progress(finished=self.silver_progress[exchange.silver].finished)
            after = Progress(upstream=self._hint(), rules=RULES_VERSION)
            for one in own:
                if one.in_silver:
                    base.positions[one.key] = one.begin
                after.positions[one.key] = one.end
            table = self.silver[exchange.silver]
            count = work.accepted[exchange.silver]
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
        base = Progress(finished=self.rejected_progress.finished)
        after = Progress(upstream=self._hint())
        for progress in self.silver_progress.values():
            for key, position in progress.positions.items():
                known = self.rejected_progress.positions
                if not self._owns(key) or offset_of(known, key) >= position.next_offset:
                    continue
                if key in known:
                    base.positions[key] = known[key]
                after.positions[key] = position
                after.rules = max(after.rules, progress.rules)
        if after.positions:
            self.result.took(publish(self.rejected, Move(base, after), policy=self.options.policy))
        return self.result


def with_rows(ranges: Sequence[Range], counts: Mapping[tuple[str, str, int], Counts]) -> list[Range]:
    """A range that was cut moves only over rows that are read: what lies before the cut may be a gap or a loss, which
    the count of a whole range tells apart. One without rows that ends where rows were dropped unread raises."""
    moving = []
    for one in ranges:
        if one.whole or counts[one.counted_as].rows > 0:
            moving.append(one)
        elif one.gap is not None:
            raise gap_error(one.key, one.exchange, one.begin, one.gap)
    return moving


def gap_error(key: SourceKey, exchange: Exchange, begin: Position, gap: OffsetGap) -> OffsetsError:
    table = exchange.silver
    return OffsetsError(
        f"retention of Bronze dropped rows before {table} had read them: its committed offset is {begin.next_offset} "
        f"in {key.topic}, partition {key.partition}, and offsets up to {gap.last} are gone ({gap.rows} rows at most). "
        f"To continue without them: `k2 offsets set --table {table} --topic {key.topic} --partition {key.partition} "
        f"--next {gap.last + 1} --accept-loss`"
    )
