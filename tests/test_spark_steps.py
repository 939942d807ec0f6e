"""What a step of the DataFrame path takes: what it leaves, where it stops, and that it always gets on."""

from __future__ import annotations

import argparse
import json
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, cast

import pyarrow as pa
import pytest
from conftest import Simulate
from engines import Spark
from kafka_oracle import Maker
from pyspark.sql import functions as f
from service_warehouse import Lake
from spark_frames import Frames, bare_lake, metadata_of, session_of
from warehouse import BRONZE, SILVER

from k2.spark.dataframe import OffsetsError, gold_step, silver_step
from k2.spark.dataframe.gold import File, Upstream, hour_of, take
from k2.spark.dataframe.progress import Move, Position, Progress, SourceKey, UpstreamHint
from k2.spark.dataframe.publish import publish
from k2.spark.dataframe.tables import any_of
from k2.spark.engine.native import NativeEngine
from k2.spark.engine.step import StepReport
from k2.spark.jobs.layers import Stop, Totals, move, reported
from stack.services import Services

pytestmark = pytest.mark.timeout(900)  # a machine that does much else besides


# Gold.


def upstream_of(files: list[tuple[int, int, int]], head: int) -> Upstream:
    """Files as (rows, snapshot id, sequence number)."""
    made = Upstream(cast(Any, None), metadata_of([(head, None, None)]), None)
    made.pending = [File(str(i), rows, snapshot, number, None) for i, (rows, snapshot, number) in enumerate(files)]
    return made


@pytest.mark.parametrize("ids", [(101, 102), (0, 0)], ids=["known", "expired, and nowhere told"])
def test_a_step_of_gold_ends_where_a_commit_of_silver_does(ids: tuple[int, int]) -> None:
    """In the middle of one there is no place that Gold could keep: the next step would begin at the same again."""
    files = [(60, ids[0], 1), (60, ids[0], 1), (60, ids[1], 2), (60, ids[1], 2), (30, 7, 7)]
    upstream = upstream_of(files, 7)
    assert [file.rows for file in take(upstream, 100)] == [60, 60]
    assert upstream.read_to == UpstreamHint("u", ids[0], 1)
    assert [file.rows for file in take(upstream, 149)] == [60, 60]
    assert upstream.read_to == UpstreamHint("u", ids[1], 2)
    assert [file.rows for file in take(upstream, 1)] == [30]
    assert upstream.read_to == upstream.planned
    upstream = upstream_of(files, 7)
    assert len(take(upstream, 240)) == 4
    assert upstream.read_to == UpstreamHint("u", ids[1], 2)


def append_to_silver(lake: Lake, maker: Maker, count: int) -> None:
    """One commit of two files: of two days."""
    table = lake.table(SILVER[0])
    rows = []
    for i in range(2 * count):
        row = maker.trade("binance")
        row["timestamp"] += timedelta(days=i % 2)
        rows.append(row | {"exchange_date": row["timestamp"].date()})
    for row in rows:
        row["vendor_data"] = list((row["vendor_data"] or {}).items())
    table.append(pa.Table.from_pylist(rows, schema=table.schema().as_arrow()))


@pytest.mark.parametrize("history", ["expired", pytest.param("kept", marks=pytest.mark.long)])
def test_gold_gets_through_commits_of_more_rows_than_a_step(
    spark: Spark, k2: Path, services: Services, tmp_path: Path, seed: int, history: str
) -> None:
    lake = bare_lake(k2, tmp_path / "lake", services)
    maker = Maker(seed)
    for _ in range(2):
        append_to_silver(lake, maker, 10)
    frames = Frames(session_of(spark, lake), lake, [], rows_per_step=15)
    silver = frames.table(SILVER[0])
    if history == "expired":
        now_ms = int(datetime.now(timezone.utc).timestamp() * 1000) + 10_000
        silver.java.expireSnapshots().expireOlderThan(now_ms).retainLast(1).commit()
        assert len(silver.refresh().snapshots) == 2, "the head, and what the tag names"
    numbers = []
    for left in (20, 0):
        result = gold_step(frames.spark, frames.of_gold)
        assert (result.rows_in, result.duplicates, result.behind) == (20, 0, left)
        hint = frames.hint(SILVER[0])
        assert left == 0 or hint.snapshot_id not in (0, silver.refresh().head_id), "of the commit that was read"
        numbers.append(hint.sequence_number)
    assert numbers == sorted(set(numbers))
    assert len(lake.gold()) == 40


def test_hours_of_the_last_years_there_are(spark: Spark) -> None:
    """9223372036854775807 microseconds are 2,562,047,788 hours, which is no int."""
    session = spark.session.newSession()
    session.conf.set("spark.sql.ansi.enabled", "true")
    times = [0, -1, 3_600_000_000, 9_223_372_036_854_775_807]
    rows = session.createDataFrame([(time,) for time in times], "us bigint").select(
        f.expr("timestamp_micros(us)").alias("time")
    )
    hours = [row[0] for row in rows.select(hour_of("time")).collect()]
    assert hours == [0, -1, 1, 2_562_047_788]


def test_many_conditions_are_no_deep_ones(spark: Spark) -> None:
    """Spark walks through them by recursion: a chain of thousands overflows its stack."""
    depth = deepest = 0
    for character in str(any_of(f.col("id") == n for n in range(1000))):
        depth += {"(": 1, ")": -1}.get(character, 0)
        deepest = max(deepest, depth)
    assert 10 <= deepest <= 13
    rows = spark.session.range(10)
    assert rows.where(any_of(f.col("id") == n for n in range(3, 10))).count() == 7
    assert rows.where(any_of([])).count() == 0


# Silver.


def test_silver_stops_at_rows_that_were_dropped_though_none_lie_before_them(
    spark: Spark, k2: Path, services: Services, tmp_path: Path
) -> None:
    """Offsets before them that no row has (transaction markers, compacted ones) do not keep Silver from the error."""
    lake = bare_lake(k2, tmp_path / "lake", services)
    frames = Frames(session_of(spark, lake), lake, [], rows_per_step=2)
    key, bronze = SourceKey("c", "t.binance", "id", 0), frames.table(BRONZE)
    publish(bronze, Move(Progress(), Progress({key: Position(20)})))
    gap = ["c", "t.binance", "id", 0, 5, 9, 5]
    dropped = {"version": 1, "rows": 5, "sequence": 1, "at": "2026-01-01", "sources": [gap]}
    bronze.java.updateProperties().set("k2.dropped-unread", json.dumps(dropped)).commit()
    with pytest.raises(OffsetsError, match=r"committed offset is 0 in t\.binance, .* --next 10 --accept-loss"):
        silver_step(frames.spark, frames.of_silver)


@pytest.mark.parametrize("gone", ["data file", "manifest"])
@pytest.mark.parametrize("engine", ["spark", pytest.param("native", marks=pytest.mark.long)])
def test_a_planned_file_that_is_gone_is_planned_anew(
    spark: Spark,
    k2: Path,
    services: Services,
    tmp_path: Path,
    simulate: Simulate,
    monkeypatch: pytest.MonkeyPatch,
    gone: str,
    engine: str,
) -> None:
    """Others have compacted the table and expired its snapshots: no reason for a job to end."""
    lake = bare_lake(k2, tmp_path / "lake", services)
    lake.run([("binance", simulate("binance", 100, 3))], "--layer", "bronze", env={"K2_KAFKA": ""})
    head = lake.table(BRONZE).current_snapshot()
    assert head is not None
    manifest = head.manifests(lake.table(BRONZE).io)[0].manifest_path
    (planned,) = lake.table(BRONZE).scan().plan_files()
    path = (planned.file.file_path if gone == "data file" else manifest).removeprefix("s3://")
    store = services.s3.filesystem()
    store.move(path, path + ".aside")
    frames = Frames(session_of(spark, lake), lake, [])
    monkeypatch.setenv("K2_PROGRAM", str(k2))
    for name, value in lake.variables.items():
        if name != "K2_KAFKA":  # with it the program is of its topics alone
            monkeypatch.setenv(name, value)
    native = NativeEngine(frames.spark, tasks=1)
    tries = 0

    def step() -> StepReport | None:
        nonlocal tries
        tries += 1
        if tries == 3:
            store.move(path + ".aside", path)
        return native.step("silver") if engine == "native" else reported(silver_step(frames.spark, frames.of_silver))

    totals = Totals("silver", engine)
    move(step, totals, argparse.Namespace(continuous=False), Stop(), None)
    assert tries > 3  # and perhaps one that finds nothing left
    assert totals.done.rows_in == lake.total(BRONZE) > 0
