"""The jobs of the three layers on the cluster of two workers: exactly once, beside and in turns with the k2 process.
What is killed meanwhile: test_spark_kills.py."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kafka_oracle import Oracle
from pyiceberg.table.snapshots import Operation
from service_warehouse import Lake, Process, wait_until
from spark_jobs import JOBS, Jobs, lake_on_rest, oracle_of_two_topics, send, words
from warehouse import ALL_TABLES, BRONZE, GOLD, NAMESPACE, REJECTED, SILVER

from k2.spark.utils import coordinates
from stack.__main__ import write_environment
from stack.pins import ROOT
from stack.process import clean_environment
from stack.services import Services
from stack.spark import SparkCluster

SOURCES = ROOT / "python" / "src"


@pytest.fixture
def cluster(services: Services) -> SparkCluster:
    return services.spark


@pytest.fixture
def oracle(services: Services, seed: int) -> Iterator[Oracle]:
    yield from oracle_of_two_topics(services, seed)


@pytest.fixture
def lake(
    k2: Path, tmp_path: Path, services: Services, oracle: Oracle, request: pytest.FixtureRequest
) -> Iterator[Lake]:
    seaweed = getattr(request, "param", None) == "seaweedfs"
    yield from lake_on_rest(k2, tmp_path, services, oracle, seaweed=seaweed)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The engine as `make dist` packs it."""
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run([ROOT / "scripts" / "dist.sh", folder], check=True, capture_output=True, timeout=200)
    return next(folder.glob("k2-linux-*.tar.gz"))


def test_all_layers_by_spark_submit_with_the_archive(jobs: Jobs, oracle: Oracle, lake: Lake, archive: Path) -> None:
    """As docs/spark-cluster.md has it: spark-submit, and executors that have nothing of K2 but the archive."""
    send(oracle, 3000)
    variables = {name: value for name, value in jobs.variables.items() if name != "K2_PROGRAM"}
    variables["PATH"] = os.pathsep.join(  # no k2 of this machine's own
        folder for folder in variables["PATH"].split(os.pathsep) if not (Path(folder) / "k2").exists()
    )
    conf = {name: value for name, value in jobs.conf.items() if "K2_PROGRAM" not in name}
    conf["spark.jars.packages"] = ",".join(coordinates())
    for layer, name in JOBS.items():
        program = SOURCES / "k2" / "spark" / "jobs" / f"{name}.py"
        command = jobs.cluster.submit_command(program, "--archive", str(archive), "--output", "json", conf=conf)
        done = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=200, check=False)
        assert done.returncode == 0, words(done.stderr)
        report = json.loads(done.stdout[done.stdout.index("[\n") :])[0]  # behind what spark-submit says of packages
        assert report["layer"] == layer
        assert report["engine"] == "native"
        assert report["rows_in"] > 0
    oracle.check(lake)
    for layer in JOBS:  # nothing is left to do, for k2 either
        assert lake.run_kafka("--layer", layer)[layer]["rows_in"] == 0


def test_commands_of_the_document(services: Services, cluster: SparkCluster, lake: Lake, tmp_path: Path) -> None:
    """Those of docs/spark-cluster.md between `make spark-up` and `make spark-down`, as they stand there."""
    text = (ROOT / "docs" / "spark-cluster.md").read_text().split("## As plain processes", 1)[1]
    block = text.split("```")[1]
    commands = block[block.index("set -a") : block.index("make spark-down")]
    assert "spark-submit" in commands
    write_environment(tmp_path / "env", services.environment() | lake.variables | cluster.environment())
    told = cluster.environment()
    done = subprocess.run(
        ["bash", "-euc", commands.replace(". .stack/env", f". {tmp_path}/env")],
        cwd=ROOT,
        env={name: value for name, value in clean_environment().items() if name not in told},
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )
    assert done.returncode == 0, words(done.stderr)
    assert {name for _, name in lake.catalog().list_tables(NAMESPACE)} == set(ALL_TABLES) - {GOLD}


# One session for many turns: a line {"layer", "engine"} in, what its steps did out.
DRIVER = """
import json, sys
from k2.spark.jobs import bronze_ingestion, gold_aggregation, layers, silver_transformation
from k2.spark.utils import command_line

jobs = {"bronze": bronze_ingestion, "silver": silver_transformation, "gold": gold_aggregation}
options = layers.parser("turns", "").parse_args(sys.argv[1:])
spark = command_line.session("turns", options)
print("ready", flush=True)
for line in sys.stdin:
    turn = json.loads(line)
    native = turn["engine"] == "native"
    step = layers.native_step(spark, turn["layer"], options) if native else (
        jobs[turn["layer"]].by_dataframe(spark, options))
    totals = layers.Totals(turn["layer"], turn["engine"])
    layers.move(step, totals, options, layers.Stop(), None)
    print(totals.done.rows_in, flush=True)
spark.stop()
"""


@pytest.mark.parametrize("lake", ["reference", pytest.param("seaweedfs", marks=pytest.mark.long)], indirect=True)
def test_turns_of_k2_and_both_engines(jobs: Jobs, oracle: Oracle, lake: Lake, tmp_path: Path) -> None:
    """Every layer by another one, and by yet another after more messages: nothing is lost or doubled."""
    rounds = (
        {"bronze": "native", "silver": "k2", "gold": "spark"},
        {"bronze": "spark", "silver": "native", "gold": "k2"},
        {"bronze": "k2", "silver": "spark", "gold": "native"},
    )
    (tmp_path / "driver.py").write_text(DRIVER)
    settings = [f"--conf={name}={value}" for name, value in jobs.conf.items()]
    with (tmp_path / "driver.log").open("w") as log:
        driver = subprocess.Popen(
            [sys.executable, tmp_path / "driver.py", *settings],
            env=jobs.variables,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
    assert driver.stdin is not None
    assert driver.stdout is not None
    try:
        assert driver.stdout.readline() == "ready\n", words((tmp_path / "driver.log").read_text())
        for engines in rounds:
            send(oracle, 400)
            for layer, engine in engines.items():
                if engine == "k2":
                    moved = lake.run_kafka("--layer", layer)[layer]["rows_in"]
                else:
                    driver.stdin.write(json.dumps({"layer": layer, "engine": engine}) + "\n")
                    driver.stdin.flush()
                    answer = driver.stdout.readline()
                    assert answer, words((tmp_path / "driver.log").read_text())
                    moved = int(answer)
                assert moved > 0, (layer, engine)
            oracle.check(lake)
    finally:
        driver.stdin.close()
        driver.kill()
        driver.wait(timeout=20)


def test_silver_and_gold_again(jobs: Jobs, oracle: Oracle, lake: Lake) -> None:
    """`rebuild` on the cluster, with rows that Gold has yet to read; then the layers go on, by k2 and by DataFrames."""
    send(oracle, 1500)
    lake.run_kafka()
    send(oracle, 500)
    lake.run_kafka("--layer", "bronze")
    lake.run_kafka("--layer", "silver")
    before = {name: lake.total(name) for name in (SILVER[0], SILVER[1], REJECTED)}
    report = jobs.rebuild("silver")
    assert report["rows_in"] == sum(before.values())
    assert report["commits"] == 3
    assert {name: lake.total(name) for name in before} == before
    for name in before:
        snapshot = lake.table(name).current_snapshot()
        assert snapshot is not None
        assert snapshot.summary is not None
        assert snapshot.summary.operation == Operation.OVERWRITE
        assert snapshot.summary["k2.rebuilt"] == "1"
    send(oracle, 500)
    for layer in ("bronze", "silver"):
        lake.run_kafka("--layer", layer)
    assert jobs.run("gold", "--engine", "spark")["duplicates"] < 100, "what was rebuilt was read again"
    report = jobs.rebuild("gold", "--from", "2000-01-01")
    assert report["rows_out"] == lake.total(GOLD)
    send(oracle, 500)
    lake.run_kafka()
    oracle.check(lake)


# A k2 that hangs in its first task, whichever executor starts it; the others are real.
HANGS_ONCE = """#!/bin/sh
if [ "$1" = task ] && mkdir '{mark}' 2>/dev/null; then
    echo $$ > '{mark}/pid'
    exec cat > /dev/null
fi
exec '{k2}' "$@"
"""


def test_a_task_that_hangs_is_run_by_another_worker(jobs: Jobs, oracle: Oracle, lake: Lake, k2: Path) -> None:
    """Speculation, as docs/spark-cluster.md has it: the copy's files are committed, and the first k2 is gone."""
    send(oracle, 1000)
    mark, program = jobs.folder / "hung", jobs.folder / "k2-hangs-once"
    program.write_text(HANGS_ONCE.format(mark=mark, k2=k2))
    program.chmod(0o755)
    speculation = {"spark.speculation": "true", "spark.speculation.task.duration.threshold": "2s"}
    report = jobs.run("bronze", conf=speculation | {"spark.executorEnv.K2_PROGRAM": str(program)})
    assert report["rows_in"] == oracle.expected_counts()[BRONZE]
    pid = int((mark / "pid").read_text())
    wait_until(lambda: not Path(f"/proc/{pid}").exists(), 30, lambda: f"process {pid} hangs still")
    lake.run_kafka()
    oracle.check(lake)


@pytest.mark.parametrize(
    "to", ["spark-submit", *(pytest.param(to, marks=pytest.mark.long) for to in ("python", "all by pkill"))]
)
def test_sigterm_ends_a_job_after_its_step(jobs: Jobs, oracle: Oracle, lake: Lake, k2: Path, to: str) -> None:
    """spark-submit's own process is Java's. Here both have tasks that take three seconds."""
    send(oracle, 500)
    mark, program = jobs.folder / "begun", jobs.folder / "k2-takes-its-time"
    program.write_text(f"#!/bin/sh\n[ $1 = task ] && touch {mark} && sleep 3\nexec {k2} $*\n")
    program.chmod(0o755)
    conf = jobs.conf | {"spark.executorEnv.K2_PROGRAM": str(program), "spark.jars.packages": ",".join(coordinates())}
    words = ["--engine", "native", "--continuous", "--output", "json"]
    if to != "python":
        job = SOURCES / "k2" / "spark" / "jobs" / "bronze_ingestion.py"
        command = jobs.cluster.submit_command(job, *words, conf=conf)
    else:
        command = jobs.command("bronze", *words, conf=conf)
    process = Process(command, jobs.variables, jobs.folder / "job.log", group=True)
    lake.processes.append(process)
    wait_until(mark.exists, 120, process.said)
    assert lake.total(BRONZE) == 0
    if to == "all by pkill":  # as docs/spark-cluster.md has it for jobs in a container: Java's process and Python's
        subprocess.run(
            ["pkill", "-TERM", "-g", str(process.popen.pid), "-f", "bronze_ingestion"], check=True, timeout=10
        )
        assert process.wait(60) == 0, process.said()
    else:
        process.stop(timeout_s=60)
    assert lake.total(BRONZE) == oracle.expected_counts()[BRONZE]


def test_what_a_person_can_act_on(jobs: Jobs, lake: Lake) -> None:
    """A missing program, an archive that is not there, a catalog that does not answer."""
    local = ("--master", "local[1]")
    jobs.variables.pop("K2_PROGRAM")
    jobs.variables["PATH"] = os.pathsep.join(
        folder for folder in jobs.variables["PATH"].split(os.pathsep) if not (Path(folder) / "k2").exists()
    )
    said = jobs.run("silver", *local, expect=2)
    assert "k2 program not found" in said
    assert "--archives" in said
    assert "Traceback" not in said
    said = jobs.run("silver", *local, "--archive", "nowhere.tar.gz", expect=2)
    assert "there is no archive nowhere.tar.gz" in said
    said = jobs.run("silver", *local, "--rows", "0", expect=2)
    assert "--rows: 0" in said
    assert lake.total(REJECTED) == 0


def test_a_task_ends_with_its_standard_input(k2: Path, lake: Lake, oracle: Oracle) -> None:
    """Killed Python workers leave no k2 behind: it sees its input close, also in the middle of a task."""
    lake.k2_run("tables", "create")
    send(oracle, 100)
    plan = json.loads(lake.k2_run("plan", "--layer", "bronze").stdout)
    task = plan["tasks"][0]
    held = task["inputs"][0]
    held["end_offset"] = held["begin"]["next_offset"] + 1_000_000  # never there: the task waits
    process = subprocess.Popen(
        [k2, "task", "--worker"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=os.environ | lake.variables
    )
    assert process.stdin is not None
    process.stdin.write(json.dumps(task).encode() + b"\n")
    process.stdin.flush()
    time.sleep(1)
    assert process.poll() is None
    process.stdin.close()
    assert process.wait(timeout=10) == 0


def test_plan_task_commit_by_hand(k2: Path, lake: Lake, oracle: Oracle, tmp_path: Path) -> None:
    """The three commands as docs/task.md has them; a commit made twice changes nothing, a late one is refused."""
    lake.k2_run("tables", "create")
    for count in (500, 300):
        send(oracle, count)
        for layer in JOBS:
            stale = make_plan(lake, layer, tmp_path / "stale.json")
            late = run_tasks(lake, stale)
            plan = make_plan(lake, layer, tmp_path / "plan.json")
            results = run_tasks(lake, plan)
            first = commit(lake, tmp_path / "plan.json", results)
            assert first["commits"] >= 1
            heads = lake.heads()
            assert commit(lake, tmp_path / "plan.json", results)["rows_in"] == first["rows_in"]
            assert lake.heads() == heads
            refused = commit(lake, tmp_path / "stale.json", late, expect=1)
            assert "concurrent writer detected" in refused
            assert lake.heads() == heads
            lake.assert_files_exist()
        oracle.check(lake)
    assert "results" in commit(lake, tmp_path / "plan.json", [], expect=2)


def make_plan(lake: Lake, layer: str, path: Path) -> Any:
    path.write_text(lake.k2_run("plan", "--layer", layer, "--tasks", "3").stdout)
    plan = json.loads(path.read_text())
    assert plan["tasks"]
    return plan


def run_tasks(lake: Lake, plan: Any) -> list[str]:
    given = "".join(json.dumps(task) + "\n" for task in plan["tasks"])
    process = subprocess.Popen(
        lake.command("task", "--worker"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | lake.variables,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(given)
    process.stdin.flush()
    answers = [process.stdout.readline() for _ in plan["tasks"]]
    process.stdin.close()
    process.wait(timeout=20)
    assert not any(re.match(r'\{"error"', answer) for answer in answers), answers
    return answers


def commit(lake: Lake, plan: Path, results: list[str], expect: int = 0) -> Any:
    done = subprocess.run(
        lake.command("commit", "--plan", plan),
        input="".join(results),
        capture_output=True,
        text=True,
        env=os.environ | lake.variables,
        timeout=60,
        check=False,
    )
    assert done.returncode == expect, done.stderr
    return json.loads(done.stdout) if expect == 0 else done.stderr


def test_the_archive_asks_for_no_more_than_the_image_has(archive: Path, tmp_path: Path) -> None:
    """Ubuntu 22.04, which the image of Spark stands on: glibc 2.35, libstdc++ of GCC 12; all else is inside."""
    if shutil.which("objdump") is None:
        pytest.skip("there is no objdump: Debian has it in binutils")
    subprocess.run(["tar", "-xzf", archive, "-C", tmp_path], check=True)
    files = [tmp_path / "bin" / "k2", *(tmp_path / "lib").iterdir()]
    for path in files:
        symbols = subprocess.run(["objdump", "-T", path], check=True, capture_output=True, text=True).stdout
        for library, newest in (("GLIBC", (2, 35)), ("GLIBCXX", (3, 4, 30))):
            asked = [tuple(map(int, found.split("."))) for found in re.findall(rf"\b{library}_([\d.]+)", symbols)]
            assert max(asked, default=(0,)) <= newest, path.name
    loaded = subprocess.run(["ldd", files[0]], check=True, capture_output=True, text=True).stdout
    outside = [path for path in re.findall(r"=> (/\S+)", loaded) if not path.startswith(str(tmp_path))]
    assert all(re.search(r"/lib(c|m|dl|pthread|rt|resolv|stdc\+\+|gcc_s)\.so", path) for path in outside), outside
    assert "not found" not in loaded
