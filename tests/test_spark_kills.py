"""Jobs of the three layers whose processes are killed: executors, workers, the master, drivers; also while messages
come in and the layers pass from one engine to another."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from kafka_oracle import LiveProducer, Oracle
from service_warehouse import Lake, Process, files_named, wait_until
from spark_jobs import JOBS, Jobs, lake_on_rest, oracle_of_two_topics, send
from warehouse import BRONZE, GOLD, REJECTED, SILVER

from stack.services import Services

TARGETS = {"bronze": (BRONZE,), "silver": (*SILVER, REJECTED), "gold": (GOLD,)}


@pytest.fixture
def oracle(services: Services, seed: int) -> Iterator[Oracle]:
    yield from oracle_of_two_topics(services, seed)


@pytest.fixture
def lake(k2: Path, tmp_path: Path, services: Services, oracle: Oracle) -> Iterator[Lake]:
    yield from lake_on_rest(k2, tmp_path, services, oracle)


@pytest.mark.long
def test_a_stream_that_loses_an_executor_and_a_worker(jobs: Jobs, oracle: Oracle, lake: Lake) -> None:
    """Continuous jobs, tasks of several steps at once; the worker comes back; SIGTERM ends them in order."""
    send(oracle, 2000)
    running = {
        layer: jobs.begin(
            layer, "--continuous", "--interval", "1s", "--conf", "spark.cores.max=1", "--metrics-port", "0"
        )
        for layer in ("bronze", "silver")
    }
    lake.await_rows({BRONZE: oracle.expected_counts()[BRONZE]}, 120)
    send(oracle, 500)
    killed = jobs.cluster.workers[0].kill_executors()
    jobs.cluster.workers[0].kill()
    send(oracle, 500)
    wait_until(
        lambda: lake.total(BRONZE) == oracle.expected_counts()[BRONZE], 120, lambda: f"{killed} killed; {lake.state()}"
    )
    jobs.cluster.workers[0].start()
    send(oracle, 500)
    lake.await_rows({BRONZE: oracle.expected_counts()[BRONZE]}, 120)
    for process in running.values():
        process.stop(timeout_s=60)
    for layer in JOBS:
        jobs.run(layer)
    oracle.check(lake)


@pytest.mark.long
def test_the_master_is_killed_in_the_middle_of_a_job(jobs: Jobs, oracle: Oracle, lake: Lake) -> None:
    """A job that runs ends on its executors; a new session fails within 90 s and says why."""
    send(oracle, 2000)
    process = jobs.begin("bronze", "--continuous", "--interval", "1s")
    lake.await_rows({BRONZE: oracle.expected_counts()[BRONZE]}, 120)
    jobs.cluster.master.kill()
    send(oracle, 1000)
    lake.await_rows({BRONZE: oracle.expected_counts()[BRONZE]}, 60)
    begin = time.monotonic()
    said = jobs.run("silver", expect=3)
    assert time.monotonic() - begin < 90
    assert "no Spark master answers" in said
    process.stop(timeout_s=60)
    jobs.cluster.master.start()
    for layer in JOBS:
        jobs.run(layer)
    oracle.check(lake)


# A k2 that stops for good at its first commit: before it, or after it and before anybody is told.
STOPS_AT_COMMIT = """#!/bin/sh
if [ "$1" = commit ] && mkdir '{mark}' 2>/dev/null; then
    if [ {when} = after ]; then
        '{k2}' "$@" > '{mark}/said' || exit
    fi
    touch '{mark}/there'
    exec sleep 600
fi
exec '{k2}' "$@"
"""


def unnamed(lake: Lake, layer: str) -> set[str]:
    """Data files that tasks of the layer have written, and no table names."""
    found: set[str] = set()
    for name in TARGETS[layer]:
        table = lake.table(name)
        found |= {path for path in lake.files_of(table) if path.endswith(".parquet")} - files_named(table)
    return found


def await_file(path: Path, process: Process) -> None:
    wait_until(lambda: path.exists() or process.code is not None, 120, process.said)
    assert process.code is None, process.said()


def rows(lake: Lake, layer: str) -> int:
    return sum(lake.total(name) for name in TARGETS[layer])


@pytest.mark.long
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_driver_is_killed_at_its_commit(jobs: Jobs, oracle: Oracle, lake: Lake, k2: Path, when: str) -> None:
    """Its whole process group. Before the commit nothing names what the tasks wrote, and the next run writes it again;
    after it the next run finds it done, though nobody was told."""
    jobs.conf["spark.cores.max"] = "1"
    send(oracle, 1500)
    for layer in JOBS:
        mark, program = jobs.folder / f"{layer}-mark", jobs.folder / f"{layer}-k2"
        program.write_text(STOPS_AT_COMMIT.format(mark=mark, k2=k2, when=when))
        program.chmod(0o755)
        process = jobs.begin(layer, variables={"K2_PROGRAM": str(program)})
        await_file(mark / "there", process)
        process.kill()
        written, left = rows(lake, layer), unnamed(lake, layer)
        assert (written > 0, bool(left)) == (when == "after", when == "before")
        report = jobs.run(layer)
        assert (report["rows_in"] > 0) == (when == "before")
        assert unnamed(lake, layer) == left
    oracle.check(lake)
    assert rows(lake, "bronze") == oracle.expected_counts()[BRONZE]


Engines = Mapping[str, str]
# Which engine moves which layer, one after the other: in the end each has moved each.
TURNS: tuple[Engines, ...] = (
    {"bronze": "k2", "silver": "native", "gold": "k2"},
    {"bronze": "native", "silver": "k2", "gold": "spark"},
    {"bronze": "spark", "silver": "spark", "gold": "native"},
)
MOVES_S = 120.0
# Small, for three layers share two cores with the services.
NATIVE = ("spark.cores.max=1", "spark.executor.cores=1")
FRAMES = ("spark.sql.shuffle.partitions=1",)


def begin(jobs: Jobs, layer: str, engine: str) -> Process:
    if engine == "k2":
        return jobs.lake.begin("run", "--layer", layer)
    conf = [f"--conf={setting}" for setting in (NATIVE if engine == "native" else FRAMES)]
    if engine == "spark":  # its executors die with it
        conf += ["--master", "local[1]"]
    return jobs.begin(layer, "--engine", engine, "--continuous", "--interval", "1s", *conf)


def await_more(lake: Lake, running: Mapping[str, Process]) -> None:
    """Waits until each layer has moved rows from now on, by processes that live."""
    before = {layer: rows(lake, layer) for layer in running}

    def moved() -> bool:
        for process in running.values():
            assert process.code is None, f"{process.command} has ended by itself: {process.said()[-3000:]}"
        return all(rows(lake, layer) > count for layer, count in before.items())

    wait_until(moved, MOVES_S, lambda: f"{before}, now {lake.state()}", every_s=0.3)


@pytest.mark.long
@pytest.mark.timeout(600)
def test_layers_pass_from_engine_to_engine_in_a_stream(jobs: Jobs, oracle: Oracle, lake: Lake, seed: int) -> None:
    """k2, Spark and k2, then swapped, then DataFrames, while messages come in all the time.

    The next engine starts while the one before still runs, which is killed then, before or after the two have met. In
    each turn one layer's process is also killed and started again. All of it at random times.
    """
    draw = random.Random(seed)

    def kill(processes: Mapping[str, Process]) -> None:
        for layer in draw.sample(list(processes), len(processes)):
            time.sleep(draw.uniform(0, 4))
            processes[layer].kill()

    running: dict[str, Process] = {}
    with LiveProducer(oracle, per_second=100) as producer:
        for engines in TURNS:
            before, running = running, {layer: begin(jobs, layer, engine) for layer, engine in engines.items()}
            kill(before)
            await_more(lake, running)
            layer = draw.choice(list(running))
            time.sleep(draw.uniform(0, 3))
            running[layer].kill()
            running[layer] = begin(jobs, layer, engines[layer])
            await_more(lake, running)
        kill(running)
    assert producer.sent > 1000
    lake.run_kafka()
    oracle.check(lake)
