"""Services that share tables: one of them looks after each."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import Simulate
from pyiceberg.table.snapshots import Operation
from warehouse import ALL_TABLES, BRONZE, GOLD, TABLES, Warehouse, assert_nothing_lost

LEFT = "another service maintains a table"
JOINED = "small files compacted"
FLAGS = ("--follow", "--log-level", "info", "--retention-interval", "1s", "--compact-settled", "0s")


class Fleet:
    """A service a layer, all with the same maintenance to do."""

    def __init__(self, warehouse: Warehouse, growing: Path, folder: Path) -> None:
        self.warehouse = warehouse
        self.sources = {"bronze": ("--recording", f"binance={growing}", "--commit-interval", "20ms")}
        self.logs = {layer: folder / f"{layer}.log" for layer in ("bronze", "silver", "gold")}
        self.services: dict[str, subprocess.Popen[bytes]] = {}

    def begin(self, layer: str) -> None:
        command = ("run", "--layer", layer, *self.sources.get(layer, ()), *FLAGS, "--compact", ",".join(TABLES))
        with self.logs[layer].open("ab") as log:
            self.services[layer] = subprocess.Popen(
                self.warehouse.command(*command), stdout=subprocess.DEVNULL, stderr=log
            )

    def layer_of(self, service: str) -> str:
        """By its process, which its name has: host/process/random."""
        process = int(service.split("/")[1])
        return next(layer for layer, one in self.services.items() if one.pid == process)

    def said(self, layer: str, words: str) -> int:
        return self.logs[layer].read_text().count(words)

    def wait_until(self, holds: Callable[[], bool], seconds: float = 60) -> None:
        deadline = time.monotonic() + seconds
        while not holds():
            assert time.monotonic() < deadline, {layer: log.read_text()[-2000:] for layer, log in self.logs.items()}
            time.sleep(0.1)

    def holders(self) -> set[str]:
        """Services that the tables name, for any kind of work."""
        found: set[str] = set()
        for name in TABLES:
            text = self.warehouse.table(name).properties.get("k2.maintenance", '{"claims": {}}')
            found |= {claim[0] for claim in json.loads(text)["claims"].values()}
        return found

    def end(self) -> None:
        for service in self.services.values():
            service.kill()
            service.wait()


@pytest.fixture
def fleet(warehouse: Warehouse, tmp_path: Path) -> Iterator[Fleet]:
    growing = tmp_path / "growing.jsonl"
    growing.write_bytes(b"")
    made = Fleet(warehouse, growing, tmp_path)
    yield made
    made.end()


def test_one_of_three_services_does_it(fleet: Fleet, simulate: Simulate, tmp_path: Path) -> None:
    lines = simulate("binance", 4000, 98, "--trades-per-second", "1000", suffix=".jsonl").read_bytes().splitlines(True)
    warehouse = fleet.warehouse
    warehouse.k2_run("tables", "create")
    fleet.begin("gold")
    fleet.wait_until(lambda: len(fleet.holders()) == 1)
    assert fleet.layer_of(*fleet.holders()) == "gold"
    fleet.begin("bronze")
    fleet.begin("silver")
    with (tmp_path / "growing.jsonl").open("ab") as file:
        for begin in range(0, len(lines), 100):
            file.write(b"".join(lines[begin : begin + 100]))
            file.flush()
            time.sleep(0.1)
    fleet.wait_until(lambda: warehouse.counts()[GOLD] > 3900 and fleet.said("gold", JOINED) >= 2)
    for layer in ("bronze", "silver"):
        assert fleet.said(layer, LEFT) == len(ALL_TABLES), "said once of each table"
        assert fleet.said(layer, JOINED) == 0
    assert fleet.said("gold", LEFT) == 0
    joins = [
        one for one in warehouse.table(BRONZE).snapshots() if one.summary and one.summary.operation is Operation.REPLACE
    ]
    assert len(joins) <= fleet.said("gold", JOINED), "no other commit of maintenance was made"
    # Whoever it was is gone: the others do it, each table one of them.
    fleet.services["gold"].kill()
    fleet.services.pop("gold").wait()
    left = {str(one.pid) for one in fleet.services.values()}
    fleet.wait_until(lambda: {one.split("/")[1] for one in fleet.holders()} <= left)
    for layer in ("bronze", "silver"):
        fleet.services[layer].terminate()
        assert fleet.services[layer].wait(timeout=60) == 0
        assert "maintenance failed" not in fleet.logs[layer].read_text()
    assert_nothing_lost(warehouse)
