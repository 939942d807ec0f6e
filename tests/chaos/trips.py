"""A warehouse is copied or moved, and its catalog may be lost or too old. What mends that (`k2 tables relocate`,
`k2 tables recover`) is killed on its way, again and again, and is then let through. Drawn by a seed."""

from __future__ import annotations

import contextlib
import json
import random
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from places import (
    contents,
    copy_of_catalog,
    delete_by_position,
    lose_catalog,
    named_by,
    outcomes,
    read_by_duckdb,
    restore_catalog,
    with_history,
)
from places import recover as recovered
from warehouse import BRONZE, GOLD, SILVER, TABLES, Warehouse, assert_nothing_lost

Recordings = list[tuple[str, Path]]

PASSAGES = {  # names of steps, and how often a command passes them about
    "relocate": {
        "relocate.manifest": 60,
        "relocate.metadata-written": 5,
        "relocate.table": 5,
        "catalog.before-swap": 5,
        "catalog.after-swap": 5,
    },
    "recover": {"catalog.before-swap": 5, "catalog.after-swap": 5, "recover.table": 5},
}


@dataclass(frozen=True)
class Trip:
    seed: int
    moved: bool  # else it is a copy, and the original stays
    catalog: str  # "kept", "lost", or "restored" from a copy that is older
    kills: Mapping[str, tuple[str, ...]]  # by command: a step at which it is killed, or after how many seconds

    def __str__(self) -> str:
        kills = "; ".join(f"{command} killed at {', '.join(at) or 'nothing'}" for command, at in self.kills.items())
        return f"K2_SEED={self.seed}: {'moved' if self.moved else 'copied'}, catalog {self.catalog}; {kills}"


def draw_trip(seed: int) -> Trip:
    draw = random.Random(seed)
    moved, catalog = draw.random() < 0.4, draw.choice(("kept", "lost", "restored"))
    kills = {}
    for command in ("relocate",) if catalog == "kept" else ("recover", "relocate"):
        kills[command] = tuple(draw_kill(draw, command) for _ in range(draw.randrange(1, 4)))
    return Trip(seed, moved, catalog, kills)


def draw_kill(draw: random.Random, command: str) -> str:
    if draw.random() < 0.3:
        return f"{draw.uniform(0.005, 0.3):.3f}"
    name, times = draw.choice(list(PASSAGES[command].items()))
    return f"{name}:{draw.randrange(1, times + 1)}"


class Home:
    """The warehouse that trips begin at, as other engines have left it, and what it holds."""

    def __init__(self, warehouse: Warehouse, recordings: Recordings, longer: Recordings, folder: Path) -> None:
        with_history(warehouse, recordings)
        self.old_catalog = copy_of_catalog(warehouse, folder / "old-catalog")
        warehouse.run(longer, "--rows-per-commit", "100")  # files that the old catalog names are gone by now
        delete_by_position(warehouse, GOLD)
        self.warehouse = warehouse
        self.gold = warehouse.gold()
        self.refs = {name: warehouse.table(name).metadata.refs for name in TABLES}
        self.counts = warehouse.counts()
        self.files = contents(warehouse.folder)

    @contextlib.contextmanager
    def away(self, hidden: bool) -> Iterator[None]:
        """Where it was moved from there is nothing; afterwards it is there again, for the next trip."""
        aside = self.warehouse.folder.with_name("aside")
        if hidden:
            self.warehouse.folder.rename(aside)
        try:
            yield
            assert hidden != self.warehouse.folder.exists(), "something was written at the old place"
        finally:
            if hidden:
                shutil.rmtree(self.warehouse.folder, ignore_errors=True)
                aside.rename(self.warehouse.folder)


def killed(warehouse: Warehouse, command: str, at: str) -> bool:
    """Whether it was: it may have come to its end before."""
    step = ":" in at
    process = warehouse.start("tables", command, env={"K2_TEST_CRASH_AT": at} if step else {})
    try:
        said = process.communicate(timeout=60 if step else float(at))[1]
    except subprocess.TimeoutExpired:
        assert not step, f"{command} does not end"
        process.kill()
        said = process.communicate(timeout=20)[1]
    assert process.returncode in (0, -9), f"{command}, killed at {at}: {process.returncode}\n{said}"
    return process.returncode != 0


def travel(trip: Trip, home: Home, there: Warehouse, more: tuple[str, Path]) -> str:
    """Plays a trip and looks at where it has led. Returns what happened, in one line."""
    shutil.copytree(home.warehouse.folder, there.folder)
    if trip.catalog == "lost":
        lose_catalog(there)
    elif trip.catalog == "restored":
        restore_catalog(there, home.old_catalog)
    kills = 0
    with home.away(trip.moved):
        for command, places in trip.kills.items():
            for at in places:
                kills += killed(there, command, at)
                if command == "relocate":
                    assert there.counts() == home.counts, "half relocated it is read as before"
            finish(there, command)
        check(home, there)
        report = there.run([more])
        assert report["bronze"]["rows_in"] == report["silver"]["rows_in"] > 0
        assert home.gold.keys() < there.gold().keys()
        assert_nothing_lost(there)
    assert contents(home.warehouse.folder) == home.files, "the original was touched"
    return f"{trip.seed}: {kills} kills of {sum(map(len, trip.kills.values()))}"


def finish(there: Warehouse, command: str) -> None:
    """A second run completes what the killed ones have begun; a third one finds nothing to do."""
    if command == "recover":
        assert set(outcomes(recovered(there)).values()) <= {"registered", "moved on", "in order"}
        assert set(outcomes(recovered(there)).values()) == {"in order"}
        return
    done = there.k2_run("tables", "relocate", "--output", "json")
    if "nothing to relocate" not in done.stderr:  # the last table, and the place, may have been settled before the kill
        assert {row["outcome"] for row in json.loads(done.stdout)} <= {"relocated", "in place"}
    assert "nothing to relocate" in there.k2_run("tables", "relocate").stderr


def check(home: Home, there: Warehouse) -> None:
    """As PyIceberg and DuckDB see it: all that the original holds, and no name of the old place."""
    assert not named_by(there.folder, home.warehouse.folder)
    assert there.gold() == home.gold
    assert there.counts() == home.counts
    refs: dict[str, Any] = {name: there.table(name).metadata.refs for name in TABLES}
    assert refs == home.refs
    assert read_by_duckdb(there, GOLD) == len(home.gold)
    for name in (BRONZE, *SILVER):
        assert read_by_duckdb(there, name) == home.counts[name]
