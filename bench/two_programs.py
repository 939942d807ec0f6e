"""CPU time of two builds of k2 on the same work, in turns: ingestion, and queries of what it made. Quote the ratios."""

import resource
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

from common import row, simulate

QUERY = (
    "SELECT symbol, sum(price::DOUBLE * quantity::DOUBLE), max(price), sum(quantity) FROM gold_crypto_trades GROUP BY 1"
)
WORK = {
    "query of prices": ["query", QUERY],
    "ohlcv": ["ohlcv", "BTCUSDT", "--interval", "1m"],
    "count": ["query", "SELECT count(*) FROM gold_crypto_trades"],
}


def cpu_s(program: Path, arguments: list[str], warehouse: Path) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [program, *arguments, "--warehouse", warehouse]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Usage: two_programs.py BEFORE AFTER SCRATCH [ROUNDS]"""
    programs = {"before": Path(sys.argv[1]).resolve(), "after": Path(sys.argv[2]).resolve()}
    scratch = Path(sys.argv[3]).resolve()
    scratch.mkdir(parents=True, exist_ok=True)
    rounds = int(sys.argv[4]) if len(sys.argv) > 4 else 7
    counts = {"binance": 600_000, "kraken": 200_000}
    run = ["run"]
    for exchange, trades in counts.items():
        run += ["--recording", f"{exchange}={simulate(exchange, trades, scratch / f'{exchange}-{trades}.txt')}"]
    seconds: dict[str, dict[str, list[float]]] = {}
    for number in range(rounds):
        for name in sorted(programs, reverse=number % 2 == 0):
            warehouse = scratch / f"two-{name}"
            shutil.rmtree(warehouse, ignore_errors=True)
            for what, arguments in ({"run": run} | WORK).items():
                taken = cpu_s(programs[name], arguments, warehouse)
                seconds.setdefault(what, {}).setdefault(name, []).append(taken)
    for what, of in seconds.items():
        ratios = [after / before for before, after in zip(of["before"], of["after"], strict=True)]
        row(what, ratio=round(statistics.median(ratios), 2), least=round(min(ratios), 2), most=round(max(ratios), 2))


if __name__ == "__main__":
    main()
