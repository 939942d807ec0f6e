"""K2's source offsets as maintenance looks at them: never changed here, and never to be lost."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from k2.spark.schemas import OFFSETS_KEY, OFFSETS_TAG, OFFSETS_VERSION
from k2.spark.utils.errors import DataError

Source = tuple[str, str, str, int]  # cluster, topic, topic id, partition


@dataclass(frozen=True)
class Snapshot:
    snapshot_id: int
    parent_id: int | None
    sequence_number: int
    timestamp_ms: int
    operation: str
    summary: Mapping[str, str]

    @property
    def adds_rows(self) -> bool:
        if self.operation in ("replace", "delete") or "k2.rebuilt" in self.summary:
            return False
        return self.operation != "append" or self.summary.get("added-data-files", "0") != "0"


def snapshots_of(table: Any) -> dict[int, Snapshot]:
    """Of a Java table, by id."""
    found = {}
    for java in table.snapshots():
        summary = {str(entry.getKey()): str(entry.getValue()) for entry in java.summary().entrySet()}
        found[int(java.snapshotId())] = Snapshot(
            int(java.snapshotId()),
            None if java.parentId() is None else int(java.parentId()),
            int(java.sequenceNumber()),
            int(java.timestampMillis()),
            str(java.operation() or "append"),
            summary,
        )
    return found


def history_of(table: Any, snapshots: Mapping[int, Snapshot]) -> Iterator[Snapshot]:
    """Main's snapshots, newest first, as far back as they are kept."""
    head = table.currentSnapshot()
    at = snapshots.get(int(head.snapshotId())) if head is not None else None
    while at is not None:
        yield at
        at = snapshots.get(at.parent_id) if at.parent_id is not None else None


def uuid_of(table: Any) -> str:
    """By a way that Iceberg 1.4 has, too."""
    return str(table.operations().current().uuid())


@dataclass(frozen=True)
class Progress:
    """How far a layer has come: what stands in the newest document of its table."""

    snapshot_id: int  # that carries the document; 0: there is none
    positions: Mapping[Source, int]  # next offset
    upstream: Mapping[str, tuple[str, int, int]]  # uuid, snapshot id, sequence number (0: not known), by table


def progress_of(table: Any) -> Progress:
    """As docs/source-offsets.md says: the first document on the way back from main's head, else the tag's."""
    snapshots = snapshots_of(table)
    uuid = uuid_of(table)
    candidates = list(history_of(table, snapshots))
    tag = table.refs().get(OFFSETS_TAG)
    if tag is not None and int(tag.snapshotId()) in snapshots:
        candidates.append(snapshots[int(tag.snapshotId())])
    for snapshot in candidates:
        document = json.loads(snapshot.summary.get(OFFSETS_KEY, "null"))
        if document is None or document.get("table") != uuid:
            continue
        if document["version"] != OFFSETS_VERSION:
            raise DataError(
                f"{table.name()}: its source offsets have version {document['version']}, this package knows "
                f"{OFFSETS_VERSION}: a newer K2 was here; install its package"
            )
        return Progress(snapshot.snapshot_id, _positions(document), _upstream(document))
    return Progress(0, {}, {})


def _positions(document: Mapping[str, Any]) -> dict[Source, int]:
    return {
        (source["cluster"], source["topic"], source["id"], int(at[0])): int(at[1])
        for source in document.get("sources", ())
        for at in source["at"]
    }


def _upstream(document: Mapping[str, Any]) -> dict[str, tuple[str, int, int]]:
    return {
        name: (str(hint[0]), int(hint[1]), int(hint[2]) if len(hint) > 2 else 0)
        for name, hint in document.get("upstream", {}).items()
    }


def read_sequence(table: Any, hint: tuple[str, int, int]) -> int:
    """Up to which sequence number a reader with this hint has all rows: snapshots behind it that add none included."""
    uuid, snapshot_id, sequence_number = hint
    if uuid != uuid_of(table):
        return 0
    history = list(history_of(table, snapshots_of(table)))
    at = next((place for place, snapshot in enumerate(history) if snapshot.snapshot_id == snapshot_id), None)
    if at is None:
        return sequence_number
    read = max(sequence_number, history[at].sequence_number)
    for snapshot in reversed(history[:at]):
        if snapshot.adds_rows:
            break
        read = snapshot.sequence_number
    return read


class Guard:
    """Holds a table's source offsets against a maintenance step: they must be there afterwards."""

    def __init__(self, table: Any) -> None:
        self._name = str(table.name())
        self._before = progress_of(table)
        age = str(table.properties().get("history.expire.max-ref-age-ms") or "")
        tag = table.refs().get(OFFSETS_TAG)
        self.dangerous = bool(age) and tag is not None and tag.maxRefAgeMs() is None
        if self.dangerous:
            raise DataError(
                f"{self._name} has the property history.expire.max-ref-age-ms = {age}, with which Iceberg would expire "
                f"the tag {OFFSETS_TAG} and K2 would lose its source offsets. Unset it: ALTER TABLE … UNSET "
                "TBLPROPERTIES ('history.expire.max-ref-age-ms')"
            )

    def check(self, table: Any) -> None:
        table.refresh()
        after = progress_of(table)
        if self._before.snapshot_id and not after.snapshot_id:
            raise DataError(
                f"{self._name} has lost its source offsets: no snapshot carries them. Stop all writers; `k2 offsets "
                "show` and `k2 offsets set --accept-loss` tell and set where to go on"
            )
