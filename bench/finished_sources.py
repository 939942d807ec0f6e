"""A hundred thousand recordings of one line in one warehouse: finished_sources.py SCRATCH [--recordings N] [--batch N]

They are read so many in a run; at some totals, ten more are read in a run each. Printed are the size of the tables'
metadata files, the time of such a run, and the files of finished_sources.
"""

import argparse
import json
import shutil
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from common import K2, row, run, simulate

TABLES = ("bronze_trades", "rejected_trades", "silver_binance_trades", "gold_crypto_trades", "finished_sources")
TOTALS = (200, 1_000, 10_000, 50_000, 100_000)
ALONE = 10
RUNS_BETWEEN_COMPACTIONS = 50


def k2(warehouse: Path, *words: str | Path) -> list[str]:
    return [str(word) for word in (K2, *words, "--warehouse", warehouse)]


def described(warehouse: Path, table: str) -> dict[str, object] | None:
    done = subprocess.run(
        k2(warehouse, "tables", "describe", table, "--output", "json"), capture_output=True, text=True, check=False
    )
    return json.loads(done.stdout) if done.returncode == 0 else None


def measure(warehouse: Path, total: int, alone: list[Path]) -> None:
    walls, cpus = [], []
    for recording in alone:
        done = run(k2(warehouse, "run", "--recording", f"binance={recording}"))
        walls.append(done.wall_s)
        cpus.append(done.cpu_s)
    kilobytes = {}
    for table in TABLES:
        found = described(warehouse, table)
        if found is not None:
            path = Path(str(found["metadata"]).removeprefix("file://"))
            kilobytes[table.split("_")[0]] = path.stat().st_size // 1024
    files = list((warehouse / "market_data" / "finished_sources" / "data").glob("*.parquet"))
    row(
        f"{total} recordings",
        run_ms=f"{statistics.median(walls) * 1e3:.0f}",
        run_cpu_ms=f"{statistics.median(cpus) * 1e3:.0f}",
        metadata_kB=",".join(f"{name}:{size}" for name, size in kilobytes.items()),
        finished_files=len(files),
        finished_kB=sum(file.stat().st_size for file in files) // 1024,
    )


def recordings(lines: Iterator[bytes], folder: Path, first: int, count: int) -> list[Path]:
    paths = []
    for i in range(first, first + count):
        path = folder / f"{i}.jsonl"
        path.write_bytes(next(lines))
        paths.append(path)
    return paths


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scratch", type=Path)
    parser.add_argument("--recordings", type=int, default=TOTALS[-1])
    parser.add_argument("--batch", type=int, default=200)
    options = parser.parse_args()
    source = simulate(
        "binance", options.recordings + 2_000, options.scratch / "finished.jsonl", "--trades-per-second", "1"
    )
    warehouse, folder = options.scratch / "finished-lake", options.scratch / "finished-recordings"
    for old in (warehouse, folder):
        shutil.rmtree(old, ignore_errors=True)
    folder.mkdir()
    with source.open("rb") as file:
        lines = (line for line in file if b'"e":"trade"' in line)  # a run that takes nothing ends with 1
        total, runs = 0, 0
        while total < options.recordings:
            paths = recordings(lines, folder, total, min(options.batch, options.recordings - total))
            words = [word for path in paths for word in ("--recording", f"binance={path}")]
            run(k2(warehouse, "run", *words))
            total, runs = total + len(paths), runs + 1
            if runs % RUNS_BETWEEN_COMPACTIONS == 0:
                run(k2(warehouse, "maintain", "compact", "--settled", "0s"))
            if total in TOTALS:
                alone = recordings(lines, folder, total, ALONE)
                measure(warehouse, total, alone)
                for path in alone:  # the next ones have their names
                    path.unlink()
            for path in paths:
                path.unlink()
    again = subprocess.run(k2(warehouse, "query", f"SELECT count(*) AS n FROM {TABLES[3]}"), check=True, text=True)
    sys.exit(again.returncode)


if __name__ == "__main__":
    main()
