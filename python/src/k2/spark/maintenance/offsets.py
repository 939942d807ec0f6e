"""K2's source offsets as maintenance looks at them: never changed here, and never to be lost."""

from __future__ import annotations

from typing import Any

from k2.spark.dataframe.progress import Metadata, UpstreamHint, find_progress
from k2.spark.dataframe.tables import metadata_of
from k2.spark.schemas import OFFSETS_TAG
from k2.spark.utils.errors import DataError


def read_sequence(metadata: Metadata, hint: UpstreamHint) -> int:
    """Up to which sequence number a reader with this hint has all rows: snapshots behind it that add none included."""
    if hint.table_uuid != metadata.uuid:
        return 0
    read = hint.sequence_number
    later = []  # newest first
    for snapshot in metadata.ancestors(metadata.head_id):
        if snapshot.snapshot_id == hint.snapshot_id:
            read = max(read, snapshot.sequence_number)
            break
        later.append(snapshot)
        if snapshot.parent_id == hint.snapshot_id:
            read = max(read, snapshot.sequence_number - 1)  # of the parent at least, though that one may be expired
    else:
        if not later or later[-1].parent_id != hint.snapshot_id:
            return read
    for snapshot in reversed(later):
        if snapshot.adds_rows:
            break
        read = max(read, snapshot.sequence_number)
    return read


class Guard:
    """Holds a table's source offsets against a maintenance step: they must be there afterwards."""

    def __init__(self, table: Any) -> None:
        self._name = str(table.name())
        self._before = find_progress(metadata_of(table))
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
        """Raises DataError where they are gone."""
        table.refresh()
        after = find_progress(metadata_of(table))
        if self._before.snapshot_id and not after.snapshot_id:
            raise DataError(
                f"{self._name} has lost its source offsets: no snapshot holds them. Stop all writers; `k2 offsets "
                "show` and `k2 offsets set --accept-loss` show and set the offsets to resume from"
            )
