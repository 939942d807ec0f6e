"""Keeps what took rows out of a table, for `k2 audit`, before Spark's expiry removes the snapshots that tell of it
(docs/audit.md), or in the commit that is the event. The program k2 does so in each of its commits
(src/table/audit.cc); the records are the same."""

from __future__ import annotations

import json
import warnings
from datetime import datetime, timezone
from typing import Any

from k2.spark.dataframe.progress import COMMIT_ID_KEY, DROPPED_UNREAD_KEY, REBUILT_KEY, Snapshot
from k2.spark.dataframe.tables import metadata_of
from k2.spark.utils.committer import HOST_KEY, PROCESS_KEY, VERSION_KEY

AUDIT_KEY = "k2.audit"  # the table property
AUDIT_VERSION = 1
EVENTS_MAX = 100
DETAIL_BYTES_MAX = 400
RETENTION_KEY = "k2.retention"
OFFSETS_SET_KEY = "k2.offsets-set"
OFFSETS_ACCEPTED_KEY = "k2.offsets-accepted"
KINDS = {
    OFFSETS_SET_KEY: "offsets set",
    OFFSETS_ACCEPTED_KEY: "offsets accept",
    RETENTION_KEY: "retention",
    REBUILT_KEY: "rebuild",
}


def event_of(snapshot: Snapshot) -> dict[str, Any] | None:
    """None: a snapshot that took nothing away."""
    summary = snapshot.summary
    kind = next((event for key, event in KINDS.items() if key in summary), "")
    if not kind and snapshot.operation in ("delete", "overwrite"):
        kind = snapshot.operation
    if not kind:
        return None
    ours = COMMIT_ID_KEY in summary or VERSION_KEY in summary
    engine = summary.get("engine-name") or ("trino" if "trino_query_id" in summary else "")
    if ours:
        engine = f"k2 on {engine}" if engine not in ("", "k2") else "k2"
    moment = datetime.fromtimestamp(snapshot.timestamp_ms / 1000, timezone.utc)
    event: dict[str, Any] = {
        "at": f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond:06d}Z",
        "event": kind,
        "detail": _shortened(_detail(kind, snapshot)),
        "snapshot": snapshot.snapshot_id,
        "engine": engine or "another engine",
    }
    fewer = _count(snapshot, "deleted-records") - _count(snapshot, "added-records")
    removed = max(fewer, 0) + _count(snapshot, "added-position-deletes")
    told = {
        "rows": removed,
        "version": summary.get(VERSION_KEY) or summary.get("engine-version"),
        "host": summary.get(HOST_KEY),
        "process": summary.get(PROCESS_KEY) or summary.get("spark.app.id"),
    }
    return event | {key: value for key, value in told.items() if value}


def record(table: Any) -> int:
    """Writes the events of main's snapshots that the property lacks into it; how many there were. Warns where the
    property cannot be read, and leaves it."""
    table.refresh()
    return _record(table, table)


def record_within(transaction: Any) -> int:
    """The same within a transaction of Iceberg's, of what it has committed so far too."""
    return _record(transaction.table(), transaction)


def _record(table: Any, change: Any) -> int:
    metadata = metadata_of(table)
    events = _recorded(metadata.properties.get(AUDIT_KEY))
    if events is None:
        warnings.warn(
            f'events of {table.name()} are not recorded: its property "{AUDIT_KEY}" is no record of version '
            f"{AUDIT_VERSION}. Remove it to begin a new one, or use the version of k2 that has written it",
            stacklevel=2,
        )
        return 0
    known = {event.get("snapshot") for event in events}
    ancestors = reversed(list(metadata.ancestors(metadata.head_id)))
    # What has left a full record does not come back in the place of newer events.
    left_until = str(events[0].get("at", "")) if len(events) >= EVENTS_MAX else ""
    found = [
        event
        for event in map(event_of, ancestors)
        if event is not None and event["snapshot"] not in known and event["at"] > left_until
    ]
    if not found:
        return 0
    newest = sorted([*events, *found], key=lambda event: str(event.get("at", "")))[-EVENTS_MAX:]
    document = {"version": AUDIT_VERSION, "events": newest}
    change.updateProperties().set(AUDIT_KEY, json.dumps(document, separators=(",", ":"))).commit()
    return len(found)


def _recorded(text: str | None) -> list[dict[str, Any]] | None:
    """None: it cannot be read."""
    if text is None:
        return []
    try:
        document = json.loads(text)
        events = document["events"]
        if document["version"] == AUDIT_VERSION and all(isinstance(event, dict) for event in events):
            return list(events)
    except (ValueError, KeyError, TypeError):
        pass
    return None


def _detail(kind: str, snapshot: Snapshot) -> str:
    summary = snapshot.summary
    for key in (OFFSETS_SET_KEY, OFFSETS_ACCEPTED_KEY):
        if key in summary:
            return summary[key]
    if kind == "retention":
        unread = summary.get(DROPPED_UNREAD_KEY)
        return (f"{unread} rows that the downstream layer had not read; " if unread else "") + summary[RETENTION_KEY]
    words = (
        f"{_count(snapshot, 'deleted-data-files')} files with {_count(snapshot, 'deleted-records')} rows removed, "
        f"{_count(snapshot, 'added-data-files')} with {_count(snapshot, 'added-records')} added"
    )
    if positions := _count(snapshot, "added-position-deletes"):
        words += f"; {positions} rows deleted by position"
    if equalities := _count(snapshot, "added-equality-deletes"):
        words += f"; {equalities} equality deletes, of so many rows as match them"
    return words


def _count(snapshot: Snapshot, key: str) -> int:
    text = snapshot.summary.get(key, "")
    return int(text) if text.isascii() and text.isdigit() else 0


def _shortened(text: str) -> str:
    encoded = text.encode()
    return text if len(encoded) <= DETAIL_BYTES_MAX else encoded[:DETAIL_BYTES_MAX].decode(errors="ignore") + "…"
