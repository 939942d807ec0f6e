"""Input, settings and disks that are not as they should be: a clear message, the right exit code, nothing lost."""

from __future__ import annotations

import gzip
import json
import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import Simulate
from disks import mount, remount, unmount
from reading import gold_of, read_bytes, read_trades
from warehouse import BRONZE, GOLD, REJECTED, Warehouse, assert_nothing_lost, recording_flags

TRADES = 6_000


@pytest.fixture(scope="module")
def recording(simulate: Simulate) -> Path:
    return simulate("binance", TRADES, 51, suffix=".log")


def refused(warehouse: Warehouse, code: int, *args: str | Path, text: str) -> str:
    done = warehouse.k2_run(*args, expect=code)
    assert text in done.stderr, done.stderr
    assert "terminate" not in done.stderr
    return done.stderr


def run_refused(warehouse: Warehouse, code: int, recording: Path, *args: str, text: str) -> str:
    return refused(warehouse, code, "run", "--recording", f"binance={recording}", *args, text=text)


def test_an_empty_file(warehouse: Warehouse, tmp_path: Path, recording: Path) -> None:
    for name in ("empty.log", "empty.gz"):
        (tmp_path / name).write_bytes(b"" if name.endswith("log") else gzip.compress(b""))
        run_refused(warehouse, 1, tmp_path / name, text=name)
    warehouse.run([("binance", recording)])
    assert len(warehouse.gold()) == TRADES


def test_a_cut_gzip_and_then_the_whole(warehouse: Warehouse, tmp_path: Path, recording: Path) -> None:
    data = gzip.compress(read_bytes(recording))
    path = tmp_path / "feed.gz"
    path.write_bytes(data[: len(data) * 2 // 3])
    stderr = run_refused(warehouse, 1, path, "--rows-per-commit", "1000", text="feed.gz")
    assert "cut" in stderr or "end" in stderr
    before = warehouse.counts()
    assert 1000 < before[BRONZE] < TRADES, "what came before the cut went through"
    assert_nothing_lost(warehouse)
    run_refused(warehouse, 1, path, text="feed.gz")
    assert warehouse.counts() == before
    path.write_bytes(data)
    warehouse.run([("binance", path)])
    assert warehouse.gold() == gold_of(("binance", recording))
    assert_nothing_lost(warehouse)


def test_a_broken_recording_does_not_hold_up_the_others(
    warehouse: Warehouse, tmp_path: Path, recording: Path, simulate: Simulate
) -> None:
    kraken = simulate("kraken", 2000, 52)
    cut = tmp_path / "cut.gz"
    cut.write_bytes(gzip.compress(read_bytes(recording))[:20000])
    done = warehouse.k2_run("run", *recording_flags([("binance", cut), ("kraken", kraken)]), expect=1)
    assert "cut.gz" in done.stderr
    gold = warehouse.gold()
    assert gold_of(("kraken", kraken)).items() <= gold.items()


@pytest.mark.parametrize("suffix", [".log", ".gz"])
def test_a_recording_that_was_changed_behind_what_was_read(
    warehouse: Warehouse, tmp_path: Path, recording: Path, suffix: str
) -> None:
    data = read_bytes(recording)
    lines = data.splitlines(keepends=True)
    path = tmp_path / f"feed{suffix}"
    store = (lambda content: path.write_bytes(gzip.compress(content))) if suffix == ".gz" else path.write_bytes
    store(b"".join(lines[:3000]))
    warehouse.run([("binance", path)])
    before = warehouse.counts()
    changed = lines.copy()
    changed[2999] = changed[2999].replace(b"}", b" }", 1)
    store(b"".join(changed))
    run_refused(warehouse, 1, path, text="is not the one that was read")
    store(b"".join(lines[:2990] + lines[2991:]))
    run_refused(warehouse, 1, path, text="is not the one that was read")
    store(b"".join(lines[:2000]))
    run_refused(warehouse, 1, path, text="is not the one that was read")
    assert warehouse.counts() == before
    store(data)
    warehouse.run([("binance", path)])
    assert warehouse.gold() == gold_of(("binance", recording))


def test_a_last_line_without_end_and_then_the_rest(warehouse: Warehouse, tmp_path: Path, recording: Path) -> None:
    lines = read_bytes(recording).splitlines(keepends=True)
    path = tmp_path / "growing.log"
    for lines_whole, bytes_more in ((1000, 40), (1000, 90), (2500, 1), (len(lines), 0)):
        partial = lines[lines_whole][:bytes_more] if lines_whole < len(lines) else b""
        path.write_bytes(b"".join(lines[:lines_whole]) + partial)
        warehouse.run([("binance", path)])
        whole = tmp_path / "whole.log"
        whole.write_bytes(b"".join(lines[:lines_whole]))
        assert warehouse.gold() == gold_of(("binance", whole))


REFUSED_LINES = {
    "frame_not_json": b"1704153600000000000 ping",
    "frame_invalid_utf8": b'1704153600000000000 {"stream":"btcusdt@trade","data":{"e":"trade","s":"\xff\xfe"}}',
    "frame_bad_number": b'1704153600000000000 {"e":"trade","E":1,"s":"BTCUSDT","t":1,"p":"1.2.3","q":"1","T":'
    b'1704153600000,"m":true,"M":true}',
    "frame_number_out_of_range": b'1704153600000000000 {"e":"trade","E":1,"s":"BTCUSDT","t":2,"p":"10000000000","q":'
    b'"1","T":1704153600000,"m":true,"M":true}',
    "frame_bad_symbol": b'1704153600000000000 {"e":"trade","E":1,"s":"","t":3,"p":"1","q":"1","T":1704153600000,'
    b'"m":true,"M":true}',
    "frame_missing_field": b'1704153600000000000 {"e":"trade","E":1,"s":"BTCUSDT","p":"1","q":"1","T":1704153600000,'
    b'"m":true,"M":true}',
    "price_not_positive": b'1704153600000000000 {"e":"trade","E":1,"s":"BTCUSDT","t":4,"p":"0","q":"1","T":'
    b'1704153600000,"m":true,"M":true}',
    "quantity_not_positive": b'1704153600000000000 {"e":"trade","E":1,"s":"BTCUSDT","t":5,"p":"1","q":"-1","T":'
    b'1704153600000,"m":true,"M":true}',
    "timestamp_out_of_range": b'1704153600000000000 {"e":"trade","E":1,"s":"BTCUSDT","t":6,"p":"1","q":"1","T":'
    b'904153600000,"m":true,"M":true}',
    "timestamp_in_future": b'1704153600000000000 {"e":"trade","E":1,"s":"BTCUSDT","t":7,"p":"1","q":"1","T":'
    b'1704153661000,"m":true,"M":true}',
    "frame_bad_type": b'1704153600000000000 {"e":"trade","E":1,"s":"BTCUSDT","t":8,"p":1,"q":"1","T":1704153600000,'
    b'"m":true,"M":true}',
    "frame_bad_time": b'1704153600000000000 {"e":"trade","E":1,"s":"BTCUSDT","t":9,"p":"1","q":"1","T":-5,"m":true,'
    b'"M":true}',
    "frame_other_market": b'1704153600000000000 {"e":"trade","E":1,"s":"BTCUSDT","t":10,"p":"1","q":"1","T":'
    b'1704153600000,"m":true,"X":"INSURANCE_FUND"}',
    "frame_oversized": b'1704153600000000000 {"e":"trade","s":"' + b"x" * (2 << 20) + b'"}',
}


def test_each_kind_of_bad_line_has_its_reason_and_the_rest_goes_through(
    warehouse: Warehouse, tmp_path: Path, recording: Path
) -> None:
    lines = read_bytes(recording).splitlines()
    path = tmp_path / "mixed.log"
    mixed: list[bytes] = lines[:100]
    for bad in REFUSED_LINES.values():
        mixed += [bad, *lines[len(mixed) : len(mixed) + 5]]
    path.write_bytes(b"\n".join([*mixed, *lines[len(mixed) :]]) + b"\n")
    good = tmp_path / "good.log"
    good.write_bytes(b"\n".join(line for line in path.read_bytes().split(b"\n") if line in set(lines)) + b"\n")
    clean = Warehouse(warehouse.k2, tmp_path / "clean")
    clean.run([("binance", good)])
    warehouse.run([("binance", path)])
    assert warehouse.gold() == clean.gold()
    assert_nothing_lost(warehouse)
    reasons = Counter(row["reason"] for row in warehouse.rows(REJECTED))
    reasons.subtract(Counter(row["reason"] for row in clean.rows(REJECTED)))
    assert +reasons == Counter(dict.fromkeys(REFUSED_LINES, 1))


@pytest.mark.parametrize("exchange", ["binance", "kraken"])
def test_rejected_rows_keep_the_message_whole(warehouse: Warehouse, simulate: Simulate, exchange: str) -> None:
    path = simulate(exchange, 3000, 53, "--malformed-ppm", "100000")
    report = warehouse.run([(exchange, path)])
    _, refused_count = read_trades(exchange, path)
    rows = warehouse.rows(REJECTED)
    assert len(rows) == refused_count > 150
    assert Counter(row["reason"] for row in rows) == Counter(report["silver"]["rejected"])
    assert len(report["silver"]["rejected"]) >= 6
    bronze = {(row["topic"], row["partition"], row["offset"]): row for row in warehouse.rows(BRONZE)}
    frames = [line.partition(b" ")[2] for line in read_bytes(path).split(b"\n")]
    for row in rows:
        source = bronze[row["topic"], row["partition"], row["offset"]]
        assert row["payload"] == source["avro_payload"]
        assert (row["kafka_timestamp"], row["ingestion_date"]) == (source["kafka_timestamp"], source["ingestion_date"])
        assert row["schema_id"] is not None
        assert row["detail"]
    joined = [row["payload"] for row in rows if row["reason"].startswith("frame_")]
    malformed = [frame for frame in frames if frame and any(frame in payload for payload in joined)]
    assert len(malformed) >= len(joined) * 0.9, "the frame itself is in the message"


def test_a_recording_with_nothing_but_refused_frames(warehouse: Warehouse, tmp_path: Path) -> None:
    """More refused rows than a layer may be ahead of the next: none of them ever reaches Gold."""
    path = tmp_path / "bad.log"
    path.write_bytes(b"".join(b"%d ping %d\n" % (1704153600000000000 + i, i) for i in range(5000)))
    flags = recording_flags([("binance", path)])
    done = warehouse.k2_run("run", *flags, "--rows-per-commit", "200", "--output", "json", expect=1)
    assert json.loads(done.stdout)["silver"]["rejected"] == {"frame_not_json": 5000}
    assert "5000 messages were read and all of them rejected: 5000 frame_not_json" in done.stderr
    assert_nothing_lost(warehouse)


TRADE_FRAME = '{"e":"trade","E":1,"s":"BTCUSDT","t":1,"p":"1","q":"1","T":1704153600000,"m":true,"M":true}'
AGG_FRAME = '{"stream":"btcusdt@aggTrade","data":{"e":"aggTrade","E":1,"s":"BTCUSDT","a":1,"p":"1","q":"1"}}'
BOOK_FRAME = '{"channel":"book","type":"update","data":[{"symbol":"BTC/USD","bids":[],"asks":[]}]}'
NOW_NS = "1704153600000000000"


@pytest.mark.parametrize(
    ("exchange", "lines", "said"),
    [
        ("binance", [f"1704153600000000 {TRADE_FRAME}"], ("1 frame_bad_time", "nanoseconds")),
        ("binance", [f"1704153600000 {TRADE_FRAME}", f"2024-01-02T00:00:00Z {TRADE_FRAME}"], ("2 frame_bad_time",)),
        ("binance", [f"{NOW_NS} {AGG_FRAME}"] * 9, ("9 frames were read", "first: 'aggTrade'", "`trade`")),
        ("kraken", [f"{NOW_NS} {BOOK_FRAME}"], ("1 frames were read", "first: 'book'")),
        ("kraken", [f"{NOW_NS} {TRADE_FRAME}"], ("another exchange",)),
        ("binance", [f'{NOW_NS} {TRADE_FRAME[:-1]},"X":"ADL"}}'], ("1 frame_other_market", "futures")),
    ],
)
def test_a_run_that_takes_nothing_says_why(
    warehouse: Warehouse, tmp_path: Path, exchange: str, lines: list[str], said: tuple[str, ...]
) -> None:
    path = tmp_path / "feed.log"
    path.write_text("".join(line + "\n" for line in lines))
    done = warehouse.k2_run("run", *recording_flags([(exchange, path)]), expect=1)
    for text in said:
        assert text in done.stderr
    again = warehouse.k2_run("run", *recording_flags([(exchange, path)]))
    assert again.stdout == "Up to date: nothing new to read\n"


def test_heartbeats_alone_are_no_error(warehouse: Warehouse, tmp_path: Path) -> None:
    path = tmp_path / "quiet.log"
    path.write_text(f'{NOW_NS} {{"channel":"heartbeat"}}\n{NOW_NS} {{"method":"subscribe","success":true}}\n')
    assert warehouse.k2_run("run", *recording_flags([("kraken", path)])).stderr == ""


def test_a_service_warns_and_runs_on(warehouse: Warehouse, tmp_path: Path) -> None:
    path = tmp_path / "growing.log"
    path.write_text(f"1704153600000 {TRADE_FRAME}\n")
    service = warehouse.start("run", *recording_flags([("binance", path)]), "--follow")
    told = ""
    try:
        assert service.stderr is not None
        while "1 frame_bad_time" not in told:  # Silver's; Bronze warns too, of frames that could not be read
            told = service.stderr.readline()
            assert told, "it ended"
        assert "no trades accepted from the input" in told
        assert service.poll() is None
        with path.open("a") as feed:
            feed.write(f"{NOW_NS} {TRADE_FRAME}\n")
        deadline = time.monotonic() + 60
        while warehouse.counts()[GOLD] < 1:
            assert time.monotonic() < deadline
            time.sleep(0.2)
    finally:
        service.send_signal(signal.SIGTERM)
        assert service.wait(timeout=60) == 0


def test_usage(warehouse: Warehouse, recording: Path, tmp_path: Path) -> None:
    run = ("run", "--recording")
    refused(warehouse, 2, *run, f"bitfinex={recording}", text="bitfinex")
    refused(warehouse, 2, *run, str(recording), text="EXCHANGE=FILE")
    refused(warehouse, 2, *run, f"binance={tmp_path}/no-such-file", text="no-such-file")
    refused(warehouse, 2, "run", text="--recording")
    refused(warehouse, 2, "run", "--no-such-flag", text="--no-such-flag")
    refused(warehouse, 2, "no-such-command", text="no-such-command")
    refused(warehouse, 2, *run, f"binance={recording}", "--layer", "tin", text="bronze, silver or gold")
    refused(warehouse, 2, *run, f"binance={recording}", "--layer", "gold", text="not a recording")
    refused(warehouse, 2, *run, f"binance={recording}", "--rows-per-commit", "none", text="rows-per-commit")
    refused(warehouse, 2, *run, f"binance={recording}", "--rows-per-commit", "0", text="rows-per-commit")
    refused(warehouse, 2, *run, f"binance={recording}", "--dedup-memory", "lots", text="dedup-memory")
    refused(warehouse, 2, *run, f"binance={recording}", "--output", "parquet", text="--output")
    empty = Warehouse(warehouse.k2, tmp_path / "empty")
    refused(empty, 2, "query", "SELECT 1", text="no warehouse")
    refused(empty, 2, "tables", "describe", "nothing", text="no warehouse")
    assert not empty.folder.exists()


def test_settings_files(warehouse: Warehouse, tmp_path: Path) -> None:
    path = tmp_path / "k2.toml"
    for content, text in (("warehouse = ", "k2.toml:1"), ("threads = 2\nthread = 3", "unknown setting 'thread'")):
        path.write_text(content)
        done = warehouse.k2_run("doctor", cwd=tmp_path, expect=2)
        assert text in done.stderr
    refused(warehouse, 2, "doctor", "--config", tmp_path / "absent.toml", text="absent.toml")
    path.write_text('threads = "many"')
    done = warehouse.k2_run("run", "--layer", "gold", cwd=tmp_path, expect=2)
    assert "threads = 'many'" in done.stderr
    assert "k2.toml" in done.stderr


def test_a_file_that_may_not_be_read(warehouse: Warehouse, tmp_path: Path) -> None:
    path = tmp_path / "secret.log"
    path.write_bytes(b"1 {}\n")
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("this user reads every file")
    run_refused(warehouse, 3, path, text="secret.log")


def test_a_folder_as_recording(warehouse: Warehouse, tmp_path: Path) -> None:
    done = warehouse.k2_run("run", "--recording", f"binance={tmp_path}", expect=None)
    assert done.returncode in (1, 2, 3)
    assert str(tmp_path) in done.stderr


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    mount(folder, "2m")
    yield folder
    unmount(folder)


def test_a_full_disk_and_then_more_room(k2: Path, small_disk: Path, simulate: Simulate) -> None:
    recordings = [(exchange, simulate(exchange, 20_000, 54)) for exchange in ("binance", "kraken")]
    warehouse = Warehouse(k2, small_disk / "warehouse")
    done = warehouse.k2_run("run", *recording_flags(recordings), "--rows-per-commit", "2000", expect=3)
    assert "No space left" in done.stderr or "space" in done.stderr
    done = warehouse.k2_run("run", *recording_flags(recordings), "--rows-per-commit", "2000", expect=3)
    remount(small_disk, "size=100m")
    warehouse.run(recordings, "--rows-per-commit", "2000")
    assert warehouse.gold() == gold_of(*recordings)
    assert_nothing_lost(warehouse)


def test_a_disk_that_fills_step_by_step(k2: Path, small_disk: Path, simulate: Simulate) -> None:
    """The disk is full at another place each time."""
    recordings = [("binance", simulate("binance", 20_000, 54))]
    warehouse = Warehouse(k2, small_disk / "warehouse")
    codes = []
    for size_kb in range(200, 6000, 450):
        remount(small_disk, f"size={size_kb}k")
        done = warehouse.k2_run("run", *recording_flags(recordings), "--rows-per-commit", "1000", expect=None)
        assert done.returncode in (0, 3), done.stderr
        codes.append(done.returncode)
    assert 3 in codes
    remount(small_disk, "size=100m")
    warehouse.run(recordings)
    assert warehouse.gold() == gold_of(*recordings)
    assert_nothing_lost(warehouse)


def test_a_read_only_warehouse(k2: Path, small_disk: Path, recording: Path) -> None:
    remount(small_disk, "size=100m")
    warehouse = Warehouse(k2, small_disk / "warehouse")
    short = small_disk / "short.log"
    short.write_bytes(b"".join(read_bytes(recording).splitlines(keepends=True)[:2000]))
    warehouse.run([("binance", short)])
    remount(small_disk, "ro")
    done = warehouse.k2_run("run", "--recording", f"binance={recording}", expect=3)
    assert str(warehouse.folder) in done.stderr
    fresh = Warehouse(k2, small_disk / "fresh")
    fresh.k2_run("run", "--recording", f"binance={recording}", expect=3)
    doctor = warehouse.k2_run("doctor", expect=3)
    assert "false" in doctor.stdout
    remount(small_disk, "rw")
    warehouse.run([("binance", short)])
    assert warehouse.gold() == gold_of(("binance", short))
