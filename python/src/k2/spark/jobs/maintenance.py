"""Looks after K2's tables with Iceberg's procedures, beside running layers: drops what is expired by retention, joins
small files (with the C++ engine too) and manifests, expires snapshots, removes orphans. Options: --help."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from k2.spark import schemas
from k2.spark.jobs.layers import archive_option, engine_settings
from k2.spark.maintenance import audit, procedures, retention
from k2.spark.maintenance.offsets import Guard
from k2.spark.utils import command_line
from k2.spark.utils.command_line import byte_size, duration_us, say
from k2.spark.utils.errors import ConfigurationError, K2Error, run_main
from k2.spark.utils.explain import explain
from k2.spark.utils.iceberg import IcebergCatalog
from k2.spark.utils.settings import catalog_name

if TYPE_CHECKING:
    from k2.spark.engine.native import NativeEngine

# In this order: what is dropped need not be joined, and what was joined away is expired.
STEPS = ("retention", "rewrite", "manifests", "expire", "orphans")


def parser() -> argparse.ArgumentParser:
    made = command_line.parser("maintenance", __doc__ or "")
    made.add_argument("steps", nargs="*", metavar="STEP", help=f"any of {', '.join(STEPS)}; all of them unless said")
    made.add_argument("--table", action="append", metavar="NAME", help="only this one; repeatable")
    made.add_argument("--dry-run", action="store_true", help="show what retention, expiry and orphans would do")
    made.add_argument("--retain-bronze", type=duration_us, default="7d", metavar="TIME")
    made.add_argument("--retain-silver", type=duration_us, default="30d", metavar="TIME")
    made.add_argument("--retain-rejected", type=duration_us, default="30d", metavar="TIME")
    made.add_argument("--retain-gold", type=duration_us, default="forever", metavar="TIME")
    made.add_argument(
        "--engine",
        choices=("native", "spark"),
        default="spark",
        help="of rewrite; spark: Iceberg's procedure; native: the C++ engine on the executors",
    )
    archive_option(made)
    made.add_argument("--target-file-size", type=byte_size, default="128MB", metavar="SIZE")
    made.add_argument("--min-input-files", type=int, default=5, metavar="N", help="of a partition worth a rewrite")
    made.add_argument(
        "--settled",
        type=duration_us,
        default="15m",
        metavar="TIME",
        help="native: skip partitions modified within this time",
    )
    made.add_argument("--days-left", type=int, default=1, metavar="N", help="spark: number of newest days to skip")
    made.add_argument("--concurrency", type=int, default=2, metavar="N", help="spark: file groups rewritten at a time")
    made.add_argument(
        "--expire-older-than",
        type=duration_us,
        metavar="TIME",
        help="all older snapshots but those of tags and branches; else the tables' own properties rule",
    )
    made.add_argument("--orphans-older-than", type=duration_us, default="3d", metavar="TIME", help="24h at least")
    return made


class Maintenance:
    """The steps on one session; `now_us` is told, so that tests can look at days to come."""

    def __init__(self, spark: Any, options: argparse.Namespace, now_us: int | None = None) -> None:
        self._spark = spark
        self._options = options
        self._catalog = catalog_name({})
        self._iceberg = IcebergCatalog(spark, self._catalog)
        self._engine: NativeEngine | None = None
        self._now_us = int(time.time() * 1_000_000) if now_us is None else now_us
        self._limits_us = {
            schemas.BRONZE: options.retain_bronze,
            schemas.REJECTED: options.retain_rejected,
            schemas.GOLD: options.retain_gold,
        } | dict.fromkeys(schemas.SILVER, options.retain_silver)
        self._run: dict[str, Callable[[Any, str], dict[str, Any]]] = {
            "retention": self.retention,
            "rewrite": self.rewrite,
            "manifests": self.manifests,
            "expire": self.expire,
            "orphans": self.orphans,
        }

    def run(self, steps: Sequence[str], tables: Sequence[str]) -> tuple[list[dict[str, Any]], K2Error | None]:
        """What each step did to each table, and the first error; a table that fails does not stop the others."""
        rows: list[dict[str, Any]] = []
        first: K2Error | None = None
        for step in steps:
            for name in tables:
                began = time.monotonic()
                row: dict[str, Any] = {"table": name, "step": step}
                try:
                    row |= self._step(step, name)
                except Exception as error:
                    told = explain(error, f"{name}: {step}")
                    first = first or told
                    row["error"] = str(told)
                row["seconds"] = round(time.monotonic() - began, 1)
                rows.append(row)
                say(" ".join(f"{key}={value}" for key, value in row.items() if not isinstance(value, list)))
        return rows, first

    def _step(self, step: str, name: str) -> dict[str, Any]:
        table = self._iceberg.load(schemas.NAMESPACE, name)
        if table.currentSnapshot() is None:
            return {"files": 0}
        guard = Guard(table)
        done = self._run[step](table, name)
        guard.check(table)
        return done

    def retention(self, table: Any, name: str) -> dict[str, Any]:
        limit_us = self._limits_us[name]
        if limit_us is None:
            return {"files": 0}
        if not self._options.dry_run:
            procedures.patiently(lambda: retention.note_commit_times(table, self._now_us // 1000))

        def drop() -> tuple[list[retention.Partition], int]:
            table.refresh()
            found = retention.plan(self._spark, self._iceberg, name, limit_us, self._now_us)
            due = sum(len(partition.files) for partition in found if partition.fate == "due")
            return found, due if self._options.dry_run else retention.drop(self._iceberg, table, name, found, limit_us)

        partitions, files = procedures.patiently(drop)
        shown = [
            {"partition": part.day, "rows": part.rows, "files": len(part.files), "fate": part.fate, "why": part.reason}
            for part in partitions
        ]
        for part in partitions:
            if part.fate == "held":
                say(f"{name}: {part.day} has expired and is held: {part.reason}")
        gone = sum(part.rows for part in partitions if part.fate in ("due", "dropped"))
        return {"files": files, "rows": gone, "partitions": shown}

    def rewrite(self, table: Any, name: str) -> dict[str, Any]:
        if self._options.dry_run:
            return {"files": 0}
        if self._options.engine == "native":
            settled_s = self._options.settled // 1_000_000
            return dict(
                self._native().compact(name, self._options.target_file_size, self._options.min_input_files, settled_s)
            )
        options = procedures.RewriteOptions(
            self._options.target_file_size,
            self._options.min_input_files,
            self._options.days_left,
            self._options.concurrency,
        )
        return procedures.rewrite(self._spark, self._catalog, name, options, self._now_us)

    def _native(self) -> NativeEngine:
        from k2.spark.engine.native import NativeEngine

        if self._engine is None:
            self._engine = NativeEngine(self._spark, engine_settings(self._options), archive=self._options.archive)
        return self._engine

    def manifests(self, table: Any, name: str) -> dict[str, Any]:
        if self._options.dry_run:
            return {"files": 0}
        return procedures.rewrite_manifests(self._spark, self._catalog, name)

    def expire(self, table: Any, name: str) -> dict[str, Any]:
        cut_ms, keep = procedures.expiry_of(table, self._now_us // 1000, self._options.expire_older_than)
        if self._options.dry_run:
            old = [snapshot for snapshot in table.snapshots() if int(snapshot.timestampMillis()) < cut_ms]
            return {"snapshots": len(old), "files": 0}
        procedures.patiently(lambda: audit.record(table))
        return procedures.expire(self._spark, self._catalog, table, name, cut_ms, keep)

    def orphans(self, table: Any, name: str) -> dict[str, Any]:
        older_than_us = self._options.orphans_older_than
        return procedures.orphans(
            self._spark, self._catalog, table, name, older_than_us, self._now_us, self._options.dry_run
        )


def check(options: argparse.Namespace) -> None:
    """Words that parse and must not be."""
    for step in options.steps:
        if step not in STEPS:
            raise ConfigurationError(f"there is no step {step!r}: {', '.join(STEPS)}")
    for name in options.table or ():
        if name not in schemas.TABLES:
            raise ConfigurationError(f"{name!r} is not one of K2's tables: {', '.join(schemas.TABLES)}")
    for table in ("bronze", "silver", "rejected", "gold"):
        kept_us = getattr(options, f"retain_{table}")
        if kept_us is not None and kept_us < 1:
            raise ConfigurationError(f"--retain-{table} is 0, which keeps nothing: a time such as 7d, or forever")
    if options.expire_older_than is not None and options.expire_older_than < procedures.EXPIRE_FLOOR_US:
        raise ConfigurationError("--expire-older-than is below 10m: readers and running commits need the newest")
    if options.orphans_older_than is None or options.orphans_older_than < procedures.ORPHAN_FLOOR_US:
        raise ConfigurationError("--orphans-older-than is below 24h: younger files may belong to a running commit")
    if options.settled is None:
        raise ConfigurationError("--settled is forever, so no partition is compacted: a time such as 15m")
    for flag, least in (("min_input_files", 2), ("concurrency", 1), ("days_left", 0)):
        if getattr(options, flag) < least:
            raise ConfigurationError(f"--{flag.replace('_', '-')} is below {least}")


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    check(options)
    spark = command_line.session("k2-maintenance", options)
    try:
        steps = [step for step in STEPS if step in (options.steps or STEPS)]
        rows, error = Maintenance(spark, options).run(steps, options.table or schemas.TABLES)
    finally:
        spark.stop()
    command_line.print_rows(rows, options.output)
    if error is not None:
        raise error
    return 0


if __name__ == "__main__":
    run_main(main)
