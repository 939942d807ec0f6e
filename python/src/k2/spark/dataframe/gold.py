"""Silver to Gold: all exchanges in one table, each trade once in its hour, whatever the number of times it came.

A step's rows are compared with one another and with Gold's rows of the same hours, by a shuffle of what identifies them
alone; the first that came is kept. The rows themselves go from Silver's files to Gold's without one. Gold's commit asks
that no other commit of K2 has come between.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pyspark import StorageLevel
from pyspark.sql import Window
from pyspark.sql import functions as f

from k2.spark.dataframe.progress import (
    RECORDING_CLUSTER,
    AnotherWriterError,
    FoundProgress,
    Metadata,
    Move,
    OffsetsError,
    Progress,
    Snapshot,
    SourceKey,
    StandsError,
    UpstreamHint,
    accepted,
    dropped_unread,
    find_progress,
    joined,
    progress_to_read,
    stands_tag,
    times_summary,
)
from k2.spark.dataframe.publish import publish
from k2.spark.dataframe.step import LakeOptions, StepResult
from k2.spark.dataframe.tables import Table, TaskSets, any_of, exchange_of_topic
from k2.spark.schemas import EXCHANGES, GOLD
from k2.spark.utils.coordinates import ICEBERG_VERSION, coordinates
from k2.spark.utils.errors import ConfigurationError, DataError

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, SparkSession

_HOUR_US = 3_600_000_000
_ROWS_PER_TASK = 200_000
_ROW_BITS = 36  # of `came`: a file's number, then the row's in it
# What the exchange says of a trade; not how and when it came to us.
_CONTENT = ("trade_id", "symbol", "exchange", "currency", "side", "timestamp", "price", "quantity")


@dataclass
class GoldOptions(LakeOptions):
    pass


@dataclass
class File:
    """A data file of Silver that Gold has yet to read."""

    path: str
    rows: int
    snapshot_id: int
    sequence_number: int
    task: Any  # of Iceberg's scan planning


@dataclass
class Upstream:
    table: Table
    metadata: Metadata
    committed: UpstreamHint | None  # as it stands in Gold
    pending: list[File] = field(default_factory=list)  # in the order of the snapshots that added them
    read_to: UpstreamHint | None = None  # what Gold has read wholly after this step, where that is news
    stands: bool = False  # nothing of it can be read
    until: int | None = None  # the last snapshot that can be read, where Gold stands at the next one

    @property
    def planned(self) -> UpstreamHint | None:
        head = self.until or self.metadata.head_id
        return None if head is None else UpstreamHint(self.metadata.uuid, head, self.metadata.sequence_of(head))

    @property
    def moved(self) -> bool:
        return (
            self.planned is not None
            and not self.stands
            and (self.committed is None or self.committed.snapshot_id != self.planned.snapshot_id)
        )


def gold_step(spark: SparkSession, options: GoldOptions) -> StepResult:
    """Moves at most about `rows_per_step` rows of Silver that Gold has not seen; a file of Silver is taken whole."""
    check_iceberg(spark)
    return GoldStep(spark, options).run()


def gold_settle(spark: SparkSession, options: GoldOptions) -> StepResult:
    """Brings Gold to the offsets of Silver, when it stands behind for lack of rows."""
    return GoldStep(spark, options).settle()


def check_iceberg(spark: SparkSession) -> None:
    """Iceberg 1.4 reads the files of a task set without `_file` and `_pos`, which tell the order in which rows came."""
    jvm: Any = spark.sparkContext._jvm
    version = str(jvm.org.apache.iceberg.IcebergBuild.version())
    if re.match(r"(0|1\.[0-4])\.", version):
        raise ConfigurationError(
            f"Gold by DataFrames cannot use Iceberg {version}: name the jars of {ICEBERG_VERSION} in K2_SPARK_PACKAGES "
            f"({','.join(coordinates(spark.version, ICEBERG_VERSION))}), or use --engine native"
        )


class GoldStep:
    def __init__(self, spark: SparkSession, options: GoldOptions, hours: tuple[int, int] | None = None) -> None:
        """`hours`: first and last of those that rows are taken of; all, without."""
        self.spark = spark
        self.options = options
        self.hours = hours
        self.result = StepResult("gold")
        self.gold = options.table(spark, GOLD)

    # Plan.

    def _load(self) -> list[Upstream]:
        self.metadata = self.gold.metadata_with_head()
        self.found: FoundProgress = find_progress(self.metadata)
        upstreams = []
        for exchange in EXCHANGES:
            table = self.options.table(self.spark, exchange.silver)
            upstreams.append(Upstream(table, table.metadata_with_head(), self.found.progress.upstream.get(table.key)))
        return upstreams

    def _plan(self) -> list[Upstream]:
        """A Silver table at which Gold stands does not stop the others: it is told when nothing else is left to do."""
        upstreams = self._load()
        stands: list[StandsError] = []
        for upstream in upstreams:
            if not upstream.moved:
                continue
            try:
                upstream.pending = self._pending(upstream)
            except StandsError as error:
                stands.append(error)
                upstream.stands = True
                continue
            if upstream.until is None:
                upstream.table.remove_stands_tags(stands_tag(GOLD))
        self._tell_lag(upstreams)
        if stands and not any(upstream.pending for upstream in upstreams):
            raise stands[0]
        return upstreams

    def _pending(self, upstream: Upstream) -> list[File]:
        metadata, committed = upstream.metadata, upstream.committed
        same = committed is not None and committed.table_uuid == metadata.uuid
        since = committed.snapshot_id if same and committed is not None else None
        read = committed.sequence_number if same and committed is not None else 0
        since, read = metadata.after_rollback(since, read)
        chain = chain_since(metadata, since)
        if chain is not None:
            return self._added(upstream, self._readable(upstream, chain))
        # Silver's history no longer reaches back to where Gold stands. Files that were added after that are read; those
        # that others have rewritten since are read again, and deduplication drops what Gold has.
        self._check_nothing_lost(upstream)
        tagged = metadata.snapshots.get(metadata.ref(stands_tag(GOLD)) or 0)
        seen = max(read, self._accepted(upstream))
        if tagged is not None and tagged.is_foreign_rewrite and tagged.sequence_number > seen:
            raise self._stands(upstream, tagged, "moved trades to another hour")
        head = metadata.head_id
        assert head is not None
        files = self._files(upstream, upstream.table.java.newScan().useSnapshot(head))
        unread = [file for file in files if file.sequence_number > read]
        ids = upstream.table.snapshot_ids(read) if unread else {}
        for file in unread:
            file.snapshot_id = ids.get(file.sequence_number, 0)
        return unread

    def _accepted(self, upstream: Upstream) -> int:
        """Foreign snapshots of the table up to this sequence number are read, whatever they did."""
        return accepted(self.metadata, upstream.table.key, upstream.metadata.uuid).sequence_number

    def _readable(self, upstream: Upstream, chain: list[Snapshot]) -> list[Snapshot]:
        """Rows that another engine has copied to other files meet themselves in Gold. One that it has moved to another
        hour does not: Gold would hold the trade twice. What is before such a snapshot is read; then Gold stands."""
        for i, snapshot in enumerate(chain):
            if not snapshot.is_foreign_rewrite or snapshot.sequence_number <= self._accepted(upstream):
                continue
            moved = self._moved_trades(upstream, snapshot)
            if not moved:
                continue
            before = chain[:i]
            error = self._stands(
                upstream,
                snapshot,
                f"moved {moved} trades to another hour, so {GOLD} would hold each of them twice",
            )
            if not any(one.adds_rows for one in before):
                raise error
            upstream.until = before[-1].snapshot_id
            return before
        return chain

    def _moved_trades(self, upstream: Upstream, snapshot: Snapshot) -> int:
        """Trades of files that the snapshot removed and, in another hour, of those that it added. Where the removed
        files are gone they cannot be told."""
        table, parent = upstream.table, snapshot.parent_id
        added = {str(file.path()) for file in table.added_files(snapshot)}
        removed = {str(file.path()) for file in table.removed_files(snapshot)}
        if not added or not removed or parent not in upstream.metadata.snapshots:
            return 0
        read = TaskSets()
        try:
            parts = []
            for at, paths in ((parent, removed), (snapshot.snapshot_id, added)):
                files = self._files(upstream, table.java.newScan().useSnapshot(at), paths)
                rows = read.rows(table, [file.task for file in files])
                parts.append(rows.select("message_id", hour_of("timestamp").alias("hour")))
            before, after = parts
            return before.withColumnRenamed("hour", "was").join(after, "message_id").where("hour != was").count()
        finally:
            read.close()

    def _stands(self, upstream: Upstream, snapshot: Snapshot, what: str) -> StandsError:
        """Silver keeps the snapshot that is named."""
        table = upstream.table
        table.set_stands_tags(stands_tag(GOLD), snapshot)
        return StandsError(
            f"{GOLD} is blocked at {table.name}: {snapshot} {what}. `k2 offsets accept {table.name} "
            f"{snapshot.snapshot_id} --dry-run` shows the rows; without --dry-run, {GOLD} reads the rows that the "
            "snapshot added"
        )

    def _appended(self, upstream: Upstream, chain: Sequence[Snapshot]) -> dict[str, Snapshot]:
        """The files that the snapshots of the chain, oldest first, have added, in that order."""
        wanted: dict[str, Snapshot] = {}
        for snapshot in chain:
            if not snapshot.may_add_rows:
                continue
            if snapshot.adds_rows:
                wanted |= {str(file.path()): snapshot for file in upstream.table.added_files(snapshot)}
        return wanted

    def _added(self, upstream: Upstream, chain: Sequence[Snapshot]) -> list[File]:
        wanted = self._appended(upstream, chain)
        if not wanted:
            return []
        # The scan of the newest snapshot has each file with the deletes that apply to it.
        head = upstream.metadata.head_id
        assert head is not None
        scan = upstream.table.java.newScan().useSnapshot(head)
        there = {file.path: file for file in self._files(upstream, scan, set(wanted))}
        gone = [path for path in wanted if path not in there]
        if gone:
            # Rewritten or dropped since: their rows are read from the snapshot that added them.
            there |= self._files_gone(upstream, {path: wanted[path] for path in gone})
        for path, snapshot in wanted.items():
            there[path].snapshot_id, there[path].sequence_number = snapshot.snapshot_id, snapshot.sequence_number
        return [there[path] for path in wanted]

    def _files_gone(self, upstream: Upstream, gone: dict[str, Snapshot]) -> dict[str, File]:
        found: dict[str, File] = {}
        for snapshot in {one.snapshot_id: one for one in gone.values()}.values():
            self._check_schema(upstream, snapshot)
            paths = {path for path, one in gone.items() if one.snapshot_id == snapshot.snapshot_id}
            scan = upstream.table.java.newScan().useSnapshot(snapshot.snapshot_id)
            found |= {file.path: file for file in self._files(upstream, scan, paths)}
        missing = gone.keys() - found.keys()
        if missing:
            raise DataError(f"{upstream.table.key}: the file {min(missing)} was not added by any snapshot")
        return found

    def _check_schema(self, upstream: Upstream, snapshot: Snapshot) -> None:
        """Spark reads a step's files by one schema: prices had another field id before the table was migrated."""
        ids = upstream.table.column_ids(upstream.metadata)
        of_snapshot = next((s for s in upstream.metadata.schemas if s.get("schema-id") == snapshot.schema_id), None)
        known = {field["id"] for field in of_snapshot["fields"]} if of_snapshot else set(ids.values())
        if {ids["price"], ids["quantity"]} <= known:
            return
        raise ConfigurationError(
            f"{GOLD} has not read {snapshot} of {upstream.table.key}, which is older than `k2 tables migrate`: let the "
            "k2 program read it once (`k2 run --layer gold`), then continue with Spark"
        )

    def _files(self, upstream: Upstream, scan: Any, paths: set[str] | None = None) -> list[File]:
        return files_of(upstream.table.scan_tasks(scan), paths)

    def _check_nothing_lost(self, upstream: Upstream) -> None:
        dropped, committed = dropped_unread(upstream.metadata), upstream.committed
        if dropped is None:
            return
        known = committed is not None and committed.table_uuid == upstream.metadata.uuid
        if known and committed is not None and committed.sequence_number >= dropped.sequence_number:
            return
        raise OffsetsError(
            f"retention of {upstream.table.key} dropped {dropped.rows} rows before Gold had read them, last on "
            f"{dropped.at}. To continue without them: `k2 offsets set --table {GOLD} --accept-loss`"
        )

    def _tell_lag(self, upstreams: Iterable[Upstream]) -> None:
        for upstream in upstreams:
            silver = progress_to_read(upstream.metadata)
            for key, position in silver.positions.items():
                known = self.found.progress.positions.get(key)
                behind = position.next_offset - (known.next_offset if known else 0) if upstream.pending else 0
                self.result.behind_by_source[key] = behind
        self.result.behind = sum(file.rows for upstream in upstreams for file in upstream.pending)

    # Run.

    def run(self) -> StepResult:
        began = time.monotonic()
        upstreams = self._plan()
        taken = [take(upstream, self.options.rows_per_step) for upstream in upstreams]
        self.result.plan_s = time.monotonic() - began
        if not any(taken):
            return self.result
        with self.each_once(upstreams, taken) as kept:
            self._commit(upstreams, taken, kept)
        self.result.behind -= self.result.rows_in
        return self.result

    @contextmanager
    def each_once(self, upstreams: Sequence[Upstream], taken: Sequence[Sequence[File]]) -> Iterator[DataFrame]:
        """The rows of the files, of each trade one, while the context lasts. Counts."""
        since = time.monotonic()
        read = TaskSets()
        suspects: DataFrame | None = None
        try:
            rows = self._read(upstreams, taken, read)
            self.result.rows_in = sum(file.rows for files in taken for file in files)
            if self.hours is not None or any(file.task.deletes().size() for files in taken for file in files):
                self.result.rows_in = rows.count()  # row-level deletes of others have made fewer of them
            suspects = self._suspects(rows).persist(StorageLevel.MEMORY_AND_DISK)
            again = self._judge(suspects)
            self.result.run_s += time.monotonic() - since
            yield rows.join(again, "came", "left_anti") if self.result.duplicates else rows
        finally:
            if suspects is not None:
                suspects.unpersist()
            read.close()

    def _read(self, upstreams: Sequence[Upstream], taken: Sequence[Sequence[File]], read: TaskSets) -> DataFrame:
        """The rows of the files, with `came`, which orders them as they came."""
        parts: list[DataFrame] = []
        for number, (upstream, files) in enumerate(zip(upstreams, taken, strict=True)):
            if not files:
                continue
            rows = read.rows(upstream.table, [file.task for file in files])
            places = self.spark.createDataFrame(
                [(file.path, ((number << 20) + i) << _ROW_BITS) for i, file in enumerate(files)],
                "_path string, _file_number bigint",
            )
            rows = rows.select("*", f.col("_file").alias("_path"), f.col("_pos").alias("_row"))
            rows = rows.join(f.broadcast(places), "_path")
            rows = rows.withColumn("came", f.col("_file_number") + f.col("_row"))
            parts.append(rows.drop("_path", "_file_number", "_row"))
        result = parts[0]
        for part in parts[1:]:
            result = result.unionByName(part, allowMissingColumns=True)
        result = result.withColumn("hour", hour_of("timestamp"))
        return result if self.hours is None else result.where(f.col("hour").between(*self.hours))

    def _suspects(self, rows: DataFrame) -> DataFrame:
        """Of rows that share message_id and hour with others, or the id alone with a row of another hour: `came` (null:
        Gold's own row), `content`, `n` as they came, and whether the id was `elsewhere`. They are few, mostly."""
        rows = rows.select("hour", "message_id", f.xxhash64(*_CONTENT).alias("content"), "came")
        everything = self._with_stored(rows)
        everything = everything.repartition(self._tasks(), "message_id")
        # Null comes first: Gold's own rows, then the batch's as they came. One order serves all three.
        same = Window.partitionBy("message_id", "hour")
        came = f.col("came").asc_nulls_first()
        across = Window.partitionBy("message_id").orderBy("hour", came)
        everything = everything.withColumn("n", f.row_number().over(same.orderBy(came)))
        everything = everything.withColumn("size", f.count("*").over(same))
        everything = everything.withColumn("before", f.lag("hour").over(across))
        elsewhere = (f.col("n") == 1) & f.col("came").isNotNull() & (f.col("before") != f.col("hour"))
        everything = everything.withColumn("elsewhere", f.coalesce(elsewhere, f.lit(False)))
        return everything.where("size > 1 OR elsewhere").drop("before")

    def _judge(self, suspects: DataFrame) -> DataFrame:
        """Counts; gives `came` of the rows that Gold has already."""
        same = Window.partitionBy("message_id", "hour")
        again = f.col("came").isNotNull() & (f.col("n") > 1)
        # A duplicate whose kept row says something else is a conflict; so is an id that another hour has.
        held = f.when(~again, f.col("content"))
        judged = suspects.withColumn("contents", f.collect_set(held).over(same))
        other = again & ~f.array_contains("contents", f.col("content"))
        row = judged.agg(f.count(f.when(again, 1)), f.count(f.when(other | f.col("elsewhere"), 1))).collect()[0]
        self.result.duplicates, self.result.identity_conflicts = int(row[0]), int(row[1])
        self.result.rows_out = self.result.rows_in - self.result.duplicates
        return suspects.where(again).select("came")

    def _tasks(self) -> int:
        return max(1, min(self.spark.sparkContext.defaultParallelism, -(-self.result.rows_in // _ROWS_PER_TASK)))

    def _with_stored(self, rows: DataFrame) -> DataFrame:
        hours = sorted(row[0] for row in rows.select("hour").distinct().collect())
        return rows.unionByName(self._stored(hours))

    def _stored(self, hours: Sequence[int]) -> DataFrame:
        """Gold's rows of some hours: id, hour, content."""
        assert self.metadata.head_id is not None
        days: dict[int, list[int]] = {}
        for hour in hours:
            days.setdefault(hour // 24, []).append(hour % 24)
        conditions: list[Column] = []
        for day, of_day in days.items():
            chosen = f.col("exchange_date") == f.expr(f"date_from_unix_date({day})")
            conditions.append(chosen & f.col("exchange_hour").isin(of_day) if len(of_day) < 24 else chosen)
        rows = self.gold.rows(self.metadata.head_id).where(any_of(conditions))
        of_row = f.expr("cast(unix_date(exchange_date) as bigint) * 24 + exchange_hour").alias("hour")
        content = f.xxhash64(*_CONTENT).alias("content")
        return rows.select(of_row, "message_id", content, f.lit(None).cast("bigint").alias("came"))

    # Commit.

    def _commit(self, upstreams: Sequence[Upstream], taken: Sequence[Sequence[File]], kept: DataFrame | None) -> None:
        base, after = Progress(), Progress()
        dropped: list[SourceKey] = []
        for upstream in upstreams:
            key = upstream.table.key
            dropped += self._finished(upstream)
            if upstream.committed is not None:
                base.upstream[key] = after.upstream[key] = upstream.committed
            if upstream.read_to is None:
                continue
            after.upstream[key] = upstream.read_to
            if not upstream.pending:
                # Gold has all that this Silver table has: it stands at the same offsets, which tells its lag.
                after.positions |= progress_to_read(upstream.metadata).positions
        times = joined(
            [
                upstream.metadata.snapshots[file.snapshot_id].times
                for upstream, files in zip(upstreams, taken, strict=True)
                for file in files
                if file.snapshot_id in upstream.metadata.snapshots
            ]
        )
        move = Move(base, after, dropped, by_upstream=True, base_snapshot_id=self.found.snapshot_id)
        check = None
        write = None
        if kept is not None and self.result.rows_out:
            rows = self._laid_out(kept)
            write = lambda branch, summary: self.gold.append(rows, branch, summary)  # noqa: E731
            check = self.refuse_doubled(kept)
        self.result.took(
            publish(
                self.gold,
                move,
                write,
                times_summary(times),
                self.options.policy,
                expected_rows=self.result.rows_out,
                check=check,
            )
        )

    def _finished(self, upstream: Upstream) -> list[SourceKey]:
        """Recordings that Silver's document names no more are named here no more: they tell no lag."""
        silver = find_progress(upstream.metadata).progress
        if not silver.finished.generation:
            return []
        return [
            key
            for key in self.found.progress.positions
            if key.cluster == RECORDING_CLUSTER
            and key not in silver.positions
            and exchange_of_topic(key.topic).silver == upstream.table.name
        ]

    def refuse_doubled(self, kept: DataFrame) -> Callable[[Metadata], None]:
        """Asked before each try: raises where files that another engine has added to Gold since this step was planned
        hold a trade of it in the same hour."""
        seen = self.metadata.head_id

        def check(metadata: Metadata) -> None:
            nonlocal seen
            if metadata.head_id == seen:
                return
            chain = chain_since(metadata, seen)
            if chain is None:
                raise AnotherWriterError(
                    f"{self.gold.key}: the history since snapshot {seen}, on which this step was planned, is no longer "
                    "available; nothing was committed"
                )
            for snapshot in chain:
                if snapshot.adds_rows and self._shares_trades(snapshot, kept):
                    raise AnotherWriterError(
                        f"{self.gold.key}: {snapshot} has added trades of this step since it was planned; nothing was "
                        "committed"
                    )
            seen = metadata.head_id

        return check

    def _shares_trades(self, snapshot: Snapshot, kept: DataFrame) -> bool:
        paths = {str(file.path()) for file in self.gold.added_files(snapshot)}
        tasks = self.gold.scan_tasks(self.gold.java.newScan().useSnapshot(snapshot.snapshot_id))
        files = files_of(tasks, paths)
        if not files:
            return False
        read = TaskSets()
        try:
            theirs = read.rows(self.gold, [file.task for file in files])
            theirs = theirs.select("message_id", hour_of("timestamp").alias("hour"))
            return not kept.select("message_id", "hour").join(theirs, ["message_id", "hour"], "left_semi").isEmpty()
        finally:
            read.close()

    def _laid_out(self, kept: DataFrame) -> DataFrame:
        """Hour by hour, in Gold's sort order."""
        day = f.expr("date_from_unix_date(cast((hour - pmod(hour, 24)) div 24 as int))")
        rows = kept.coalesce(self._tasks()).sortWithinPartitions("hour", "symbol", "timestamp", "came")
        known = {name: f.col(name) for name in rows.columns}
        known |= {"exchange_date": day, "exchange_hour": f.expr("cast(pmod(hour, 24) as int)")}
        return rows.select(*self.gold.columns(self.metadata, known))

    def settle(self) -> StepResult:
        upstreams = self._plan()
        if any(upstream.pending for upstream in upstreams):
            return self.result  # there are rows: for the next step
        behind = False
        for upstream in upstreams:
            if not upstream.moved:
                continue
            upstream.read_to = upstream.planned
            for key, position in progress_to_read(upstream.metadata).positions.items():
                behind |= self.found.progress.positions.get(key) != position
        if behind:
            self._commit(upstreams, [[] for _ in upstreams], None)
        return self.result


def files_of(tasks: Iterable[Any], paths: set[str] | None = None) -> list[File]:
    """The files of a scan, as they were committed; of `paths` alone where given."""
    files = []
    for task in tasks:
        file = task.file()
        path = str(file.path())
        if paths is not None and path not in paths:
            continue
        sequence = file.fileSequenceNumber() or file.dataSequenceNumber() or 0
        files.append(File(path, int(file.recordCount()), 0, int(sequence), task))
    return sorted(files, key=lambda file: file.sequence_number)


def hour_of(timestamp: str) -> Column:
    """Hours since 1970, as a bigint: those of a timestamp's last years are no int."""
    micros = f"unix_micros({timestamp})"
    return f.expr(f"({micros} - pmod({micros}, {_HOUR_US})) div {_HOUR_US}")


def take(upstream: Upstream, rows_max: int) -> list[File]:
    """Files of about so many rows, and of what one commit of Silver has added all: the next step knows no place within
    a commit."""
    taken: list[File] = []
    rows = 0
    for file in upstream.pending:
        may_end = rows > 0 and file.sequence_number != taken[-1].sequence_number
        if may_end and rows + file.rows > rows_max:
            break
        rows += file.rows
        taken.append(file)
    upstream.pending = upstream.pending[len(taken) :]
    if not upstream.pending:
        upstream.read_to = upstream.planned if upstream.moved else None
    elif taken:
        last = taken[-1]
        upstream.read_to = UpstreamHint(upstream.metadata.uuid, last.snapshot_id, last.sequence_number)
    return taken


def chain_since(metadata: Metadata, since: int | None) -> list[Snapshot] | None:
    """Snapshots of main after `since`, oldest first; None where main's history does not reach it."""
    chain: list[Snapshot] = []
    for snapshot in metadata.ancestors(metadata.head_id):
        if snapshot.snapshot_id == since:
            return chain[::-1]
        chain.append(snapshot)
        if since is not None and snapshot.parent_id == since:
            return chain[::-1]  # itself expired, but its children are all here
    complete = since is None and bool(chain) and chain[-1].parent_id is None
    return chain[::-1] if complete else None
