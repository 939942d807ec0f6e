"""The version of K2 before this one: its program, and the documents that it writes and reads.

At each release: the commit of the release before, its version, and `write_documents` run once with its program.
"""

from __future__ import annotations

import json
import subprocess
import tarfile
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from kafka_oracle import Oracle
from service_warehouse import Lake
from warehouse import GOLD, TABLES

ROOT = Path(__file__).resolve().parent.parent
COMMIT = "6896508f2939508c2d10a7546919d5558d7328fe"
VERSION = "0.1.0"
DOCUMENTS = ROOT / "tests" / "former" / f"documents-{VERSION}.json"
BUILD_S_MAX = 3000

Shape = Any  # of a JSON value: a dict of shapes, a list of one shape, or the name of a type

# Their keys are data: field ids, reasons, columns; or they are Iceberg's own documents.
OPEN = {
    "schema",
    "spec",
    "columns",
    "rejected",
    "summary",
    "partition",
    "column_sizes",
    "value_counts",
    "null_value_counts",
    "nan_value_counts",
    "lower_bounds",
    "upper_bounds",
    "upstream",
    "recordings",
}


def program() -> Path:
    """Built from its commit, once a clone; about six minutes of a processor where the compiler's cache is empty."""
    folder = ROOT / "build" / f"old-{COMMIT[:12]}"
    built = folder / "build" / "release" / "bin" / "k2"
    if built.exists():
        return built
    archive = subprocess.run(["git", "archive", COMMIT], cwd=ROOT, capture_output=True, check=False, timeout=120)
    if archive.returncode != 0:
        pytest.skip(f"the commit {COMMIT} is not in this clone: fetch its history (git fetch --unshallow)")
    folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(fileobj=BytesIO(archive.stdout)) as files:
        files.extractall(folder, filter="data")
    for name in (".venv", ".deps"):
        if not (folder / name).exists():
            (folder / name).symlink_to((ROOT / name).resolve())
    command = [folder / "scripts" / "build.sh", "release", "bin/k2"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=BUILD_S_MAX)
    assert done.returncode == 0, f"the former version does not build:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return built


# What k2 writes for other processes, and for itself.


def plan_of(lake: Lake, *of: str) -> Any:
    return json.loads(lake.k2_run("plan", *of).stdout)


def run_tasks(lake: Lake, plan: Any) -> list[Any]:
    return [json.loads(lake.k2_run("task", stdin=json.dumps(task)).stdout) for task in plan["tasks"]]


def commit(lake: Lake, path: Path, plan: Any, results: list[Any]) -> None:
    path.write_text(json.dumps(plan))
    lake.k2_run("commit", "--plan", path, stdin="".join(json.dumps(one) + "\n" for one in results))


STEPS = {
    "bronze": ("--layer", "bronze", "--tasks", "2"),
    "silver": ("--layer", "silver", "--tasks", "2"),
    "gold": ("--layer", "gold", "--tasks", "2"),
    "compaction": ("--compact", GOLD, "--min-input-files", "2", "--settled", "0s"),
}


def step(lake: Lake, path: Path, kind: str, old: dict[str, Any] | None = None) -> dict[str, Any]:
    """Plans, runs and commits a step; the documents of it. `old`: each document is cut to what that version's has."""

    def cut(name: str, document: Any) -> Any:
        return document if old is None else cut_to(document, shape_of(old[f"{kind} {name}"]))

    plan = cut("plan", plan_of(lake, *STEPS[kind]))
    assert plan["tasks"], kind
    plan["tasks"] = [cut("task", task) for task in plan["tasks"]]
    results = [cut("result", result) for result in run_tasks(lake, plan)]
    commit(lake, path, plan, results)
    return {f"{kind} plan": plan | {"tasks": []}, f"{kind} task": plan["tasks"][0], f"{kind} result": results[0]}


def documents(lake: Lake, oracle: Oracle, topic: str, path: Path, old: dict[str, Any] | None = None) -> dict[str, Any]:
    """Of all kinds of step, and `k2.offsets` of each table."""
    lake.k2_run("tables", "create")
    found: dict[str, Any] = {}
    for _ in range(2):
        oracle.send(topic, 200)
        oracle.flush()
        for kind in ("bronze", "silver", "gold"):
            found |= step(lake, path, kind, old)
    found |= step(lake, path, "compaction", old)
    for name in TABLES:
        snapshot = lake.table(name).current_snapshot()
        assert snapshot is not None
        assert snapshot.summary is not None
        found[f"{name} offsets"] = json.loads(snapshot.summary.additional_properties["k2.offsets"])
    return found


def write_documents(lake: Lake, oracle: Oracle, topic: str, path: Path) -> None:
    text = json.dumps(documents(lake, oracle, topic, path), separators=(",", ":"), sort_keys=True)
    text = text.replace(str(lake.folder), "/data/lake").replace('},"', '},\n"')
    DOCUMENTS.parent.mkdir(exist_ok=True)
    DOCUMENTS.write_text(text + "\n")


# Comparing them by their fields.


def shape_of(value: Any) -> Shape:
    if isinstance(value, dict):
        return {key: ("open" if key in OPEN else shape_of(one)) for key, one in value.items()}
    if isinstance(value, list):
        return [merged([shape_of(one) for one in value])] if value else []
    return "null" if value is None else type(value).__name__


def merged(shapes: list[Shape]) -> Shape:
    if all(isinstance(one, dict) for one in shapes):
        return {key: merged([one[key] for one in shapes if key in one]) for one in shapes for key in one}
    if all(isinstance(one, list) for one in shapes):
        inner = [one[0] for one in shapes if one]
        return [merged(inner)] if inner else []
    return shapes[0] if all(one == shapes[0] for one in shapes) else "any"


def missing(old: Shape, new: Shape, place: str = "") -> list[str]:
    """Where a document of the one shape has a field, of the same type, that the other lacks."""
    if isinstance(old, dict) and isinstance(new, dict):
        return [
            said
            for key, one in old.items()
            for said in (missing(one, new[key], f"{place}.{key}") if key in new else [f"{place}.{key}"])
        ]
    if isinstance(old, list) and isinstance(new, list):
        return missing(old[0], new[0], f"{place}[]") if old and new else []
    return [] if old == new or "any" in (old, new) else [f"{place}: {old} is {new}"]


def cut_to(value: Any, shape: Shape) -> Any:
    """Without the fields that the shape has not."""
    if isinstance(value, dict) and isinstance(shape, dict):
        return {key: cut_to(one, shape[key]) for key, one in value.items() if key in shape}
    if isinstance(value, list) and isinstance(shape, list) and shape:
        return [cut_to(one, shape[0]) for one in value]
    return value


def known_documents() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(DOCUMENTS.read_text())
    return found
