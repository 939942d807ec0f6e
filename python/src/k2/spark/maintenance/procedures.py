"""Iceberg's procedures on one of K2's tables, each so that the layers go on exactly as before."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, TypeVar

from k2.spark import schemas
from k2.spark.dataframe.tables import metadata_of
from k2.spark.utils.age import ATTEMPT_AGE_S_MAX, ORPHAN_AGE_US_MIN
from k2.spark.utils.errors import ConfigurationError, DataError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

T = TypeVar("T")
ATTEMPTS = 8
# By the names of the exceptions: a head that has moved, files that others have removed.
CONFLICTS = ("CommitFailedException", "Missing required files to delete", "FilesMovedError")
# Files of a step of Spark lie uncommitted while its other tasks run. (K2's own commits take a minute at most.)
ORPHAN_FLOOR_US = ORPHAN_AGE_US_MIN
# A reader that has planned its files is given so long to read them.
EXPIRE_FLOOR_US = 10 * 60_000_000


@dataclass(frozen=True)
class RewriteOptions:
    target_file_bytes: int = 128 << 20
    min_input_files: int = 5
    days_left: int = 1  # newest days that are left alone, today the first: their files are still being added to
    concurrency: int = 2


def day_column(name: str) -> str:
    return "ingestion_date" if name in (schemas.BRONZE, schemas.REJECTED) else "exchange_date"


def rewrite(spark: SparkSession, catalog: str, name: str, options: RewriteOptions, now_us: int) -> dict[str, Any]:
    """Small files into larger ones, partition by partition, in commits that add no row (operation `replace`)."""
    settings = {
        "target-file-size-bytes": options.target_file_bytes,
        "min-input-files": options.min_input_files,
        "max-concurrent-file-group-rewrites": options.concurrency,
        # Commits between which other writers get their turn; a group that loses against them is not done this time.
        "partial-progress.enabled": "true",
        "partial-progress.max-commits": 10,
    }
    arguments = {"table": _text(_qualified(name)), "options": _map(settings)}
    if name == schemas.GOLD:
        arguments["strategy"] = _text("sort")  # by the table's own order
    elif name in (schemas.BRONZE, schemas.REJECTED):
        # Rows of a file stand in the order of their offsets, which keeps the bounds of offset narrow.
        arguments |= {"strategy": _text("sort"), "sort_order": _text("topic, partition, offset")}
    if options.days_left > 0:
        last = int(now_us // 86_400_000_000) - options.days_left + 1
        before = datetime.fromtimestamp(last * 86_400, timezone.utc).date()
        arguments["where"] = f"\"{day_column(name)} < DATE'{before}'\""
    row = call(spark, catalog, "rewrite_data_files", arguments)
    failed = int(row.get("failed_data_files_count", 0))
    return {
        "files": row["rewritten_data_files_count"],
        "into": row["added_data_files_count"],
        "bytes": row.get("rewritten_bytes_count", 0),
        "failed": failed,
    }


def rewrite_manifests(spark: SparkSession, catalog: str, name: str) -> dict[str, Any]:
    row = call(spark, catalog, "rewrite_manifests", {"table": _text(_qualified(name)), "use_caching": "false"})
    return {"files": row["rewritten_manifests_count"], "into": row["added_manifests_count"]}


def expiry_of(table: Any, now_ms: int, older_than_us: int | None = None) -> tuple[int, int]:
    """(older than, in ms; snapshots kept at least): by the table's own properties, K2's bound on their number included,
    unless a time is given."""
    if older_than_us is not None:
        return now_ms - older_than_us // 1000, 1
    properties = table.properties()

    def number(key: str, otherwise: int) -> int:
        text = str(properties.get(key) or otherwise)
        if not text.isdigit():
            raise DataError(f"{table.name()}: the property {key} is {text!r}, no whole number: set it right")
        return int(text)

    cut = now_ms - number("history.expire.max-snapshot-age-ms", 432_000_000)
    keep = number("history.expire.min-snapshots-to-keep", 1)
    metadata = metadata_of(table)
    newest = [snapshot.timestamp_ms for snapshot in metadata.ancestors(metadata.head_id)]
    most = number("k2.history.max-snapshots", 0)
    if 0 < most < len(newest):
        cut = max(cut, newest[most - 1])
    return cut, keep


def expire(spark: SparkSession, catalog: str, table: Any, name: str, cut_ms: int, keep: int) -> dict[str, Any]:
    """Expires snapshots and deletes what only they named. Those of tags and branches stay."""
    arguments = {
        "table": _text(_qualified(name)),
        "older_than": _timestamp(cut_ms),
        "retain_last": str(keep),
        "stream_results": "true",
    }
    before = len(list(table.snapshots()))
    row = call(spark, catalog, "expire_snapshots", arguments)
    table.refresh()
    return {
        "snapshots": before - len(list(table.snapshots())),
        "files": row["deleted_data_files_count"],
        "manifests": row["deleted_manifest_files_count"] + row["deleted_manifest_lists_count"],
    }


def orphans(
    spark: SparkSession, catalog: str, table: Any, name: str, older_than_us: int, now_us: int, dry_run: bool
) -> dict[str, Any]:
    """Removes files under the table's location that no metadata names and that are old enough to belong to no commit
    on its way."""
    if older_than_us < ORPHAN_FLOOR_US:
        raise ConfigurationError(
            f"orphan files younger than {ORPHAN_FLOOR_US // 3_600_000_000} hours are not removed: they may belong to a "
            f"running commit, which times out after {ATTEMPT_AGE_S_MAX / 3600:.0f} hours"
        )
    arguments = {
        "table": _text(_qualified(name)),
        "older_than": _timestamp((now_us - older_than_us) // 1000),
        "dry_run": "true" if dry_run else "false",
    }
    if str(table.location()).startswith("s3"):
        arguments["prefix_listing"] = "true"  # by Iceberg's own client: Spark need not know S3
    try:
        rows = _call(spark, catalog, "remove_orphan_files", arguments)
    except Exception as error:
        if "prefix_listing" in str(error) and "prefix_listing" in arguments:
            raise ConfigurationError(
                f"{name}: this Iceberg cannot list S3 by itself; orphans need Iceberg 1.10 or newer "
                "(K2_ICEBERG_VERSION, Spark 3.5.1 or newer)"
            ) from error
        raise
    return {"files": len(rows), "paths": [str(row[0]) for row in rows]}


def call(spark: SparkSession, catalog: str, procedure: str, arguments: Mapping[str, str]) -> dict[str, Any]:
    """The procedure's one row; tried again where other writers were faster."""
    rows = patiently(lambda: _call(spark, catalog, procedure, arguments))
    found: dict[str, Any] = rows[0].asDict() if rows else {}
    return found


def patiently(attempt: Callable[[], T]) -> T:
    """Conflicts are tried again with pauses: a busy K2 commits many times a second."""
    for tries in range(1, ATTEMPTS + 1):
        try:
            return attempt()
        except Exception as error:
            if not any(name in repr(error) + str(error) for name in CONFLICTS) or tries == ATTEMPTS:
                raise
            time.sleep(min(0.2 * 2**tries, 5.0))
    raise AssertionError("the last try returns or raises")


def _call(spark: SparkSession, catalog: str, procedure: str, arguments: Mapping[str, str]) -> list[Any]:
    words = ", ".join(f"{name} => {value}" for name, value in arguments.items())
    return spark.sql(f"CALL {catalog}.system.{procedure}({words})").collect()


def _qualified(name: str) -> str:
    return f"{schemas.NAMESPACE}.{name}"


def _text(value: str) -> str:
    return "'" + value.replace("'", "\\'") + "'"


def _map(values: Mapping[str, object]) -> str:
    return "map(" + ", ".join(f"{_text(key)}, {_text(str(value))}" for key, value in values.items()) + ")"


def _timestamp(ms: int) -> str:
    moment = datetime.fromtimestamp(ms / 1000, timezone.utc)
    return f"TIMESTAMP '{moment:%Y-%m-%d %H:%M:%S}.{ms % 1000:03d}Z'"
