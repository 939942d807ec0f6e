"""Schedules of another engine's operations between ours, drawn from seeds: no trade lost, none doubled."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest
from foreign_fuzz import Fuzz, warehouse_for

QUICK = range(100)  # the same ones each time; the long test draws others
PARTS = 10


def play(k2: Path, folder: Path, seed: int, length: int = 8) -> None:
    print(f"K2_SEED={seed}")
    Fuzz(warehouse_for(k2, folder / str(seed)), seed).play(length)


@pytest.mark.parametrize("part", range(PARTS))
def test_pyiceberg_between_our_steps(k2: Path, tmp_path: Path, part: int) -> None:
    given = os.environ.get("K2_SEED")
    if given:
        if part == 0:
            play(k2, tmp_path, int(given))
        return
    for seed in QUICK[part::PARTS]:
        play(k2, tmp_path, seed)


@pytest.mark.long
@pytest.mark.timeout(7200)
def test_thousands_of_schedules(k2: Path, tmp_path: Path) -> None:
    draw = random.SystemRandom()
    for _ in range(int(os.environ.get("K2_FUZZ_SCHEDULES", "2000"))):
        play(k2, tmp_path, draw.randrange(10**9), draw.choice([8, 20]))
