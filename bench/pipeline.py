"""All three layers in one `k2 run`: rate on all cores and peak memory, also for a crowded hour."""

import shutil
import sys
import uuid
from pathlib import Path

from common import K2, report, row, run, simulate


def crowded_hour(path: Path, trades: int) -> Path:
    """Kraken v1 frames within one hour: their trades have no number, so Gold must compare them by id."""
    if path.exists():
        return path
    start_ns = 1_704_153_600_000_000_000
    with path.open("w") as out:
        for i in range(trades):
            at_ns = start_ns + i * 3_500_000_000_000 // trades
            seconds = f"{at_ns // 1_000_000_000}.{at_ns % 1_000_000_000 // 1000:06d}"
            volume = f"{uuid.UUID(int=i).int % 997 + 1}.{i % 100_000_000:08d}"
            out.write(
                f'{at_ns} [1,[["{42000 + i % 100}.10000","{volume}","{seconds}","b","m",""]],"trade","XBT/USD"]\n'
            )
    return path


def pipeline(name: str, scratch: Path, recordings: list[str], *flags: str) -> None:
    """One run into a fresh warehouse, and its figures."""
    warehouse = scratch / "warehouse"
    shutil.rmtree(warehouse, ignore_errors=True)
    arguments = [K2, "run", "--warehouse", warehouse, "--output", "json", *flags]
    for recording in recordings:
        arguments += ["--recording", recording]
    done = run(arguments)
    figures = report(done)
    gold = figures["gold"]
    row(
        name,
        gold_rows=int(gold["rows_out"]),
        trades_per_second=int(figures["bronze"]["rows_in"] / done.wall_s),
        cpu_us_per_trade=round(done.cpu_s * 1e6 / figures["bronze"]["rows_in"], 2),
        peak_mb=int(done.peak_mb),
        duplicates=int(gold["duplicates"]),
        step_ms_p50=round(gold["step_ms_p50"]),
    )
    again = run(arguments)
    assert report(again)["bronze"]["rows_in"] == 0, "the second run must find nothing to do"


def main() -> None:
    """Usage: pipeline.py SCRATCH [--long]"""
    scratch = Path(sys.argv[1])
    binance = simulate("binance", 3_000_000, scratch / "binance-3m.txt")
    kraken = simulate("kraken", 1_000_000, scratch / "kraken-1m.txt")
    recordings = [f"binance={binance}", f"kraken={kraken}"]
    pipeline("4M trades, plain recordings", scratch, recordings)
    pipeline("the same, 262144 rows a commit", scratch, recordings, "--rows-per-commit", "262144")
    zst = simulate("binance", 3_000_000, scratch / "binance-3m.zst")
    pipeline("3M trades, zstd recording", scratch, [f"binance={zst}"])
    crowded = crowded_hour(scratch / "crowded.txt", 2_000_000)
    pipeline("one hour, 2M ids, bound of 128MB", scratch, [f"kraken={crowded}"])
    pipeline(
        "one hour, 2M ids, bound of 16MB (4 times too small)", scratch, [f"kraken={crowded}"], "--dedup-memory", "16MB"
    )
    if "--long" in sys.argv:
        long = simulate("binance", 30_000_000, scratch / "binance-30m.txt")
        pipeline("30M trades, plain recording", scratch, [f"binance={long}"])
        long.unlink()


if __name__ == "__main__":
    main()
