"""How far a layer has come, as its tables' snapshots say it: the document `k2.offsets` (docs/source-offsets.md).

Pure Python on a table's metadata as JSON, so that it is the same whatever brought the metadata here.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from k2.spark.schemas import EXCHANGES, OFFSETS_KEY, OFFSETS_TAG, OFFSETS_VERSION
from k2.spark.utils.errors import DataError, RaceError

COMMIT_ID_KEY = "k2.commit-id"
REVALIDATED_KEY = "k2.revalidated"  # a property of Silver: rows that it has taken from rejected_trades
REBUILT_KEY = "k2.rebuilt"  # of a snapshot that holds rows of before anew, and adds none
OLDEST_KEY = "k2.message-time.min-us"
NEWEST_KEY = "k2.message-time.max-us"
DROPPED_UNREAD_KEY = "k2.dropped-unread"
ACCEPTED_KEY = "k2.accepted"  # property: what was accepted of upstream tables that others changed
RECORDING_CLUSTER = "recording"
_LONG_MAX = (1 << 63) - 1
_INT_MAX = (1 << 31) - 1


class OffsetsError(DataError):
    """Source offsets are not where they must be: lost upstream data, a rolled back table, an unknown version."""


class StandsError(OffsetsError):
    """The layer stands: what another engine made of its upstream table only somebody else can mend or accept."""


class AnotherWriterError(OffsetsError, RaceError):
    """Another writer has moved what this step starts from; nothing was committed. Plan again from the head."""


@dataclass(frozen=True, order=True)
class SourceKey:
    """One ordered run of messages."""

    cluster: str
    topic: str
    topic_id: str
    partition: int

    def __str__(self) -> str:
        return f"{self.cluster}/{self.topic}/{self.topic_id}/{self.partition}"


@dataclass(frozen=True)
class Position:
    """The place after the last message read. `messages`: taken so far, -1 where that is not known. The last three are a
    recording's."""

    next_offset: int = 0
    leader_epoch: int = -1
    messages: int = -1
    next_line: int = 0
    next_byte: int = 0
    line_hash: str = ""


@dataclass(frozen=True)
class UpstreamHint:
    """An upstream table, and its snapshot that was read wholly. Sequence number 0: not known."""

    table_uuid: str
    snapshot_id: int
    sequence_number: int = 0


Positions = dict[SourceKey, Position]


def offset_of(positions: Mapping[SourceKey, Position], key: SourceKey) -> int:
    return positions[key].next_offset if key in positions else 0


@dataclass
class Progress:
    positions: Positions = field(default_factory=dict)
    upstream: dict[str, UpstreamHint] = field(default_factory=dict)
    rules: int = 0

    def to_json(self, table_uuid: str) -> str:
        document: dict[str, Any] = {"version": OFFSETS_VERSION, "table": table_uuid}
        if self.rules:
            document["rules"] = self.rules
        if self.positions:
            document["sources"] = self._sources()
        if self.upstream:
            document["upstream"] = {
                name: [hint.table_uuid, hint.snapshot_id] + ([hint.sequence_number] if hint.sequence_number else [])
                for name, hint in sorted(self.upstream.items())
            }
        return json.dumps(document, separators=(",", ":"), ensure_ascii=False)

    def _sources(self) -> list[dict[str, Any]]:
        sources: list[dict[str, Any]] = []
        for key, position in sorted(self.positions.items()):
            name = {"cluster": key.cluster, "topic": key.topic, "id": key.topic_id}
            if not sources or any(sources[-1][part] != value for part, value in name.items()):
                sources.append({**name, "at": []})
            at: list[Any] = [key.partition, position.next_offset, position.leader_epoch]
            if position.next_line or position.next_byte or position.line_hash:
                at += [position.next_line, position.next_byte, position.line_hash]
            elif position.messages >= 0:
                at.append(position.messages)
            sources[-1]["at"].append(at)
        return sources

    def merged(self, later: Progress) -> Progress:
        """This one with `later` on top: keys that `later` does not speak of stay."""
        return Progress(
            positions={**self.positions, **later.positions},
            upstream={**self.upstream, **later.upstream},
            rules=max(later.rules, self.rules),
        )


def parse_progress(text: str, table_uuid: str) -> Progress | None:
    """None: the document speaks of another table."""
    try:
        return _parse(text, table_uuid)
    except OffsetsError:
        raise
    except DataError as error:
        raise DataError(f'the summary entry "{OFFSETS_KEY}": {error}') from None


def _parse(text: str, table_uuid: str) -> Progress | None:
    try:
        document = json.loads(text)
    except ValueError:
        raise DataError("it is no JSON") from None
    _check(isinstance(document, dict), "it is no JSON object")
    version, table = document.get("version"), document.get("table")
    _check(_whole(version), "it has no version")
    _check(isinstance(table, str), "it has no table")
    if table != table_uuid:
        return None
    if version != OFFSETS_VERSION:
        raise OffsetsError(
            f'the summary entry "{OFFSETS_KEY}" is of version {version}, and this K2 knows version {OFFSETS_VERSION} '
            "alone: run the K2 that wrote it, or a later one"
        )
    rules, sources, upstream = document.get("rules"), document.get("sources"), document.get("upstream")
    _check(rules is None or _whole(rules, -_INT_MAX - 1, _INT_MAX), '"rules" is no number')
    _check(sources is None or isinstance(sources, list), '"sources" is no list')
    _check(upstream is None or isinstance(upstream, dict), '"upstream" is no object')
    progress = Progress(rules=rules or 0)
    for source in sources or ():
        _read_source(source, progress.positions)
    for name, hint in (upstream or {}).items():
        right = isinstance(hint, list) and 2 <= len(hint) <= 3 and isinstance(hint[0], str)
        _check(
            right and all(map(_whole, hint[1:])), f'the upstream "{name}" is not a list of uuid, snapshot id, number'
        )
        progress.upstream[name] = UpstreamHint(*hint)
    return progress


def _read_source(source: Any, positions: Positions) -> None:
    _check(isinstance(source, dict), "a source is no object")
    cluster, topic, topic_id = names = [source.get(part) for part in ("cluster", "topic", "id")]
    _check(all(isinstance(name, str) for name in names), "a source lacks a name")
    _check(isinstance(source.get("at"), list), 'a source has no list "at"')
    for at in source["at"]:
        _check(isinstance(at, list) and len(at) in (3, 4, 6), "a position is not a list of 3, 4 or 6 values")
        right = _whole(at[0], 0, _INT_MAX) and _whole(at[1], 0) and _whole(at[2], -1, _INT_MAX)
        if len(at) == 4:
            position = Position(at[1], at[2], messages=at[3])
            right = right and _whole(at[3], 0)
        elif len(at) == 6:
            position = Position(at[1], at[2], next_line=at[3], next_byte=at[4], line_hash=at[5])
            right = right and _whole(at[3], 0) and _whole(at[4], 0) and isinstance(at[5], str)
        else:
            position = Position(at[1], at[2])
        _check(right, f"the position {at} is out of range")
        key = SourceKey(cluster, topic, topic_id, at[0])
        _check(key not in positions, f"the source {key} has two positions")
        positions[key] = position


def _check(right: object, what: str) -> None:
    if not right:
        raise DataError(what)


def _whole(value: Any, low: int = -_LONG_MAX - 1, high: int = _LONG_MAX) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


# A table's metadata.


@dataclass(frozen=True)
class Snapshot:
    snapshot_id: int
    parent_id: int | None
    sequence_number: int
    timestamp_ms: int
    operation: str
    summary: Mapping[str, str]

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
                raise DataError(f"{self.location}: the parents of snapshot {snapshot_id} form a ring")
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
            f'latest source offsets (tag "{OFFSETS_TAG}"), is not in its history any more. Roll main forward to that '
            "snapshot to go on as before; or, if the rollback was meant, `k2 offsets set --table <name> --accept-loss` "
            "goes on from what main holds now"
        )
    if on_main is not None:
        return FoundProgress(on_main, visited[-1].snapshot_id)
    if tagged is not None and at_tag is not None:
        return FoundProgress(at_tag, tagged.snapshot_id)
    if broken:
        raise OffsetsError(
            f"the source offsets of {metadata.location} are lost: older snapshots were expired and the tag "
            f'"{OFFSETS_TAG}" that kept them is gone. Set where to go on with `k2 offsets set --accept-loss`'
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
    """A step's move of a table's progress. Own keys are those of `next`: at the head they must stand as in `base`."""

    base: Progress
    next: Progress
    by_upstream: bool = False  # Gold: own keys are the upstream snapshots, not the positions
    base_snapshot_id: int | None = None  # Gold: the snapshot that carried the progress must still be the one


def check_fence(move: Move, at_head: FoundProgress, table: str) -> None:
    """Raises AnotherWriterError where an own key does not stand as the step found it."""

    def moved(what: str, before: object, now: object) -> AnotherWriterError:
        return AnotherWriterError(
            f"{table}: another writer has moved {what}: this batch starts from {before}, the table stands at {now}; "
            "nothing was committed"
        )

    head = at_head.progress
    if move.base_snapshot_id is not None and move.base_snapshot_id != at_head.snapshot_id:
        raise moved("on", f"snapshot {move.base_snapshot_id}", f"snapshot {at_head.snapshot_id}")
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
            raise OffsetsError(f"{where} is of version {version}, and this K2 knows version 1 alone")
        gaps = {SourceKey(*gap[:4]): OffsetGap(*gap[4:7]) for gap in document.get("sources", ())}
        dropped = DroppedUnread(document["rows"], document["sequence"], document["at"], gaps)
    except (ValueError, TypeError, KeyError, IndexError):
        raise DataError(f"{where} cannot be read") from None
    return dropped if dropped.rows or dropped.gaps else None


# What others did to an upstream table, and what was accepted of it.


def stands_tag(table: str) -> str:
    """In the upstream table, on the snapshot at which `table` stands."""
    silver = {exchange.silver: f"silver-{exchange.topic}" for exchange in EXCHANGES}
    return f"k2-stands-{silver.get(table, 'gold')}"


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


def accepted(metadata: Metadata, upstream: str, upstream_uuid: str) -> AcceptedUpstream:
    """What was accepted of an upstream table, by the table's property."""
    text = metadata.properties.get(ACCEPTED_KEY)
    if text is None:
        return AcceptedUpstream()
    where = f'the property "{ACCEPTED_KEY}" of {metadata.location}'
    try:
        document = json.loads(text)
        if document["version"] != 1:
            raise OffsetsError(f"{where} is of version {document['version']}, and this K2 knows version 1 alone")
        for one in document.get("upstream", ()):
            if (one["table"], one["uuid"]) == (upstream, upstream_uuid):
                sources = {SourceKey(*item[:4]): AcceptedSource(*item[4:6]) for item in one.get("sources", ())}
                return AcceptedUpstream(one["sequence"], sources)
    except (ValueError, TypeError, KeyError, IndexError):
        raise DataError(f"{where} cannot be read") from None
    return AcceptedUpstream()


def times_summary(times: tuple[int, int] | None) -> dict[str, str]:
    return {} if times is None else {OLDEST_KEY: str(times[0]), NEWEST_KEY: str(times[1])}


def joined(times: list[tuple[int, int] | None]) -> tuple[int, int] | None:
    """Of all of them."""
    known = [one for one in times if one is not None]
    return (min(one[0] for one in known), max(one[1] for one in known)) if known else None
