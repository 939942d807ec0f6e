"""Queries on a Gold of 20M rows, on S3 behind a REST catalog: Spark SQL in a warm session and `k2 query` from process
start to printed answer, side by side.

Usage: spark_queries.py SCRATCH [--trades 20000000] [--on local|cluster] [--quick]"""

import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from common import K2, ROOT, row, run, simulate
from kafka_stack import Bench, bench, flags

TABLE = "gold_crypto_trades"
ASKED = 5


def fill(servers: Bench, scratch: Path, trades: int) -> None:
    """Two days of trades, 48 hours of files, joined where they are many."""
    rate = str(max(1, trades // (48 * 3600)))
    recording = simulate(
        "binance", trades, scratch / f"queries-{trades}.txt", "--trades-per-second", rate, "--other-ppm", "0"
    )
    servers.fresh_tables()
    servers.environment.pop("K2_KAFKA")  # the trades come from the recording
    done = servers.k2("run", "--recording", f"binance={recording}").finish(900)
    row(f"k2 run of {trades:,} trades into S3", per_second=int(trades / done.wall_s), peak_mb=round(done.peak_mb))
    recording.unlink()
    done = servers.k2("maintain", "compact", "--table", TABLE, "--settled", "0s", "--output", "json").finish(900)
    row("k2 maintain compact", seconds=round(done.wall_s, 1), peak_mb=round(done.peak_mb), report=done.out.strip())


def asked(ask: Callable[[], object]) -> float:
    """Median of five after one, in seconds."""
    ask()
    times = []
    for _ in range(ASKED):
        begin = time.monotonic()
        ask()
        times.append(time.monotonic() - begin)
    return statistics.median(times)


def questions(message_id: str) -> list[tuple[str, str]]:
    """Words that both engines understand; `{table}` is Gold."""
    at = "exchange_date = DATE '2024-01-02' AND exchange_hour = 7"
    return [
        ("count", "SELECT count(*) FROM {table}"),
        ("point: message_id within its hour", f"SELECT * FROM {{table}} WHERE message_id = '{message_id}' AND {at}"),
        ("point: message_id", f"SELECT * FROM {{table}} WHERE message_id = '{message_id}'"),
        (
            "aggregation: candles of a symbol's day",
            "SELECT date_trunc('minute', timestamp), min(price), max(price), sum(quantity), count(*) FROM {table} "
            "WHERE symbol = 'BTCUSDT' AND exchange_date = DATE '2024-01-02' GROUP BY 1",
        ),
        ("aggregation: by symbol over all rows", "SELECT symbol, sum(quantity), count(*) FROM {table} GROUP BY symbol"),
        ("scan: three columns of all rows", "SELECT sum(price), max(timestamp), max(trade_id) FROM {table}"),
    ]


def main() -> None:
    parser = flags("Queries on Gold by Spark SQL and by k2")
    parser.add_argument("--trades", type=int, default=20_000_000)
    parser.add_argument("--on", choices=("local", "cluster"), default="local")
    given = parser.parse_args()
    if given.quick:
        given.trades = min(given.trades, 200_000)
    sys.path.insert(0, str(ROOT / "python" / "src"))
    with bench(given.scratch, given.seaweed_catalog) as servers:
        fill(servers, given.scratch, given.trades)

        def k2(sql: str) -> Sequence[str]:
            words = [K2, "query", sql.format(table=TABLE), "--output", "csv"]
            return run(words, {**os.environ, **servers.environment}).out.splitlines()

        at = "WHERE exchange_date = DATE '2024-01-02' AND exchange_hour = 7 AND symbol = 'BTCUSDT' LIMIT 1"
        message_id = k2(f"SELECT message_id FROM {{table}} {at}")[1]
        by_k2 = {name: (asked(lambda sql=sql: k2(sql)), len(k2(sql)) - 1) for name, sql in questions(message_id)}
        os.environ.update(servers.environment)
        master, conf = "local[2]", {"spark.driver.memory": "3g", "spark.ui.enabled": "false"}
        if given.on == "cluster":
            os.environ.update(servers.services.spark.driver_environment())
            master = servers.services.spark.url
        from k2.spark.utils import create_spark_session

        spark = create_spark_session("k2 queries", master=master, config=conf)
        try:
            for name, sql in questions(message_id):
                text = sql.format(table=f"iceberg.market_data.{TABLE}")
                seconds = asked(lambda text=text: spark.sql(text).collect())
                assert len(spark.sql(text).collect()) == by_k2[name][1], name
                row(
                    name,
                    spark_ms=round(seconds * 1e3),
                    k2_ms=round(by_k2[name][0] * 1e3),
                    spark_rows_per_second=int(given.trades / seconds),
                    k2_rows_per_second=int(given.trades / by_k2[name][0]),
                )
        finally:
            spark.stop()


if __name__ == "__main__":
    main()
