"""Layers on Spark, the native engine against DataFrames, and `k2 run` alone on the same cores: rates of written and
committed rows, in the same call, on the same Bronze, catalog and S3. Each engine has worked off a small topic before.

Usage: spark_layers.py SCRATCH [--messages 2000000] [--on local|cluster] [--rows 1000000] [--quick]

With --former FOLDER, the folder python/src of an earlier K2: only its DataFrames and those of here, three times in
turns, each in a warm session of its own."""

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from common import K2, ROOT, row
from kafka_feed import pool, send
from kafka_stack import Bench, bench, figures, flags

LAYERS = ("bronze", "silver", "gold")
Figures = dict[str, Any]


class Driver:
    """The session of spark_engines.py."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        with log.open("w") as errors:
            self._process = subprocess.Popen(
                command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True
            )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._stdin, self._stdout, self._log = self._process.stdin, self._process.stdout, log
        assert self._answer() == "ready"

    def _answer(self) -> str:
        line = self._stdout.readline()
        assert line, self._log.read_text()[-3000:]
        return line.rstrip()

    def turn(self, layer: str, engine: str, topics: Sequence[str]) -> Figures:
        self._stdin.write(json.dumps({"layer": layer, "engine": engine, "topics": ",".join(topics)}) + "\n")
        self._stdin.flush()
        done: Figures = json.loads(self._answer())
        return done

    def close(self) -> None:
        self._stdin.close()
        self._process.wait(timeout=60)


@contextmanager
def driver(servers: Bench, on: str, rows: int, sources: Path = ROOT / "python" / "src") -> Iterator[Driver]:
    variables = {name: value for name, value in servers.environment.items() if name != "K2_SPARK_MASTER"}
    variables |= {"K2_PROGRAM": str(K2), "PYTHONPATH": str(sources)}
    master = ["--master", "local[2]"]
    if on == "cluster":
        cluster = servers.services.spark
        variables = cluster.driver_environment() | variables
        master = ["--conf", f"spark.executorEnv.K2_PROGRAM={K2}", "--conf", "spark.executor.memory=2g"]
    command = [sys.executable, str(Path(__file__).with_name("spark_engines.py")), *master, "--rows", str(rows)]
    command += ["--conf", "spark.driver.memory=3g", "--conf", "spark.ui.enabled=false"]
    made = Driver(command, os.environ | variables, servers.scratch / f"driver-{sources.parent.parent.name}.log")
    try:
        yield made
    finally:
        made.close()


def show(name: str, messages: int, done: Mapping[str, Figures]) -> None:
    row(name, **{f"{layer}_per_second": int(messages / one["seconds"]) for layer, one in done.items()})


def work_off(servers: Bench, spark: Driver, engine: str, topics: Sequence[str], count: int) -> dict[str, Figures]:
    servers.fresh_tables()
    servers.k2("tables", "create").finish(60)
    found = {layer: spark.turn(layer, engine, topics) for layer in LAYERS}
    assert all(one["rows_in"] == count for one in found.values()), found
    return found


def against_former(
    servers: Bench, former: Path, on: str, rows: int, turns: Sequence[tuple[Sequence[str], int]]
) -> None:
    """Medians of three rounds in turns, after a round that does not count."""
    times: dict[str, dict[str, list[float]]] = {name: {layer: [] for layer in LAYERS} for name in ("former", "new")}
    with driver(servers, on, rows, former) as before, driver(servers, on, rows) as now:
        for counts, (topics, count) in enumerate((turns[0], *[turns[1]] * 3)):
            for name, spark in (("former", before), ("new", now)):
                done = work_off(servers, spark, "spark", topics, count)
                for layer, one in done.items():
                    times[name][layer] += [one["seconds"]] if counts else []
    medians = {name: {layer: statistics.median(of) for layer, of in one.items()} for name, one in times.items()}
    for name, one in medians.items():
        show(f"Spark {on}, DataFrames, {name}", turns[1][1], {layer: {"seconds": of} for layer, of in one.items()})
    ratios = {layer: round(medians["former"][layer] / medians["new"][layer], 2) for layer in LAYERS}
    row("  new is so many times as fast as former", **ratios)


def main() -> None:
    parser = flags("Layers on Spark by both engines, and k2 alone")
    parser.add_argument("--messages", type=int, default=2_000_000)
    parser.add_argument("--on", choices=("local", "cluster"), default="local")
    parser.add_argument("--rows", type=int, default=1_000_000, help="of a step at most")
    parser.add_argument("--former", type=Path, metavar="FOLDER", help="python/src of an earlier K2, to compare with")
    given = parser.parse_args()
    if given.quick:
        given.messages = min(given.messages, 100_000)
    messages = pool(given.scratch, given.messages)
    with bench(given.scratch, given.seaweed_catalog) as servers:
        full, part = servers.topics("bench.full.trades"), servers.topics("bench.part.trades")
        sent, _ = send(servers.brokers, "bench.full.trades", [messages], 0, given.messages)
        few, _ = send(servers.brokers, "bench.part.trades", [messages], 0, min(100_000, given.messages))
        if given.former:
            turns = ((part, few), (full, sent))
            against_former(servers, given.former.absolute(), given.on, given.rows, turns)
            return
        alone: dict[str, Figures] = {}
        servers.fresh_tables()
        for layer in LAYERS:
            done = servers.run_k2(full, "--until-caught-up", "--layer", layer).finish(300)
            assert figures(done)[layer]["rows_in"] == sent
            alone[layer] = {"seconds": done.wall_s}
        show("k2 run alone", sent, alone)
        found: dict[str, dict[str, Figures]] = {}
        with driver(servers, given.on, given.rows) as spark:
            for topics, count in ((part, few), (full, sent)):
                for engine in ("native", "spark"):
                    found[engine] = work_off(servers, spark, engine, topics, count)
        for engine, name in (("native", "native engine"), ("spark", "DataFrames")):
            show(f"Spark {given.on}, {name}", sent, found[engine])
            for layer, one in found[engine].items():
                parts = {part: round(one[f"{part}_seconds"], 2) for part in ("plan", "run", "commit")}
                row(f"  {layer}", steps=one["steps"], **parts)
        for name, ours, theirs in (
            ("  native is so many times as fast as DataFrames", found["native"], found["spark"]),
            ("  native has so much of k2 alone", found["native"], alone),
        ):
            row(name, **{layer: round(theirs[layer]["seconds"] / ours[layer]["seconds"], 2) for layer in LAYERS})


if __name__ == "__main__":
    main()
