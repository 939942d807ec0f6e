"""What Bronze's columns `headers` and `topic_id` cost where no message has any: bytes of its files, and CPU of the
layers, against a table that lacks the columns.

Usage: headers_column.py SCRATCH [ROUNDS]
"""

import shutil
import statistics
import sys
from pathlib import Path

from common import K2, row, run, simulate
from pyiceberg.catalog.sql import SqlCatalog

TABLE = "market_data.bronze_trades"
OPTIONAL = ("headers", "topic_id")


def catalog_of(warehouse: Path) -> SqlCatalog:
    return SqlCatalog("iceberg", uri=f"sqlite:///{warehouse}/catalog.db", warehouse=f"file://{warehouse}")


def measure(warehouse: Path, recording: str, dropped: bool) -> tuple[int, float, float]:
    """Bytes of Bronze's files, CPU seconds of Bronze, of Silver."""
    shutil.rmtree(warehouse, ignore_errors=True)
    run([K2, "tables", "create", "--warehouse", warehouse])
    if dropped:
        with catalog_of(warehouse).load_table(TABLE).update_schema() as update:
            for name in OPTIONAL:
                update.delete_column(name)
    bronze = run([K2, "run", "--warehouse", warehouse, "--recording", recording, "--layer", "bronze"])
    silver = run([K2, "run", "--warehouse", warehouse, "--layer", "silver"])
    files = catalog_of(warehouse).load_table(TABLE).inspect.files()
    return sum(files["file_size_in_bytes"].to_pylist()), bronze.cpu_s, silver.cpu_s


def main() -> None:
    scratch = Path(sys.argv[1])
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 5
    trades = 1_000_000
    recording = f"binance={simulate('binance', trades, scratch / 'binance-1m.txt')}"
    found: dict[bool, list[tuple[int, float, float]]] = {True: [], False: []}
    for _ in range(rounds):
        for dropped, results in found.items():
            results.append(measure(scratch / "warehouse", recording, dropped))
    without, with_them = (
        [statistics.median(column) for column in zip(*found[dropped], strict=True)] for dropped in (True, False)
    )
    for name, figures in (("without", without), ("with", with_them)):
        row(
            f"{trades} messages, {name} the columns",
            bronze_bytes=int(figures[0]),
            bronze_cpu_us_a_message=round(figures[1] * 1e6 / trades, 3),
            silver_cpu_us_a_message=round(figures[2] * 1e6 / trades, 3),
        )
    row("difference", bytes_a_message=round((with_them[0] - without[0]) / trades, 4))


if __name__ == "__main__":
    main()
