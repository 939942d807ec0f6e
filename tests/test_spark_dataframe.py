"""The plain DataFrame path beside the k2 process: the same rows, verdicts and source offsets, on the same tables."""

from __future__ import annotations

import functools
import io
import json
import random
import re
import struct
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import fastavro
import pyarrow as pa
import pytest
from confluent_kafka import Producer, TopicCollection
from confluent_kafka.admin import AdminClient
from engines import Spark
from kafka_oracle import Oracle, documented_schema
from pyiceberg.table import Table as IcebergTable
from pyspark.sql import SparkSession
from service_warehouse import Lake
from test_registry_outage import register
from warehouse import BRONZE, GOLD, REJECTED, SILVER, TABLES

from k2.spark.dataframe import (
    AnotherWriterError,
    BronzeOptions,
    GoldOptions,
    LakeOptions,
    OffsetsError,
    Policy,
    Schemas,
    SilverOptions,
    StepResult,
    bronze_step,
    gold_settle,
    gold_step,
    silver_settle,
    silver_step,
)
from k2.spark.dataframe.avro_plan import Plan
from k2.spark.dataframe.avro_schema import parse_schema
from k2.spark.dataframe.judge import FRAME_REASONS, Judge
from k2.spark.dataframe.kafka import parse_start
from k2.spark.dataframe.progress import (
    OFFSETS_KEY,
    Metadata,
    Move,
    Position,
    Progress,
    SourceKey,
    find_progress,
    parse_progress,
)
from k2.spark.dataframe.publish import STAGE_PREFIX, publish, remove_left_over
from k2.spark.dataframe.shape import fast_schema
from k2.spark.dataframe.tables import Table
from k2.spark.schemas import REJECTED_FRAME_SCHEMA_JSON, TRADE_SCHEMA_JSON
from k2.spark.utils.errors import ConfigurationError, DataError, UnknownOutcomeError
from stack.services import Services

pytestmark = pytest.mark.timeout(900)  # a machine that does much else besides

SILVER_COLUMNS = [
    *("message_id", "trade_id", "symbol", "exchange", "asset_class", "timestamp", "price", "quantity", "currency"),
    *("side", "trade_conditions", "source_sequence", "ingestion_timestamp", "platform_sequence", "vendor_data"),
    "exchange_date",
]
REJECTED_COLUMNS = ["topic", "partition", "offset", "kafka_timestamp", "schema_id", "payload", "reason", "detail"]
CHANGED = ("same", "swapped", "more", "nested", "fewer", "ints", "nullable", "sides", "millis", "scale")


# One session for all; each lake is a catalog of its own in it.


class Frames:
    """The DataFrame path on a lake; `on_step` hooks are asked between the steps of a commit."""

    def __init__(self, spark: SparkSession, lake: Lake, topics: list[str], rows_per_step: int = 500_000) -> None:
        self.spark = spark
        self.lake = lake
        self.policy = Policy()
        common: dict[str, Any] = {"rows_per_step": rows_per_step, "policy": self.policy}
        brokers = lake.variables["K2_KAFKA"]
        self.schemas = Schemas(url=lake.variables.get("K2_REGISTRY", ""))
        self.of_bronze = BronzeOptions(**common, brokers=brokers, topics=topics)
        self.of_silver = SilverOptions(**common, schemas=self.schemas)
        self.of_gold = GoldOptions(**common)

    def bronze(self) -> list[StepResult]:
        return until_idle(lambda: bronze_step(self.spark, self.of_bronze))

    def silver(self) -> list[StepResult]:
        done = until_idle(lambda: silver_step(self.spark, self.of_silver))
        silver_settle(self.spark, self.of_silver)
        return done

    def gold(self) -> list[StepResult]:
        done = until_idle(lambda: gold_step(self.spark, self.of_gold))
        gold_settle(self.spark, self.of_gold)
        return done

    def all(self) -> dict[str, list[StepResult]]:
        return {"bronze": self.bronze(), "silver": self.silver(), "gold": self.gold()}

    def table(self, name: str) -> Table:
        return LakeOptions().table(self.spark, name)

    def assert_no_branches(self) -> None:
        for name in TABLES:
            refs = set(self.lake.table(name).metadata.refs)
            assert refs <= {"main", "k2-offsets"}, f"{name}: {refs}"


def until_idle(step: Callable[[], StepResult]) -> list[StepResult]:
    done: list[StepResult] = []
    while True:
        result = step()
        if result.rows_in == 0:
            return done
        done.append(result)
        assert len(done) < 50


@pytest.fixture
def oracle(services: Services, seed: int) -> Oracle:
    return Oracle(services.kafka.brokers, seed)


@pytest.fixture
def topics(oracle: Oracle) -> Iterator[list[str]]:
    stem = f"t{uuid.uuid4().hex[:8]}.trades"
    made = [oracle.create(f"{stem}.{exchange}", partitions=2) for exchange in ("binance", "kraken")]
    yield made
    oracle.delete(set(oracle.partitions))


@pytest.fixture
def lake(k2: Path, tmp_path: Path, services: Services, topics: list[str]) -> Iterator[Lake]:
    made = Lake.rest(k2, tmp_path / "lake", services)
    made.variables["K2_TOPICS"] = ",".join(topics)
    made.k2_run("tables", "create")
    yield made
    made.kill_all()


@pytest.fixture
def frames(spark: Spark, lake: Lake, topics: list[str]) -> Frames:
    return Frames(session_of(spark, lake), lake, topics)


def session_of(spark: Spark, lake: Lake) -> SparkSession:
    """To compile code for a few hundred rows would take longer than all else."""
    session = spark.on_rest(lake.variables)
    session.conf.set("spark.sql.codegen.wholeStage", "false")
    session.conf.set("spark.sql.codegen.factoryMode", "NO_CODEGEN")
    return session


# The engines side by side.


def rows_of(lake: Lake, name: str, columns: list[str]) -> Counter[tuple[Any, ...]]:
    table = lake.arrow(name, columns)
    cells = []
    for column in columns:
        values = table[column]
        if pa.types.is_timestamp(values.type):
            values = values.cast(pa.int64())
        cells.append([frozen(value) for value in values.to_pylist()])
    return Counter(zip(*cells, strict=True))


def frozen(value: Any) -> Any:
    if isinstance(value, list):
        pairs = value and isinstance(value[0], tuple)
        return tuple(sorted(value)) if pairs else tuple(value)
    return value


def assert_same(frames: Lake, k2: Lake) -> None:
    """Row by row: Silver, rejects with their reasons and details, and which trades Gold holds."""
    for name in SILVER:
        of_frames, of_k2 = rows_of(frames, name, SILVER_COLUMNS), rows_of(k2, name, SILVER_COLUMNS)
        assert of_frames == of_k2, f"{name}: {list(of_frames - of_k2)[:2]} instead of {list(of_k2 - of_frames)[:2]}"
    of_frames, of_k2 = rows_of(frames, REJECTED, REJECTED_COLUMNS), rows_of(k2, REJECTED, REJECTED_COLUMNS)
    assert of_frames == of_k2, f"{list(of_frames - of_k2)[:3]} instead of {list(of_k2 - of_frames)[:3]}"
    trade = [name for name in SILVER_COLUMNS if name not in ("ingestion_timestamp", "vendor_data")]
    once = [*trade, "exchange_hour"]
    assert rows_of(frames, GOLD, once) == rows_of(k2, GOLD, once)


def varint(value: int) -> bytes:
    bits = (value << 1) ^ (value >> 63)
    out = bytearray()
    while bits >= 0x80:
        out.append(bits & 0x7F | 0x80)
        bits >>= 7
    return bytes([*out, bits])


class Hostile:
    """Messages that no honest producer sends, and honest ones of schemas that have changed."""

    def __init__(self, oracle: Oracle, registry: str, seed: int) -> None:
        self.oracle = oracle
        self.draw = random.Random(seed)
        first = documented_schema()
        fields = {field["name"]: field for field in first["fields"]}
        self.ids: dict[int, Any] = {}
        swapped = list(fields.values())
        self.draw.shuffle(swapped)
        more = [
            {"name": "fee", "type": ["null", "string"], "default": None},
            {"name": "legs", "type": {"type": "array", "items": {"type": "map", "values": "double"}}, "default": []},
            {"name": "flags", "type": {"type": "fixed", "name": "Flags", "size": 3}},
        ]
        venue = {"type": "record", "name": "Venue", "fields": [{"name": "tier", "type": ["null", "int", "string"]}]}
        nested = {"name": "venue", "type": venue}
        price = {"name": "price", "type": {"type": "bytes", "logicalType": "decimal", "precision": 18, "scale": 4}}
        millis = {"name": "timestamp", "type": {"type": "long", "logicalType": "timestamp-millis"}}
        symbols = ["SELL", "BUY", "SHORT_EXEMPT", "UNKNOWN"]
        side = fields["side"] | {"type": fields["side"]["type"] | {"symbols": symbols}}
        defaults = [name for name, field in fields.items() if "default" in field]
        changed = {
            "same": [*fields.values()],
            "swapped": [*swapped, *more[:1]],
            "more": [*fields.values(), *more],
            "nested": [nested, *fields.values()],
            "fewer": [field for name, field in fields.items() if name not in defaults],
            "ints": self._with(fields, source_sequence={"name": "source_sequence", "type": ["null", "int"]}),
            "nullable": self._with(fields, currency={"name": "currency", "type": ["null", "string"]}),
            "sides": self._with(fields, side=side),
            "millis": self._with(fields, timestamp=millis),
            "scale": self._with(fields, price=price),
        }
        stem = uuid.uuid4().hex[:8]
        self.schemas = {name: first | {"fields": made} for name, made in changed.items()}
        self.ids_of = {name: register(registry, f"{stem}.{name}", made) for name, made in self.schemas.items()}
        frame = json.loads(REJECTED_FRAME_SCHEMA_JSON)
        self.ids_of["frame"] = register(registry, f"{stem}.frame", frame)
        self.schemas["frame"] = frame
        self.parsed = {name: fastavro.parse_schema(made) for name, made in self.schemas.items()}

    def _with(self, fields: Mapping[str, Any], **changes: Any) -> list[Any]:
        return [changes.get(name, field) for name, field in fields.items()]

    def framed(self, name: str, row: Mapping[str, Any]) -> bytes:
        body = io.BytesIO()
        fastavro.schemaless_writer(body, self.parsed[name], row)
        return b"\0" + struct.pack(">i", self.ids_of[name]) + body.getvalue()

    def honest(self, exchange: str) -> bytes:
        name = self.draw.choice(
            ["same", "swapped", "more", "nested", "fewer", "ints", "nullable", "sides", "millis", "scale"]
        )
        row = self.oracle.maker.trade(exchange)
        row |= {"fee": self.draw.choice([None, "0.1", "é" * 70]), "legs": [{"a": 1.5}], "flags": b"abc"}
        row |= {"venue": {"tier": self.draw.choice([None, 3, "one"])}}
        if name == "sides":
            row["side"] = self.draw.choice(self.schemas["sides"]["fields"][9]["type"]["symbols"])
        if name == "nullable" and self.draw.random() < 0.5:
            row["currency"] = None
        if name == "scale":
            row["price"] = Decimal("1.25")
        if self.draw.random() < 0.3:
            row["vendor_data"] = {f"k{i}": "v" * self.draw.randrange(90) for i in range(self.draw.randrange(15))}
            row["trade_conditions"] = ["c" * self.draw.randrange(70)] * self.draw.randrange(20)
        if self.draw.random() < 0.2:
            row[self.draw.choice(["message_id", "trade_id", "symbol", "currency"])] = self.draw.choice(
                ["é" * 9, "x" * 200]
            )
        return self.framed(name, row)

    def frame(self, exchange: str) -> bytes:
        reason = self.draw.choice([*sorted(FRAME_REASONS), "truncated", "new_reason", "grün"])
        detail = self.draw.choice(["", "field x", "ü" * 700])
        row = {
            "exchange": exchange.upper(),
            "reason": reason,
            "detail": detail,
            "frame": b"{" * 50,
            "receive_timestamp": 1,
        }
        return self.framed("frame", row)

    def message(self, exchange: str) -> bytes | None:
        luck = self.draw.random()
        if luck < 0.02:
            return self.draw.choice([None, b"", b"\0", b"\1abcdefgh", b"\0\0\0\0", b"\0" * 5])
        whole = self.frame(exchange) if luck < 0.1 else self.honest(exchange)
        return whole if luck < 0.5 else self.broken(whole)

    def broken(self, whole: bytes) -> bytes:
        data = bytearray(whole)
        how = self.draw.randrange(8)
        at = self.draw.randrange(5, len(data))
        if how == 0:
            return bytes(data[:at])
        if how == 1:
            return bytes(data) + self.draw.randbytes(self.draw.randrange(1, 12))
        if how == 2:  # a length of gigabytes: nobody may ask for that much memory
            return (
                bytes(data[:at])
                + varint(self.draw.choice([2**30, 2**31 - 1, 2**40, 2**62, -1, -(2**63)]))
                + bytes(data[at:])
            )
        if how == 3:
            return bytes(data[:at]) + b"\xff" * self.draw.randrange(1, 14) + bytes(data[at:])
        if how == 4:
            return bytes(data[:5]) + self.draw.randbytes(self.draw.randrange(120))
        if how == 5:
            data[self.draw.randrange(1, 5)] ^= 1 << self.draw.randrange(8)
            return bytes(data)
        for _ in range(self.draw.randrange(1, 4)):
            data[self.draw.randrange(5, len(data))] = self.draw.randrange(256)
        return bytes(data)


def send_hostile(oracle: Oracle, topics: list[str], registry: str, seed: int, count: int) -> None:
    hostile = Hostile(oracle, registry, seed)
    producer = Producer({"bootstrap.servers": oracle.brokers, "log_level": 0, "message.max.bytes": 5_000_000})
    for topic in topics:
        for i in range(count):
            producer.produce(topic, hostile.message(topic.rsplit(".", 1)[1]), partition=i % 2)
        exchange = topic.rsplit(".", 1)[1]
        huge = hostile.framed("same", oracle.maker.trade(exchange) | {"vendor_data": {"x": "y" * 900_000}})
        producer.produce(topic, huge, partition=0)
        # One id for another trade, and for a trade of the next hour.
        trade, hour = oracle.maker.trade(exchange), timedelta(hours=1)
        later = {name: trade[name] + hour for name in ("timestamp", "ingestion_timestamp")}
        for change in ({}, {"price": trade["price"] + 1}, {}, later):
            producer.produce(topic, hostile.framed("same", trade | change), partition=0)
    assert producer.flush(60) == 0


def k2_beside(k2: Path, folder: Path, lake: Lake) -> Lake:
    """A warehouse of k2's own that reads the same topics."""
    beside = Lake.local(k2, folder / "k2", lake.variables["K2_KAFKA"])
    for name in ("K2_TOPICS", "K2_REGISTRY"):
        if name in lake.variables:
            beside.variables[name] = lake.variables[name]
    return beside


def compare(
    k2: Path,
    folder: Path,
    services: Services,
    spark: Spark,
    lake: Lake,
    oracle: Oracle,
    topics: list[str],
    seed: int,
    count: int,
    rows_per_step: int,
) -> None:
    for topic in topics:
        oracle.send(topic, count)
    oracle.flush()
    beside = k2_beside(k2, folder, lake)
    frames = Frames(session_of(spark, lake), lake, topics, rows_per_step)
    results = frames.all()
    report = beside.run_kafka()
    oracle.check(lake)
    oracle.check(beside, files=False)
    assert_same(lake, beside)
    for layer, results_of in results.items():
        assert sum(one.rows_in for one in results_of) == report[layer]["rows_in"], layer
        assert sum(one.rows_out for one in results_of) == report[layer]["rows_out"], layer
    assert sum((one.rejected for one in results["silver"]), Counter()) == report["silver"]["rejected"]
    assert sum(one.duplicates for one in results["gold"]) == report["gold"]["duplicates"] > 0
    frames.assert_no_branches()
    # The documents are the same, byte by byte, but for the table's uuid and what hangs on snapshots.
    for name in (BRONZE, REJECTED, *SILVER):
        ours, theirs = (progress_of(one.table(name)) for one in (lake, beside))
        assert places(ours) == places(theirs), name
        assert ours.rules == theirs.rules, name

    services.start("registry")
    registry = services.registry.url
    for one in (lake, beside):
        one.variables["K2_REGISTRY"] = registry
    send_hostile(oracle, topics, registry, seed, count)
    frames = Frames(session_of(spark, lake), lake, topics)
    results = frames.all()
    report = beside.run_kafka()
    assert_same(lake, beside)
    rejected = sum((one.rejected for one in results["silver"]), Counter())
    assert rejected == report["silver"]["rejected"]
    conflicts = sum(one.identity_conflicts for one in results["gold"])
    assert conflicts == report["gold"]["identity_conflicts"] >= 2 * len(topics)
    assert {"truncated", "malformed", "trailing_bytes", "schema_not_resolvable", "frame_other"} <= rejected.keys()


def places(progress: Progress) -> dict[SourceKey, tuple[int, int]]:
    """Next offset and count of messages by source. The leader epoch is that of the end here, and of the last message
    there."""
    return {key: (at.next_offset, at.messages) for key, at in progress.positions.items()}


def progress_of(table: IcebergTable) -> Progress:
    """As PyIceberg shows the newest snapshot; and what Python writes again is what stands there."""
    snapshot = table.current_snapshot()
    assert snapshot is not None
    assert snapshot.summary is not None
    text = snapshot.summary.additional_properties[OFFSETS_KEY]
    progress = parse_progress(text, str(table.metadata.table_uuid))
    assert progress is not None
    assert progress.to_json(str(table.metadata.table_uuid)) == text
    assert table.metadata.refs["k2-offsets"].snapshot_id == snapshot.snapshot_id
    return progress


def test_both_engines_give_the_same_rows(
    k2: Path,
    tmp_path: Path,
    services: Services,
    spark: Spark,
    lake: Lake,
    oracle: Oracle,
    topics: list[str],
    seed: int,
) -> None:
    compare(k2, tmp_path, services, spark, lake, oracle, topics, seed, 400, 500_000)


@pytest.mark.long
@pytest.mark.parametrize("turn", range(4))
def test_both_engines_give_the_same_rows_of_many(
    k2: Path,
    tmp_path: Path,
    services: Services,
    spark: Spark,
    lake: Lake,
    oracle: Oracle,
    topics: list[str],
    seed: int,
    turn: int,
) -> None:
    compare(k2, tmp_path, services, spark, lake, oracle, topics, seed + turn, 6000, 5000)


# In turns.


def test_engines_take_turns_on_the_same_tables(frames: Frames, lake: Lake, oracle: Oracle, topics: list[str]) -> None:
    for topic in topics:
        oracle.send(topic, 400)
    oracle.flush()
    lake.run_kafka("--layer", "bronze", "--rows-per-commit", "300")
    frames.silver()
    lake.k2_run("run", "--layer", "gold", "--until-caught-up")
    oracle.check(lake, files=False)
    for topic in topics:
        oracle.send(topic, 400)
    oracle.flush()
    # Swapped, and in the middle of what there is to do.
    frames.of_bronze.rows_per_step = 500
    assert bronze_step(frames.spark, frames.of_bronze).behind > 0
    lake.k2_run("run", "--layer", "silver", "--until-caught-up")
    frames.gold()
    lake.run_kafka("--layer", "bronze")
    frames.silver()
    lake.k2_run("run", "--layer", "gold", "--until-caught-up")
    oracle.check(lake)
    frames.assert_no_branches()
    assert [frames.bronze(), frames.silver(), frames.gold()] == [[], [], []]
    heads = lake.heads()
    assert lake.run_kafka()["bronze"]["rows_in"] == 0
    assert lake.heads() == heads, "both engines know that there is nothing left to do"


# A commit that slips in.


class Slip:
    """Does something once, between the check of main and the commit of one table."""

    def __init__(self, table: str, what: Callable[[], object], step: str = "checked") -> None:
        self.table = table
        self.what = what
        self.step = step
        self.done = 0

    def __call__(self, step: str, table: Table) -> None:
        if step == self.step and table.name == self.table and not self.done:
            self.done += 1
            self.what()


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
        with pytest.raises(AnotherWriterError, match="another writer"):
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


def move_of(table: Table) -> Move:
    """Another message of a source of nobody's."""
    key = SourceKey("c", "theirs.binance", "id", 0)
    found = find_progress(table.refresh()).progress
    before = found.positions.get(key)
    after = Position((before.next_offset if before else 0) + 1, messages=1)
    return Move(Progress({key: before} if before else {}), Progress({key: after}))


def test_replies_that_are_lost_and_branches_that_are_left(
    spark: Spark, k2: Path, services: Services, tmp_path: Path
) -> None:
    lake = Lake.rest(k2, tmp_path / "lake", services)
    lake.k2_run("tables", "create")
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
    young, old = (f"{STAGE_PREFIX}{int((time.time() - age) * 1000)}-crashed" for age in (60, 7200))
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
    lake = Lake.rest(k2, tmp_path / "lake", services)
    lake.k2_run("tables", "create")
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
    with pytest.raises(UnknownOutcomeError, match="could not be learnt"):
        publish(table, move_of(table), policy=Policy(on_step=slip, duration_s_max=3))
    services.toxiproxy.mend("catalog")
    metadata = table.refresh()
    assert metadata.head_id == done.snapshot_id
    assert any(name.startswith(STAGE_PREFIX) for name in metadata.refs), "it could still have been published"
    publish(table, move_of(table))
    assert remove_left_over(table, table.refresh(), older_than_s=-10)


# Pieces.


def metadata_of(
    snapshots: Sequence[tuple[int, int | None, Progress | None]], tag: int | None = None, head: int | None = None
) -> Metadata:
    """Snapshots as (id, parent, progress)."""
    made = []
    for number, parent, progress in snapshots:
        summary = {"operation": "append"}
        if progress is not None:
            summary[OFFSETS_KEY] = progress.to_json("u")
        made.append(
            {"snapshot-id": number, "parent-snapshot-id": parent, "sequence-number": number, "summary": summary}
        )
    refs = {} if tag is None else {"k2-offsets": {"snapshot-id": tag, "type": "tag"}}
    current = head if head is not None else (snapshots[-1][0] if snapshots else -1)
    return Metadata(
        {"table-uuid": "u", "location": "s3://t", "snapshots": made, "refs": refs, "current-snapshot-id": current}
    )


def at(offset: int) -> Progress:
    return Progress({SourceKey("c", "t.binance", "x", 0): Position(offset)})


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
    with pytest.raises(DataError, match="ring"):
        find_progress(metadata_of([(1, 3, None), (2, 1, None), (3, 2, None)]))


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
)


@pytest.mark.parametrize("text", BAD_DOCUMENTS)
def test_broken_documents_are_refused(text: str) -> None:
    with pytest.raises(DataError):
        parse_progress(text, "u")


def test_documents_of_others_and_of_later_versions() -> None:
    assert parse_progress('{"version":2,"table":"another"}', "u") is None
    with pytest.raises(OffsetsError, match="version 2"):
        parse_progress('{"version":2,"table":"u","sources":"new form"}', "u")


def test_the_schemas_are_the_documented_ones() -> None:
    documented = documented_schema()
    assert json.loads(TRADE_SCHEMA_JSON) == documented
    assert fast_schema(TRADE_SCHEMA_JSON) is not None
    assert fast_schema(REJECTED_FRAME_SCHEMA_JSON) is None
    assert len(Plan(parse_schema(json.dumps(documented)), parse_schema(TRADE_SCHEMA_JSON)).slot_names) == 17


def test_the_judge_counts_bytes_as_k2_does() -> None:
    """Details that only one of many messages has, beside those that both engines are compared on."""
    judge = Judge({1: TRADE_SCHEMA_JSON, 7: "{", 8: '{"type": "nothing"}'})
    assert judge.verdict(None, "BINANCE").reason == "null_value"
    assert judge.verdict(b"\0\0\0\0\7x", "BINANCE")[:2] == ("schema_not_resolvable", "Avro schema: not JSON")
    assert judge.verdict(b"\0\0\0\0\x08x", "BINANCE").reason == "schema_not_resolvable"
    assert judge.verdict(b"\0\0\0\0\x09x", "BINANCE")[:3] == ("unknown_schema_id", "no schema has the id 9", 9)
    assert judge.verdict(b"\0\0\0\0\1", "BINANCE")[:2] == ("truncated", "ends within message_id at byte 5")
    assert judge.verdict(b"\0\0\0\0\1\x09", "BINANCE")[:2] == ("malformed", "message_id is not legal Avro at byte 6")


def test_the_start_of_a_topic() -> None:
    assert parse_start("earliest") == "earliest"
    assert parse_start("2024-05-05T22:00:00Z") == 1_714_946_400_000
    assert parse_start("2024-05-05T22:00:00.000001+00:00") == 1_714_946_400_001
    for text in ("", "now", "2024-05-05T22:00:00"):
        with pytest.raises(ConfigurationError):
            parse_start(text)


def test_topics_that_are_not_what_they_were(
    frames: Frames, lake: Lake, oracle: Oracle, topics: list[str], services: Services
) -> None:
    oracle.send(topics[0], 20, partition=0)
    oracle.flush()
    frames.of_bronze.start = "latest"
    assert frames.bronze() == []
    oracle.give_up_all()
    oracle.send(topics[0], 30, partition=0)
    oracle.flush()
    assert [one.rows_in for one in frames.bronze()] == [30]
    admin = AdminClient({"bootstrap.servers": oracle.brokers})
    described = admin.describe_topics(TopicCollection(topics))
    ids = {name: str(future.result(20).topic_id) for name, future in described.items()}
    assert {key.topic: key.topic_id for key in progress_of(lake.table(BRONZE)).positions} == ids
    oracle.send(topics[0], 10, partition=0)
    oracle.flush()
    oracle.forget_before(topics[0], 0, 55)
    with pytest.raises(OffsetsError, match="5 messages were deleted unread"):
        bronze_step(frames.spark, frames.of_bronze)
    partitions = oracle.partitions[topics[1]]
    oracle.delete([topics[1]])
    time.sleep(1)
    oracle.create(topics[1], partitions)
    frames.of_bronze.topics = topics[1:]
    with pytest.raises(OffsetsError, match="made anew"):
        bronze_step(frames.spark, frames.of_bronze)
    frames.of_bronze.topics = ["nothing.binance"]
    with pytest.raises(ConfigurationError, match="no Kafka topic"):
        bronze_step(frames.spark, frames.of_bronze)
    frames.assert_no_branches()
