"""Recorded feeds: Gold holds exactly the trades that an independent reading gives, each once, every field right."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from datetime import date
from pathlib import Path

import pytest
import zstandard
from reading import Row, gold_of, read_bytes
from warehouse import BRONZE, GOLD, REJECTED, SILVER, Warehouse, assert_nothing_lost, recording_flags

COINBASE = 107
TRADES = 9757 + 10147 + 6106 + 10 + 2672 + COINBASE


@pytest.fixture(scope="module")
def expected(real_recordings: list[tuple[str, Path]]) -> dict[str, Row]:
    rows = gold_of(*real_recordings)
    assert len(rows) == TRADES, "the reading of the test itself"
    return rows


def assert_gold(warehouse: Warehouse, expected: dict[str, Row]) -> None:
    gold = warehouse.gold()
    assert gold.keys() == expected.keys()
    for message_id, row in expected.items():
        assert gold[message_id] == row


def test_every_trade_once_every_field_right(
    warehouse: Warehouse, real_recordings: list[tuple[str, Path]], expected: dict[str, Row]
) -> None:
    report = warehouse.run(real_recordings)
    assert report["gold"]["rows_out"] == TRADES
    assert report["silver"]["rejected"] == {}
    assert len(warehouse.table(GOLD).schema().fields) == 18
    assert_gold(warehouse, expected)
    assert_nothing_lost(warehouse)
    silver = {SILVER[0]: 26010, SILVER[1]: 2682, "silver_coinbase_trades": COINBASE}
    assert warehouse.counts() == {BRONZE: TRADES, REJECTED: 0, GOLD: TRADES} | silver


def test_several_runs_and_single_layers_give_the_same(
    warehouse: Warehouse, real_recordings: list[tuple[str, Path]], expected: dict[str, Row]
) -> None:
    warehouse.run(real_recordings[:1])
    for recording in real_recordings[1:3]:
        warehouse.run([recording], "--layer", "bronze", "--rows-per-commit", "2500")
    warehouse.run([], "--layer", "gold")
    warehouse.run([], "--layer", "silver", "--rows-per-commit", "4000")
    warehouse.run(real_recordings[3:], "--layer", "bronze")
    warehouse.run([], "--layer", "silver")
    warehouse.run([], "--layer", "gold", "--rows-per-commit", "3000")
    assert_gold(warehouse, expected)
    assert_nothing_lost(warehouse)


def test_midnight(warehouse: Warehouse, real_recordings: list[tuple[str, Path]]) -> None:
    warehouse.run(real_recordings[:1])
    expected = gold_of(real_recordings[0])
    table = warehouse.table(GOLD)
    held = {
        (task.file.partition[0], task.file.partition[1]): task.file.record_count for task in table.scan().plan_files()
    }
    hours = [(row["exchange_date"], row["exchange_hour"]) for row in expected.values()]
    days = {(date(2024, 8, 8), 23), (date(2024, 8, 9), 0)}
    assert set(hours) == days, "the recording crosses midnight"
    epoch = date(1970, 1, 1)
    assert held == {((day - epoch).days, hour): hours.count((day, hour)) for day, hour in days}
    for row in warehouse.gold().values():
        assert (row["timestamp"].date(), row["timestamp"].hour) == (row["exchange_date"], row["exchange_hour"])


def counted_rows(warehouse: Warehouse, recordings: Sequence[tuple[str, Path]]) -> int:
    return int(warehouse.run(recordings)["bronze"]["rows_in"])


def test_the_same_recording_again_adds_nothing(
    warehouse: Warehouse, real_recordings: list[tuple[str, Path]], tmp_path: Path
) -> None:
    exchange, path = real_recordings[2]
    data = read_bytes(path)
    warehouse.run([(exchange, path)])
    before = warehouse.counts()
    renamed, plain, zst = (tmp_path / name for name in ("renamed.gz", "plain.txt", "other.zst"))
    renamed.write_bytes(path.read_bytes())
    plain.write_bytes(data)
    zst.write_bytes(zstandard.ZstdCompressor().compress(data))
    for copy in (path, renamed, plain, zst):
        assert counted_rows(warehouse, [(exchange, copy)]) == 0
    # All copies at once, in a new warehouse.
    other = Warehouse(warehouse.k2, tmp_path / "other")
    other.run([(exchange, copy) for copy in (renamed, plain, zst, path)])
    assert warehouse.counts() == before == other.counts()
    assert warehouse.gold() == other.gold()


def test_a_longer_copy_adds_what_is_new(
    warehouse: Warehouse, real_recordings: list[tuple[str, Path]], tmp_path: Path
) -> None:
    exchange, first = real_recordings[0]
    _, second = real_recordings[1]
    longer = tmp_path / "both.gz"
    longer.write_bytes(gzip.compress(read_bytes(first) + read_bytes(second), 1))
    warehouse.run([(exchange, first)])
    assert counted_rows(warehouse, [(exchange, longer)]) == 10147
    # The shorter copy lacks what was read: refused rather than taken for the whole.
    refused = warehouse.k2_run("run", *recording_flags([(exchange, first)]), expect=1)
    assert "is not the one that was read" in refused.stderr
    assert_gold(warehouse, gold_of((exchange, first), (exchange, second)))
    assert_nothing_lost(warehouse)


def test_overlapping_recordings_add_each_trade_once(
    warehouse: Warehouse, real_recordings: list[tuple[str, Path]], tmp_path: Path
) -> None:
    exchange, path = real_recordings[0]
    lines = read_bytes(path).splitlines(keepends=True)
    early, late = tmp_path / "early.txt", tmp_path / "late.zst"
    early.write_bytes(b"".join(lines[:30000]))
    late.write_bytes(zstandard.ZstdCompressor().compress(b"".join(lines[12000:])))
    overlap = len(gold_of((exchange, early)).keys() & gold_of((exchange, late)).keys())
    assert overlap > 1000
    warehouse.run([(exchange, early)])
    report = warehouse.run([(exchange, late)])
    assert report["gold"]["duplicates"] == overlap
    assert report["gold"]["identity_conflicts"] == 0
    # Another source that starts elsewhere: all of it again, in one run with the rest.
    warehouse.run([(exchange, late), (exchange, path)], "--rows-per-commit", "1500")
    assert_gold(warehouse, gold_of((exchange, path)))
    assert_nothing_lost(warehouse)
