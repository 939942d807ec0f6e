"""From Kafka's topics to tables on a REST catalog and S3, servers and producer on the same cores: Bronze alone, all
three layers, peak memory, and how fast a backlog is worked off while new messages keep coming.

Usage: kafka_pipeline.py SCRATCH [--messages 4000000] [--rate 20000] [--backlog-seconds 180] [--quick]"""

import time
from pathlib import Path
from typing import Any

from common import Finished, row
from kafka_feed import pool, send
from kafka_stack import LAYER_TABLES, NAMESPACE, Bench, bench, figures, flags, lag

# What is on its way at the live level: two seconds' worth, the bound of the latency that is aimed for.
LIVE_LEVEL_S = 2.0


def check_rows(bench: Bench, layer: str, expected: int) -> None:
    """The layer's tables hold what its run says it wrote."""
    catalog = bench.catalog()
    names = LAYER_TABLES[layer]
    there = sum(catalog.load_table(f"{NAMESPACE}.{name}").scan().count() for name in names)
    assert there == expected, f"{layer} holds {there} rows, expected {expected}"


def describe(layer: dict[str, Any]) -> dict[str, object]:
    """How a layer's commits went."""
    return {
        "commits": layer["commits"],
        "attempts": layer["commit_attempts"],
        "rows_a_commit": int(layer["rows_in"] / max(layer["commits"], 1)),
        "commit_ms_mean": round(1e3 * layer["commit_seconds"] / max(layer["commits"], 1)),
        "task_s": round(layer["task_seconds"], 1),
        "step_ms_p50": round(layer["step_ms_p50"]),
        "mb": round(layer["file_bytes"] / 1e6),
    }


def once(bench: Bench, name: str, topics: list[str], messages: int, *words: str) -> None:
    """One run until caught up, into fresh tables, and its figures. Rates count from the process's start to its end."""
    bench.fresh_tables()
    before = bench.server_cpu()
    done = bench.run_k2(topics, "--until-caught-up", *words).finish(300)
    servers = {server: cpu - before[server] for server, cpu in bench.server_cpu().items()}
    report = figures(done)
    assert report["bronze"]["rows_in"] == messages, report["bronze"]
    check_rows(bench, "bronze", messages)
    row(
        name,
        messages_per_second=int(messages / done.wall_s),
        without_start_up=int(messages / report["elapsed_seconds"]),
        cpu_s=round(done.cpu_s, 1),
        cpu_us_per_message=round(done.cpu_s * 1e6 / messages, 2),
        peak_mb=int(done.peak_mb),
        wall_s=round(done.wall_s, 1),
    )
    row("  servers' CPU seconds meanwhile", **{server: round(cpu, 1) for server, cpu in servers.items()})
    for layer in LAYER_TABLES:
        if layer in report:
            row(f"  {layer}", **describe(report[layer]))
    if "gold" in report:
        assert sum(report["silver"]["rejected"].values()) == 0, report["silver"]["rejected"]
        check_rows(bench, "gold", messages - report["gold"]["duplicates"])


def catch_up(bench: Bench, messages: Path, rate: float, backlog_s: float, limit_s: float) -> Finished:
    """Seconds until Gold is at the live level, from the start of `k2 run` with a backlog and a live producer."""
    topics = bench.topics("bench.backlog.trades")
    backlog, _ = send(bench.brokers, "bench.backlog.trades", [messages], 0, int(rate * backlog_s))
    bench.fresh_tables()
    feed = bench.feed("bench.backlog.trades", rate, [messages], "--skip", str(backlog))
    while sum(bench.watermarks(topics).values()) <= backlog:
        feed.alive()
        time.sleep(0.05)
    k2 = bench.run_k2(topics)
    catalog = bench.catalog()
    bronze_s = gold_s = 0.0
    ends: dict[tuple[str, int], int] = {}
    while not gold_s:
        time.sleep(0.2)
        k2.alive()
        feed.alive()
        at = time.monotonic() - k2.started
        if at > limit_s:
            raise SystemExit(f"a backlog of {backlog} messages was not worked off within {limit_s:.0f} s")
        # Without the tables themselves, which the run makes after its start.
        if len(catalog.list_tables(NAMESPACE)) < 5:
            continue
        ends = bench.watermarks(topics)
        lags = {
            name: lag(catalog.load_table(f"{NAMESPACE}.{LAYER_TABLES[name][0]}"), ends) for name in ("bronze", "gold")
        }
        if not bronze_s and lags["bronze"] <= rate * LIVE_LEVEL_S:
            bronze_s = at
        if lags["gold"] <= rate * LIVE_LEVEL_S:
            gold_s = at
    taken = sum(ends.values())
    feed.kill()
    done = k2.stop()
    row(
        f"catch-up, {rate:.0f} live messages a second, {backlog} behind",
        bronze_s=round(bronze_s, 1),
        gold_s=round(gold_s, 1),
        messages_per_second=int(taken / gold_s),
        ratio_to_live=round(taken / gold_s / rate, 1),
        an_hours_backlog_minutes=round(rate * 3600 / max(taken / gold_s - rate, 1) / 60, 1),
        peak_mb=int(done.peak_mb),
    )
    return done


def main() -> None:
    parser = flags("Kafka to tables: rates, memory, catch-up")
    parser.add_argument("--messages", type=int, default=4_000_000)
    parser.add_argument("--rate", type=float, default=20_000, help="of the live producer beside the backlog")
    parser.add_argument(
        "--backlog-seconds", type=float, default=180, help="how far the backlog goes back, at that rate"
    )
    parser.add_argument("--limit", type=float, default=180, help="seconds that the catch-up may take")
    given = parser.parse_args()
    if given.quick:
        given.messages, given.backlog_seconds = min(given.messages, 200_000), min(given.backlog_seconds, 10)
    backlog = int(given.rate * given.backlog_seconds)
    # Enough live messages for a ratio of three; a slower catch-up ends with the feed, and says so.
    live = int(given.rate * min(given.limit, max(given.backlog_seconds / 2, 30)))
    messages = pool(given.scratch, max(given.messages, backlog + live))
    with bench(given.scratch, given.seaweed_catalog) as servers:
        topics = servers.topics("bench.full.trades")
        sent, seconds = send(servers.brokers, "bench.full.trades", [messages], 0, given.messages)
        row("preloaded", messages=sent, messages_per_second=int(sent / seconds))
        # Java servers are slow at first, which is theirs and not K2's: shown, and not counted.
        once(servers, "Kafka to Bronze, new servers", topics, sent, "--layer", "bronze")
        once(servers, "Kafka to Bronze", topics, sent, "--layer", "bronze")
        once(servers, "Kafka to Bronze, Silver and Gold", topics, sent)
        catch_up(servers, messages, given.rate, given.backlog_seconds, given.limit)


if __name__ == "__main__":
    main()
