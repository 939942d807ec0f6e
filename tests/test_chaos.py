"""Schedules of random faults, each by a seed: whatever happens, every offset is there once at the end.

K2_SEED=n plays that schedule alone; K2_CHAOS_SCHEDULES=n plays so many in the long test.
"""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest
from chaos.schedule import draw_schedule
from chaos.world import Links, play

from stack.services import Services

SHORT = 4
LONG = int(os.environ.get("K2_CHAOS_SCHEDULES", "100"))


@pytest.fixture(scope="module")
def links(services: Services) -> Links:
    return Links(services)


def seeds(count: int) -> list[int]:
    given = os.environ.get("K2_SEED")
    return [int(given)] if given else [random.SystemRandom().randrange(1 << 32) for _ in range(count)]


def play_seed(seed: int, links: Links, k2: Path, folder: Path) -> None:
    stem = f"chaos-{seed}-{os.urandom(3).hex()}.trades"
    schedule = draw_schedule(seed, (f"{stem}.binance", f"{stem}.kraken"))
    print(schedule)
    print(play(schedule, links, k2, folder / str(seed), stem))


@pytest.mark.parametrize("seed", seeds(SHORT))
def test_a_schedule(links: Links, k2: Path, tmp_path: Path, seed: int) -> None:
    play_seed(seed, links, k2, tmp_path)


@pytest.mark.long
@pytest.mark.timeout(0)
def test_many_schedules(links: Links, k2: Path, tmp_path: Path) -> None:
    """All are played; what failed is told at the end with its seed."""
    failed: dict[int, str] = {}
    for seed in seeds(LONG):
        try:
            play_seed(seed, links, k2, tmp_path)
        except AssertionError as error:
            failed[seed] = str(error)[:500]
            print(f"FAILED {seed}: {error}"[:3000])
    assert not failed, f"{len(failed)} of {LONG} schedules failed; K2_SEED replays one: {failed}"
