"""Equality deletes as a streaming writer commits them: none of the engines in the tests writes any."""

from __future__ import annotations

import json
import random
import sqlite3
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import fastavro
import pyarrow as pa
import pyarrow.parquet as pq
from warehouse import Warehouse

_COUNTS = ("data_files_count", "files_count", "rows_count")


def _local(location: str) -> Path:
    return Path("/" + location.removeprefix("file:").lstrip("/"))


def _read(location: str) -> tuple[Any, dict[str, Any], list[Any]]:
    """Schema, key-value metadata and records of an Avro file."""
    with _local(location).open("rb") as file:
        reader = fastavro.reader(file)
        metadata = {key: value for key, value in reader.metadata.items() if not key.startswith("avro.")}
        return reader.writer_schema, metadata, list(reader)


def delete_equal(warehouse: Warehouse, table: str, column: str, values: Sequence[str]) -> None:
    """Deletes the rows whose text column is one of the values, by one delete file in each partition of the table."""
    with sqlite3.connect(warehouse.folder / "catalog.db") as db:
        (location,) = db.execute(
            "SELECT metadata_location FROM iceberg_tables WHERE table_name = ?", (table,)
        ).fetchone()
        metadata = json.loads(_local(location).read_text())
        head = next(one for one in metadata["snapshots"] if one["snapshot-id"] == metadata["current-snapshot-id"])
        schema = next(one for one in metadata["schemas"] if one["schema-id"] == metadata["current-schema-id"])
        field_id = next(field["id"] for field in schema["fields"] if field["name"] == column)
        sequence = metadata["last-sequence-number"] + 1
        snapshot_id = random.getrandbits(62)
        list_schema, list_metadata, manifests = _read(head["manifest-list"])
        entries = []
        seen: list[Any] = []
        for manifest in [one for one in manifests if one["content"] == 0]:
            manifest_schema, manifest_metadata, listed = _read(manifest["manifest_path"])
            for entry in listed:
                data = entry["data_file"]
                if entry["status"] != 2 and data["partition"] not in seen:
                    seen.append(data["partition"])
                    entries.append(_entry(entry, snapshot_id, field_id, column, values))
        folder = _local(head["manifest-list"]).parent
        manifest_path = folder / f"{uuid.uuid4().hex}-m0.avro"
        with manifest_path.open("wb") as file:
            fastavro.writer(file, manifest_schema, entries, metadata=manifest_metadata | {"content": "deletes"})
        line = dict(manifests[0])
        line.update({key: 0 for key in line if key.endswith(_COUNTS)})
        line.update({key: len(entries) for key in ("added_files_count", "added_data_files_count") if key in line})
        line.update(
            manifest_path=f"file://{manifest_path}",
            manifest_length=manifest_path.stat().st_size,
            content=1,
            sequence_number=sequence,
            min_sequence_number=sequence,
            added_snapshot_id=snapshot_id,
            added_rows_count=len(entries) * len(values),
            partitions=None,
        )
        list_path = folder / f"snap-{snapshot_id}-{uuid.uuid4().hex}.avro"
        with list_path.open("wb") as file:
            fastavro.writer(file, list_schema, [*manifests, line], metadata=list_metadata)
        now_ms = max(int(time.time() * 1000), metadata["last-updated-ms"])
        totals = {key: value for key, value in head["summary"].items() if key.startswith("total-")}
        totals["total-delete-files"] = str(int(totals["total-delete-files"]) + len(entries))
        totals["total-equality-deletes"] = str(int(totals["total-equality-deletes"]) + len(entries) * len(values))
        size = sum(entry["data_file"]["file_size_in_bytes"] for entry in entries)
        totals["total-files-size"] = str(int(totals["total-files-size"]) + size)
        metadata["snapshots"].append(
            {
                "snapshot-id": snapshot_id,
                "parent-snapshot-id": head["snapshot-id"],
                "sequence-number": sequence,
                "timestamp-ms": now_ms,
                "manifest-list": f"file://{list_path}",
                "summary": {"operation": "delete", "added-delete-files": str(len(entries))} | totals,
                "schema-id": metadata["current-schema-id"],
            }
        )
        metadata["snapshot-log"].append({"snapshot-id": snapshot_id, "timestamp-ms": now_ms})
        metadata["metadata-log"].append({"metadata-file": location, "timestamp-ms": metadata["last-updated-ms"]})
        metadata["refs"]["main"]["snapshot-id"] = snapshot_id
        metadata.update(
            {"current-snapshot-id": snapshot_id, "last-sequence-number": sequence, "last-updated-ms": now_ms}
        )
        version = int(_local(location).name.split("-")[0]) + 1
        after = folder / f"{version:05}-{uuid.uuid4()}.metadata.json"
        after.write_text(json.dumps(metadata))
        db.execute(
            "UPDATE iceberg_tables SET metadata_location = ?, previous_metadata_location = ? WHERE table_name = ?",
            (f"file://{after}", location, table),
        )


def _entry(like: Any, snapshot_id: int, field_id: int, column: str, values: Sequence[str]) -> Any:
    """Writes a delete file beside a data file, for its partition; its manifest entry."""
    data = like["data_file"]
    path = _local(data["file_path"]).parent / f"{uuid.uuid4().hex}-deletes.parquet"
    schema = pa.schema([pa.field(column, pa.string(), False, {"PARQUET:field_id": str(field_id)})])
    pq.write_table(pa.table({column: list(values)}, schema=schema), path)
    deletes = dict.fromkeys(data)
    deletes.update(
        content=2,
        file_path=f"file://{path}",
        file_format="PARQUET",
        partition=data["partition"],
        record_count=len(values),
        file_size_in_bytes=path.stat().st_size,
        equality_ids=[field_id],
    )
    entry = dict.fromkeys(like)
    entry.update(status=1, snapshot_id=snapshot_id, data_file=deletes)
    return entry
