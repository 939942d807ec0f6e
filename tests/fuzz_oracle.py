"""What the tables must hold within a schedule of tests/foreign_fuzz.py, and which exit codes k2 must end with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from typing import Any

from pyiceberg.expressions import AlwaysTrue
from pyiceberg.io.pyarrow import ArrowScan
from pyiceberg.manifest import ManifestContent
from pyiceberg.table import Table
from pyiceberg.table.snapshots import Snapshot, ancestors_of
from warehouse import BRONZE, GOLD, NAMESPACE, REJECTED, SILVER, Warehouse

from k2.spark.dataframe.progress import OFFSETS_KEY, OFFSETS_TAG, REBUILT_KEY, Progress, parse_progress


class Tables:
    """A warehouse's tables as PyIceberg reads them, by K2's names for their columns."""

    def __init__(self, warehouse: Warehouse) -> None:
        self.warehouse = warehouse
        self.names: dict[tuple[str, str], str] = {}  # (table, K2's column) -> its name now

    def open(self, table: str) -> Table:
        return self.warehouse.table(table)

    def name(self, table: str, column: str) -> str:
        return self.names.get((table, column), column)

    def named(self, table: str, row: dict[str, Any]) -> dict[str, Any]:
        return {self.name(table, column): value for column, value in row.items()}

    def ids(self, table: str) -> Counter[str]:
        name = self.name(table, "message_id")
        return Counter(self.open(table).scan(selected_fields=(name,)).to_arrow()[name].to_pylist())

    def offsets(self, table: str) -> Counter[int]:
        return Counter(self.open(table).scan(selected_fields=("offset",)).to_arrow()["offset"].to_pylist())

    def history(self, table: str, head: int | None = None) -> list[Snapshot]:
        """Main's, or that of another snapshot: newest first, as far as it is kept."""
        metadata = self.open(table).metadata
        newest = metadata.snapshot_by_id(head) if head is not None else metadata.current_snapshot()
        return list(ancestors_of(newest, metadata))

    def progress(self, table: str) -> Progress | None:
        """By the newest document in main's own history, whatever the tag names; None: main's history holds none."""
        uuid = str(self.open(table).metadata.table_uuid)
        for snapshot in self.history(table):
            text = summary(snapshot).get(OFFSETS_KEY)
            found = parse_progress(text, uuid) if text is not None else None
            if found is not None:
                return found
        oldest = self.history(table)[-1]
        if oldest.parent_snapshot_id is None and oldest.sequence_number == 1:
            return Progress()
        tagged = self.open(table).snapshot_by_name(OFFSETS_TAG)
        if tagged is None or self.rolled_back(table):
            return None
        return parse_progress(summary(tagged)[OFFSETS_KEY], uuid)  # what main has of it is expired

    def offset(self, table: str) -> int:
        """How far the table has come in the one recording."""
        progress = self.progress(table)
        assert progress is not None
        return max((position.next_offset for position in progress.positions.values()), default=0)

    def rolled_back(self, table: str) -> bool:
        """Whether main lacks the snapshot that holds K2's newest offsets."""
        tagged = self.open(table).snapshot_by_name(OFFSETS_TAG)
        kept = self.history(table)
        if tagged is None or tagged.snapshot_id in {one.snapshot_id for one in kept}:
            return False
        first = kept[-1].parent_snapshot_id is None and kept[-1].sequence_number == 1
        return first or tagged.sequence_number > kept[-1].sequence_number  # else it may be of a part that is expired


def summary(snapshot: Snapshot) -> dict[str, str]:
    assert snapshot.summary is not None
    return {"operation": snapshot.summary.operation.value, **snapshot.summary.additional_properties}


class Oracle:
    """One recording, one Silver table. A frame is one message: its offset is its place among the frames."""

    def __init__(self, tables: Tables) -> None:
        self.tables = tables
        self.frames: list[str | None] = []  # message ids; None: rejected
        self.bronze_at = self.silver_at = self.rejected_at = 0  # offsets
        self.silver: Counter[str] = Counter()
        self.rejected: set[int] = set()
        self.gold: set[str] = set()  # message ids that Gold must hold once when k2 has run
        self.may_return: set[str] = set()  # deleted, or rolled back, in Gold: a replay may bring them again
        self.unread: set[str] = set()  # put into Silver by the other engine since k2 ran
        self.in_silver: set[str] = set()  # ever, on main
        self.deleted: set[str] = set()  # ever, from Silver or Gold

    def accepted(self, first: int, end: int) -> Iterator[str]:
        return (one for one in self.frames[first:end] if one is not None)

    # ---- what has happened

    def ran(self, stands: str | None = None) -> None:
        """`k2 run` has taken all frames; `stands`: but for that table, and what is made of it."""
        end = len(self.frames)
        if stands == BRONZE:
            return
        self.bronze_at = end
        if stands in (*SILVER, REJECTED):
            return
        taken = list(self.accepted(self.silver_at, end))
        self.silver.update(taken)
        self.in_silver.update(taken)
        since = max(self.silver_at, self.rejected_at)
        self.rejected |= {offset for offset in range(since, end) if self.frames[offset] is None}
        self.silver_at = end
        self.must_hold(taken)
        if stands == GOLD:
            self.unread.update(taken)
            return
        self.rejected_at = end
        self.unread.clear()

    def must_hold(self, ids: Iterable[str]) -> None:
        self.gold.update(ids)
        self.may_return -= self.gold

    def may_hold(self, ids: Iterable[str]) -> None:
        ids = set(ids)
        self.gold -= ids
        self.may_return |= ids

    def appended(self, table: str, ids: Collection[str]) -> None:
        if table == SILVER[0]:
            self.silver.update(ids)
            self.in_silver.update(ids)
            self.unread.update(ids)
        self.must_hold(ids)

    def deleted_from(self, table: str, ids: set[str]) -> None:
        self.deleted |= ids
        if table == GOLD:
            self.may_hold(ids)
            return
        for one in ids:
            del self.silver[one]
        self.unread -= ids
        self.may_hold(ids - self.tables.ids(GOLD).keys())  # gone before Gold has read them

    def was_main(self) -> None:
        """Gold may have read what Silver's main holds now, also where main is to be set back: rows of a branch."""
        self.may_return |= self.tables.ids(SILVER[0]).keys() - self.in_silver - self.gold

    def rolled_back(self, table: str) -> None:
        """Main is at another snapshot, from which k2 goes on."""
        if table == BRONZE:
            self.bronze_at = self.tables.offset(BRONZE)
            assert self.tables.offsets(BRONZE) == Counter(range(self.bronze_at)), "Bronze and its offsets do not agree"
        elif table == REJECTED:
            found = self.tables.offsets(REJECTED)
            assert set(found.values()) <= {1}
            self.rejected, self.rejected_at = set(found), self.tables.offset(REJECTED)
        elif table == SILVER[0]:
            self._silver_rolled_back()
        else:
            self._gold_rolled_back()

    def _silver_rolled_back(self) -> None:
        """What was taken after that snapshot is taken again, and Gold reads it again."""
        self.silver, self.silver_at = self.tables.ids(SILVER[0]), self.tables.offset(SILVER[0])
        lacks = Counter(self.accepted(0, self.silver_at)) - self.silver
        assert lacks.keys() <= self.deleted, f"Silver lacks {sorted(lacks.keys() - self.deleted)[:3]}"
        fresh = self.silver.keys() - self.in_silver  # of a branch that was never main's
        self.in_silver |= fresh
        self.unread = (self.unread | fresh) & self.silver.keys()
        self.must_hold(fresh)
        pending = self.gold - self.tables.ids(GOLD).keys()
        self.may_hold(pending - self.silver.keys() - set(self.accepted(self.silver_at, len(self.frames))))

    def _gold_rolled_back(self) -> None:
        """Silver's rows after the offsets that Gold stands at now are read again: those are surely not in Gold."""
        progress = self.tables.progress(GOLD)
        of_gold = progress.positions.values() if progress is not None else ()
        since = max((position.next_offset for position in of_gold), default=0)
        again = {one for one in self.accepted(since, self.silver_at) if one in self.silver} - self.deleted
        known = self.gold | self.may_return | self.silver.keys()
        self.gold = set(self.tables.ids(GOLD)) | again | (self.unread & self.silver.keys())
        self.may_return = known - self.gold

    # ---- rebuild

    def rebuild_code(self, layer: str) -> int:
        """0: the layer is rebuilt. 1: nothing is changed, for rows would vanish that the layer above does not hold: of
        Silver, such as another engine has put there, or while Bronze stands behind it or rejected_trades ahead of it;
        of Gold, whatever is not in those files of Silver that are read. (2 is for --from and --to.)"""
        if layer == "gold":
            return 0 if self.tables.ids(GOLD).keys() <= self.readable() else 1
        if not self.silver_at:
            return 0  # nothing was ever read: there is nothing to rebuild
        whole = self.bronze_at >= self.silver_at >= self.rejected_at
        return 0 if whole and self.silver.keys() <= set(self.accepted(0, self.silver_at)) else 1

    def rebuilt(self, layer: str) -> None:
        if layer == "silver":
            if not self.silver_at:
                return
            self.silver = Counter(self.accepted(0, self.silver_at))
            self.rejected = {offset for offset in range(self.silver_at) if self.frames[offset] is None}
            return
        readable = self.readable()
        found = self.tables.ids(GOLD)
        assert set(found) == readable, (
            f"after a rebuild Gold lacks {sorted(readable - set(found))[:3]} of Silver, and has "
            f"{sorted(set(found) - readable)[:3]} besides"
        )
        known = self.gold | self.may_return | readable
        self.gold = readable | (self.gold & set(self.silver))
        self.may_return = known - self.gold

    def readable(self) -> set[str]:
        """Ids of Silver that a rebuild of Gold reads: all but those of files that were appended since Gold has read
        Silver, as far as Silver's history tells."""
        progress = self.tables.progress(GOLD)
        hint = progress.upstream.get(f"{NAMESPACE}.{SILVER[0]}") if progress is not None else None
        if hint is None:
            return set()
        table = self.tables.open(SILVER[0])
        since: list[Snapshot] = []
        appended: set[int] = set()
        for snapshot in self.tables.history(SILVER[0]):
            reached = snapshot.snapshot_id == hint.snapshot_id
            if not reached:
                since.append(snapshot)
            if reached or snapshot.parent_snapshot_id == hint.snapshot_id:
                appended = {one.snapshot_id for one in since if adds_new_rows(one)}
                break
        unread = {path for path, added in live_files(table) if added in appended}
        scan = table.scan(selected_fields=(self.tables.name(SILVER[0], "message_id"),))
        tasks = [task for task in scan.plan_files() if task.file.file_path not in unread]
        rows = ArrowScan(table.metadata, table.io, scan.projection(), AlwaysTrue()).to_table(tasks)
        return set(rows[0].to_pylist())

    # ---- what there is

    def check(self) -> None:
        for table, offsets in ((BRONZE, Counter(range(len(self.frames)))), (REJECTED, Counter(self.rejected))):
            found = self.tables.offsets(table)
            assert found == offsets, f"{table}: lacks {offsets - found}, has {found - offsets} besides"
        found_ids = self.tables.ids(SILVER[0])
        expected = +self.silver
        assert found_ids == expected, f"Silver lacks {expected - found_ids}, has {found_ids - expected} besides"
        found_ids = self.tables.ids(GOLD)
        doubled = [one for one, count in found_ids.items() if count > 1]
        assert not doubled, f"Gold holds {len(doubled)} trades twice: {doubled[:3]}"
        lost = self.gold - found_ids.keys()
        assert not lost, f"Gold lacks {len(lost)} trades: {sorted(lost)[:3]}"
        more = found_ids.keys() - self.gold - self.may_return
        assert not more, f"Gold holds {len(more)} trades that nobody sent: {sorted(more)[:3]}"


def adds_new_rows(snapshot: Snapshot) -> bool:
    """An append; what another engine rewrites holds rows of before, and so does what K2 has rebuilt."""
    return summary(snapshot)["operation"] == "append" and REBUILT_KEY not in summary(snapshot)


def live_files(table: Table) -> Iterator[tuple[str, int | None]]:
    """Path of each data file, and the snapshot that added it."""
    head = table.current_snapshot()
    assert head is not None
    for manifest in head.manifests(table.io):
        if manifest.content == ManifestContent.DATA:
            for entry in manifest.fetch_manifest_entry(table.io, discard_deleted=True):
                yield entry.data_file.file_path, entry.snapshot_id
