"""Commits of the DataFrame path: what slips in between, crashes, lost replies; where a table's progress is found."""

from __future__ import annotations

import functools
import json
import os
import re
import socket
import threading
import time
import uuid
from datetime import datetime, timezone
from pathlib import Path

import pyarrow as pa
import pytest
from engines import Spark
from kafka_oracle import Oracle, documented_schema
from service_warehouse import Lake
from spark_frames import Frames, Slip, at, bare_lake, metadata_of, move_of, session_of
from warehouse import BRONZE, GOLD, REJECTED, SILVER

from k2 import __version__ as k2_version
from k2.spark.dataframe import (
    AnotherWriterError,
    LakeOptions,
    OffsetsError,
    Policy,
    bronze_step,
    gold_step,
    silver_settle,
    silver_step,
)
from k2.spark.dataframe.kafka import parse_start
from k2.spark.dataframe.progress import (
    Metadata,
    Progress,
    UpstreamHint,
    find_progress,
    parse_progress,
    progress_to_read,
)
from k2.spark.dataframe.publish import STAGE_PREFIX, publish, remove_left_over
from k2.spark.maintenance.offsets import read_sequence
from k2.spark.schemas import OFFSETS_KEY, TRADE_SCHEMA_JSON
from k2.spark.utils.errors import ConfigurationError, DataError, UnknownOutcomeError
from stack.services import Services

pytestmark = pytest.mark.timeout(900)  # a machine that does much else besides


# A commit that slips in.


def their_row(lake: Lake) -> None:
    """Somebody else's append to Bronze."""
    table = lake.table(BRONZE)
    now = datetime.now(timezone.utc)
    row = {"topic": "theirs", "partition": 0, "offset": 0, "kafka_timestamp": now, "ingestion_timestamp": now}
    row |= {"ingestion_date": now.date(), "message_key": None, "avro_payload": None}
    table.append(pa.Table.from_pylist([row], schema=table.schema().as_arrow()))


def test_an_append_that_slips_in_is_kept_and_the_rows_are_published_on_it(
    frames: Frames, lake: Lake, oracle: Oracle, topics: list[str]
) -> None:
    for topic in topics:
        oracle.send(topic, 100)
    oracle.flush()
    slip = Slip(BRONZE, lambda: their_row(lake))
    frames.bronze()  # where the sources begin is a commit of its own
    for topic in topics:
        oracle.send(topic, 50)
    oracle.flush()
    frames.policy.on_step = slip
    result = bronze_step(frames.spark, frames.of_bronze)
    frames.policy.on_step = None
    assert slip.done == 1
    assert [one.attempts for one in result.commits] == [2]
    table = lake.table(BRONZE)
    head = table.current_snapshot()
    assert head is not None
    assert head.snapshot_id == result.snapshot_ids[BRONZE]
    assert head.summary is not None
    by_whom = head.summary.additional_properties
    assert (by_whom["engine-name"], by_whom["k2.version"]) == ("spark", k2_version)
    assert by_whom["k2.host"] == socket.gethostname()[:64]
    assert by_whom["k2.process"].startswith(f"{os.getpid()}/")
    theirs = table.metadata.snapshot_by_id(head.parent_snapshot_id or 0)
    assert theirs is not None
    assert theirs.summary is not None
    assert OFFSETS_KEY not in theirs.summary.additional_properties
    assert lake.arrow(BRONZE, ["topic"])["topic"].to_pylist().count("theirs") == 1
    frames.assert_no_branches()
    # k2 finds its way past their commit, too.
    lake.k2_run("run", "--layer", "silver", "--until-caught-up")
    frames.gold()
    oracle.check(lake)


def test_another_writer_that_slips_in_is_noticed(frames: Frames, lake: Lake, oracle: Oracle, topics: list[str]) -> None:
    for topic in topics:
        oracle.send(topic, 100)
    oracle.flush()
    steps = {
        BRONZE: (lambda: bronze_step(frames.spark, frames.of_bronze), "bronze"),
        REJECTED: (lambda: silver_step(frames.spark, frames.of_silver), "silver"),
        GOLD: (lambda: gold_step(frames.spark, frames.of_gold), "gold"),
    }
    for name, (step, layer) in steps.items():
        before = lake.heads()[name]
        slip = Slip(name, functools.partial(lake.k2_run, "run", "--layer", layer, "--until-caught-up"))
        frames.policy.on_step = slip
        with pytest.raises(AnotherWriterError, match="concurrent writer detected"):
            step()
        frames.policy.on_step = None
        assert slip.done == 1
        assert lake.heads()[name] != before
        assert step().rows_in == 0, "k2 has done it"
        frames.assert_no_branches()
    silver_settle(frames.spark, frames.of_silver)
    oracle.check(lake)


class CrashedError(Exception):
    pass


def crash() -> None:
    raise CrashedError


@pytest.mark.parametrize("survivor", ["frames", pytest.param("k2", marks=pytest.mark.long)])
def test_a_crash_between_rejected_and_silver(
    frames: Frames, lake: Lake, oracle: Oracle, topics: list[str], survivor: str
) -> None:
    for topic in topics:
        oracle.send(topic, 150)
        oracle.send_one(topic, oracle.maker.broken(topic.rsplit(".", 1)[1], "truncated"), partition=0)
    oracle.flush()
    lake.run_kafka("--layer", "bronze")
    frames.policy.on_step = Slip(SILVER[1], crash)
    with pytest.raises(CrashedError):
        silver_step(frames.spark, frames.of_silver)
    frames.policy.on_step = None
    assert lake.total(REJECTED) > 0
    assert lake.total(SILVER[0]) > 0
    assert lake.total(SILVER[1]) == 0
    for topic in topics:
        oracle.send(topic, 50)
    oracle.flush()
    lake.run_kafka("--layer", "bronze")
    if survivor == "frames":
        caught_up = silver_step(frames.spark, frames.of_silver)
        assert not caught_up.rejected, "what was judged is not judged again"
        assert [one.table for one in caught_up.commits] == [SILVER[1]]
        frames.silver()
    else:
        lake.k2_run("run", "--layer", "silver", "--until-caught-up")
    frames.gold()
    oracle.check(lake)
    frames.assert_no_branches()


def test_replies_that_are_lost_and_branches_that_are_left(
    spark: Spark, k2: Path, services: Services, tmp_path: Path
) -> None:
    lake = bare_lake(k2, tmp_path / "lake", services)
    table = LakeOptions().table(session_of(spark, lake), BRONZE)

    def publish_it() -> None:
        """As if the request had come through and its reply had not."""
        manage = table.java.manageSnapshots()
        refs = table.current().refs
        branch = next(name for name in refs if name.startswith(STAGE_PREFIX))
        manage = manage.fastForwardBranch("main", branch)
        mark = manage.replaceTag if "k2-offsets" in refs else manage.createTag
        mark("k2-offsets", refs[branch]["snapshot-id"]).removeBranch(branch).commit()

    def other_refs() -> None:
        table.java.manageSnapshots().createBranch(f"theirs-{uuid.uuid4().hex[:6]}").commit()

    move = move_of(table)
    slip = Slip(BRONZE, publish_it)
    done = publish(table, move, policy=Policy(on_step=slip))
    assert (slip.done, table.refresh().head_id) == (1, done.snapshot_id)
    with pytest.raises(AnotherWriterError):
        publish(table, move)
    slip = Slip(BRONZE, other_refs)
    done = publish(table, move_of(table), policy=Policy(on_step=slip))
    assert (slip.done, table.refresh().head_id, done.attempts) == (1, done.snapshot_id, 2)

    # main rolled back in between: fast-forward by itself would go through, and undo it.
    older = table.refresh().snapshots[done.snapshot_id].parent_id

    def roll_back() -> None:
        table.java.manageSnapshots().setCurrentSnapshot(older).commit()

    slip = Slip(BRONZE, roll_back, step="staged")
    with pytest.raises(OffsetsError, match="rolled back"):
        publish(table, move_of(table), policy=Policy(on_step=slip))
    assert table.refresh().head_id == older
    table.java.manageSnapshots().setCurrentSnapshot(done.snapshot_id).commit()

    remove_left_over(table, table.refresh(), older_than_s=-10)
    head = table.refresh().head_id
    assert head is not None
    young, old = (f"{STAGE_PREFIX}{int((time.time() - age) * 1000)}-crashed" for age in (7200, 90_000))
    for name in (young, old):
        table.java.manageSnapshots().createBranch(name, head).commit()
    publish(table, move_of(table))
    refs = table.refresh().refs
    assert young in refs
    assert old not in refs
    assert remove_left_over(table, table.refresh(), older_than_s=-10) == [young]


@pytest.mark.long
def test_a_catalog_that_does_not_answer(spark: Spark, k2: Path, services: Services, tmp_path: Path) -> None:
    """A request that was served and its reply lost is found; one of which nothing can be learnt is told as such."""
    lake = bare_lake(k2, tmp_path / "lake", services)
    port = services.toxiproxy.proxy("catalog", services.catalog.ports["http"])
    lake.variables["K2_CATALOG"] = re.sub(r":\d+", f":{port}", lake.variables["K2_CATALOG"])
    session = session_of(spark, lake)
    for side in ("connection", "socket"):
        session.conf.set(f"spark.sql.catalog.iceberg.rest.client.{side}-timeout-ms", "1500")
    table = LakeOptions().table(session, BRONZE)

    def lose() -> None:
        services.toxiproxy.add("catalog", "timeout", timeout=0)
        threading.Timer(4, lambda: services.toxiproxy.mend("catalog")).start()

    slip = Slip(BRONZE, lose)
    done = publish(table, move_of(table), policy=Policy(on_step=slip))
    assert slip.done == 1
    assert table.refresh().head_id == done.snapshot_id

    slip = Slip(BRONZE, lambda: services.toxiproxy.cut("catalog"))
    with pytest.raises(UnknownOutcomeError, match="unknown commit outcome"):
        publish(table, move_of(table), policy=Policy(on_step=slip, duration_s_max=3))
    services.toxiproxy.mend("catalog")
    metadata = table.refresh()
    assert metadata.head_id == done.snapshot_id
    assert any(name.startswith(STAGE_PREFIX) for name in metadata.refs), "it could still have been published"
    publish(table, move_of(table))
    assert remove_left_over(table, table.refresh(), older_than_s=-10)


def test_progress_is_found_as_k2_finds_it() -> None:
    assert find_progress(metadata_of([])).progress == Progress()
    assert find_progress(metadata_of([(1, None, None), (2, 1, None)])).progress == Progress()
    chain = [(1, None, at(1)), (2, 1, at(2)), (3, 2, None), (4, 3, None)]
    assert (find_progress(metadata_of(chain, tag=2)).progress, 2) == (at(2), 2)
    broken = [(2, 1, at(2)), (4, 3, None), (5, 4, None)]
    assert find_progress(metadata_of(broken, tag=2)).progress == at(2)
    with pytest.raises(OffsetsError, match="are lost"):
        find_progress(metadata_of(broken))
    rolled = [(1, None, None), (2, 1, at(2)), (3, 2, None), (4, 3, at(4))]
    assert find_progress(metadata_of(rolled, tag=4)).progress == at(4)
    for head in (1, 2, 3):
        with pytest.raises(OffsetsError, match="rolled back"):
            find_progress(metadata_of(rolled, tag=4, head=head))
    assert find_progress(metadata_of(rolled, tag=2)).progress == at(4), "a tag that stayed behind"
    with pytest.raises(DataError, match="cycle"):
        find_progress(metadata_of([(1, 3, None), (2, 1, None), (3, 2, None)]))


def test_a_reader_follows_a_rollback() -> None:
    rolled = [(1, None, None), (2, 1, at(2)), (3, 2, None), (4, 3, at(4)), (5, 3, None)]  # 5: a branch's
    for head, read, expected in ((4, 3, 3), (4, 4, 4), (3, 4, 3), (5, 4, 3), (5, 3, 3)):
        assert metadata_of(rolled, head=head).after_rollback(read, read) == (expected, expected)
    forgotten = [one for one in rolled if one[0] != 4]
    assert metadata_of(forgotten, head=5).after_rollback(4, 4) == (None, 0)
    # A history that is expired need not have been another one.
    assert metadata_of([(6, 5, None), (7, 6, None)]).after_rollback(4, 4) == (4, 4)
    assert metadata_of(rolled, head=3).after_rollback(None, 0) == (None, 0)
    assert progress_to_read(metadata_of(rolled, tag=4, head=3)) == at(2)
    assert progress_to_read(metadata_of(rolled, tag=4, head=4)) == at(4)


def test_what_a_reader_has_read() -> None:
    """Snapshots behind the one it read that add no rows count as read; those that do not say what they add, add."""

    def summary(**entries: str) -> dict[str, str]:
        return {"operation": "append", **{name.replace("_", "-"): value for name, value in entries.items()}}

    chain = [
        (1, None, summary(added_data_files="1")),
        (2, 1, summary(added_data_files="0")),
        (3, 2, {"operation": "replace"}),
        (4, 3, {"operation": "overwrite", "k2.rebuilt": "1"}),
        (5, 4, summary()),
        (6, 5, summary(added_data_files="0")),
    ]
    made = [
        {"snapshot-id": number, "parent-snapshot-id": parent, "sequence-number": 10 * number, "summary": entries}
        for number, parent, entries in chain
    ]

    def read(snapshot: int, known: int = 0, oldest: int = 0, uuid: str = "u") -> int:
        document = {"table-uuid": "u", "location": "l", "snapshots": made[oldest:], "current-snapshot-id": 6}
        return read_sequence(Metadata(document), UpstreamHint(uuid, snapshot, known))

    assert [read(number) for number in range(1, 7)] == [40, 40, 40, 49, 60, 60], "49: there is nothing between 4 and 5"
    assert read(1, known=10, oldest=1) == 40, "itself expired, but what came behind it is all there"
    assert read(1, known=10, oldest=2) == 10
    assert read(99, known=7) == 7
    assert read(1, known=10, uuid="another") == 0


BAD_DOCUMENTS = (
    "",
    "null",
    "[]",
    "{}",
    '{"version":1}',
    '{"version":1,"table":"u","sources":{}}',
    '{"version":1,"table":"u","sources":[[]]}',
    '{"version":1,"table":"u","sources":[{"cluster":"c","topic":"t","at":[[0,1,2]]}]}',
    '{"version":1,"table":"u","sources":[{"cluster":"c","topic":"t","id":"x","at":[[0,1]]}]}',
    '{"version":1,"table":"u","sources":[{"cluster":"c","topic":"t","id":"x","at":[[0,-1,2]]}]}',
    '{"version":1,"table":"u","sources":[{"cluster":"c","topic":"t","id":"x","at":[[0,1.0,2]]}]}',
    '{"version":1,"table":"u","sources":[{"cluster":"c","topic":"t","id":"x","at":[[0,1,2],[0,5,2]]}]}',
    '{"version":1,"table":"u","upstream":{"t":["u"]}}',
    '{"version":1,"table":"u","upstream":{"t":["u","1"]}}',
    '{"version":1,"table":"u","rules":"2"}',
    '{"version":2,"table":"u","recordings":[]}',
    '{"version":2,"table":"u","recordings":{"binance":[["ab"]]}}',
    '{"version":2,"table":"u","recordings":{"binance":[["ab",1,2]]}}',
    '{"version":2,"table":"u","recordings":{"binance":[["ab",1],["ab",2]]}}',
    '{"version":2,"table":"u","finished":["u"]}',
    '{"version":2,"table":"u","finished":["u",3,[2]]}',
)


@pytest.mark.parametrize("text", BAD_DOCUMENTS)
def test_broken_documents_are_refused(text: str) -> None:
    with pytest.raises(DataError):
        parse_progress(text, "u")


def test_documents_of_others_and_of_later_versions() -> None:
    assert parse_progress('{"version":3,"table":"another"}', "u") is None
    with pytest.raises(OffsetsError, match="version 3"):
        parse_progress('{"version":3,"table":"u","sources":"new form"}', "u")


def test_the_schemas_are_the_documented_ones() -> None:
    assert json.loads(TRADE_SCHEMA_JSON) == documented_schema()


def test_the_start_of_a_topic() -> None:
    assert parse_start("earliest") == "earliest"
    assert parse_start("2024-05-05T22:00:00Z") == 1_714_946_400_000
    assert parse_start("2024-05-05T22:00:00.000001+00:00") == 1_714_946_400_001
    for text in ("", "now", "2024-05-05T22:00:00"):
        with pytest.raises(ConfigurationError):
            parse_start(text)
