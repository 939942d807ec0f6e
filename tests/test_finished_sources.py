"""Recordings that are read to their end leave the documents of the tables, and are known all the same."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from conftest import Simulate
from engines import Spark
from pyiceberg.exceptions import NoSuchTableError
from reading import gold_of
from spark_frames import Frames, bare_lake, session_of
from warehouse import BRONZE, GOLD, NAMESPACE, REJECTED, SILVER, Warehouse, assert_nothing_lost, recording_flags

from k2.spark.dataframe import silver_step
from k2.spark.dataframe.progress import (
    AnotherWriterError,
    FinishedMark,
    FoundProgress,
    Move,
    OffsetsError,
    Position,
    Progress,
    SourceKey,
    check_fence,
    find_progress,
    parse_progress,
)
from stack.services import Services

FINISHED = "finished_sources"
MANY = 100  # more than a document is to name


@pytest.fixture(scope="module")
def lines(simulate: Simulate) -> list[bytes]:
    recording = simulate("binance", 2 * MANY + 20, 71, "--malformed-ppm", "30000", suffix=".jsonl")
    return recording.read_bytes().splitlines(keepends=True)


def recordings_of(lines: list[bytes], folder: Path, first: int = 0) -> list[tuple[str, Path]]:
    """One recording a line."""
    folder.mkdir(exist_ok=True)
    recordings = []
    for i, line in enumerate(lines, start=first):
        path = folder / f"{i}.jsonl"
        path.write_bytes(line)
        recordings.append(("binance", path))
    return recordings


def named(warehouse: Warehouse, table: str) -> int:
    """Recordings that the table's newest document names."""
    described = warehouse.json("tables", "describe", table)
    offsets = next(one["offsets"] for one in reversed(described["snapshots"]) if "offsets" in one)
    assert offsets["version"] == 2
    return sum(len(of_exchange) for of_exchange in offsets.get("recordings", {}).values())


def metadata_bytes(warehouse: Warehouse, table: str) -> int:
    return Path(warehouse.table(table).metadata_location.removeprefix("file://")).stat().st_size


def test_a_hundred_recordings_leave_the_documents(warehouse: Warehouse, lines: list[bytes], tmp_path: Path) -> None:
    first = recordings_of(lines[:MANY], tmp_path / "first")
    warehouse.run(first[:10])
    with pytest.raises(NoSuchTableError):
        warehouse.table(FINISHED)
    assert named(warehouse, BRONZE) == 10, "few recordings stay"
    warehouse.run(first)
    assert named(warehouse, GOLD) == 0
    for table in (BRONZE, REJECTED, SILVER[0]):
        assert named(warehouse, table) == 0, table
        rows = [row for row in warehouse.rows(FINISHED) if row["table_name"] == table]
        # Frames without trades are nothing to Silver.
        assert len({row["topic"] for row in rows}) == len(rows)
        assert len(rows) == MANY if table == BRONZE else MANY / 2 < len(rows) < MANY
        assert {row["table_uuid"] for row in rows} == {str(warehouse.table(table).metadata.table_uuid)}
    assert_nothing_lost(warehouse)
    before = warehouse.counts()
    assert before[GOLD] == len({key for _, path in first for key in gold_of(("binance", path))})
    report = warehouse.run(first)
    assert report["bronze"]["rows_out"] == report["silver"]["rows_in"] == 0, "they are known"
    assert warehouse.counts() == before
    # One of them has grown; another one is new.
    grown = first[0][1]
    grown.write_bytes(grown.read_bytes() + b"".join(lines[MANY : MANY + 10]))
    new = recordings_of(lines[MANY + 10 : MANY + 11], tmp_path / "new")
    warehouse.run([first[0], *new])
    assert_nothing_lost(warehouse)
    assert warehouse.counts()[BRONZE] > before[BRONZE]
    assert named(warehouse, BRONZE) == 2
    assert named(warehouse, GOLD) == 2, "Gold names what Silver does"
    shown = warehouse.json("offsets", "show")
    told = [row for row in shown if row["table"] == BRONZE and row["topic"] is None]
    assert [f"{MANY - 1} finished" in row["state"] for row in told] == [True]
    listed = [row for row in warehouse.json("offsets", "show", "--finished") if row["table"] == BRONZE]
    assert len(listed) == MANY + 1
    # What looks after tables looks after this one.
    assert FINISHED in {row["table"] for row in warehouse.json("maintain", "expire")}
    assert FINISHED in {row["table"] for row in warehouse.json("maintain", "orphans")}


@pytest.mark.parametrize(
    "where", ["finished.data-file:1", "finished.written:1", "finished.dropped:1", "finished.dropped:3"]
)
def test_killed_while_they_leave(warehouse: Warehouse, lines: list[bytes], tmp_path: Path, where: str) -> None:
    first = recordings_of(lines[:MANY], tmp_path / "first")
    killed = warehouse.k2_run("run", *recording_flags(first), env={"K2_TEST_CRASH_AT": where}, expect=None)
    assert killed.returncode < 0, killed.stderr
    before = warehouse.counts()
    for _ in range(2):
        warehouse.run(first)
        assert named(warehouse, BRONZE) == named(warehouse, SILVER[0]) == named(warehouse, REJECTED) == 0
        assert {name: warehouse.counts()[name] for name in (BRONZE, REJECTED, *SILVER, GOLD)} == {
            name: before[name] for name in (BRONZE, REJECTED, *SILVER, GOLD)
        }
    assert_nothing_lost(warehouse)


def test_when_the_table_is_lost(warehouse: Warehouse, lines: list[bytes], tmp_path: Path) -> None:
    first = recordings_of(lines[:MANY], tmp_path / "first")
    warehouse.run(first)
    warehouse.catalog().drop_table((NAMESPACE, FINISHED))
    new = recordings_of(lines[MANY : MANY + 1], tmp_path / "new")
    stopped = warehouse.k2_run("run", *recording_flags(new), expect=1)
    for words in (
        "finished_sources",
        "cannot tell whether a recording was already read",
        f"k2 offsets set --table {BRONZE} --accept-loss",
    ):
        assert words in stopped.stderr
    assert any("finished_sources" in row["state"] for row in warehouse.json("offsets", "show"))
    for table in (BRONZE, SILVER[0]):
        warehouse.k2_run("offsets", "set", "--table", table, "--accept-loss")
    head = warehouse.table(BRONZE).current_snapshot()
    assert head is not None
    assert head.summary is not None
    assert "forgotten" in str(head.summary["k2.offsets-set"])
    warehouse.run(new)
    assert_nothing_lost(warehouse)


def test_one_run_each(warehouse: Warehouse, lines: list[bytes], tmp_path: Path) -> None:
    """Documents stay small, whoever comes; the retained snapshots with them."""
    first = recordings_of(lines[:MANY], tmp_path / "first")
    warehouse.run(first)
    more = recordings_of(lines[MANY + 11 : MANY + 31], tmp_path / "more")
    for one in more:
        warehouse.run([one], expect=None)  # 1 where its line is no trade
    assert named(warehouse, BRONZE) == len(more)
    assert metadata_bytes(warehouse, BRONZE) < 250_000
    assert_nothing_lost(warehouse)


@pytest.mark.timeout(900)
def test_silver_by_dataframes_finds_them(
    k2: Path, spark: Spark, services: Services, lines: list[bytes], tmp_path: Path
) -> None:
    lake = bare_lake(k2, tmp_path / "lake", services)
    first = recordings_of(lines[:MANY], tmp_path / "first")
    lake.run(first)
    before = lake.total(SILVER[0]) + lake.total(REJECTED)
    grown = first[0][1]
    grown.write_bytes(grown.read_bytes() + b"".join(lines[MANY : MANY + 10]))
    new = recordings_of(lines[MANY + 10 : MANY + 12], tmp_path / "new")
    lake.run([first[0], *new], "--layer", "bronze")
    frames = Frames(session_of(spark, lake), lake, [])
    assert sum(one.rows_in for one in frames.silver()) == lake.total(BRONZE) - before, "new rows, and no other"
    frames.gold()
    assert lake.total(SILVER[0]) + lake.total(REJECTED) == lake.total(BRONZE)
    gold = find_progress(frames.table(GOLD).refresh()).progress
    silver = find_progress(frames.table(SILVER[0]).refresh()).progress
    assert set(gold.positions) == set(silver.positions)
    assert len(silver.positions) == 3
    assert silver.finished.generation == 1
    lake.run([first[1]])  # and k2 goes on
    lake.catalog().drop_table((NAMESPACE, "finished_sources"))
    grown.write_bytes(grown.read_bytes() + lines[MANY + 12])
    second = first[1][1]
    second.write_bytes(second.read_bytes() + lines[MANY + 13])
    lake.run([first[0]], "--layer", "bronze")  # named: it need not be looked up
    assert silver_step(frames.spark, frames.of_silver).rows_in == 1
    lake.k2_run("run", "--layer", "bronze", *recording_flags([first[1]]), expect=1)


KEY = SourceKey("recording", "recording/binance/ab", "ab", 0)
MARK = FinishedMark("f", 3, ((1, 1),))


def test_the_document_in_python() -> None:
    spool = Position(5, next_line=6, next_byte=7, line_hash="8", segment=9)
    odd = SourceKey("recording", "recording/binance/cd", "another", 0)
    kafka = SourceKey("c", "t", "x", 1)
    progress = Progress({KEY: spool, odd: spool, kafka: Position(1, 2, messages=3)}, finished=MARK)
    text = progress.to_json("u")
    assert text == (
        '{"version":2,"table":"u","sources":[{"cluster":"c","topic":"t","id":"x","at":[[1,1,2,3]]},'
        '{"cluster":"recording","topic":"recording/binance/cd","id":"another","at":[[0,5,-1,6,7,"8",9]]}],'
        '"recordings":{"binance":[["ab",5,6,7,"8",9]]},"finished":["f",3,[[1,1]]]}'
    )
    assert parse_progress(text, "u") == progress
    first = '{"version":1,"table":"u","sources":[{"cluster":"recording","topic":"recording/binance/ab","id":"ab",'
    assert parse_progress(first + '"at":[[0,5,-1,6,7,"8"]]}]}', "u") == Progress(
        {KEY: Position(5, next_line=6, next_byte=7, line_hash="8")}
    )
    with pytest.raises(OffsetsError, match="version 3"):
        parse_progress('{"version":3,"table":"u","recordings":"new form"}', "u")


def test_the_fence_in_python() -> None:
    move = Move(Progress(finished=MARK), Progress({KEY: Position(9)}))
    check_fence(move, FoundProgress(Progress(finished=MARK)), "t")
    later = FinishedMark("f", 4, ((1, 1),))
    with pytest.raises(AnotherWriterError, match="finished recordings"):
        check_fence(move, FoundProgress(Progress(finished=later)), "t")
    with pytest.raises(AnotherWriterError, match="offset 7"):
        check_fence(move, FoundProgress(Progress({KEY: Position(7)}, finished=MARK)), "t")
    kafka = Move(Progress(finished=MARK), Progress({SourceKey("c", "t", "x", 0): Position(9)}))
    check_fence(kafka, FoundProgress(Progress(finished=later)), "t")


def test_rows_of_a_recording_that_left_are_validated_again(
    warehouse: Warehouse, lines: list[bytes], tmp_path: Path
) -> None:
    """Silver has passed them, though no document says so any more."""
    warehouse.run(recordings_of(lines[:MANY], tmp_path / "all"))
    assert named(warehouse, SILVER[0]) == 0
    refused = {row["topic"] for row in warehouse.rows(REJECTED)}
    row = next(row for row in warehouse.rows(BRONZE) if row["topic"] not in refused)
    rejected = warehouse.table(REJECTED)
    old = {
        **{name: row[name] for name in ("topic", "partition", "offset", "kafka_timestamp", "ingestion_date")},
        "schema_id": row["avro_payload"][4],
        "payload": row["avro_payload"],
        "reason": "timestamp_too_old",
        "detail": "as rules of version 1 found",
        "rejected_at": row["ingestion_timestamp"],
    }
    rejected.append(pa.Table.from_pylist([old], schema=rejected.schema().as_arrow()))
    held = warehouse.counts()[SILVER[0]]
    warehouse.k2_run("rebuild", "--layer", "rejected")
    assert warehouse.counts()[SILVER[0]] == held + 1
    assert not [one for one in warehouse.rows(REJECTED) if one["reason"] == "timestamp_too_old"]
