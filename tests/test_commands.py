"""The commands beside `k2 run`: what they print, what they refuse, where their settings come from."""

from __future__ import annotations

import csv
import io
import itertools
import json
import os
import pty
import secrets
import subprocess
import time
from collections import defaultdict
from datetime import datetime, timedelta, timezone
from decimal import ROUND_DOWN, Decimal, localcontext
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from conftest import Simulate
from pyiceberg.types import LongType
from reading import EPOCH, Row, gold_of, read_bytes, read_trades
from warehouse import ALL_TABLES, BRONZE, GOLD, REJECTED, SILVER, TABLES, Warehouse, assert_nothing_lost, k2_environment

TRADES = 5_000
BINANCE, KRAKEN = SILVER


@pytest.fixture(scope="module")
def recordings(simulate: Simulate) -> list[tuple[str, Path]]:
    """Thin trading, so that minutes without a trade of a symbol occur."""
    flags = ("--start", "2024-03-01T23:00:00Z", "--trades-per-second", "1", "--malformed-ppm", "5000")
    return [(exchange, simulate(exchange, TRADES, 61, *flags)) for exchange in ("binance", "kraken")]


@pytest.fixture(scope="module")
def expected(recordings: list[tuple[str, Path]]) -> dict[str, Row]:
    return gold_of(*recordings)


@pytest.fixture(scope="module")
def lake(k2: Path, tmp_path_factory: pytest.TempPathFactory, recordings: list[tuple[str, Path]]) -> Warehouse:
    """Shared by the tests that only read."""
    warehouse = Warehouse(k2, tmp_path_factory.mktemp("lake") / "warehouse")
    warehouse.run(recordings, "--rows-per-commit", "1000")
    return warehouse


# query


def test_query_prints_every_format(lake: Warehouse, expected: dict[str, Row], tmp_path: Path) -> None:
    sql = (
        f"SELECT symbol, count(*) AS trades, sum(quantity) AS volume, min(timestamp) AS first, NULL AS nothing "
        f"FROM {GOLD} GROUP BY symbol ORDER BY symbol"
    )
    wanted: dict[str, list[Row]] = defaultdict(list)
    for row in expected.values():
        wanted[row["symbol"]].append(row)
    rows = json.loads(lake.k2_run("query", sql, "--output", "json").stdout, parse_float=Decimal)
    assert [row["symbol"] for row in rows] == sorted(wanted)
    for row in rows:
        trades = wanted[row["symbol"]]
        first = min(trade["timestamp"] for trade in trades)
        assert row["trades"] == len(trades)
        assert row["volume"] == sum(trade["quantity"] for trade in trades)
        assert row["first"] == first.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        assert row["nothing"] is None
    table = list(csv.DictReader(io.StringIO(lake.k2_run("query", sql, "--output", "csv").stdout)))
    assert [(row["symbol"], row["trades"], row["nothing"]) for row in table] == [
        (row["symbol"], str(row["trades"]), "") for row in rows
    ]
    path = tmp_path / "out.parquet"
    lake.k2_run("query", sql, "--output", "parquet", "--out", path)
    assert pq.read_table(path)["volume"].to_pylist() == [row["volume"] for row in rows]
    lake.k2_run("query", sql, "--output", "csv", "--out", tmp_path / "out.csv")
    assert len((tmp_path / "out.csv").read_text().splitlines()) == len(rows) + 1
    text = lake.k2_run("query", sql).stdout
    assert "symbol" in text
    assert "NULL" in text
    assert f"{len(rows)} rows" in text
    assert "2 rows" in lake.k2_run("query", f"SELECT symbol FROM {GOLD} LIMIT 2").stdout


def test_query_reads_and_nothing_else(lake: Warehouse, tmp_path: Path) -> None:
    for sql in (
        f"DELETE FROM {GOLD}",
        f"COPY {GOLD} TO '{tmp_path}/stolen.csv'",
        "SELECT * FROM read_csv('/etc/passwd')",
        "INSTALL httpfs",
        "ATTACH 'other.db'",
        "SET memory_limit = '1TB'",
        "CREATE TABLE x AS SELECT 1",
        "SELECT nothing FROM nowhere",
        "SELEC 1",
        "SELECT 1; SELECT 2",
    ):
        done = lake.k2_run("query", sql, expect=None)
        assert done.returncode != 0, sql
        assert done.stderr.startswith("k2: "), sql
        assert done.stdout == "", sql
    assert not (tmp_path / "stolen.csv").exists()


def count_as_of(warehouse: Warehouse, name: str, as_of: str) -> int:
    rows = warehouse.json("query", f"SELECT count(*) AS n FROM {name}", "--as-of", as_of)
    return int(rows[0]["n"])


def test_query_travels_in_time(lake: Warehouse) -> None:
    snapshots = lake.table(GOLD).metadata.snapshots
    for before, after in itertools.pairwise(snapshots[1:]):
        assert before.summary is not None
        total = int(before.summary["total-records"] or 0)
        assert count_as_of(lake, GOLD, str(before.snapshot_id)) == total
        if before.timestamp_ms < after.timestamp_ms:
            moment = EPOCH + timedelta(milliseconds=before.timestamp_ms)
            assert count_as_of(lake, GOLD, moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")) == total
    assert count_as_of(lake, GOLD, "2100-01-01") == 2 * TRADES
    for as_of in ("2000-01-01T00:00:00Z", "12345", "yesterday"):
        done = lake.k2_run("query", f"SELECT count(*) FROM {GOLD}", "--as-of", as_of, expect=None)
        assert done.returncode in (1, 2), as_of
        assert done.stderr.startswith("k2: ")


def test_a_sort_that_needs_more_than_its_memory_spills(lake: Warehouse, tmp_path: Path) -> None:
    """And what a killed query has spilled goes when the next one starts."""
    spill = tmp_path / "spill"
    big = "SELECT n, lpad(n::VARCHAR, 200, 'x') AS text FROM range(400000) r(n) ORDER BY hash(n), n OFFSET 399990"
    asked = ("--query-memory", "64MB", "--output", "csv")
    refused = lake.k2_run("query", big, *asked, "--query-spill", "off", expect=3)
    assert "(query-spill)" in refused.stderr
    bounded = lake.k2_run("query", big, *asked, "--query-spill", str(spill), "--query-spill-max", "1MB", expect=3)
    assert "query-spill-max" in bounded.stderr
    killed = subprocess.Popen(
        lake.command("query", big, *asked, "--query-spill", str(spill)), stdout=subprocess.DEVNULL, env=k2_environment()
    )
    while not list(spill.glob("k2-query-*/*")):
        assert killed.poll() is None, "it ended without spilling"
        time.sleep(0.01)
    killed.kill()
    killed.wait()
    assert list(spill.iterdir())
    whole = lake.k2_run("query", big, "--query-memory", "2GB", "--output", "csv", "--query-spill", "off").stdout
    assert lake.k2_run("query", big, *asked, "--query-spill", str(spill)).stdout == whole
    assert list(spill.iterdir()) == []


# ohlcv


def candles(rows: list[Row], minutes: int) -> dict[datetime, Row]:
    """Candles by hand: first and last by (time, sequence), exact sums."""
    by_start: dict[datetime, list[Row]] = defaultdict(list)
    for row in rows:
        start = row["timestamp"].replace(second=0, microsecond=0)
        by_start[start - timedelta(minutes=start.minute % minutes)].append(row)
    made = {}
    for start, trades in by_start.items():
        trades.sort(key=lambda row: (row["timestamp"], row["source_sequence"]))
        prices = [row["price"] for row in trades]
        volume = sum((row["quantity"] for row in trades), Decimal(0))
        with localcontext() as context:
            context.prec = 60
            vwap = sum((row["price"] * row["quantity"] for row in trades), Decimal(0)) / volume
        made[start] = {
            "open": prices[0],
            "high": max(prices),
            "low": min(prices),
            "close": prices[-1],
            "volume": volume,
            "vwap": vwap.quantize(Decimal("1e-14"), ROUND_DOWN),
            "trades": len(trades),
        }
    return made


def ask_candles(lake: Warehouse, *args: str) -> dict[datetime, Row]:
    rows = json.loads(lake.k2_run("ohlcv", *args, "--output", "json").stdout, parse_float=Decimal)
    found = {datetime.fromisoformat(row.pop("time").replace("Z", "+00:00")): row for row in rows}
    assert list(found) == sorted(found)
    assert len(found) == len(rows)
    return found


def assert_candles(found: dict[datetime, Row], wanted: dict[datetime, Row]) -> None:
    assert found.keys() == wanted.keys()
    for start, candle in wanted.items():
        vwap = found[start].pop("vwap")
        rest = dict(candle)
        by_hand = rest.pop("vwap")
        assert found[start] == rest, start
        # The division is done in doubles: 15 digits.
        assert abs(vwap - by_hand) <= max(Decimal("1e-8"), by_hand * Decimal("1e-14")), start


@pytest.mark.parametrize("symbol", ["BTCUSDT", "BTCUSD"])
def test_ohlcv_against_candles_by_hand(lake: Warehouse, expected: dict[str, Row], symbol: str) -> None:
    rows = [row for row in expected.values() if row["symbol"] == symbol]
    assert_candles(ask_candles(lake, symbol), candles(rows, 1))
    assert_candles(ask_candles(lake, symbol, "--interval", "15m"), candles(rows, 15))
    begin, end = datetime(2024, 3, 1, 23, 50, tzinfo=timezone.utc), datetime(2024, 3, 2, 0, 10, tzinfo=timezone.utc)
    between = [row for row in rows if begin <= row["timestamp"] < end]
    asked = ask_candles(lake, symbol, "--from", "2024-03-01T23:50:00Z", "--to", "2024-03-02T00:10:00Z")
    assert_candles(asked, candles(between, 1))


def test_ohlcv_fills_empty_intervals(lake: Warehouse, expected: dict[str, Row]) -> None:
    counts: dict[str, int] = defaultdict(int)
    for row in expected.values():
        counts[row["symbol"]] += 1
    symbol = min(counts, key=lambda name: counts[name])
    made = candles([row for row in expected.values() if row["symbol"] == symbol], 1)
    starts = sorted(made)
    filled: dict[datetime, Row] = {}
    at = starts[0]
    while at <= starts[-1]:
        before = filled.get(at - timedelta(minutes=1))
        if at in made:
            filled[at] = made[at]
        else:
            assert before is not None
            filled[at] = dict.fromkeys(("open", "high", "low", "close"), before["close"]) | {"volume": 0, "trades": 0}
        at += timedelta(minutes=1)
    assert len(filled) > len(made), "the recording has minutes without a trade"
    found = ask_candles(lake, symbol, "--fill")
    assert found.keys() == filled.keys()
    for start, candle in filled.items():
        assert (found[start]["vwap"] is None) == (start not in made)
        for key in ("open", "high", "low", "close", "volume", "trades"):
            assert found[start][key] == candle[key], (start, key)


def test_ohlcv_usage(lake: Warehouse) -> None:
    for args in (
        ["BTCUSDT", "--interval", "7x"],
        ["BTCUSDT", "--from", "noon"],
        ["BTCUSDT", "--from", "2024-03-02", "--to", "2024-03-01"],
        [],
    ):
        lake.k2_run("ohlcv", *args, expect=2)
    unknown = lake.k2_run("ohlcv", "BTCUST", expect=1)
    assert "did you mean BTCUSD, BTCUSDT?" in unknown.stderr
    assert unknown.stdout == ""
    wanted = ask_candles(lake, "BTCUSDT", "--interval", "1h")
    for typed in ("btcusdt", "BTC/USDT", "btc-usdt"):
        assert ask_candles(lake, typed, "--exchange", "binance", "--interval", "1h") == wanted
    empty = lake.k2_run("ohlcv", "btcusdt", "--from", "2025-01-01", "--output", "json")
    assert json.loads(empty.stdout) == []
    assert "no trades of BTCUSDT in the given period" in empty.stderr
    assert "of BINANCE from 2024-03-01" in empty.stderr
    picture = lake.k2_run("ohlcv", "BTCUSDT", "--draw").stdout
    assert "BTCUSDT" in picture
    assert "\x1b" not in picture, "no colours where there is no terminal"


# tables, offsets, doctor


def test_tables_and_describe(lake: Warehouse) -> None:
    rows = {row["table"]: row for row in lake.json("tables")}
    assert set(rows) == set(ALL_TABLES)
    for name in TABLES:
        table = lake.table(name)
        described = lake.json("tables", "describe", name, "--files")
        files = {task.file.file_path: task.file.record_count for task in table.scan().plan_files()}
        assert {file["path"]: file["rows"] for file in described["files"]} == files
        assert rows[name]["rows"] == sum(files.values())
        assert rows[name]["files"] == len(files)
        assert described["uuid"] == str(table.metadata.table_uuid)
        assert described["current_snapshot"] == table.metadata.current_snapshot_id
        assert [one["snapshot_id"] for one in described["snapshots"]] == [s.snapshot_id for s in table.snapshots()]
        assert "offsets" in described["snapshots"][-1]
        assert [field["name"] for field in described["schema"]] == [field.name for field in table.schema().fields]
        text = lake.k2_run("tables", "describe", name).stdout
        assert all(field.name in text for field in table.schema().fields)
    lake.k2_run("tables", "describe", "nothing", expect=2)


def test_tables_create_is_idempotent(warehouse: Warehouse) -> None:
    warehouse.k2_run("tables", "create")
    heads = [warehouse.table(name).metadata_location for name in TABLES]
    warehouse.k2_run("tables", "create")
    assert heads == [warehouse.table(name).metadata_location for name in TABLES]
    assert warehouse.counts() == dict.fromkeys(ALL_TABLES, 0)


def test_migrate_brings_a_missing_column_back(warehouse: Warehouse, recordings: list[tuple[str, Path]]) -> None:
    """A table of an earlier version: it has not all the columns, and one of its own."""
    warehouse.run(recordings[:1])
    for name in (BINANCE, GOLD):
        with warehouse.table(name).update_schema() as change:
            change.delete_column("platform_sequence")
            change.add_column("theirs", LongType())
    before = warehouse.table(GOLD).schema()
    done = warehouse.k2_run("tables", "migrate")
    assert f"{GOLD}: added column platform_sequence" in done.stdout
    after = warehouse.table(GOLD).schema()
    added = after.find_field("platform_sequence")
    assert added.field_id > max(before.field_ids), "ids are never used again"
    assert not added.required
    assert after.find_field("theirs").field_id == before.find_field("theirs").field_id
    assert "0 tables changed" in warehouse.k2_run("tables", "migrate").stdout
    gold = warehouse.gold()
    for message_id, row in gold_of(recordings[0]).items():
        assert gold[message_id] == row | {"theirs": None}
    assert_nothing_lost(warehouse)


def test_offsets_show_and_set(warehouse: Warehouse, recordings: list[tuple[str, Path]]) -> None:
    warehouse.run(recordings[:1], "--layer", "bronze")
    (shown,) = [row for row in warehouse.json("offsets", "show") if row["table"] == BRONZE]
    topic, end = shown["topic"], shown["next_offset"]
    assert end == warehouse.counts()[BRONZE]
    flags = ("offsets", "set", "--table", BINANCE, "--topic", topic)
    refused = warehouse.k2_run(*flags, "--next", "300", expect=2)
    assert "--accept-loss" in refused.stderr
    warehouse.k2_run("offsets", "set", "--table", BINANCE, "--topic", "nothing", "--next", "1", expect=2)
    warehouse.k2_run("offsets", "set", "--table", "nothing", "--topic", topic, "--next", "1", expect=2)
    assert warehouse.counts()[BINANCE] == 0
    ahead = ("offsets", "set", "--table", REJECTED, "--topic", topic, "--next", "300", "--accept-loss")
    assert f"k2 offsets set --table {BINANCE}" in warehouse.k2_run(*ahead, expect=2).stderr
    warehouse.k2_run(*flags, "--next", "300", "--accept-loss")
    warehouse.k2_run(*ahead)  # level with Silver
    head = warehouse.table(BINANCE).current_snapshot()
    assert head is not None
    assert head.summary is not None
    assert "from 0 to 300" in str(head.summary["k2.offsets-set"])
    warehouse.run([], "--layer", "silver")
    assert warehouse.counts()[BINANCE] + warehouse.counts()[REJECTED] == end - 300
    rows = read_trades(*recordings[0])[0]
    assert warehouse.counts()[BINANCE] <= len(rows)
    back = warehouse.k2_run(*flags, "--next", "10", "--accept-loss", expect=2)
    assert "double" in back.stderr
    shown_rows = {row["table"]: row for row in warehouse.json("offsets", "show")}
    assert shown_rows[BINANCE]["next_offset"] == end
    assert shown_rows[BINANCE]["behind_bronze"] == 0


def test_doctor(warehouse: Warehouse, lake: Warehouse) -> None:
    for one in (warehouse, lake):
        done = one.k2_run("doctor")
        assert "environment" not in done.stdout
        assert str(one.folder) in done.stdout
    assert not warehouse.folder.exists(), "looking makes nothing"
    secrets_given = ["--kafka-set", "sasl.username=me,sasl.password=hidden1,ssl.key.password=hidden2"]
    done = lake.k2_run("doctor", *secrets_given, "--kafka", "127.0.0.1:1", "--output", "json", expect=None)
    assert "sasl.username=me,sasl.password=***" in done.stdout
    assert "hidden" not in done.stdout
    broken = warehouse.folder
    broken.mkdir()
    (broken / "catalog.db").write_bytes(b"this is no database" * 100)
    done = warehouse.k2_run("doctor", expect=None)
    assert done.returncode in (1, 3)
    assert "false" in done.stdout


def test_settings_precedence(k2: Path, tmp_path: Path, lake: Warehouse) -> None:
    """Flag before environment before file before default; doctor tells which it was."""

    def origin(*args: str, env: dict[str, str] | None = None) -> tuple[str, str]:
        done = subprocess.run(
            [k2, "doctor", *args],
            cwd=tmp_path,
            env=k2_environment(env),
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
        )
        assert done.returncode == 0, done.stderr
        line = next(line for line in done.stdout.splitlines() if "log-level" in line)
        cells = [cell.strip() for cell in line.strip("│").split("│")]
        return cells[1], cells[2]

    assert origin() == ("warn", "default")
    (tmp_path / "k2.toml").write_text('log-level = "error"\n')
    value, source = origin()
    assert value == "error"
    assert "k2.toml" in source
    other = tmp_path / "other.toml"
    other.write_text('log-level = "off"')
    assert origin("--config", str(other))[0] == "off"
    value, source = origin(env={"K2_LOG_LEVEL": "info"})
    assert value == "info"
    assert "K2_LOG_LEVEL" in source
    assert origin("--log-level", "debug", env={"K2_LOG_LEVEL": "info"}) == ("debug", "flag")
    # The same for the warehouse itself, in a command that uses it.
    done = subprocess.run(
        [k2, "query", f"SELECT count(*) AS n FROM {GOLD}", "--output", "csv"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env=k2_environment({"K2_WAREHOUSE": str(lake.folder)}),
        check=True,
        timeout=30,
    )
    assert done.stdout.split() == ["n", str(2 * TRADES)]


def test_help_and_version(warehouse: Warehouse) -> None:
    for command in ("run", "simulate", "tables", "offsets", "task", "query", "ohlcv", "doctor"):
        done = warehouse.k2_run(command, "--help")
        assert "Example" in done.stdout, command
    assert warehouse.k2_run("--version").stdout.startswith("k2 ")


def on_terminal(command: list[str], env: dict[str, str]) -> str:
    """What a command prints to a terminal of its own."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(command[0], command, env)
    printed = b""
    while True:
        try:
            chunk = os.read(terminal, 65536)
        except OSError:
            break
        if not chunk:
            break
        printed += chunk
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0, printed
    return printed.decode()


def test_colours_only_on_a_terminal_that_wants_them(lake: Warehouse) -> None:
    command = lake.command("ohlcv", "BTCUSDT", "--interval", "5m", "--draw")
    assert "\x1b[" in on_terminal(command, k2_environment({"TERM": "xterm"}))
    assert "\x1b[" not in on_terminal(command, k2_environment({"TERM": "xterm", "NO_COLOR": "1"}))


def test_progress_goes_to_a_terminal_alone(warehouse: Warehouse, recordings: list[tuple[str, Path]]) -> None:
    done = warehouse.k2_run("run", "--recording", f"binance={recordings[0][1]}")
    assert done.stderr == ""
    assert "\r" not in done.stdout
    command = warehouse.command("run", "--recording", f"kraken={recordings[1][1]}", "--rows-per-commit", "100")
    assert "gold" in on_terminal(command, k2_environment({"TERM": "xterm"}))


def test_logs_as_json(warehouse: Warehouse, recordings: list[tuple[str, Path]]) -> None:
    _, path = recordings[0]
    done = warehouse.k2_run(
        "run",
        "--recording",
        f"binance={path}",
        "--recording",
        f"binance={path}",
        "--log-format",
        "json",
        "--log-level",
        "debug",
    )
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert [line["event"] for line in lines if line["level"] == "warning"] == ["recording given twice"]


# task


def output_of(warehouse: Warehouse, name: str) -> dict[str, Any]:
    metadata = json.loads(Path(warehouse.table(name).metadata_location.removeprefix("file://")).read_text())
    schema = next(s for s in metadata["schemas"] if s["schema-id"] == metadata["current-schema-id"])
    return {
        "name": name,
        "location": metadata["location"],
        "shape": {
            "schema": schema,
            "columns": {field["name"]: field["id"] for field in schema["fields"]},
            "name_mapping": "",
        },
        "spec": next(s for s in metadata["partition-specs"] if s["spec-id"] == metadata["default-spec-id"]),
    }


def inputs_of(warehouse: Warehouse, name: str) -> list[dict[str, Any]]:
    return [
        {"path": task.file.file_path, "record_count": task.file.record_count}
        for task in warehouse.table(name).scan().plan_files()
    ]


def run_task(warehouse: Warehouse, task: dict[str, Any]) -> tuple[dict[str, Any], dict[str, list[Row]]]:
    """The result, and the rows of the files it names by table."""
    done = warehouse.k2_run("task", stdin=json.dumps({"version": 2, "attempt_id": secrets.token_hex(8)} | task))
    result = json.loads(done.stdout)
    rows: dict[str, list[Row]] = {}
    for output in result["outputs"]:
        rows[output["table"]] = []
        for file in output["files"]:
            path = next(value for key, value in file.items() if key.replace("-", "_") == "file_path")
            content = pq.read_table(path.removeprefix("file://"), partitioning=None).to_pylist()
            for row in content:
                if isinstance(row.get("vendor_data"), list):
                    row["vendor_data"] = dict(row["vendor_data"])
            rows[output["table"]] += content
    return result, rows


def ordered(rows: list[Row], *keys: str, without: str = "") -> list[Row]:
    return sorted(
        ({key: value for key, value in row.items() if key != without} for row in rows),
        key=lambda row: tuple(row[key] for key in keys),
    )


def test_tasks_give_the_rows_of_the_run(lake: Warehouse, recordings: list[tuple[str, Path]], tmp_path: Path) -> None:
    """The three layers by hand, through JSON, against what `k2 run` has committed."""
    target = Warehouse(lake.k2, tmp_path / "by-hand")
    target.k2_run("tables", "create")
    exchange, path = recordings[0]
    shown = [row for row in lake.json("offsets", "show") if row["table"] == BRONZE and exchange in row["topic"]]
    topic, end = shown[0]["topic"], shown[0]["next_offset"]
    begin = {"next_offset": 0, "leader_epoch": -1, "messages": -1, "next_line": 0, "next_byte": 0, "line_hash": ""}
    source = {"cluster": "recording", "topic": topic, "topic_id": topic.rsplit("/", 1)[1], "partition": 0}
    bronze_task = {
        "kind": "bronze",
        "max_messages": 2000,
        "max_bytes": 1 << 30,
        "output": output_of(target, BRONZE),
    }
    bronze: list[Row] = []
    position: dict[str, Any] = begin
    while position["next_offset"] < end:
        one = {"source": source, "exchange": exchange, "recording": str(path), "begin": position}
        result, rows = run_task(target, bronze_task | {"inputs": [one]})
        assert 0 < result["rows_out"] == len(rows[BRONZE])
        bronze += rows[BRONZE]
        position = result["ends"][0]
    committed = [row for row in lake.rows(BRONZE) if row["topic"] == topic]
    assert ordered(bronze, "offset") == ordered(committed, "offset")

    silver_task = {
        "kind": "silver",
        "inputs": inputs_of(lake, BRONZE),
        "input_shape": output_of(lake, BRONZE)["shape"],
        "ranges": [{"topic": topic, "partition": 0, "begin": 0, "end": end, "leave_out_rejected": False}],
        "rejected_files": [],
        "schema_folder": "",
        "silver": [output_of(target, name) for name in SILVER],
        "rejected": output_of(target, REJECTED),
    }
    result, rows = run_task(target, silver_task)
    assert ordered(rows[BINANCE], "message_id", "ingestion_timestamp") == ordered(
        lake.rows(BINANCE), "message_id", "ingestion_timestamp"
    )
    assert rows.get(KRAKEN, []) == []
    rejected = [row for row in lake.rows(REJECTED) if row["topic"] == topic]
    assert ordered(rows[REJECTED], "offset", without="rejected_at") == ordered(
        rejected, "offset", without="rejected_at"
    )
    assert sum(result["rejected"].values()) == len(rejected)

    gold_task = {
        "kind": "gold",
        "inputs": [{"shape": output_of(lake, BINANCE)["shape"], "files": inputs_of(lake, BINANCE)}],
        "existing": [],
        "output": output_of(target, GOLD),
        "memory_bytes": 64 << 20,
    }
    result, rows = run_task(target, gold_task)
    wanted = [row for row in lake.rows(GOLD) if row["exchange"] == "BINANCE"]
    assert ordered(rows[GOLD], "message_id") == ordered(wanted, "message_id")
    assert result["duplicates"] == len(lake.rows(BINANCE)) - len(wanted)
    assert target.counts() == dict.fromkeys(ALL_TABLES, 0), "a task commits nothing"


def test_what_is_no_task_is_refused(warehouse: Warehouse) -> None:
    for text in ("", "{}", "[]", '{"version": 1, "kind": "gold"}', '{"version": 2, "kind": "tin"}'):
        done = warehouse.k2_run("task", stdin=text, expect=2)
        assert done.stderr.startswith("k2: ")


# simulate


def test_simulate_is_seeded_and_appends(k2: Path, simulate: Simulate, tmp_path: Path, warehouse: Warehouse) -> None:
    first = simulate("kraken", 1000, 71, suffix=".log")
    packed = simulate("kraken", 1000, 71, suffix=".gz")
    other = simulate("kraken", 1000, 72, suffix=".log")
    assert read_bytes(first) == read_bytes(packed) != read_bytes(other)
    path = tmp_path / "grows.gz"
    flags = ("simulate", "--exchange", "binance", "--trades", "500", "--out", str(path))
    warehouse.k2_run(*flags)
    warehouse.run([("binance", path)])
    time.sleep(0.01)
    warehouse.k2_run(*flags, "--first-id", "5000000", "--append")
    warehouse.run([("binance", path)])
    assert len(warehouse.gold()) == 1000
    assert warehouse.gold() == gold_of(("binance", path))
    warehouse.k2_run("simulate", "--exchange", "nasdaq", "--out", str(path), expect=2)
    warehouse.k2_run("simulate", "--exchange", "binance", expect=2)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("plan", "--compact", GOLD, "--rebuild"), "--rebuild excludes --compact"),
        (("plan", "--compact", GOLD, "--layer", "gold"), "--layer excludes --compact"),
        (("plan", "--layer", "gold", "--settled", "1s"), "--settled requires --compact"),
        (("plan",), "either --layer LAYER or --compact TABLE"),
        (("commit", "--plan", "/"), "--plan /: the file cannot be read"),
        (("commit", "--plan", "nowhere.json"), "--plan nowhere.json: the file cannot be read"),
    ],
)
def test_plans_that_are_none(warehouse: Warehouse, words: tuple[str, ...], said: str) -> None:
    warehouse.k2_run("tables", "create")
    assert said in warehouse.k2_run(*words, expect=2, stdin="").stderr


@pytest.mark.parametrize(
    ("words", "message", "hint"),
    [
        (["query", "FROM gold"], "there is no table gold", "did you mean 'gold_crypto_trades'?"),
        (["query", "DROP TABLE x"], "queries are read-only: DROP is not allowed", "to save a result, use --out FILE"),
        (
            ["query", f"SELECT price * price * price FROM {GOLD}"],
            "Out of Range Error: ",
            'where more digits are needed than a decimal has, cast: price::DOUBLE (docs/engines.md, "Arithmetic")',
        ),
        (
            ["query", "--as-of", "lately", "SELECT 1"],
            "cannot read the time 'lately' (--as-of)",
            "2024-08-08T23:55:00Z, a day such as 2024-08-08, or a snapshot id; times are UTC",
        ),
        (
            ["query", "--as-of", "2020-01-01", f"FROM {GOLD}"],
            f"table {GOLD}: no snapshot from 2020-01-01T00:00:00.000000Z or before; the oldest is ",
            "'k2 tables describe gold_crypto_trades' lists its snapshots (docs/limits.md says how long they are kept)",
        ),
        (
            ["ohlcv", "BTCUSDT", "--interval", "1min"],
            "cannot read the interval '1min'",
            "a number and s, m, h, d or w, such as 30s, 1m, 15m, 4h, 1d",
        ),
        (["tables", "describe", "gold_crypto_trade"], "there is no table market_data.", f"did you mean '{GOLD}'?"),
        (["tables", "describe", "x"], "there is no table market_data.x in ", "'k2 tables' lists the tables"),
    ],
)
def test_errors_say_what_to_do(warehouse: Warehouse, words: list[str], message: str, hint: str) -> None:
    warehouse.k2_run("tables", "create")
    said = warehouse.k2_run(*words, expect=None).stderr.splitlines()
    assert said[0].startswith(f"k2: {message}")
    assert said[1:] == [f"hint: {hint}"]
