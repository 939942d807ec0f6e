"""`rebuild --engine spark`: the same rows again in one commit a table, beside layers that go on; refused where a trade
would vanish."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from conftest import Simulate
from engines import Spark, duckdb_on_rest
from hostile import send_hostile
from kafka_oracle import Made, Oracle, Verdict
from pyiceberg.table.snapshots import Operation, Summary
from service_warehouse import Lake
from spark_frames import (
    REJECTED_COLUMNS,
    SILVER_COLUMNS,
    Frames,
    Slip,
    bare_lake,
    progress_of,
    rows_of,
    session_of,
)
from warehouse import BRONZE, GOLD, NAMESPACE, REJECTED, SILVER

from k2.spark.dataframe import AnotherWriterError, OffsetsError, gold_rebuild, silver_rebuild
from k2.spark.dataframe.overwrite import Replacement
from k2.spark.jobs import rebuild
from k2.spark.utils import command_line
from k2.spark.utils.errors import ConfigurationError, DataError, RaceError
from stack.pins import ROOT
from stack.services import Services

pytestmark = pytest.mark.timeout(900)  # a machine that does much else besides

REBUILT = (REJECTED, *SILVER, GOLD)
MIDNIGHT = ("--start", "2024-03-01T23:50:00Z", "--trades-per-second", "1", "--malformed-ppm", "20000")


def contents(lake: Lake) -> dict[str, Counter[tuple[Any, ...]]]:
    """As PyIceberg reads them."""
    columns = {REJECTED: REJECTED_COLUMNS, GOLD: [*SILVER_COLUMNS, "exchange_hour"]}
    return {name: rows_of(lake, name, columns.get(name, SILVER_COLUMNS)) for name in REBUILT}


def paths(lake: Lake, name: str) -> set[str]:
    return {task.file.file_path for task in lake.table(name).scan().plan_files()}


def summary_of(lake: Lake, name: str) -> Summary:
    snapshot = lake.table(name).current_snapshot()
    assert snapshot is not None
    assert snapshot.summary is not None
    return snapshot.summary


def assert_nothing_is_left(frames: Frames) -> None:
    """Neither engine reads what was rebuilt as new."""
    heads = frames.lake.heads()
    for layer in ("silver", "gold"):
        assert frames.lake.run_kafka("--layer", layer, env={"K2_KAFKA": ""})[layer]["rows_in"] == 0
    assert frames.silver() == []
    assert frames.gold() == []
    assert frames.lake.heads() == heads


def send(oracle: Oracle, topics: list[str], count: int) -> None:
    for topic in topics:
        oracle.send(topic, count)
    oracle.flush()


# The same rows.


def job(frames: Frames, *words: str) -> dict[str, Any]:
    """The job's report, in this process and session."""
    printed: list[dict[str, Any]] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(command_line, "session", lambda *_: frames.spark)
        patch.setattr(frames.spark, "stop", lambda: None)
        patch.setattr(command_line, "print_rows", lambda rows, _: printed.extend(json.loads(json.dumps(rows))))
        assert rebuild.main([*words, "--engine", "spark"]) == 0
    return printed[0]


def test_the_same_rows_in_one_commit(
    spark: Spark, k2: Path, services: Services, tmp_path: Path, simulate: Simulate
) -> None:
    """Two exchanges, two days: a day of Gold, then all of Silver and Gold."""
    lake = bare_lake(k2, tmp_path / "lake", services)
    recordings = [(exchange, simulate(exchange, 1_000, 5, *MIDNIGHT)) for exchange in ("binance", "kraken")]
    lake.run(recordings, env={"K2_KAFKA": ""})
    frames = Frames(session_of(spark, lake), lake, [])
    before, files = contents(lake), {name: paths(lake, name) for name in REBUILT}
    stood = {name: progress_of(lake.table(name)) for name in REBUILT}
    counts = {name: rows.total() for name, rows in before.items()}
    in_silver = counts[SILVER[0]] + counts[SILVER[1]]

    day = job(frames, "gold", "--from", "2024-03-02", "--to", "2024-03-02")
    assert 0 < day["rows_in"] < in_silver
    new = paths(lake, GOLD) - files[GOLD]
    assert new
    assert all("exchange_date=2024-03-02" in path for path in new)
    kept = paths(lake, GOLD) & files[GOLD]
    assert kept
    assert all("exchange_date=2024-03-01" in path for path in kept)
    assert contents(lake)[GOLD] == before[GOLD]
    files[GOLD] = paths(lake, GOLD)
    snapshots = {name: len(lake.table(name).history()) for name in REBUILT}

    report = job(frames, "silver")
    assert (report["layer"], report["rows_in"], report["rows_out"]) == (
        "silver",
        in_silver + counts[REJECTED],
        in_silver,
    )
    assert (sum(report["rejected"].values()), report["commits"], report["behind"]) == (counts[REJECTED], 3, 0)
    report = job(frames, "gold")
    assert (report["rows_in"], report["rows_out"], report["commits"]) == (in_silver, counts[GOLD], 1)
    assert report["duplicates"] == in_silver - counts[GOLD]
    after = contents(lake)
    duckdb = duckdb_on_rest(lake.variables)
    for name in REBUILT:
        assert after[name] == before[name], name
        assert not paths(lake, name) & files[name]
        assert len(lake.table(name).history()) == snapshots[name] + 1
        assert summary_of(lake, name).operation == Operation.OVERWRITE
        assert summary_of(lake, name)["k2.rebuilt"] == "1"
        assert progress_of(lake.table(name)) == stood[name]
        counted = duckdb.execute(f"SELECT count(*) FROM iceberg.{NAMESPACE}.{name}").fetchone()
        assert counted == (counts[name],)
    frames.assert_no_branches()
    assert_nothing_is_left(frames)
    # Expiry takes the snapshots of branches, and leaves the files that they share with main's.
    lake.k2_run("maintain", "expire", "--older-than", "0s")
    assert {name: len(lake.table(name).metadata.snapshots) for name in REBUILT} == dict.fromkeys(REBUILT, 1)
    lake.assert_files_exist()
    assert contents(lake) == before
    assert_nothing_is_left(frames)


def test_reading_all_rows_may_take_long(
    frames: Frames, lake: Lake, oracle: Oracle, topics: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Longer than a commit may: its time begins when there are rows to write."""
    send(oracle, topics, 100)
    lake.run_kafka()
    init = Replacement.__init__

    def begun_an_hour_ago(self: Replacement, *args: Any, **named: Any) -> None:
        init(self, *args, **named)
        self.began -= 3600

    monkeypatch.setattr(Replacement, "__init__", begun_an_hour_ago)
    silver_rebuild(frames.spark, frames.of_silver)
    gold_rebuild(frames.spark, frames.of_gold)
    oracle.check(lake)


@pytest.mark.long
def test_rows_that_gold_has_yet_to_read(frames: Frames, lake: Lake, oracle: Oracle, topics: list[str]) -> None:
    """The rebuild neither hides them from Gold nor shows them twice."""
    send(oracle, topics, 200)
    lake.run_kafka()
    read = lake.total(GOLD)
    send(oracle, topics, 100)
    for layer in ("bronze", "silver"):
        lake.run_kafka("--layer", layer)
    assert gold_rebuild(frames.spark, frames.of_gold).rows_out == read == lake.total(GOLD)
    silver_rebuild(frames.spark, frames.of_silver)
    result = gold_rebuild(frames.spark, frames.of_gold)
    assert result.rows_out == lake.total(GOLD) > read, "what was rebuilt is read whole"
    steps = frames.gold()
    assert sum(one.rows_in for one in steps) > 150, "of the snapshots that appended them"
    assert sum(one.rows_out for one in steps) == 0
    oracle.check(lake)
    frames.assert_no_branches()


@pytest.mark.long
def test_the_same_rows_of_hostile_messages(
    frames: Frames, lake: Lake, oracle: Oracle, topics: list[str], services: Services, seed: int
) -> None:
    """What k2 has judged, with its reasons and details, of many schemas."""
    services.start("registry")
    lake.variables["K2_REGISTRY"] = frames.schemas.url = services.registry.url
    send_hostile(oracle, topics, services.registry.url, seed, 400)
    lake.run_kafka()
    before = contents(lake)
    assert before[REJECTED].total() > 200
    silver_rebuild(frames.spark, frames.of_silver)
    after = contents(lake)
    for name in (REJECTED, *SILVER):
        assert after[name] == before[name], f"{list(after[name] - before[name])[:2]}"
    gold_rebuild(frames.spark, frames.of_gold)
    assert {(row[0], row[5]) for row in contents(lake)[GOLD]} == {(row[0], row[5]) for row in before[GOLD]}
    assert_nothing_is_left(frames)


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("silver", "--from", "2024-03-01"), "as a whole"),
        (("gold", "--from", "2024-03-02", "--to", "2024-03-01"), "is after"),
        (("gold", "--to", "2024-W09-5"), "not a date"),
        (("gold", "--from", "yesterday"), "yesterday"),
    ],
)
@pytest.mark.parametrize("engine", ["native", "spark"])
def test_days_that_are_none(words: tuple[str, ...], why: str, engine: str) -> None:
    with pytest.raises(ConfigurationError, match=why):
        rebuild.main([*words, "--engine", engine])


# Other rows, and refusals.


def rewrite_bronze(lake: Lake, change: Callable[[list[dict[str, Any]]], list[dict[str, Any]]]) -> None:
    """What somebody has made of Bronze's rows since, in the order of their offsets."""
    table = lake.table(BRONZE)
    held = table.scan().to_arrow()
    rows = change(sorted(held.to_pylist(), key=lambda row: row["offset"]))
    table.overwrite(pa.Table.from_pylist(rows, schema=held.schema))


def payloads(*values: bytes | None) -> Callable[[list[dict[str, Any]]], list[dict[str, Any]]]:
    return lambda rows: [row | {"avro_payload": value} for row, value in zip(rows, values, strict=True)]


def broken_of(oracle: Oracle, made: Made) -> Made:
    """The same trade, without a price."""
    assert made.verdict.row is not None
    whole = oracle.maker.framed(made.verdict.row | {"price": Decimal(0)})
    return Made(whole.key, whole.value, Verdict(None, "price_not_positive"))


def test_what_is_judged_otherwise_now(frames: Frames, lake: Lake, oracle: Oracle, topics: list[str]) -> None:
    topic = topics[0]
    first, second, third = (oracle.maker.framed(oracle.maker.trade("binance")) for _ in range(3))
    for made in (first, second, broken_of(oracle, third)):
        oracle.send_one(topic, made, partition=0)
    oracle.flush()
    lake.run_kafka()
    before = contents(lake)
    heads = lake.heads()

    def refused(step: Callable[[], object], why: str) -> None:
        with pytest.raises(DataError, match=why) as said:
            step()
        assert not isinstance(said.value, RaceError)
        assert said.value.exit_code == 1
        assert {name: head for name, head in lake.heads().items() if name != BRONZE} == {
            name: head for name, head in heads.items() if name != BRONZE
        }
        assert contents(lake) == before
        frames.assert_no_branches()

    def silver() -> object:
        return silver_rebuild(frames.spark, frames.of_silver)

    # Nobody can tell which trade this was.
    rewrite_bronze(lake, payloads(first.value, b"no message", None))
    assert second.verdict.row is not None
    lost = second.verdict.row["message_id"]
    refused(silver, f"cannot rebuild silver_binance_trades: 1 of its trades .* message_id {lost}\\). Nothing was")
    rewrite_bronze(lake, lambda rows: rows[:2])
    refused(silver, "Bronze holds 2 rows of .* up to offset 3, but Silver was built from 3. Nothing was changed")

    # One that was good is refused now, and the other way round.
    rewrite_bronze(lake, lambda rows: [*rows, rows[0] | {"offset": 2}])
    rewrite_bronze(lake, payloads(first.value, broken_of(oracle, second).value, third.value))
    result = silver_rebuild(frames.spark, frames.of_silver)
    assert (result.rows_in, result.rows_out, result.rejected) == (3, 2, Counter(price_not_positive=1))
    after = contents(lake)
    assert {row[0] for row in after[SILVER[0]]} == {
        made.verdict.row["message_id"] for made in (first, third) if made.verdict.row
    }
    assert [row[2] for row in after[REJECTED]] == [1]
    # Gold holds a trade that no row of Silver stands for any more.
    before, heads = after, lake.heads()
    refused(
        lambda: gold_rebuild(frames.spark, frames.of_gold), f"cannot rebuild gold_crypto_trades: 1 .* message_id {lost}"
    )


@pytest.mark.long
def test_silver_behind_rejected_trades(frames: Frames, lake: Lake, oracle: Oracle, topics: list[str]) -> None:
    """A crash came between the two: what lies between is caught up first."""
    oracle.send_one(topics[0], oracle.maker.broken("binance", "truncated"), partition=0)
    oracle.flush()
    lake.run_kafka("--layer", "bronze")
    lake.run_kafka("--layer", "silver", expect=1)  # nothing but that one was read, and it is rejected
    for made in (oracle.maker.broken("binance", "truncated"), oracle.maker.message("binance")):
        oracle.send_one(topics[0], made, partition=0)
    oracle.flush()
    lake.run_kafka("--layer", "bronze")

    def crash() -> None:
        raise InterruptedError

    frames.policy.on_step = Slip(SILVER[0], crash)
    with pytest.raises(InterruptedError):
        frames.silver()
    frames.policy.on_step = None
    with pytest.raises(OffsetsError, match=r"silver_binance_trades is behind rejected_trades in .*: run Silver"):
        silver_rebuild(frames.spark, frames.of_silver)
    frames.silver()
    silver_rebuild(frames.spark, frames.of_silver)
    frames.gold()
    oracle.check(lake)


# Beside others.


def test_the_layers_go_on_meanwhile(frames: Frames, lake: Lake, oracle: Oracle, topics: list[str]) -> None:
    """Silver's newer rows stay. What Gold takes in may be what the rebuild brings, too: it is refused."""
    send(oracle, topics, 100)
    lake.run_kafka()

    def more(*layers: str) -> None:
        send(oracle, topics, 50)
        for layer in layers:
            lake.run_kafka("--layer", layer)

    frames.policy.on_step = slip = Slip(SILVER[0], lambda: more("bronze", "silver"))
    result = silver_rebuild(frames.spark, frames.of_silver)
    assert slip.done == 1
    assert {one.table: one.attempts for one in result.commits} == {REJECTED: 1, SILVER[0]: 2, SILVER[1]: 1}
    frames.policy.on_step = slip = Slip(GOLD, lambda: more("bronze", "silver", "gold"))
    with pytest.raises(
        AnotherWriterError, match=r"concurrent writer detected: the table has changed: .* nothing was committed"
    ):
        gold_rebuild(frames.spark, frames.of_gold)
    assert slip.done == 1
    frames.policy.on_step = None
    assert "k2.rebuilt" not in summary_of(lake, GOLD).additional_properties
    frames.assert_no_branches()
    assert_nothing_is_left(frames)
    oracle.check(lake)


@pytest.mark.long
def test_two_rebuilds_at_once(frames: Frames, lake: Lake, oracle: Oracle, topics: list[str]) -> None:
    """Of Silver the one that comes later is refused, as files that it is to remove are gone. A commit to Gold that is
    none of K2's does not matter."""
    send(oracle, topics, 100)
    lake.run_kafka()
    files = paths(lake, SILVER[0])
    frames.policy.on_step = slip = Slip(SILVER[0], lambda: lake.k2_run("rebuild", "--layer", "silver"))
    with pytest.raises(
        RaceError, match=r"silver_binance_trades: \d of the \d files to remove are no longer in the table"
    ):
        silver_rebuild(frames.spark, frames.of_silver)
    assert slip.done == 1
    assert not paths(lake, SILVER[0]) & files, "k2 has done it"
    frames.policy.on_step = None
    silver_rebuild(frames.spark, frames.of_silver)
    frames.policy.on_step = slip = Slip(GOLD, lambda: lake.k2_run("rebuild", "--layer", "gold"), "drafted")
    with pytest.raises(AnotherWriterError):
        gold_rebuild(frames.spark, frames.of_gold)
    nothing = lake.table(GOLD).scan().to_arrow()[:0]
    frames.policy.on_step = slip = Slip(GOLD, lambda: lake.table(GOLD).append(nothing))
    assert [one.attempts for one in gold_rebuild(frames.spark, frames.of_gold).commits] == [2]
    assert slip.done == 1
    frames.assert_no_branches()
    oracle.check(lake)
    assert_nothing_is_left(frames)
    for name in REBUILT:
        expire = frames.table(name).java.expireSnapshots()
        expire.expireOlderThan(int(time.time() * 1000) + 10_000).retainLast(1).commit()
    oracle.check(lake)  # with the files that the snapshots of branches share with main's


@pytest.mark.long
def test_the_job_in_a_process_of_its_own(lake: Lake, oracle: Oracle, topics: list[str]) -> None:
    send(oracle, topics, 100)
    lake.run_kafka()
    variables = {name: value for name, value in os.environ.items() if not name.startswith("K2_")} | lake.variables
    variables["PYTHONPATH"] = str(ROOT / "python" / "src")
    quiet = ("spark.ui.enabled=false", "spark.driver.host=127.0.0.1", "spark.driver.bindAddress=127.0.0.1")

    def run(layer: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "k2.spark.jobs.rebuild", layer, "--engine", "spark", "--master", "local[2]"]
        command += ["--output", "json", *(f"--conf={one}" for one in quiet)]
        return subprocess.run(command, env=variables, capture_output=True, text=True, timeout=300, check=False)

    for layer in ("silver", "gold"):
        done = run(layer)
        assert done.returncode == 0, done.stderr[-3000:]
        (report,) = json.loads(done.stdout)
        assert (report["layer"], report["commits"]) == (layer, {"silver": 3, "gold": 1}[layer])
    oracle.check(lake)
    heads = lake.heads()
    rewrite_bronze(lake, lambda rows: rows[:-1])
    done = run("silver")
    assert done.returncode == 1
    assert "error: cannot rebuild Silver: Bronze holds" in done.stderr.strip().splitlines()[-1]
    assert lake.heads() == heads | {BRONZE: lake.heads()[BRONZE]}
