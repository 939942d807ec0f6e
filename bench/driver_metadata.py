"""What one driver can carry: a commit of 100,000 data files, and Gold's plan over them, by metadata alone. The files
are one that was written, under other names: nobody reads them.

Usage: driver_metadata.py SCRATCH [--files 100000]"""

import argparse
import copy
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

from common import K2, row, run, simulate

SILVER = "silver_binance_trades"
TIMESTAMP_ID = "6"
EPOCH_US = 1_704_153_600_000_000
HOURS = 100


def k2(warehouse: Path, *arguments: str, given: str | None = None) -> str:
    command = [K2, *arguments, "--warehouse", str(warehouse)]
    return subprocess.run(command, input=given, capture_output=True, text=True, check=True).stdout


def of_hour(file: dict[str, Any], name: str, number: int, hour: int) -> dict[str, Any]:
    """The file under another name, its trades at another hour."""
    us = EPOCH_US + hour * 3_600_000_000
    time = {TIMESTAMP_ID: us.to_bytes(8, "little", signed=True).hex()}
    return {
        **file,
        "file_path": f"{name}-{number}",
        "partition": [{"int": us // 86_400_000_000}],
        "lower_bounds": file["lower_bounds"] | time,
        "upper_bounds": file["upper_bounds"] | time,
    }


def many(plan: dict[str, Any], result: dict[str, Any], files: int, tasks: int) -> list[str]:
    """Makes a plan of one task one of many, each of whose results has its part of the files."""
    (task,) = plan["tasks"]
    plan["tasks"], results = [], []
    (output,) = [one for one in result["outputs"] if one["table"] == SILVER]
    for number in range(tasks):
        attempt = f"{number:016x}"
        plan["tasks"].append({**task, "attempt_id": attempt})
        one = copy.deepcopy(result) if number == 0 else {**result, "range_rows": [0] * len(result["range_rows"])}
        name = output["files"][0]["file_path"].replace(task["attempt_id"], attempt)
        made = [of_hour(output["files"][0], name, n, number % HOURS) for n in range(files // tasks)]
        others = [{**other, "files": []} for other in result["outputs"] if other["table"] != SILVER]
        results.append(
            json.dumps({**one, "attempt_id": attempt, "outputs": [*others, {"table": SILVER, "files": made}]})
        )
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description="Plan and commit of many files")
    parser.add_argument("scratch", type=Path)
    parser.add_argument("--files", type=int, default=100_000)
    given = parser.parse_args()
    warehouse = given.scratch / "driver-metadata"
    shutil.rmtree(warehouse, ignore_errors=True)
    warehouse.parent.mkdir(parents=True, exist_ok=True)
    recording = simulate("binance", 2_000, given.scratch / "binance-2k.txt", "--malformed-ppm", "0")
    run([K2, "run", "--warehouse", warehouse, "--recording", f"binance={recording}", "--layer", "bronze"])
    plan = json.loads(k2(warehouse, "plan", "--layer", "silver", "--tasks", "1"))
    result = json.loads(k2(warehouse, "task", given=json.dumps(plan["tasks"][0])))
    results = many(plan, result, given.files, 200)
    path = given.scratch / "driver-plan.json"
    path.write_text(json.dumps(plan))
    answers = given.scratch / "driver-results.jsonl"
    answers.write_text("\n".join(results) + "\n")
    command = ["sh", "-c", f"exec {K2} commit --plan {path} --warehouse {warehouse} < {answers}"]
    done = run(command)
    assert json.loads(done.out)["files"] == given.files, done.out
    row(
        f"k2 commit of {given.files:,} data files",
        seconds=round(done.wall_s, 2),
        cpu_seconds=round(done.cpu_s, 2),
        peak_mb=round(done.peak_mb),
        results_mb=round(answers.stat().st_size / 1e6),
    )
    for tasks in (8, 1000):
        done = run(
            [K2, "plan", "--layer", "gold", "--tasks", str(tasks), "--rows", str(10**15), "--warehouse", warehouse]
        )
        made = json.loads(done.out)["tasks"]
        named = {file["path"] for task in made for one in task["inputs"] for file in one["files"]}
        assert len(named) == given.files
        row(
            f"k2 plan of Gold over {given.files:,} data files",
            tasks=len(made),
            seconds=round(done.wall_s, 2),
            cpu_seconds=round(done.cpu_s, 2),
            peak_mb=round(done.peak_mb),
            plan_mb=round(len(done.out) / 1e6),
        )
    shutil.rmtree(warehouse)


if __name__ == "__main__":
    main()
