"""Times that nobody can mean, in wrong units or of far years: rejected by name, and no partition of theirs is made.
Old times are no such: a trade may be of any age."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest
from warehouse import BRONZE, GOLD, REJECTED, TABLES, Warehouse, assert_nothing_lost

RECEIVED_MS = 1_704_153_600_000  # 2024-01-02


def binance(number: int, time_ms: int, received: str = f"{RECEIVED_MS}000000") -> str:
    return (
        f'{received} {{"e":"trade","E":{time_ms},"s":"BTCUSDT","t":{number},"p":"1.0","q":"1.0","T":{time_ms},"m":true,'
        '"M":true}'
    )


def kraken(number: int, time: str) -> str:
    return (
        f'{RECEIVED_MS}000000 {{"channel":"trade","type":"snapshot","data":[{{"symbol":"NANO/ETH","side":"buy",'
        f'"price":0.5,"qty":1,"ord_type":"limit","trade_id":{number},"timestamp":"{time}"}}]}}'
    )


def write(folder: Path, lines: list[str]) -> Path:
    path = folder / "recording.txt"
    path.write_text("".join(line + "\n" for line in lines))
    return path


def rejected(warehouse: Warehouse) -> list[tuple[str, str]]:
    rows = sorted(warehouse.rows(REJECTED), key=lambda row: row["offset"])
    return [(row["reason"], row["detail"]) for row in rows]


def days(warehouse: Warehouse, name: str) -> set[date]:
    """As PyIceberg lists the partitions; it cannot at all where one is beyond the year 9999."""
    listed = warehouse.table(name).inspect.partitions().to_pylist()
    return {next(value for value in row["partition"].values() if isinstance(value, date)) for row in listed}


def test_far_trade_times(warehouse: Warehouse, tmp_path: Path) -> None:
    times = {
        1: RECEIVED_MS,
        2: 90_000_000_000_000,  # the year 4821
        3: 7_258_118_400_000,  # 2200-01-01
        4: 946_684_799_999,  # the last millisecond of 1999
        5: 946_684_800_000,
        6: 250_000_000_000_000_000,  # microseconds of the year 9892
    }
    path = write(tmp_path, [binance(number, time) for number, time in times.items()])
    warehouse.run([("binance", path)])
    assert {row["source_sequence"] for row in warehouse.gold().values()} == {1, 5}
    found = rejected(warehouse)
    assert [reason for reason, _ in found] == ["timestamp_out_of_range"] * 4
    assert all("not within the years 2000 to 2199" in detail for _, detail in found)
    assert days(warehouse, GOLD) == {date(2000, 1, 1), date(2024, 1, 2)}
    for name in TABLES:
        if warehouse.counts()[name]:
            assert all(date(1970, 1, 1) <= day < date(2200, 1, 1) for day in days(warehouse, name)), name
    assert_nothing_lost(warehouse)


def test_old_trades_are_trades(warehouse: Warehouse, tmp_path: Path) -> None:
    """The snapshot of a quiet pair begins with what was traded years ago."""
    times = ["2022-10-01T09:12:44.120001Z", "2023-12-31T00:00:00Z", "2000-01-01T00:00:00Z"]
    path = write(tmp_path, [kraken(number, time) for number, time in enumerate(times)])
    warehouse.run([("kraken", path)])
    assert rejected(warehouse) == []
    assert {row["timestamp"].year for row in warehouse.gold().values()} == {2022, 2023, 2000}


def test_leap_seconds_are_refused_by_name(warehouse: Warehouse, tmp_path: Path) -> None:
    times = ["2016-12-31T23:59:59.999999Z", "2016-12-31T23:59:60Z", "2016-12-31T23:59:60.5Z", "2017-01-01T00:00:00Z"]
    path = write(tmp_path, [kraken(number, time) for number, time in enumerate(times)])
    warehouse.run([("kraken", path)])
    assert [reason for reason, _ in rejected(warehouse)] == ["frame_bad_time"] * 2
    assert {row["source_sequence"]: row["timestamp"].year for row in warehouse.gold().values()} == {0: 2016, 3: 2017}


@pytest.mark.parametrize(
    ("received", "told"),
    [
        (f"{RECEIVED_MS}000", "not in nanoseconds"),
        (f"{RECEIVED_MS}", "not in nanoseconds"),
        ("1704153600", "not in nanoseconds"),
        ("0", "not in nanoseconds"),
        ("9223372036854775807", "not in nanoseconds"),  # the year 2262
        ("1704153600.125", "a receive time in ns"),
        ("2024-01-02T00:00:00Z", "a receive time in ns"),
        ("99999999999999999999", "a receive time in ns"),
    ],
)
def test_receive_times_of_other_units(warehouse: Warehouse, tmp_path: Path, received: str, told: str) -> None:
    lines = [binance(1, RECEIVED_MS, received), binance(2, RECEIVED_MS), binance(3, RECEIVED_MS, received)]
    done = warehouse.k2_run("run", "--recording", f"binance={write(tmp_path, lines)}")
    assert "frame_bad_time" in done.stderr, "it is told once, when it is met"
    assert {row["source_sequence"] for row in warehouse.gold().values()} == {2}
    found = rejected(warehouse)
    assert [reason for reason, _ in found] == ["frame_bad_time"] * 2
    assert all(told in detail for _, detail in found), found
    assert days(warehouse, BRONZE) == {date(1970, 1, 1), date(2024, 1, 2)}
    # A frame that came at a time nobody knows is no trade later, either.
    assert warehouse.json("rebuild", "--layer", "rejected")[0]["accepted"] == 0
    assert_nothing_lost(warehouse)
