"""Warehouses that are moved and copied: what other engines leave in them, and how tests look at their places."""

from __future__ import annotations

import hashlib
import json
import shutil
import sqlite3
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import fastavro
import pyarrow as pa
import pyarrow.parquet as pq
from engines import duckdb_with_iceberg
from pyiceberg.table.statistics import BlobMetadata, StatisticsFile
from warehouse import GOLD, NAMESPACE, TABLES, Warehouse, files_named

PATH_ID, POS_ID = 2147483546, 2147483545


def contents(folder: Path) -> dict[str, str]:
    """Every file of a folder by its hash."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith("catalog.db")  # which SQLite tidies up
    }


def local(location: str) -> Path:
    return Path(location.removeprefix("file://"))


def with_history(warehouse: Warehouse, recordings: Sequence[tuple[str, Path]]) -> Warehouse:
    """With branches and tags on older snapshots, and a statistics file."""
    warehouse.run(recordings, "--rows-per-commit", "500")
    table = warehouse.table(GOLD)
    snapshots = table.metadata.snapshots
    table.manage_snapshots().create_tag(snapshots[1].snapshot_id, "early").commit()
    warehouse.table(GOLD).manage_snapshots().create_branch(snapshots[2].snapshot_id, "side").commit()
    add_statistics(warehouse)
    return warehouse


def add_statistics(warehouse: Warehouse, scheme: str = "file://") -> Path:
    """A statistics file of Gold's head, as another engine would register it."""
    table = warehouse.table(GOLD)
    head = table.current_snapshot()
    assert head is not None
    path = local(table.location()) / "metadata" / "of-another-engine.stats"
    path.write_bytes(b"PFA1")
    blob = BlobMetadata(
        type="apache-datasketches-theta-v1", snapshot_id=head.snapshot_id, sequence_number=1, fields=[1]
    )
    file = StatisticsFile(
        snapshot_id=head.snapshot_id,
        statistics_path=f"{scheme}{path}",
        file_size_in_bytes=4,
        file_footer_size_in_bytes=4,
        blob_metadata=[blob],
    )
    with table.update_statistics() as update:
        update.set_statistics(file)
    return path


def delete_by_position(warehouse: Warehouse, name: str) -> str:
    """A merge-on-read delete of the first row of a file, as streaming engines write it: the message_id that is gone.

    PyIceberg has no writer of them, so the manifest is made by hand.
    """
    table = warehouse.table(name)
    head = table.current_snapshot()
    assert head is not None
    metadata = json.loads(local(table.metadata_location).read_text())
    with local(head.manifest_list).open("rb") as file:
        lists = fastavro.reader(file)
        lists_schema, lists_header, lines = lists.writer_schema, dict(lists.metadata), list(lists)
    with local(lines[0]["manifest_path"]).open("rb") as file:
        entries = fastavro.reader(file)
        schema, header, entry = entries.writer_schema, dict(entries.metadata), next(iter(entries))
    data_path = entry["data_file"]["file_path"]
    gone = pq.read_table(local(data_path), columns=["message_id"])["message_id"][0].as_py()
    fields = pa.schema(
        [
            pa.field("file_path", pa.string(), False, {"PARQUET:field_id": str(PATH_ID)}),
            pa.field("pos", pa.int64(), False, {"PARQUET:field_id": str(POS_ID)}),
        ]
    )
    path = local(data_path).with_name(f"{uuid.uuid4().hex}-deletes.parquet")
    pq.write_table(pa.table({"file_path": [data_path], "pos": [0]}, schema=fields), path)
    bounds = [{"key": PATH_ID, "value": data_path.encode()}, {"key": POS_ID, "value": bytes(8)}]
    deletes = dict.fromkeys(entry["data_file"]) | {
        "content": 1,
        "file_path": f"file://{path}",
        "file_format": "PARQUET",
        "partition": entry["data_file"]["partition"],
        "record_count": 1,
        "file_size_in_bytes": path.stat().st_size,
        "lower_bounds": bounds,
        "upper_bounds": bounds,
        "referenced_data_file": data_path,
    }
    snapshot_id, sequence = time.time_ns(), metadata["last-sequence-number"] + 1
    added = dict.fromkeys(entry) | {"status": 1, "snapshot_id": snapshot_id, "data_file": deletes}

    def write(kind: str, schema: Any, header: dict[str, str], records: list[Any]) -> Path:
        target = local(head.manifest_list).with_name(f"{kind}{uuid.uuid4().hex}.avro")
        kept = {key: value for key, value in header.items() if not key.startswith("avro.")}
        with target.open("wb") as out:
            fastavro.writer(out, schema, records, metadata=kept)
        return target

    manifest = write("", schema, header | {"content": "deletes"}, [added])
    line = dict(lines[0]) | {
        "manifest_path": f"file://{manifest}",
        "manifest_length": manifest.stat().st_size,
        "content": 1,
        "sequence_number": sequence,
        "min_sequence_number": sequence,
        "added_snapshot_id": snapshot_id,
        "partitions": lines[0]["partitions"],
    }
    for key in line:
        if key.endswith("_count"):
            line[key] = int(key in ("added_files_count", "added_data_files_count", "added_rows_count"))
    numbers = {"snapshot-id": str(snapshot_id), "sequence-number": str(sequence)}
    listed = write("snap-", lists_schema, lists_header | numbers, [*lines, line])
    last = next(s for s in metadata["snapshots"] if s["snapshot-id"] == metadata["current-snapshot-id"])
    summary = dict(last["summary"]) | {"operation": "delete", "total-delete-files": "1", "total-position-deletes": "1"}
    for key in [key for key in summary if key.startswith(("k2.", "added-"))]:
        del summary[key]
    metadata["snapshots"].append(
        dict(last)
        | {
            "snapshot-id": snapshot_id,
            "parent-snapshot-id": last["snapshot-id"],
            "sequence-number": sequence,
            "timestamp-ms": metadata["last-updated-ms"],
            "manifest-list": f"file://{listed}",
            "summary": summary,
        }
    )
    metadata["current-snapshot-id"] = metadata["refs"]["main"]["snapshot-id"] = snapshot_id
    metadata["last-sequence-number"] = sequence
    metadata["metadata-log"].append(
        {"metadata-file": table.metadata_location, "timestamp-ms": metadata["last-updated-ms"]}
    )
    number = int(local(table.metadata_location).name.split("-")[0]) + 1
    target = local(table.metadata_location).with_name(f"{number:05}-{uuid.uuid4()}.metadata.json")
    target.write_text(json.dumps(metadata))
    with sqlite3.connect(warehouse.folder / "catalog.db") as db:
        db.execute("UPDATE iceberg_tables SET metadata_location = ? WHERE table_name = ?", (f"file://{target}", name))
    return str(gone)


def named_by(folder: Path, old: Path) -> list[str]:
    """Files that the tables name at the old place, in any snapshot."""
    warehouse = Warehouse(Path(), folder)
    return [path for name in TABLES for path in files_named(warehouse.table(name)) if path.startswith(f"{old}/")]


def relocate(warehouse: Warehouse, *flags: str) -> dict[str, dict[str, Any]]:
    return {row["table"].split(".")[1]: row for row in warehouse.json("tables", "relocate", *flags)}


def read_by_duckdb(warehouse: Warehouse, name: str) -> int:
    row = (
        duckdb_with_iceberg()
        .execute(f"SELECT count(*) FROM iceberg_scan('{local(warehouse.table(name).metadata_location)}')")
        .fetchone()
    )
    assert row is not None
    return int(row[0])


def at_ref(warehouse: Warehouse, ref: str) -> list[dict[str, Any]]:
    table = warehouse.table(GOLD)
    snapshot = table.metadata.refs[ref].snapshot_id
    return table.scan(snapshot_id=snapshot, selected_fields=("message_id",)).to_arrow().to_pylist()  # type: ignore[no-any-return]


def recover(warehouse: Warehouse, *flags: str, expect: int = 0) -> dict[str, dict[str, Any]]:
    done = warehouse.k2_run("tables", "recover", "--output", "json", *flags, expect=expect)
    return {row["table"].removeprefix(f"{NAMESPACE}."): row for row in json.loads(done.stdout)}


def outcomes(rows: dict[str, dict[str, Any]]) -> dict[str, str]:
    return {name: row["outcome"] for name, row in rows.items()}


def lose_catalog(warehouse: Warehouse) -> None:
    for path in warehouse.folder.glob("catalog.db*"):
        path.unlink()


def copy_of_catalog(warehouse: Warehouse, folder: Path) -> Path:
    """As a backup tool takes it while nothing runs."""
    folder.mkdir()
    for path in warehouse.folder.glob("catalog.db*"):
        shutil.copy(path, folder)
    return folder


def restore_catalog(warehouse: Warehouse, folder: Path) -> None:
    lose_catalog(warehouse)
    for path in folder.iterdir():
        shutil.copy(path, warehouse.folder)
