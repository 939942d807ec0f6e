"""The list of exchanges: static files that name it, each exchange from a recording to Gold, and warehouses that are
older than one of them."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, Simulate
from reading import gold_of
from warehouse import BRONZE, GOLD, NAMESPACE, REJECTED, Warehouse

from k2.spark import schemas

NEWEST = schemas.EXCHANGES[-1]


def test_files_that_name_the_topics_name_those_of_all_exchanges(k2: Path, warehouse: Warehouse) -> None:
    topics = list(schemas.DEFAULT_TOPICS)
    compose = re.search(r"for topic in (.*); do", (ROOT / "docker-compose.yml").read_text())
    kubernetes = re.search(r"K2_TOPICS: (.*)", (ROOT / "deploy" / "kubernetes" / "config.yaml").read_text())
    assert compose is not None
    assert kubernetes is not None
    assert compose[1].split() == kubernetes[1].split(",") == topics
    doctor = {row["check"]: row["found"] for row in warehouse.json("doctor")}
    assert doctor["setting topics"] == f"{','.join(topics)} (default)"
    assert json.loads(warehouse.k2_run("tables", "definitions").stdout)["exchanges"] == schemas.DOCUMENT["exchanges"]


@pytest.mark.parametrize("exchange", [one.topic for one in schemas.EXCHANGES])
def test_a_session_of_each_exchange(warehouse: Warehouse, simulate: Simulate, exchange: str) -> None:
    path = simulate(exchange, 1_000, 91, "--malformed-ppm", "20000")
    warehouse.run([(exchange, path)])
    assert warehouse.gold().keys() == gold_of((exchange, path)).keys()
    expected = gold_of((exchange, path))
    for key, row in warehouse.gold().items():
        assert {name: row[name] for name in expected[key]} == expected[key]
    assert {row["exchange"] for row in warehouse.gold().values()} == {exchange.upper()}


@pytest.fixture
def older(warehouse: Warehouse, simulate: Simulate) -> Warehouse:
    """As a K2 made it that did not know the newest exchange."""
    warehouse.run([(one.topic, simulate(one.topic, 300, 92)) for one in schemas.EXCHANGES[:-1]])
    warehouse.catalog().drop_table((NAMESPACE, NEWEST.silver))
    shutil.rmtree(warehouse.folder / NAMESPACE / NEWEST.silver)
    return warehouse


def tables(warehouse: Warehouse) -> set[str]:
    return {name for _, name in warehouse.catalog().list_tables(NAMESPACE)}


def test_commands_on_an_older_warehouse(older: Warehouse) -> None:
    """Those that only read make no table; no command stops at the one that is not there."""
    offsets = older.json("offsets", "show")
    assert {row["table"] for row in offsets} == set(schemas.TABLES) - {NEWEST.silver, GOLD} | {GOLD}
    count = older.json("query", f"SELECT count(*) AS n FROM {GOLD}")
    assert int(count[0]["n"]) == 300 * (len(schemas.EXCHANGES) - 1)
    assert all(row["ok"] for row in older.json("doctor") if row["check"] in ("catalog", "offsets are kept"))
    older.json("maintain", "retention", "--dry-run")
    older.json("maintain", "retention")
    older.json("maintain", "expire", "--dry-run")
    older.json("maintain", "compact", "--min-input-files", "2")
    older.json("maintain", "orphans", "--dry-run")
    older.json("audit")
    assert NEWEST.silver not in tables(older)


@pytest.mark.parametrize(
    "command",
    [("run", "--layer", "silver"), ("plan", "--layer", "silver"), ("plan", "--layer", "gold"), ("tables", "migrate")],
)
def test_what_needs_the_table_makes_it(older: Warehouse, command: tuple[str, ...]) -> None:
    before = older.counts()
    older.k2_run(*command)
    assert NEWEST.silver in tables(older)
    assert older.counts() == before | {NEWEST.silver: 0}


def test_an_older_warehouse_takes_the_new_exchange(older: Warehouse, simulate: Simulate) -> None:
    path = simulate(NEWEST.topic, 300, 93)
    before = older.gold().keys()
    older.run([(NEWEST.topic, path)], "--layer", "bronze")
    plan: Any = json.loads(older.k2_run("plan", "--layer", "silver").stdout)
    # k2 0.1.0 takes tables by their place: it must refuse a task of an exchange that it does not know.
    assert {task["version"] for task in plan["tasks"]} == {3}
    older.run([(NEWEST.topic, path)])
    new = gold_of((NEWEST.topic, path)).keys()
    assert older.gold().keys() == before | new
    for layer in ("silver", "gold"):
        older.k2_run("rebuild", "--layer", layer)
    assert older.gold().keys() == before | new
    assert older.json("audit") == [row for row in older.json("audit") if row["event"] == "rebuild"]
    assert {BRONZE, REJECTED, NEWEST.silver} <= {row["table"] for row in older.json("offsets", "show")}


def test_a_table_that_is_lost_is_no_older_warehouse(older: Warehouse, simulate: Simulate) -> None:
    """What Bronze has sources of is missed."""
    older.run([(NEWEST.topic, simulate(NEWEST.topic, 300, 93))])
    older.catalog().drop_table((NAMESPACE, NEWEST.silver))
    shutil.rmtree(older.folder / NAMESPACE / NEWEST.silver)
    assert f"there is no table {NAMESPACE}.{NEWEST.silver}" in older.k2_run("offsets", "show", expect=None).stderr
    assert "there is no table" in older.k2_run("maintain", "retention", expect=None).stderr
