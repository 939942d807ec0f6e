"""`k2 maintain compact`: fewer files, the same rows, for other engines and for K2's own layers."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from conftest import Simulate
from engines import duckdb_with_iceberg
from warehouse import ALL_TABLES, BRONZE, GOLD, REJECTED, TABLES, Warehouse

HOUR = ("--start", "2024-03-01T10:00:00Z", "--trades-per-second", "20", "--malformed-ppm", "20000")


def compact(warehouse: Warehouse, *arguments: str) -> dict[str, dict[str, Any]]:
    done = warehouse.k2_run("maintain", "compact", "--settled", "0s", *arguments, "--output", "json")
    return {row["table"]: row for row in json.loads(done.stdout)}


def rows(warehouse: Warehouse, name: str) -> pa.Table:
    """In an order of their own."""
    table = warehouse.table(name).scan().to_arrow()
    keys = ("message_id",) if "message_id" in table.column_names else ("topic", "partition", "offset")
    by = [(key, "ascending") for key in (*keys, *(("ingestion_timestamp",) if keys == ("message_id",) else ()))]
    return table.sort_by(by).combine_chunks()


def files(warehouse: Warehouse, name: str) -> list[Path]:
    return [Path(task.file.file_path.removeprefix("file://")) for task in warehouse.table(name).scan().plan_files()]


def test_fewer_files_hold_the_same_rows(warehouse: Warehouse, simulate: Simulate) -> None:
    recordings = [
        ("binance", simulate("binance", 400, seed, *HOUR, "--first-id", str(seed * 10_000))) for seed in range(6)
    ]
    for recording in recordings:
        warehouse.run([recording])
    before = {name: (rows(warehouse, name), len(files(warehouse, name))) for name in TABLES}
    assert before[GOLD][1] == before[BRONZE][1] == 6
    report = compact(warehouse)
    assert list(report) == list(ALL_TABLES)
    for name, (held, count) in before.items():
        assert rows(warehouse, name) == held, name
        assert report[name]["files_before"] == (count if count >= 5 else 0)
        if count >= 5:
            assert len(files(warehouse, name)) == report[name]["files_after"] == 1
            assert report[name]["rows"] == held.num_rows
            location = warehouse.table(name).metadata_location.removeprefix("file://")
            counted = duckdb_with_iceberg().execute(f"SELECT count(*) FROM iceberg_scan('{location}')").fetchone()
            assert counted == (held.num_rows,)
    assert before[REJECTED][0].num_rows > 0
    (gold,) = files(warehouse, GOLD)
    order = pq.read_table(gold, columns=["symbol", "timestamp"])
    assert order == order.sort_by([("symbol", "ascending"), ("timestamp", "ascending")])
    assert all(row["files_before"] == 0 for row in compact(warehouse).values()), "nothing is left to do"
    warehouse.run([*recordings, ("kraken", simulate("kraken", 400, 7, *HOUR))])  # goes on, and finds no duplicate
    assert rows(warehouse, GOLD).num_rows == before[GOLD][0].num_rows + 400
    warehouse.k2_run("maintain", "expire", "--older-than", "0s")
    assert rows(warehouse, GOLD).num_rows == before[GOLD][0].num_rows + 400


def test_as_tasks_that_run_anywhere(warehouse: Warehouse, simulate: Simulate, tmp_path: Path) -> None:
    for seed in range(5):
        warehouse.run([("binance", simulate("binance", 200, seed, *HOUR, "--first-id", str(seed * 10_000)))])
    held = rows(warehouse, GOLD)
    plan = warehouse.k2_run("plan", "--compact", GOLD, "--settled", "0s").stdout
    (tmp_path / "plan.json").write_text(plan)
    results = [warehouse.k2_run("task", stdin=json.dumps(task)).stdout for task in json.loads(plan)["tasks"]]
    for _ in range(2):  # a second time changes nothing
        warehouse.k2_run("commit", "--plan", tmp_path / "plan.json", stdin="".join(results))
        assert len(files(warehouse, GOLD)) == 1
        assert rows(warehouse, GOLD) == held
    again = json.loads(warehouse.k2_run("plan", "--compact", GOLD, "--settled", "0s").stdout)
    assert again["tasks"] == again["commits"] == []


def test_a_service_joins_files_beside_its_layers(
    warehouse: Warehouse, simulate: Simulate, k2: Path, tmp_path: Path
) -> None:
    recording = simulate("binance", 6000, 98, *HOUR, "--duplicates-ppm", "20000", suffix=".jsonl")
    whole = Warehouse(k2, tmp_path / "whole")
    whole.run([("binance", recording)])
    lines = recording.read_bytes().splitlines(keepends=True)
    growing = tmp_path / "growing.jsonl"
    growing.write_bytes(b"")
    steps = ("--rows-per-commit", "200", "--commit-interval", "20ms")
    rounds = ("--retention-interval", "1s", "--compact-settled", "0s", "--retain-bronze", "forever")
    with (tmp_path / "log").open("w+") as log:
        service = subprocess.Popen(
            warehouse.command(
                "run", "--recording", f"binance={growing}", "--follow", "--log-level", "info", *steps, *rounds
            ),
            stdout=subprocess.DEVNULL,
            stderr=log,
        )
        try:
            for begin in range(0, len(lines), 200):
                with growing.open("ab") as file:
                    file.write(b"".join(lines[begin : begin + 200]))
                time.sleep(0.1)
                until = time.monotonic() + 30
                while begin > len(lines) // 2 and "small files compacted" not in (tmp_path / "log").read_text():
                    assert time.monotonic() < until, (tmp_path / "log").read_text()[-2000:]
                    time.sleep(0.1)  # a second join takes files that come after a first one
            deadline = time.monotonic() + 60
            while warehouse.counts()[GOLD] < whole.counts()[GOLD] or len(files(warehouse, GOLD)) >= 5:
                assert service.poll() is None, (tmp_path / "log").read_text()
                assert time.monotonic() < deadline, (warehouse.counts(), (tmp_path / "log").read_text()[-2000:])
                time.sleep(0.2)
            service.terminate()
            assert service.wait(timeout=60) == 0
        finally:
            service.kill()
            service.wait()
    said = (tmp_path / "log").read_text()
    assert said.count("small files compacted") >= 2, said
    assert "maintenance failed" not in said
    assert len(files(warehouse, BRONZE)) > 5, "only Gold is joined unless others are named"
    for name in (GOLD, REJECTED):
        key = ("message_id",) if name == GOLD else ("offset",)
        assert sorted(warehouse.rows(name, key), key=str) == sorted(whole.rows(name, key), key=str)
    assert "no_such" in warehouse.k2_run("run", "--layer", "gold", "--compact", "no_such", expect=2).stderr


def test_what_it_asks_for(warehouse: Warehouse, simulate: Simulate) -> None:
    warehouse.run([("binance", simulate("binance", 50, 1, *HOUR))])
    for wrong, why in (
        (("--min-input-files", "1"), "at least 2"),
        (("--target-file-size", "large"), "a size such as"),
        (("--table", "no_such_table"), "no_such_table"),
    ):
        assert why in warehouse.k2_run("maintain", "compact", *wrong, expect=2).stderr
