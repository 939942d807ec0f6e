"""`k2 run --kafka` on real brokers: every offset once, whatever the topics and the processes do."""

from __future__ import annotations

import json
import os
import re
import time
import uuid
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.compute as pc
import pytest
from disks import fill, mount, unmount
from engines import Spark, duckdb_on_rest
from kafka_oracle import BROKEN, Headers, LiveProducer, Made, Oracle, Verdict, exchange_of
from service_warehouse import Lake, Process
from warehouse import BRONZE, GOLD, REJECTED, TABLES, assert_nothing_lost, k2_environment

from stack.messages import Kafka
from stack.services import Services


@pytest.fixture
def oracle(services: Services, seed: int) -> Oracle:
    return Oracle(services.kafka.brokers, seed)


@pytest.fixture
def topics(oracle: Oracle) -> Iterator[list[str]]:
    """Two topics of this test alone, with four partitions each."""
    stem = f"t{uuid.uuid4().hex[:8]}.trades"
    made = [oracle.create(f"{stem}.{exchange}") for exchange in ("binance", "kraken")]
    yield made
    oracle.delete(set(oracle.partitions))


def of_topics(lake: Lake, topics: list[str]) -> Lake:
    lake.variables["K2_TOPICS"] = ",".join(topics)
    return lake


@pytest.fixture
def lake(k2: Path, tmp_path: Path, services: Services, topics: list[str]) -> Iterator[Lake]:
    made = of_topics(Lake.local(k2, tmp_path / "lake", services.kafka.brokers), topics)
    yield made
    made.kill_all()


@pytest.fixture
def rest(k2: Path, tmp_path: Path, services: Services, topics: list[str]) -> Iterator[Lake]:
    made = of_topics(Lake.rest(k2, tmp_path / "lake", services), topics)
    yield made
    made.kill_all()


def rows_in(report: dict[str, Any]) -> list[int]:
    return [report[layer]["rows_in"] for layer in ("bronze", "silver", "gold")]


@pytest.mark.parametrize("where", ["lake", "rest"])
def test_until_caught_up_twice(request: pytest.FixtureRequest, where: str, oracle: Oracle, topics: list[str]) -> None:
    lake: Lake = request.getfixturevalue(where)
    for topic in topics:
        oracle.send(topic, 3000)
    oracle.flush()
    report = lake.run_kafka()
    assert report["bronze"]["rows_in"] == 6000
    assert sum(report["silver"]["rejected"].values()) > 50
    assert report["gold"]["duplicates"] > 50
    oracle.check(lake)
    heads = lake.heads()
    assert rows_in(lake.run_kafka()) == [0, 0, 0]
    assert lake.heads() == heads
    for topic in topics:
        oracle.send(topic, 500)
    oracle.flush()
    assert lake.run_kafka()["bronze"]["rows_in"] == 1000
    oracle.check(lake)


def test_other_engines_read_it_through_the_catalog(rest: Lake, oracle: Oracle, topics: list[str], spark: Spark) -> None:
    for topic in topics:
        oracle.send(topic, 1000)
    oracle.flush()
    rest.run_kafka("--rows-per-commit", "300")
    oracle.check(rest)
    duck, session = duckdb_on_rest(rest.variables), spark.on_rest(rest.variables)
    for name in TABLES:
        column = "t.offset" if name in (BRONZE, REJECTED) else "price"
        probe = f"SELECT count(*), sum({column}) FROM iceberg.market_data.{name} t"
        truth = rest.arrow(name, (column.removeprefix("t."),)).columns[0]
        wanted = (len(truth), pc.sum(truth).as_py())
        assert duck.execute(probe).fetchone() == wanted
        assert tuple(session.sql(probe).collect()[0]) == wanted
    columns = ("topic", "partition", "offset", "headers", "topic_id")
    wanted_rows = in_order(with_null_headers(rest.arrow(BRONZE, columns).to_pylist()))
    assert any(row["headers"] for row in wanted_rows)
    assert {row["topic"]: row["topic_id"] for row in wanted_rows} == oracle.topic_ids()
    probe = f"SELECT {', '.join('t.' + name for name in columns)} FROM iceberg.market_data.{BRONZE} t"
    assert in_order(duck.execute(probe).to_arrow_table().to_pylist()) == wanted_rows
    of_spark = [row.asDict(recursive=True) for row in session.sql(probe).collect()]
    for row in of_spark:
        for header in row["headers"] or ():
            header["value"] = None if header["value"] is None else bytes(header["value"])
    assert in_order(of_spark) == wanted_rows


def in_order(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(rows, key=lambda row: (row["topic"], row["partition"], row["offset"]))


def with_null_headers(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """PyIceberg reads a null list of structs as an empty one (apache/arrow#38809)."""
    return [row | {"headers": row["headers"] or None} for row in rows]


HEADERS: Headers = [("a", b"\0\xff"), ("a", None), ("ü", b""), ("a", b"again")]


def test_headers_of_a_table_of_an_earlier_version(lake: Lake, oracle: Oracle, topics: list[str]) -> None:
    """It goes on without them, and says so; `k2 tables migrate` adds the columns by metadata alone. Then keys that
    repeat, nulls, bytes and no headers are as they were sent, for polars, too."""
    lake.k2_run("tables", "create")
    added = {BRONZE: ("headers", "topic_id"), REJECTED: ("topic_id", "headers")}
    for name, columns in added.items():
        table = lake.table(name)
        ids = json.loads(table.properties["k2.columns"])
        with table.transaction() as change:
            with change.update_schema() as schema:
                for column in columns:
                    schema.delete_column(column)
            kept = {column: of for column, of in ids.items() if column not in columns}
            change.set_properties({"k2.columns": json.dumps(kept)})
    made = oracle.maker.trade("binance")
    with_headers = replace(oracle.maker.framed(made), headers=HEADERS)
    bare = replace(oracle.maker.framed(made), headers=[])
    refused = Made(None, None, Verdict(None, "null_value"), HEADERS)

    def send() -> str:
        for message in (bare, with_headers, refused, bare):
            oracle.send_one(topics[0], message, 0)
        oracle.flush()
        return lake.k2_run("run", "--until-caught-up").stderr

    told = send()
    assert told.count("headers, topic_id") == 1, told
    assert "lacks headers, topic_id" in lake.k2_run("doctor", expect=None).stdout
    files = {name: sorted(data_files(lake, name)) for name in added}
    assert "tables changed" in lake.k2_run("tables", "migrate").stdout
    assert {name: sorted(data_files(lake, name)) for name in added} == files
    assert "headers" not in send()
    assert "lacks" not in lake.k2_run("doctor", expect=None).stdout
    kept = [{"key": key, "value": value} for key, value in HEADERS]
    wanted = [None] * 4 + [None, kept, kept, None]
    table = lake.table(BRONZE)
    assert [row["headers"] or None for row in in_order(table.scan().to_arrow().to_pylist())] == wanted
    frame = pl.scan_iceberg(table.metadata_location).collect()
    assert [row["headers"] for row in in_order(frame.to_dicts())] == wanted
    topic_id = oracle.topic_ids()[topics[0]]
    assert frame.sort("offset")["topic_id"].to_list() == [None] * 4 + [topic_id] * 4
    rejected = pl.scan_iceberg(lake.table(REJECTED).metadata_location).collect().sort("topic_id")
    assert rejected["topic_id"].to_list() == [None, topic_id]
    assert rejected["headers"].to_list() == [None, kept]
    lake.k2_run("maintain", "compact", "--table", BRONZE, "--min-input-files", "2", "--settled", "0s")
    frame = pl.scan_iceberg(lake.table(BRONZE).metadata_location).collect()
    assert [row["headers"] for row in in_order(frame.to_dicts())] == wanted


def data_files(lake: Lake, name: str) -> list[str]:
    return [task.file.file_path for task in lake.table(name).scan().plan_files()]


def test_the_oracle_sees_what_is_wrong(lake: Lake, oracle: Oracle, topics: list[str]) -> None:
    oracle.send(topics[0], 300)
    oracle.flush()
    lake.run_kafka()
    oracle.check(lake)
    oracle.send(topics[0], 1, partition=0)
    with pytest.raises(AssertionError, match="Bronze lacks 1"):
        oracle.check(lake)
    lake.run_kafka()
    oracle.check(lake)
    gold = lake.table(GOLD)
    row = gold.scan(limit=1).to_arrow()
    gold.append(row)
    with pytest.raises(AssertionError, match="1 rows of Gold are doubled"):
        oracle.check(lake)
    gold.delete(f"message_id == '{row['message_id'][0].as_py()}'")
    with pytest.raises(AssertionError, match="Gold lacks 1"):
        oracle.check(lake)
    bronze = lake.table(BRONZE)
    bronze.append(bronze.scan(limit=1).to_arrow())
    with pytest.raises(AssertionError, match="Bronze holds 1 offsets more than once"):
        oracle.check(lake)


def test_every_broken_message_is_rejected_for_its_reason(lake: Lake, oracle: Oracle, topics: list[str]) -> None:
    for topic in topics:
        exchange = exchange_of(topic)
        for reason in BROKEN:
            for partition in range(3):
                oracle.send_one(topic, oracle.maker.broken(exchange, reason), partition)
        oracle.send_one(topic, Made(None, b"", Verdict(None, "not_framed")), 0)
        oracle.send_one(topic, Made(b"", None, Verdict(None, "null_value")), 1)
        keyless = oracle.maker.message(exchange)
        oracle.send_one(topic, Made(None, keyless.value, keyless.verdict), 2)
    other = oracle.maker.message("kraken")
    oracle.send_one(topics[0], Made(other.key, other.value, Verdict(None, "exchange_mismatch")), 0)
    oracle.flush()
    rejected = lake.run_kafka()["silver"]["rejected"]
    oracle.check(lake)
    assert rejected["null_value"] == 3 * 2 + 2
    assert rejected["exchange_mismatch"] == 3 * 2 + 1
    assert rejected.keys() == BROKEN.keys()


SPLITS = {
    "topics": lambda topics: [["--topics", topics[0]], ["--topics", topics[1]]],
    "partitions": lambda _: [["--partitions", "0"], ["--partitions", "1-2"], ["--partitions", "3"]],
    "pattern": lambda topics: [["--topics", f"^{re.escape(topics[0][:-7])}binance$"], ["--topics", topics[1]]],
}


@pytest.mark.parametrize("split", SPLITS)
def test_work_divided_between_processes(lake: Lake, oracle: Oracle, topics: list[str], split: str) -> None:
    """Each process has all layers of its own topics or partitions; they share the tables."""
    processes = [lake.begin("run", *flags) for flags in SPLITS[split](topics)]
    with LiveProducer(oracle, 1500):
        lake.await_rows({GOLD: 3000})
    oracle.flush()
    lake.await_rows(oracle.expected_counts())
    for process in processes:
        process.stop()
    oracle.check(lake)
    assert rows_in(lake.run_kafka()) == [0, 0, 0]


def test_one_process_a_layer(rest: Lake, oracle: Oracle) -> None:
    processes = [rest.begin("run", "--layer", layer) for layer in ("bronze", "silver", "gold")]
    with LiveProducer(oracle, 1500):
        rest.await_rows({GOLD: 3000})
    oracle.flush()
    rest.await_rows(oracle.expected_counts())
    for process in processes:
        process.stop()
    oracle.check(rest)
    assert rows_in(rest.run_kafka()) == [0, 0, 0]


def send_and_await(oracle: Oracle, lake: Lake, count: int = 400) -> None:
    for topic in oracle.partitions:
        oracle.send(topic, count)
    oracle.flush()
    lake.await_rows(oracle.expected_counts())


@pytest.mark.parametrize("where", ["lake", "rest"])
def test_a_standby_takes_over_from_the_dead(request: pytest.FixtureRequest, where: str, oracle: Oracle) -> None:
    lake: Lake = request.getfixturevalue(where)
    active = lake.begin("run")
    send_and_await(oracle, lake)
    standby = lake.begin("run", "--standby", "--takeover-after", "2s", "--log-level", "info")
    send_and_await(oracle, lake)
    assert "taking over" not in standby.said()
    active.kill()
    send_and_await(oracle, lake)
    assert "taking over" in standby.said()
    standby.stop()
    oracle.check(lake)


@pytest.mark.parametrize("where", ["lake", "rest"])
def test_a_zombie_comes_back(request: pytest.FixtureRequest, where: str, oracle: Oracle) -> None:
    """Stopped in the middle, another takes over, and the first one goes on where it was stopped."""
    lake: Lake = request.getfixturevalue(where)
    with LiveProducer(oracle, 800):
        zombie = lake.begin("run", "--takeover-after", "2s")
        lake.await_rows({GOLD: 500})
        standby = lake.begin("run", "--standby", "--takeover-after", "2s", "--log-level", "info")
        for _ in range(2):
            zombie.pause()
            before = lake.total(GOLD)
            lake.await_rows({GOLD: before + 1000})
            zombie.resume()
            time.sleep(1.5)
    oracle.flush()
    lake.await_rows(oracle.expected_counts())
    assert "taking over" in standby.said()
    for process in (zombie, standby):
        process.stop()
    oracle.check(lake)
    assert rows_in(lake.run_kafka()) == [0, 0, 0]


def test_partitions_that_are_added(lake: Lake, oracle: Oracle, topics: list[str]) -> None:
    """A process that runs finds them; they begin at their beginning, also where the topic began at its end."""
    oracle.send(topics[0], 100)
    oracle.flush()
    oracle.give_up_all()
    process = lake.begin("run", "--start", "latest")
    lake.await_starts(topics[0], 4)
    oracle.grow(topics[0], 6)
    for partition in range(6):
        oracle.send(topics[0], 50, partition)
    oracle.flush()
    lake.await_rows(oracle.expected_counts())
    process.stop()
    oracle.grow(topics[1], 5)
    oracle.send(topics[1], 50, 4)
    oracle.flush()
    lake.run_kafka("--start", "latest")
    oracle.check(lake)


@pytest.mark.parametrize("killed", [False, True])
def test_start_at_the_end_is_committed_before_the_first_read(
    lake: Lake, oracle: Oracle, topics: list[str], killed: bool
) -> None:
    for topic in topics:
        oracle.send(topic, 200)
    oracle.flush()
    oracle.give_up_all()
    if killed:
        env = {"K2_TEST_CRASH_AT": "bronze.done:1"}
        assert lake.k2_run("run", "--until-caught-up", "--start", "latest", env=env, expect=None).returncode == -9
    else:
        assert rows_in(lake.run_kafka("--start", "latest")) == [0, 0, 0]
    for topic in topics:
        oracle.send(topic, 100)
    oracle.flush()
    assert lake.run_kafka("--start", "latest")["bronze"]["rows_in"] == 200
    oracle.check(lake)


def test_start_at_a_time(lake: Lake, oracle: Oracle, topics: list[str]) -> None:
    for topic in topics:
        oracle.send(topic, 100)
    oracle.flush()
    oracle.give_up_all()
    time.sleep(0.3)
    start = datetime.now(timezone.utc).isoformat()
    time.sleep(0.3)
    for topic in topics:
        oracle.send(topic, 100)
    oracle.flush()
    assert lake.run_kafka("--start", start)["bronze"]["rows_in"] == 200
    oracle.check(lake)


def failed_run(lake: Lake, *args: str) -> str:
    """What a run says that ends by itself, with the exit code for data that are not as they should be."""
    process = lake.begin("run", "--until-caught-up", *args)
    assert process.wait(40) == 1, process.said()
    return process.said()


def test_a_recreated_topic_stops_alone(lake: Lake, oracle: Oracle, topics: list[str]) -> None:
    """No row of it is taken for one of the old, and the other topic goes on: in a service, and in runs with an end."""
    for topic in topics:
        oracle.send(topic, 200)
    oracle.flush()
    lake.run_kafka()
    running = lake.begin("run")
    time.sleep(1)
    oracle.delete(topics[:1])
    recreated = Oracle(oracle.brokers, seed=7)
    recreated.create(topics[0])
    recreated.send(topics[0], 500)
    recreated.flush()
    running.await_words("layer blocked", 40)
    oracle.send(topics[1], 300)
    oracle.flush()
    lake.await_rows(oracle.expected_counts())
    said = running.stop(expect=1)
    assert topics[0] in said
    assert "k2 offsets" in said, said
    oracle.send(topics[1], 300)
    oracle.flush()
    assert topics[0] in failed_run(lake)
    oracle.check(lake)


@pytest.mark.long
def test_drill_kafka_and_the_catalog_are_gone(lake: Lake, oracle: Oracle, topics: list[str]) -> None:
    """The tables come back by their files. Of Kafka nothing comes back: the topics begin anew, with less in them than
    the tables have read, and no row of them is taken for one of the old."""
    for topic in topics:
        oracle.send(topic, 300)
    oracle.flush()
    lake.run_kafka()
    heads = lake.heads()
    for path in lake.folder.glob("catalog.db*"):
        path.unlink()
    oracle.delete(topics)
    for topic in topics:
        oracle.create(topic)
        oracle.send(topic, 20)
    oracle.flush()
    lake.k2_run("tables", "recover")
    assert lake.heads() == heads
    said = failed_run(lake)
    assert "was recreated" in said
    assert "k2 offsets" in said
    assert lake.heads() == heads
    # Topics of other names are other sources, and go on into the same tables.
    gold = lake.gold()
    fresh = [oracle.create(f"second-{topic}") for topic in topics]
    for topic in fresh:
        oracle.send(topic, 300)
    oracle.flush()
    report = lake.run_kafka("--topics", ",".join(fresh))
    assert report["bronze"]["rows_in"] == report["silver"]["rows_in"] == 600
    assert gold.keys() < lake.gold().keys()
    assert_nothing_lost(lake)


def test_offsets_that_retention_took(lake: Lake, oracle: Oracle, topics: list[str]) -> None:
    oracle.send(topics[0], 300, partition=1)
    oracle.send(topics[0], 300, partition=2)
    oracle.flush()
    lake.run_kafka()
    oracle.send(topics[0], 300, partition=1)
    oracle.send(topics[0], 300, partition=2)
    oracle.flush()
    oracle.forget_before(topics[0], 1, 450)
    heads = lake.heads()
    said = failed_run(lake)
    assert lake.heads()[BRONZE] != heads[BRONZE], "the other partition went on"
    for words in (topics[0], "300", "450", "k2 offsets set", "--accept-loss"):
        assert words in said, said
    where = ("--table", BRONZE, "--topic", topics[0], "--partition", "1", "--next", "450")
    assert "--accept-loss" in lake.k2_run("offsets", "set", *where, expect=2).stderr
    lake.k2_run("offsets", "set", *where, "--accept-loss")
    oracle.give_up(topics[0], 1, 450, after=300)
    lake.run_kafka()
    oracle.check(lake)


def test_a_service_outlasts_a_full_disk(
    k2: Path, services: Services, oracle: Oracle, topics: list[str], tmp_path: Path
) -> None:
    """A warehouse in a folder without room: the service waits and says so, and goes on by itself when there is room."""
    disk = tmp_path / "disk"
    mount(disk, "100m")
    lake = of_topics(Lake.local(k2, disk / "lake", services.kafka.brokers), topics)
    log = tmp_path / "k2.log"
    service = Process(lake.command("run"), k2_environment(lake.variables), log)
    try:
        oracle.send(topics[0], 300)
        oracle.flush()
        lake.await_rows(oracle.expected_counts())
        filler = fill(disk)
        for topic in topics:
            oracle.send(topic, 500)
        oracle.flush()
        service.await_words("No space left")
        time.sleep(1)
        assert service.code is None, service.said()
        filler.unlink()
        lake.await_rows(oracle.expected_counts())
        service.stop()
        oracle.check(lake)
    finally:
        service.kill()
        unmount(disk)


@pytest.mark.long
def test_an_outage_of_the_brokers_costs_no_processor(
    lake: Lake, oracle: Oracle, topics: list[str], services: Services
) -> None:
    """Once the first request has timed out (15 s); librdkafka connects without a pause while one waits."""
    oracle.send(topics[0], 100)
    oracle.flush()
    service = lake.begin("run")
    lake.await_rows(oracle.expected_counts())
    services.kafka.kill()
    time.sleep(22)
    before = cpu_seconds(service.popen.pid)
    time.sleep(5)
    assert cpu_seconds(service.popen.pid) - before < 1
    services.kafka.start()
    oracle.send(topics[0], 100)
    oracle.flush()
    lake.await_rows(oracle.expected_counts())
    service.stop()
    oracle.check(lake)


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_another_cluster(lake: Lake, oracle: Oracle, topics: list[str], tmp_path: Path) -> None:
    oracle.send(topics[0], 100)
    oracle.flush()
    lake.run_kafka()
    heads = lake.heads()
    other = Kafka(tmp_path / "other-kafka")
    other.start()
    try:
        other.create_topics(topics, partitions=4)
        said = failed_run(lake, "--kafka", other.brokers)
    finally:
        other.kill()
    assert "cluster" in said
    assert "k2 offsets" in said, said
    assert lake.heads() == heads
