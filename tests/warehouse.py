"""A warehouse under test: runs k2 on it and opens its tables with PyIceberg."""

from __future__ import annotations

import json
import os
import subprocess
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.table import Table

from k2.spark import schemas

NAMESPACE = "market_data"
BRONZE = "bronze_trades"
REJECTED = "rejected_trades"
SILVER = ("silver_binance_trades", "silver_kraken_trades")  # of the exchanges that most tests feed
GOLD = "gold_crypto_trades"
TABLES = (BRONZE, REJECTED, *SILVER, GOLD)
ALL_TABLES = schemas.TABLES

Row = dict[str, Any]
TIMEOUT_S = 120


def k2_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment without settings that would reach k2 from outside the test."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("K2_")}
    return clean | dict(extra or {})


class Warehouse:
    def __init__(self, k2: Path, folder: Path) -> None:
        self.k2 = k2
        self.folder = folder

    def command(self, *args: str | Path) -> list[str]:
        return [str(self.k2), *map(str, args), "--warehouse", str(self.folder)]

    def k2_run(
        self,
        *args: str | Path,
        expect: int | None = 0,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        stdin: str | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Runs a command on this warehouse; `expect`: the exit code it must have, None for any."""
        done = subprocess.run(
            self.command(*args),
            capture_output=True,
            text=True,
            env=k2_environment(env),
            cwd=cwd,
            timeout=TIMEOUT_S,
            input=stdin,
            check=False,
        )
        if expect is not None:
            assert done.returncode == expect, f"{args}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def start(self, *args: str | Path, env: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self.command(*args), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=k2_environment(env)
        )

    def run(
        self,
        recordings: Sequence[tuple[str, Path]] = (),
        *args: str,
        expect: int | None = 0,
        env: Mapping[str, str] | None = None,
    ) -> Any:
        """`k2 run` of recordings; its report, where it ended well."""
        done = self.k2_run("run", *recording_flags(recordings), "--output", "json", *args, expect=expect, env=env)
        return json.loads(done.stdout) if done.returncode == 0 else None

    def json(self, *args: str | Path) -> Any:
        return json.loads(self.k2_run(*args, "--output", "json").stdout)

    def catalog(self) -> SqlCatalog:
        return SqlCatalog("iceberg", uri=f"sqlite:///{self.folder}/catalog.db", warehouse=f"file://{self.folder}")

    def table(self, name: str) -> Table:
        return self.catalog().load_table((NAMESPACE, name))

    def rows(self, name: str, columns: Sequence[str] = ("*",)) -> list[Row]:
        """All rows as PyIceberg reads them; maps as dicts."""
        rows = self.table(name).scan(selected_fields=tuple(columns)).to_arrow().to_pylist()
        for row in rows:
            if isinstance(row.get("vendor_data"), list):
                row["vendor_data"] = dict(row["vendor_data"])
            if row.get("headers") == []:  # PyIceberg makes it of null; K2 writes no empty list
                row["headers"] = None
        return rows  # type: ignore[no-any-return]

    def gold(self) -> dict[str, Row]:
        """Gold by message_id, each of which must be there once."""
        rows = self.rows(GOLD)
        by_id = {row["message_id"]: row for row in rows}
        assert len(by_id) == len(rows), f"{len(rows) - len(by_id)} rows of Gold are doubled"
        return by_id

    def counts(self) -> dict[str, int]:
        return {row["table"]: row["rows"] for row in self.json("tables")}


def recording_flags(recordings: Sequence[tuple[str, Path]]) -> list[str]:
    return [flag for exchange, path in recordings for flag in ("--recording", f"{exchange}={path}")]


def assert_nothing_lost(warehouse: Warehouse) -> None:
    """What holds after every crash and every race, once a run has ended well.

    Bronze holds each offset of a source once and without a gap; Silver and rejected_trades together hold one row for
    each row of Bronze; and every file that the metadata names is there.
    """
    bronze = Counter((r["topic"], r["partition"], r["offset"]) for r in warehouse.rows(BRONZE, _OFFSETS))
    assert all(count == 1 for count in bronze.values()), "Bronze holds an offset twice"
    ends: Counter[tuple[str, int]] = Counter((topic, partition) for topic, partition, _ in bronze)
    assert all(offset < ends[topic, partition] for topic, partition, offset in bronze), "Bronze has a gap"
    rejected = Counter((r["topic"], r["partition"], r["offset"]) for r in warehouse.rows(REJECTED, _OFFSETS))
    assert all(count == 1 for count in rejected.values()), "rejected_trades holds an offset twice"
    assert rejected.keys() <= bronze.keys()
    silver = sum(len(warehouse.rows(name, ("message_id",))) for name in schemas.SILVER)
    assert silver + len(rejected) == len(bronze), f"{silver} in Silver, {len(rejected)} rejected, {len(bronze)} in all"
    for name in TABLES:
        missing = [path for path in files_named(warehouse.table(name)) if not Path(path).exists()]
        assert not missing, f"{name}: files named by the metadata are gone: {missing}"


_OFFSETS = ("topic", "partition", "offset")


def files_named(table: Table) -> set[str]:
    """Paths of every metadata, manifest and data file that the current metadata reaches."""
    named = {table.metadata_location} | {entry.metadata_file for entry in table.metadata.metadata_log}
    for snapshot in table.metadata.snapshots:
        named.add(snapshot.manifest_list)
        for manifest in snapshot.manifests(table.io):
            if manifest.manifest_path not in named:  # most are those of the snapshot before
                named.add(manifest.manifest_path)
                named.update(entry.data_file.file_path for entry in manifest.fetch_manifest_entry(table.io))
    return {path.removeprefix("file://") for path in named}
