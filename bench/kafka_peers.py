"""K2, Spark Structured Streaming and the Python route on the same topics, in the same call: rates of each layer and of
all three one after another, and ratios.

K2's and Spark's tables are on the same REST catalog and S3, and both have worked off a small topic before, so that
servers and JVM are warm. --spark-on local puts Spark's on local disk, where it uploads nothing and asks no server; the
Python route's are always there. All write zstd level 1.

Usage: kafka_peers.py SCRATCH [--messages 4000000] [--python-messages 300000] [--spark-on rest|local]
  [--skip-spark] [--quick]"""

import json
import sys
from pathlib import Path

from common import row
from kafka_feed import pool, send
from kafka_stack import LAYER_TABLES, Bench, bench, figures, flags

LAYERS = tuple(LAYER_TABLES)
# A peer: seconds of each layer, of all three, messages, peak memory in MB.
Peer = dict[str, float]


def show(name: str, peer: Peer) -> None:
    messages = peer["messages"]
    rates = {layer: int(messages / peer[layer]) for layer in (*LAYERS, "all")}
    row(name, **{f"{layer}_per_second": rate for layer, rate in rates.items()}, peak_mb=int(peer["peak_mb"]))


def k2(bench: Bench, topics: list[str], messages: int) -> Peer:
    """Each layer in a process of its own, then all three in one; from process start to end."""
    peer: Peer = {"messages": messages, "peak_mb": 0}
    bench.fresh_tables()
    for layer in LAYERS:
        done = bench.run_k2(topics, "--until-caught-up", "--layer", layer).finish(300)
        assert figures(done)[layer]["rows_in"] == messages, figures(done)[layer]
        peer[layer] = done.wall_s
        peer["peak_mb"] = max(peer["peak_mb"], done.peak_mb)
    bench.fresh_tables()
    done = bench.run_k2(topics, "--until-caught-up").finish(300)
    assert figures(done)["gold"]["rows_in"] == messages, figures(done)["gold"]
    peer["all"] = done.wall_s
    peer["peak_mb"] = max(peer["peak_mb"], done.peak_mb)
    peer["gold_rows"] = figures(done)["gold"]["rows_out"]
    return peer


def other(bench: Bench, script: str, *words: str) -> Peer:
    """Runs a peer's program, which prints its figures as JSON on its last line."""
    command = [sys.executable, Path(__file__).with_name(script), bench.brokers, bench.scratch / "peer", *words]
    done = bench.child(command, bench.environment).finish(600)
    peer: Peer = json.loads(done.out.splitlines()[-1])
    peer["all"] = sum(peer[layer] for layer in LAYERS)
    peer.setdefault("peak_mb", done.peak_mb)
    return peer


def ratios(name: str, ours: Peer, theirs: Peer) -> None:
    """How many times as fast K2 is."""
    values = {}
    for layer in (*LAYERS, "all"):
        values[layer] = round((ours["messages"] / ours[layer]) / (theirs["messages"] / theirs[layer]), 1)
    row(name, **values)


def main() -> None:
    parser = flags("K2 against Spark Structured Streaming and Python")
    parser.add_argument("--messages", type=int, default=4_000_000)
    parser.add_argument("--python-messages", type=int, default=300_000, help="of them, for the Python route")
    parser.add_argument("--spark-on", choices=("local", "rest"), default="rest", help="where Spark's tables are")
    parser.add_argument("--batch", type=int, default=500_000, help="messages of Spark's micro-batches at most")
    parser.add_argument("--driver-memory", default="3g", help="of Spark")
    parser.add_argument("--skip-spark", action="store_true")
    parser.add_argument("--skip-python", action="store_true")
    given = parser.parse_args()
    if given.quick:
        given.messages, given.python_messages = min(given.messages, 100_000), min(given.python_messages, 20_000)
    messages = pool(given.scratch, given.messages)
    with bench(given.scratch, given.seaweed_catalog) as servers:
        full, part = servers.topics("bench.peers.trades"), servers.topics("bench.part.trades")
        sent, _ = send(servers.brokers, "bench.peers.trades", [messages], 0, given.messages)
        few, _ = send(servers.brokers, "bench.part.trades", [messages], 0, given.python_messages)
        k2(servers, part, few)
        ours = k2(servers, full, sent)
        show("K2, on REST catalog and S3", ours)
        if not given.skip_spark:
            words = [",".join(full), ",".join(part), given.spark_on, str(given.batch), given.driver_memory]
            spark = other(servers, "kafka_spark.py", *words)
            assert spark["gold_rows"] == ours["gold_rows"], f"{spark['gold_rows']} trades, K2 has {ours['gold_rows']}"
            show(f"Spark Structured Streaming, warm, {given.spark_on}", spark)
            row("  Spark's CPU seconds", **{layer: spark[f"{layer}_cpu"] for layer in LAYERS})
            ratios("  K2 is so many times as fast as Spark", ours, spark)
        if not given.skip_python:
            python = other(servers, "kafka_python.py", ",".join(part))
            assert python["messages"] == few
            show("confluent-kafka, fastavro, PyIceberg, DuckDB", python)
            ratios("  K2 is so many times as fast as Python", ours, python)


if __name__ == "__main__":
    main()
