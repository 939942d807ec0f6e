"""The document `k2.offsets` of a snapshot's summary: how far a layer has come (docs/source-offsets.md)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from k2.spark.schemas import OFFSETS_KEY, OFFSETS_VERSION, RECORDING_PREFIX
from k2.spark.utils.errors import DataError, RaceError

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
    """The place after the last message read. `messages`: taken so far, -1 where that is not known. The last four are a
    recording's; `segment`: of a spool, that line and byte count in."""

    next_offset: int = 0
    leader_epoch: int = -1
    messages: int = -1
    next_line: int = 0
    next_byte: int = 0
    line_hash: str = ""
    segment: int = 0

    def line_place(self) -> list[Any]:
        """As documents have it; empty of what is no recording."""
        if not (self.next_line or self.next_byte or self.line_hash or self.segment):
            return []
        return [self.next_line, self.next_byte, self.line_hash] + ([self.segment] if self.segment else [])


@dataclass(frozen=True)
class FinishedMark:
    """Which rows of the table finished_sources speak for recordings that a table's document does not name: those of
    generations up to this one, but for the ranges of `without`."""

    table_uuid: str = ""
    generation: int = 0  # 0: no source has ever left the document
    without: tuple[tuple[int, int], ...] = ()


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
    finished: FinishedMark = field(default_factory=FinishedMark)

    def to_json(self, table_uuid: str) -> str:
        document: dict[str, Any] = {"version": OFFSETS_VERSION, "table": table_uuid}
        if self.rules:
            document["rules"] = self.rules
        document |= {"sources": self._sources(), "recordings": self._recordings(), "finished": self._finished()}
        document["upstream"] = {
            name: [hint.table_uuid, hint.snapshot_id] + ([hint.sequence_number] if hint.sequence_number else [])
            for name, hint in sorted(self.upstream.items())
        }
        filled = {name: value for name, value in document.items() if value or name in ("version", "table")}
        return json.dumps(filled, separators=(",", ":"), ensure_ascii=False)

    def _sources(self) -> list[dict[str, Any]]:
        sources: list[dict[str, Any]] = []
        for key, position in sorted(self.positions.items()):
            if _exchange_of(key, position):
                continue
            name = {"cluster": key.cluster, "topic": key.topic, "id": key.topic_id}
            if not sources or any(sources[-1][part] != value for part, value in name.items()):
                sources.append({**name, "at": []})
            at: list[Any] = [key.partition, position.next_offset, position.leader_epoch]
            line_place = position.line_place()
            if not line_place and position.messages >= 0:
                at.append(position.messages)
            sources[-1]["at"].append(at + line_place)
        return sources

    def _recordings(self) -> dict[str, list[list[Any]]]:
        recordings: dict[str, list[list[Any]]] = {}
        for key, position in sorted(self.positions.items()):
            exchange = _exchange_of(key, position)
            if exchange:
                entry = [key.topic_id, position.next_offset, *position.line_place()]
                recordings.setdefault(exchange, []).append(entry)
        return recordings

    def _finished(self) -> list[Any]:
        mark = self.finished
        if not mark.generation:
            return []
        return [mark.table_uuid, mark.generation] + ([[list(pair) for pair in mark.without]] if mark.without else [])

    def merged(self, later: Progress, drop: Iterable[SourceKey] = ()) -> Progress:
        """This one without `drop`, and `later` on top: keys that neither speaks of stay."""
        gone = set(drop)
        kept = {key: position for key, position in self.positions.items() if key not in gone}
        return Progress(
            positions={**kept, **later.positions},
            upstream={**self.upstream, **later.upstream},
            rules=max(later.rules, self.rules),
            finished=self.finished,
        )


def _exchange_of(key: SourceKey, position: Position) -> str:
    """Of a recording whose key says everything by exchange and hash; empty for any other source."""
    if key.cluster != RECORDING_CLUSTER or key.partition or position.leader_epoch != -1 or position.messages != -1:
        return ""
    if not key.topic.startswith(RECORDING_PREFIX):
        return ""
    exchange, slash, name = key.topic.removeprefix(RECORDING_PREFIX).partition("/")
    return exchange if slash and name == key.topic_id else ""


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
        raise DataError("it is not JSON") from None
    _check(isinstance(document, dict), "it is not a JSON object")
    version, table = document.get("version"), document.get("table")
    _check(_whole(version), "it has no version")
    _check(isinstance(table, str), "it has no table")
    if table != table_uuid:
        return None
    if not 1 <= version <= OFFSETS_VERSION:
        raise OffsetsError(
            f'the summary entry "{OFFSETS_KEY}": version {version} is not supported; this K2 supports versions 1 to '
            f"{OFFSETS_VERSION}: run the K2 that wrote it, or a later one"
        )
    rules, sources, upstream = document.get("rules"), document.get("sources"), document.get("upstream")
    _check(rules is None or _whole(rules, -_INT_MAX - 1, _INT_MAX), '"rules" is not a number')
    _check(sources is None or isinstance(sources, list), '"sources" is not a list')
    _check(upstream is None or isinstance(upstream, dict), '"upstream" is not an object')
    progress = Progress(rules=rules or 0)
    for source in sources or ():
        _read_source(source, progress.positions)
    if version > 1:
        _read_recordings(document.get("recordings"), progress.positions)
        progress.finished = _read_finished(document.get("finished"))
    for name, hint in (upstream or {}).items():
        right = isinstance(hint, list) and 2 <= len(hint) <= 3 and isinstance(hint[0], str)
        _check(
            right and all(map(_whole, hint[1:])), f'the upstream "{name}" is not a list of uuid, snapshot id, number'
        )
        progress.upstream[name] = UpstreamHint(*hint)
    return progress


def _read_source(source: Any, positions: Positions) -> None:
    _check(isinstance(source, dict), "a source is not an object")
    cluster, topic, topic_id = names = [source.get(part) for part in ("cluster", "topic", "id")]
    _check(all(isinstance(name, str) for name in names), "a source lacks a name")
    _check(isinstance(source.get("at"), list), 'a source has no list "at"')
    for at in source["at"]:
        _check(isinstance(at, list) and len(at) in (3, 4, 6, 7), "a position is not a list of 3, 4, 6 or 7 values")
        right = _whole(at[0], 0, _INT_MAX) and _whole(at[1], 0) and _whole(at[2], -1, _INT_MAX)
        if len(at) == 4:
            position = Position(at[1], at[2], messages=at[3])
            right = right and _whole(at[3], 0)
        else:
            position = _with_line_place(Position(at[1], at[2]), at[3:])
        _check(right, f"the position {at} is out of range")
        _put(SourceKey(cluster, topic, topic_id, at[0]), position, positions)


def _read_recordings(recordings: Any, positions: Positions) -> None:
    _check(recordings is None or isinstance(recordings, dict), '"recordings" is not an object')
    for exchange, entries in (recordings or {}).items():
        _check(isinstance(entries, list), f'the recordings of "{exchange}" are no list')
        for at in entries:
            right = isinstance(at, list) and len(at) in (2, 5, 6) and isinstance(at[0], str) and _whole(at[1], 0)
            _check(right, f'a recording of "{exchange}" is not a list of a hash and 1, 4 or 5 more values')
            key = SourceKey(RECORDING_CLUSTER, f"{RECORDING_PREFIX}{exchange}/{at[0]}", at[0], 0)
            _put(key, _with_line_place(Position(at[1]), at[2:]), positions)


def _with_line_place(position: Position, at: list[Any]) -> Position:
    if not at:
        return position
    right = _whole(at[0], 0) and _whole(at[1], 0) and isinstance(at[2], str) and all(_whole(one, 0) for one in at[3:])
    _check(right, f"the place {at} in a recording is out of range")
    return replace(position, next_line=at[0], next_byte=at[1], line_hash=at[2], segment=at[3] if at[3:] else 0)


def _put(key: SourceKey, position: Position, positions: Positions) -> None:
    _check(key not in positions, f"the source {key} has two positions")
    positions[key] = position


def _read_finished(mark: Any) -> FinishedMark:
    if mark is None:
        return FinishedMark()
    right = isinstance(mark, list) and 2 <= len(mark) <= 3 and isinstance(mark[0], str) and _whole(mark[1], 1)
    pairs = mark[2] if right and len(mark) == 3 else []
    right = right and isinstance(pairs, list)
    right = right and all(isinstance(pair, list) and len(pair) == 2 and all(map(_whole, pair)) for pair in pairs)
    _check(right, '"finished" is not a list of uuid, generation and pairs of generations')
    return FinishedMark(mark[0], mark[1], tuple((first, last) for first, last in pairs))


def _check(right: object, what: str) -> None:
    if not right:
        raise DataError(what)


def _whole(value: Any, low: int = -_LONG_MAX - 1, high: int = _LONG_MAX) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high
