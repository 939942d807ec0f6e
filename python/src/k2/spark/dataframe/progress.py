"""How far a layer has come, as its tables' snapshots say it: the document `k2.offsets` (docs/source-offsets.md).

Pure Python on a table's metadata as JSON, so that it is the same whatever brought the metadata here.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from k2.spark.dataframe.offsets_json import (
    RECORDING_CLUSTER,
    AnotherWriterError,
    FinishedMark,
    OffsetsError,
    Position,
    Positions,
    Progress,
    SourceKey,
    StandsError,
    UpstreamHint,
    offset_of,
    parse_progress,
)
from k2.spark.schemas import EXCHANGES, OFFSETS_KEY, OFFSETS_TAG
from k2.spark.utils.errors import DataError

__all__ = [
    "RECORDING_CLUSTER",
    "AnotherWriterError",
    "FinishedMark",
    "OffsetsError",
    "Position",
    "Positions",
    "Progress",
    "SourceKey",
    "StandsError",
    "UpstreamHint",
    "offset_of",
    "parse_progress",
]

COMMIT_ID_KEY = "k2.commit-id"
REVALIDATED_KEY = "k2.revalidated"  # a property of Silver: rows that it has taken from rejected_trades
REBUILT_KEY = "k2.rebuilt"  # of a snapshot that holds rows of before anew, and adds none
OLDEST_KEY = "k2.message-time.min-us"
NEWEST_KEY = "k2.message-time.max-us"
DROPPED_UNREAD_KEY = "k2.dropped-unread"
ACCEPTED_KEY = "k2.accepted"  # property: what was accepted of upstream tables that others changed
RECREATED_KEY = "k2.recreated-topics"


# A table's metadata.


@dataclass(frozen=True)
class Snapshot:
    snapshot_id: int
    parent_id: int | None
    sequence_number: int
    timestamp_ms: int
    operation: str
    summary: Mapping[str, str]
    schema_id: int | None = None

    @property
    def may_add_rows(self) -> bool:
        return self.operation not in ("replace", "delete") and REBUILT_KEY not in self.summary

    @property
    def adds_rows(self) -> bool:
        """True where it does not say."""
        return self.may_add_rows and (self.operation != "append" or self.summary.get("added-data-files", "1") != "0")

    @property
    def is_foreign_rewrite(self) -> bool:
        """Made by another engine, and no plain append: rows of before may lie in its added files."""
        return self.may_add_rows and self.operation != "append" and COMMIT_ID_KEY not in self.summary

    def __str__(self) -> str:
        engine = " ".join(filter(None, (self.summary.get(key) for key in ("engine-name", "engine-version"))))
        other = "k2" if COMMIT_ID_KEY in self.summary else "another engine"
        return f'snapshot {self.snapshot_id} (operation "{self.operation}", {engine or other})'

    @property
    def times(self) -> tuple[int, int] | None:
        """Oldest and newest message of its rows, in microseconds since 1970."""
        try:
            return int(self.summary[OLDEST_KEY]), int(self.summary[NEWEST_KEY])
        except (KeyError, ValueError):
            return None


class Metadata:
    """What a table's metadata.json says, as far as K2's progress goes."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self.uuid: str = document["table-uuid"]
        self.location: str = document["location"]
        self.properties: dict[str, str] = dict(document.get("properties") or {})
        self.refs: dict[str, dict[str, Any]] = dict(document.get("refs") or {})
        self.schema_id: int = document.get("current-schema-id", 0)
        self.schemas: list[dict[str, Any]] = list(document.get("schemas") or ())
        self.fields: list[dict[str, Any]] = next(
            (s["fields"] for s in self.schemas if s.get("schema-id") == self.schema_id), []
        )
        # Partition specs by id, fields as Iceberg's JSON has them.
        self.specs: dict[int, list[dict[str, Any]]] = {
            one["spec-id"]: one["fields"] for one in document.get("partition-specs") or ()
        }
        self.spec_id: int = document.get("default-spec-id", 0)
        self.snapshots: dict[int, Snapshot] = {}
        for one in document.get("snapshots") or ():
            summary = dict(one.get("summary") or {})
            self.snapshots[one["snapshot-id"]] = Snapshot(
                snapshot_id=one["snapshot-id"],
                parent_id=one.get("parent-snapshot-id"),
                sequence_number=one.get("sequence-number", 0),
                timestamp_ms=one.get("timestamp-ms", 0),
                operation=summary.pop("operation", ""),
                summary=summary,
                schema_id=one.get("schema-id"),
            )
        current = document.get("current-snapshot-id")
        self.head_id: int | None = None if current in (None, -1) else current

    @classmethod
    def of_json(cls, text: str) -> Metadata:
        return cls(json.loads(text))

    @property
    def head(self) -> Snapshot | None:
        return None if self.head_id is None else self.snapshots.get(self.head_id)

    def ref(self, name: str) -> int | None:
        return self.refs[name]["snapshot-id"] if name in self.refs else None

    def ancestors(self, snapshot_id: int | None) -> Iterator[Snapshot]:
        """The snapshot and what it descends from, newest first, as far as it is still there."""
        seen = 0
        while snapshot_id is not None and snapshot_id in self.snapshots:
            seen += 1
            if seen > len(self.snapshots):
                raise DataError(f"{self.location}: the parents of snapshot {snapshot_id} form a cycle")
            snapshot = self.snapshots[snapshot_id]
            yield snapshot
            snapshot_id = snapshot.parent_id

    def on_main(self, snapshot_id: int) -> bool:
        return any(snapshot.snapshot_id == snapshot_id for snapshot in self.ancestors(self.head_id))

    def after_rollback(self, since: int | None, read: int) -> tuple[int | None, int]:
        """Where a reader goes on that has read up to snapshot `since`, of sequence number `read`, when main was rolled
        back or set to a branch: that snapshot is not in its history, though it reaches back before it. From the newest
        snapshot of both; from the beginning, where that cannot be told any more."""
        history = list(self.ancestors(self.head_id))
        gone = since is not None and all(since not in (one.snapshot_id, one.parent_id) for one in history)
        if not gone or all(one.sequence_number >= read for one in history):
            return since, read
        on_main = {one.snapshot_id for one in history}
        for snapshot in self.ancestors(since):
            if snapshot.snapshot_id in on_main:
                return snapshot.snapshot_id, snapshot.sequence_number
        return None, 0

    def sequence_of(self, snapshot_id: int) -> int:
        return self.snapshots[snapshot_id].sequence_number if snapshot_id in self.snapshots else 0

    def progress_of(self, snapshot: Snapshot) -> Progress | None:
        text = snapshot.summary.get(OFFSETS_KEY)
        if text is None:
            return None
        try:
            return parse_progress(text, self.uuid)
        except DataError as error:
            raise type(error)(f"{self.location}, snapshot {snapshot.snapshot_id}: {error}") from None


@dataclass(frozen=True)
class FoundProgress:
    progress: Progress
    snapshot_id: int = 0  # that carries it; 0: none does


def progress_to_read(metadata: Metadata) -> Progress:
    """How far a table has come for who reads it: of one that was rolled back, and stands, what main holds now."""
    try:
        return find_progress(metadata).progress
    except OffsetsError:
        on_main = map(metadata.progress_of, metadata.ancestors(metadata.head_id))
        return next((progress for progress in on_main if progress is not None), Progress())


def find_progress(metadata: Metadata) -> FoundProgress:
    """What the table's history says: main's newest document, else the tag's."""
    visited: list[Snapshot] = []
    on_main: Progress | None = None
    for snapshot in metadata.ancestors(metadata.head_id):
        visited.append(snapshot)
        on_main = metadata.progress_of(snapshot)
        if on_main is not None:
            break
    # Only a table's first snapshot has no parent: PyIceberg's expiry takes it from those whose parent it removes.
    oldest = visited[-1] if visited else None
    broken = on_main is None and oldest is not None and (oldest.parent_id is not None or oldest.sequence_number > 1)
    tagged = metadata.snapshots.get(metadata.ref(OFFSETS_TAG) or 0)
    at_tag = metadata.progress_of(tagged) if tagged is not None else None
    if tagged is not None and at_tag is not None and _rolled_away(visited, on_main, broken, tagged):
        raise OffsetsError(
            f"the branch main of {metadata.location} was rolled back: snapshot {tagged.snapshot_id}, which holds the "
            f'latest source offsets (tag "{OFFSETS_TAG}"), is no longer in its history. Roll main forward to that '
            "snapshot to resume from there; or, if the rollback was intended, `k2 offsets set --table <name> "
            "--accept-loss` resumes from the current state of main"
        )
    if on_main is not None:
        return FoundProgress(on_main, visited[-1].snapshot_id)
    if tagged is not None and at_tag is not None:
        return FoundProgress(at_tag, tagged.snapshot_id)
    if broken:
        raise OffsetsError(
            f"the source offsets of {metadata.location} are lost: older snapshots were expired and the tag "
            f'"{OFFSETS_TAG}" that kept them is gone. Set the offsets to resume from with '
            "`k2 offsets set --accept-loss`"
        )
    return FoundProgress(Progress())


def _rolled_away(visited: list[Snapshot], on_main: Progress | None, broken: bool, tagged: Snapshot) -> bool:
    """Is the tagged snapshot outside main's history? It is, when it was made after the oldest snapshot of the walk and
    the walk did not meet it, or when the walk came to the very first snapshot."""
    if any(snapshot.snapshot_id == tagged.snapshot_id for snapshot in visited):
        return False
    if not visited or tagged.sequence_number > visited[-1].sequence_number:
        return True
    # Nothing was expired between the two: another engine has replaced the table.
    if on_main is None and visited[-1].parent_id is None and visited[-1].sequence_number == tagged.sequence_number + 1:
        return True
    return on_main is None and not broken


# The fence.


@dataclass
class Move:
    """A step's move of a table's progress. Own keys are those of `next`: at the head they must stand as in `base`.
    `drop`: they leave the document, of Gold, whose fence is another."""

    base: Progress
    next: Progress
    drop: list[SourceKey] = field(default_factory=list)
    by_upstream: bool = False  # Gold: own keys are the upstream snapshots, not the positions
    base_snapshot_id: int | None = None  # Gold: the snapshot that carried the progress must still be the one


def check_fence(move: Move, at_head: FoundProgress, table: str) -> None:
    """Raises AnotherWriterError where an own key does not stand as the step found it."""

    def moved(what: str, before: object, now: object) -> AnotherWriterError:
        return AnotherWriterError(
            f"{table}: concurrent writer detected: {what} has changed: this batch starts from {before}, but the table "
            f"is at {now}; nothing was committed"
        )

    head = at_head.progress
    if move.base_snapshot_id is not None and move.base_snapshot_id != at_head.snapshot_id:
        raise moved("the table", f"snapshot {move.base_snapshot_id}", f"snapshot {at_head.snapshot_id}")
    if move.by_upstream:
        for name in sorted(move.base.upstream.keys() | move.next.upstream.keys()):
            expected, found = move.base.upstream.get(name), head.upstream.get(name)
            if expected != found:
                raise moved(name, expected and expected.snapshot_id, found and found.snapshot_id)
        return
    for key in move.next.positions:
        before, now = move.base.positions.get(key, Position()), head.positions.get(key, Position())
        if before != now:
            raise moved(str(key), f"offset {before.next_offset}", f"offset {now.next_offset}")
        # A recording that neither names is new, or was finished; what the step has learnt of that holds for the rows of
        # finished_sources that counted then.
        unnamed = key not in head.positions and key.cluster == RECORDING_CLUSTER
        if unnamed and move.base.finished != head.finished:
            before_it, now_it = move.base.finished.generation, head.finished.generation
            raise moved("the archive of finished recordings", f"generation {before_it}", f"generation {now_it}")


# What retention has dropped unread.


@dataclass(frozen=True)
class OffsetGap:
    first: int
    last: int  # inclusive
    rows: int


@dataclass(frozen=True)
class DroppedUnread:
    rows: int
    sequence_number: int
    at: str
    gaps: Mapping[SourceKey, OffsetGap]


def dropped_unread(metadata: Metadata) -> DroppedUnread | None:
    text = metadata.properties.get(DROPPED_UNREAD_KEY)
    if text is None:
        return None
    where = f'the property "{DROPPED_UNREAD_KEY}" of {metadata.location}'
    try:
        document = json.loads(text)
        version = document["version"]
        if version != 1:
            raise OffsetsError(f"{where}: version {version} is not supported; this K2 supports version 1 only")
        gaps = {SourceKey(*gap[:4]): OffsetGap(*gap[4:7]) for gap in document.get("sources", ())}
        dropped = DroppedUnread(document["rows"], document["sequence"], document["at"], gaps)
    except (ValueError, TypeError, KeyError, IndexError):
        raise DataError(f"cannot read {where}") from None
    return dropped if dropped.rows or dropped.gaps else None


# What others did to an upstream table, and what was accepted of it.


STANDS_TAG_PREFIX = "k2-stands-"


def stands_tag(table: str) -> str:
    """In the upstream table, on the snapshot at which `table` stands."""
    silver = {exchange.silver: f"silver-{exchange.topic}" for exchange in EXCHANGES}
    return f"{STANDS_TAG_PREFIX}{silver.get(table, 'gold')}"


def stands_at(upstream: Metadata, table: str, read: int) -> Snapshot | None:
    """The tagged snapshot, else the newest since `read` by which another engine has removed or rewritten files, else
    appended some, else the head."""
    tagged = upstream.snapshots.get(upstream.ref(stands_tag(table)) or 0)
    if tagged is not None:
        return tagged
    appended: Snapshot | None = None
    for snapshot in upstream.ancestors(upstream.head_id):
        if snapshot.snapshot_id == read:
            break
        if COMMIT_ID_KEY in snapshot.summary or snapshot.operation == "replace":
            continue
        if snapshot.operation != "append":
            return snapshot
        appended = appended or snapshot
    return appended or upstream.head


@dataclass(frozen=True)
class AcceptedSource:
    end: int  # rows of lower offsets are not counted
    messages: int  # Bronze's count there


@dataclass(frozen=True)
class AcceptedUpstream:
    sequence_number: int = 0
    sources: Mapping[SourceKey, AcceptedSource] = field(default_factory=dict)


def _property_document(metadata: Metadata, key: str) -> tuple[dict[str, Any], str]:
    """The JSON of a table's property of version 1, empty where it has none, and how errors name it."""
    where = f'the property "{key}" of {metadata.location}'
    text = metadata.properties.get(key)
    if text is None:
        return {}, where
    try:
        document: dict[str, Any] = json.loads(text)
        version = document["version"]
    except (ValueError, TypeError, KeyError):
        raise DataError(f"cannot read {where}") from None
    if version != 1:
        raise OffsetsError(f"{where}: version {version} is not supported; this K2 supports version 1 only")
    return document, where


def accepted(metadata: Metadata, upstream: str, upstream_uuid: str) -> AcceptedUpstream:
    """What was accepted of an upstream table, by the table's property."""
    document, where = _property_document(metadata, ACCEPTED_KEY)
    try:
        for one in document.get("upstream", ()):
            if (one["table"], one["uuid"]) == (upstream, upstream_uuid):
                sources = {SourceKey(*item[:4]): AcceptedSource(*item[4:6]) for item in one.get("sources", ())}
                return AcceptedUpstream(one["sequence"], sources)
    except (ValueError, TypeError, KeyError, IndexError):
        raise DataError(f"cannot read {where}") from None
    return AcceptedUpstream()


def recreated_topics(bronze: Metadata) -> set[str]:
    """The ids of topics that were recreated and accepted, by Bronze's property: rows without a topic_id are of none of
    them, but of the topic that was there first."""
    document, where = _property_document(bronze, RECREATED_KEY)
    try:
        return {one["id"] for one in document.get("topics", ())}
    except (TypeError, KeyError):
        raise DataError(f"cannot read {where}") from None


def times_summary(times: tuple[int, int] | None) -> dict[str, str]:
    return {} if times is None else {OLDEST_KEY: str(times[0]), NEWEST_KEY: str(times[1])}


def joined(times: list[tuple[int, int] | None]) -> tuple[int, int] | None:
    """Of all of them."""
    known = [one for one in times if one is not None]
    return (min(one[0] for one in known), max(one[1] for one in known)) if known else None
