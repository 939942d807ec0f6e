"""The native engine on one worker of one core and on two: Bronze to Silver and Silver to Gold, written and committed,
on local disk, so that nothing else takes of the cores but the driver. Needs a machine with two idle cores.

Usage: spark_scaling.py SCRATCH [--trades 4000000] [--rounds 3]"""

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

from common import K2, ROOT, row, run, simulate

sys.path.insert(0, str(ROOT))
from stack.services import Services

LAYERS = ("silver", "gold")
Times = dict[str, dict[str, float]]


def drive(master: str, cores: int, warehouse: Path) -> Times:
    """In the driver's process: works off what is in Bronze, with so many executors of a core."""
    from pyspark.sql import SparkSession

    from k2.spark.engine.native import NativeEngine

    builder = SparkSession.builder.master(master).appName(f"k2 scaling {cores}")
    for name, value in {
        "spark.cores.max": cores,
        "spark.executor.cores": 1,
        "spark.executor.memory": "512m",
        "spark.driver.memory": "512m",
        "spark.executorEnv.K2_PROGRAM": K2,
        "spark.scheduler.minRegisteredResourcesRatio": 1.0,
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
    }.items():
        builder = builder.config(name, str(value))
    spark = builder.getOrCreate()
    context = spark.sparkContext
    context.parallelize(range(4 * cores), 4 * cores).map(lambda n: time.sleep(0.2) or n).collect()  # workers are there
    engine = NativeEngine(spark, {"warehouse": str(warehouse)}, tasks=8)
    found: Times = {}
    for layer in LAYERS:
        parts = {"rows": 0.0, "plan": 0.0, "run": 0.0, "commit": 0.0}
        while (done := engine.step(layer)) is not None:
            parts["rows"] += done.rows_in
            parts["plan"] += done.plan_seconds
            parts["run"] += done.run_seconds
            parts["commit"] += done.commit_seconds
        found[layer] = parts
    spark.stop()
    return found


def measure(services: Services, bronze: Path, warehouse: Path, cores: int) -> Times:
    shutil.rmtree(warehouse, ignore_errors=True)
    shutil.copytree(bronze, warehouse)
    cluster = services.spark
    kept = {name: value for name, value in cluster.driver_environment().items() if not name.startswith("K2_")}
    command = [sys.executable, __file__, "--drive", cluster.url, "--cores", str(cores), str(warehouse)]
    done = subprocess.run(
        command, env=kept | {"K2_PROGRAM": str(K2)}, capture_output=True, text=True, timeout=600, check=False
    )
    if done.returncode != 0:
        sys.exit(done.stderr[-3000:])
    times: Times = json.loads(done.stdout.splitlines()[-1])
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description="The native engine on one core and on two")
    parser.add_argument("scratch", type=Path)
    parser.add_argument("--trades", type=int, default=4_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--drive", help=argparse.SUPPRESS)
    parser.add_argument("--cores", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.drive:
        print(json.dumps(drive(given.drive, given.cores, given.scratch)))
        return
    scratch: Path = given.scratch.absolute()
    scratch.mkdir(parents=True, exist_ok=True)
    recording = simulate("binance", given.trades, scratch / f"scaling-{given.trades}.txt", "--trades-per-second", "200")
    warehouse, bronze = scratch / "scaling", scratch / "scaling-bronze"
    for folder in (warehouse, bronze):
        shutil.rmtree(folder, ignore_errors=True)
    run([K2, "run", "--warehouse", warehouse, "--recording", f"binance={recording}", "--layer", "bronze"])
    shutil.copytree(warehouse, bronze)
    services = Services(scratch / "scaling-servers")
    found: dict[int, list[Times]] = {1: [], 2: []}
    try:
        services.start("spark")
        for _ in range(given.rounds):  # in turns: the machine's mood is shared
            for cores, times in found.items():
                times.append(measure(services, bronze, warehouse, cores))
    finally:
        services.stop()
    for layer in LAYERS:
        rates = {}
        for cores, times in found.items():
            middle = {
                part: statistics.median(one[layer][part] for one in times) for part in ("rows", "plan", "run", "commit")
            }
            whole = statistics.median(sum(one[layer][part] for part in ("plan", "run", "commit")) for one in times)
            rates[cores] = (middle["rows"] / whole, middle["rows"] / middle["run"])
            row(
                f"{layer}, {cores} worker{'s' * (cores > 1)} of one core",
                per_second=int(rates[cores][0]),
                **{part: round(middle[part], 2) for part in ("plan", "run", "commit")},
            )
        row(
            "  efficiency of two",
            whole=round(rates[2][0] / rates[1][0] / 2, 2),
            tasks_alone=round(rates[2][1] / rates[1][1] / 2, 2),
        )
    for folder in (warehouse, bronze, scratch / "scaling-servers"):
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
