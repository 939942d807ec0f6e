"""Schedules of another engine's operations between ours, drawn from seeds: no trade lost, none doubled."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest
from engines import Spark
from foreign_fuzz import Fuzz, warehouse_for

QUICK = range(100)  # the same ones each time; the long tests draw others
PARTS = 10
OF_SPARK = (434, 23, 449, 70, 0)  # together they have each operation
LENGTH_OF_SPARK = 6


def play(k2: Path, folder: Path, seed: int, length: int = 8, spark: Spark | None = None) -> None:
    print(f"K2_SEED={seed}")
    Fuzz(warehouse_for(k2, folder / str(seed)), seed, spark).play(length)


@pytest.mark.parametrize("part", range(PARTS))
def test_pyiceberg_between_our_steps(k2: Path, tmp_path: Path, part: int) -> None:
    given = os.environ.get("K2_SEED")
    if given:
        if part == 0:
            play(k2, tmp_path, int(given))
        return
    for seed in QUICK[part::PARTS]:
        play(k2, tmp_path, seed)


@pytest.mark.parametrize("seed", OF_SPARK)
def test_spark_between_our_steps(k2: Path, tmp_path: Path, spark: Spark, seed: int) -> None:
    given = os.environ.get("K2_SEED")
    if not given:
        play(k2, tmp_path, seed, LENGTH_OF_SPARK, spark)
    elif seed == OF_SPARK[0]:
        play(k2, tmp_path, int(given), LENGTH_OF_SPARK, spark)


def schedules(otherwise: str) -> int:
    return int(os.environ.get("K2_FUZZ_SCHEDULES", otherwise))


@pytest.mark.long
@pytest.mark.timeout(7200)
def test_thousands_of_schedules(k2: Path, tmp_path: Path) -> None:
    draw = random.SystemRandom()
    for _ in range(schedules("2000")):
        play(k2, tmp_path, draw.randrange(10**9), draw.choice([8, 20]))


@pytest.mark.long
@pytest.mark.timeout(7200)
def test_schedules_with_spark(k2: Path, tmp_path: Path, spark: Spark) -> None:
    draw = random.SystemRandom()
    for _ in range(schedules("2000") // 20):
        play(k2, tmp_path, draw.randrange(10**9), draw.choice([8, 20]), spark)
