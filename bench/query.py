"""`k2 query` from process start to printed answer, on a Gold of 10M rows in 48 hours."""

import statistics
import sys
from pathlib import Path

from common import K2, Finished, row, run, simulate


def ask(name: str, warehouse: Path, *arguments: str) -> None:
    """Median of nine runs after one."""
    command = [K2, *arguments, "--warehouse", warehouse]
    run(command)
    runs: list[Finished] = [run(command) for _ in range(9)]
    row(
        name,
        wall_ms=round(statistics.median(done.wall_s for done in runs) * 1e3),
        min_ms=round(min(done.wall_s for done in runs) * 1e3),
        cpu_ms=round(statistics.median(done.cpu_s for done in runs) * 1e3),
        peak_mb=round(max(done.peak_mb for done in runs)),
    )


def main() -> None:
    """Usage: query.py SCRATCH"""
    scratch = Path(sys.argv[1])
    warehouse = scratch / "gold-10m"
    if not (warehouse / "catalog.db").exists():
        recording = simulate(
            "binance", 10_000_000, scratch / "binance-10m.txt", "--trades-per-second", "58", "--other-ppm", "0"
        )
        run([K2, "run", "--warehouse", warehouse, "--recording", f"binance={recording}"])
        recording.unlink()
    first = (
        "SELECT message_id, trade_id, timestamp FROM gold_crypto_trades "
        "WHERE symbol = 'BTCUSDT' AND exchange_hour = 7 LIMIT 1"
    )
    message_id, trade_id, _ = (
        run([K2, "query", first, "--output", "csv", "--warehouse", warehouse]).out.splitlines()[1].split(",")
    )
    gold = "SELECT * FROM gold_crypto_trades WHERE "
    ask("count of all", warehouse, "query", "SELECT count(*) FROM gold_crypto_trades")
    ask("point: message_id", warehouse, "query", gold + f"message_id = '{message_id}'")
    ask("point: trade_id and symbol", warehouse, "query", gold + f"trade_id = '{trade_id}' AND symbol = 'BTCUSDT'")
    ask(
        "point: symbol and two seconds",
        warehouse,
        "query",
        gold + "symbol = 'BTCUSDT' AND timestamp BETWEEN '2024-01-02 07:00:00Z' AND '2024-01-02 07:00:02Z'",
    )
    ask(
        "a day of one-minute candles",
        warehouse,
        "ohlcv",
        "BTCUSDT",
        "--from",
        "2024-01-02",
        "--to",
        "2024-01-03",
        "--output",
        "csv",
    )
    ask("sum over all rows", warehouse, "query", "SELECT symbol, sum(quantity) FROM gold_crypto_trades GROUP BY symbol")


if __name__ == "__main__":
    main()
