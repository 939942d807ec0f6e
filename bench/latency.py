"""From a trade's arrival to being seen in Gold by another process, which polls the table with PyIceberg.

`k2 simulate --rate` appends to a recording in real time, `k2 run --follow` follows it with default settings, and this
process asks the catalog for new Gold snapshots and reads the files they added. A trade's latency is the time at which
this process has read its row, less its receive time."""

import shutil
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq
from common import K2, row, run
from pyiceberg.catalog.sql import SqlCatalog

NAMES = ("silver_binance_trades", "gold_crypto_trades")


def poll(warehouse: Path, table_name: str, seconds: float) -> list[float]:
    """Latencies in seconds of all rows that appear within `seconds`, leaving out the first second."""
    catalog = SqlCatalog("iceberg", uri=f"sqlite:///{warehouse}/catalog.db")
    seen: set[str] = set()
    latencies: list[float] = []
    begin = time.time()
    table = None
    while time.time() - begin < seconds:
        try:
            table = catalog.load_table(f"market_data.{table_name}") if table is None else table.refresh()
        except Exception:  # the table is made by the run that has just begun
            time.sleep(0.05)
            continue
        snapshot = table.current_snapshot()
        if snapshot is None:
            continue
        for manifest in snapshot.manifests(table.io):
            if manifest.added_snapshot_id in seen and manifest.existing_files_count:
                continue
            try:
                entries = manifest.fetch_manifest_entry(table.io)
            except FileNotFoundError:  # the snapshot is more than a hundred commits old by now, and expired
                break
            for entry in entries:
                path = entry.data_file.file_path
                if path in seen:
                    continue
                seen.add(path)
                times = pq.read_table(path.removeprefix("file://"), columns=["ingestion_timestamp"])
                now = time.time()
                if now - begin < 1:
                    continue
                micros = pc.cast(times["ingestion_timestamp"], "int64").to_pylist()
                latencies.extend(now - micro / 1e6 for micro in micros)
    return latencies


def main() -> None:
    """Usage: latency.py SCRATCH [RATE] [SECONDS]"""
    scratch = Path(sys.argv[1])
    rate = int(sys.argv[2]) if len(sys.argv) > 2 else 20_000
    seconds = float(sys.argv[3]) if len(sys.argv) > 3 else 20
    for name in NAMES:
        warehouse = scratch / "latency"
        shutil.rmtree(warehouse, ignore_errors=True)
        recording = scratch / "live.txt"
        recording.unlink(missing_ok=True)
        recording.touch()
        run([K2, "tables", "create", "--warehouse", warehouse])
        feed = subprocess.Popen(
            [
                K2,
                "simulate",
                "--exchange",
                "binance",
                "--trades",
                str(int(rate * (seconds + 2))),
                "--rate",
                str(rate),
                "--out",
                recording,
                "--append",
            ],
            stderr=subprocess.DEVNULL,
        )
        k2 = subprocess.Popen(
            [K2, "run", "--warehouse", warehouse, "--recording", f"binance={recording}", "--follow"],
            stdout=subprocess.DEVNULL,
        )
        try:
            latencies = poll(warehouse, name, seconds)
            k2.send_signal(signal.SIGTERM)
            code = k2.wait(30)
            assert code == 0, f"k2 run ended with {code}"
        finally:
            for process in (k2, feed):
                process.kill()
                process.wait(10)
        latencies.sort()
        row(
            f"arrival to {name}, {rate} trades/s",
            rows=len(latencies),
            p50_ms=round(statistics.median(latencies) * 1e3),
            p99_ms=round(latencies[int(len(latencies) * 0.99)] * 1e3),
            max_ms=round(latencies[-1] * 1e3),
        )
        recording.unlink()


if __name__ == "__main__":
    main()
