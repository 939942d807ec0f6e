"""`k2 produce`: what stands in Kafka afterwards, read by confluent-kafka and fastavro."""

from __future__ import annotations

import io
import json
import re
import signal
import struct
import subprocess
import time
import urllib.request
import uuid
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import fastavro
import pytest
from confluent_kafka import Consumer, Message, TopicPartition
from confluent_kafka.admin import AdminClient
from reading import Row, read_trades
from warehouse import k2_environment, recording_flags

from stack.services import Services

DOCS = Path(__file__).resolve().parent.parent / "docs"
PARTITIONS = 12
OF_MESSAGE = (
    *("message_id", "trade_id", "symbol", "exchange", "asset_class", "timestamp", "price", "quantity", "currency"),
    *(
        "side",
        "trade_conditions",
        "source_sequence",
        "ingestion_timestamp",
        "platform_sequence",
        "vendor_data",
        "source",
    ),
)


def documented_schema(title: str) -> Any:
    text = (DOCS / "messages.md").read_text().split(f"## {title}\n", 1)[1]
    found = re.search(r"```json\n(.*?)```", text, re.DOTALL)
    assert found
    return json.loads(found.group(1))


BUILT_IN = {3: fastavro.parse_schema(documented_schema("TradeV3"))} | {
    2: fastavro.parse_schema(documented_schema("RejectedFrame"))
}

Produce = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def prefix(services: Services) -> Iterator[str]:
    """Of topics of this test alone."""
    name = f"p{uuid.uuid4().hex[:8]}."
    yield name
    admin = AdminClient({"bootstrap.servers": services.kafka.brokers})
    mine = [topic for topic in admin.list_topics(timeout=20).topics if topic.startswith(name)]
    if mine:
        for done in admin.delete_topics(mine).values():
            done.result(timeout=20)


@pytest.fixture
def produce(k2: Path, services: Services, prefix: str, tmp_path: Path) -> Produce:
    def run(*args: str | Path, expect: int = 0, create: bool = True) -> subprocess.CompletedProcess[str]:
        command = [k2, "produce", "--kafka", services.kafka.brokers, *args]
        if "--topic-prefix" not in args:
            command += ["--topic-prefix", prefix]
        if create:
            command += ["--create-topics", str(PARTITIONS)]
        done = subprocess.run(
            list(map(str, command)),
            capture_output=True,
            text=True,
            env=k2_environment({"XDG_CACHE_HOME": str(tmp_path)}),
            timeout=120,
            check=False,
        )
        assert done.returncode == expect, f"{args}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    return run


def consume(services: Services, topic: str) -> dict[int, list[Message]]:
    """All messages of a topic, by partition."""
    settings = {
        "bootstrap.servers": services.kafka.brokers,
        "group.id": "judge",
        "enable.auto.commit": False,
        "enable.partition.eof": True,
    }
    consumer = Consumer(settings)
    partitions = consumer.list_topics(topic, timeout=20).topics[topic].partitions
    consumer.assign([TopicPartition(topic, partition, 0) for partition in partitions])
    held: dict[int, list[Message]] = {partition: [] for partition in partitions}
    ended: set[int] = set()
    deadline = time.monotonic() + 60
    while ended != set(partitions):
        assert time.monotonic() < deadline, "the topic has no end"
        for message in consumer.consume(10_000, timeout=0.2):
            if message.error():
                ended.add(int(message.partition() or 0))
            else:
                held[int(message.partition() or 0)].append(message)
    consumer.close()
    return held


def value_of(message: Message) -> bytes:
    value = message.value()
    assert value is not None
    return bytes(value)


def decode(message: Message, schemas: dict[int, Any]) -> tuple[int, Row]:
    value = value_of(message)
    magic, schema_id = struct.unpack(">bI", value[:5])
    assert magic == 0
    body = io.BytesIO(value[5:])
    row: Any = fastavro.schemaless_reader(body, schemas[schema_id], None)
    assert body.tell() == len(value) - 5, "bytes are left over"
    return schema_id, row


def of_message(row: Row) -> Row:
    return {name: row[name] for name in OF_MESSAGE}


def test_every_trade_of_the_recordings(
    produce: Produce, services: Services, prefix: str, real_recordings: list[tuple[str, Path]]
) -> None:
    began = datetime.now(timezone.utc)
    done = produce(*recording_flags(real_recordings), "--output", "json")
    report = json.loads(done.stdout)
    for exchange in sorted({name for name, _ in real_recordings}):
        expected = [read_trades(name, path) for name, path in real_recordings if name == exchange]
        assert all(refused == 0 for _, refused in expected)
        sent = Counter(row["message_id"] for rows, _ in expected for row in rows)
        by_id = {row["message_id"]: of_message(row) for rows, _ in expected for row in rows}
        order = [[row["message_id"] for row in rows] for rows, _ in expected]
        held = consume(services, prefix + exchange)
        assert len(held) == PARTITIONS
        got: Counter[str] = Counter()
        homes: dict[str, set[int]] = defaultdict(set)
        arrived: dict[str, int] = {}
        for partition, messages in held.items():
            for message in messages:
                schema_id, row = decode(message, BUILT_IN)
                assert schema_id == 3
                assert row == by_id[row["message_id"]]
                assert message.key() == row["symbol"].encode()
                assert message.timestamp()[1] >= began.timestamp() * 1000 - 1
                got[row["message_id"]] += 1
                homes[row["symbol"]].add(partition)
                arrived[row["message_id"]] = int(message.offset() or 0)
        assert got == sent
        assert all(len(partitions) == 1 for partitions in homes.values()), "a symbol has one partition"
        for ids in order:  # of one recording and symbol: in order
            for symbol in homes:
                offsets = [arrived[name] for name in ids if by_id[name]["symbol"] == symbol]
                assert offsets == sorted(offsets)
        report["messages"] -= sum(got.values())
    assert report["messages"] == 0
    assert report["failed"] == 0


def test_schemas_of_a_registry(produce: Produce, services: Services, prefix: str) -> None:
    url = services.registry.url
    args = ("--registry", url, "--simulate", "kraken", "--trades", "2000", "--malformed-ppm", "50000", "--seed", "3")
    produce(*args)
    produce(*args, create=False)  # registers nothing new
    schemas: dict[int, Any] = {}
    seen: Counter[str] = Counter()
    for messages in consume(services, prefix + "kraken").values():
        for message in messages:
            schema_id = struct.unpack(">I", value_of(message)[1:5])[0]
            if schema_id not in schemas:
                with urllib.request.urlopen(f"{url}/schemas/ids/{schema_id}", timeout=20) as answer:
                    schemas[schema_id] = fastavro.parse_schema(json.loads(json.load(answer)["schema"]))
            _, row = decode(message, schemas)
            name = schemas[schema_id]["name"].rsplit(".", 1)[-1]
            seen[name] += 1
            assert (message.key() is None) == (name == "RejectedFrame")
            assert row["exchange"] == "KRAKEN"
    assert seen["TradeV3"] >= 4000
    assert seen["RejectedFrame"] > 20
    with urllib.request.urlopen(f"{url}/subjects", timeout=20) as answer:
        subjects = json.load(answer)
    assert {"com.k2.marketdata.TradeV3", "com.k2.marketdata.RejectedFrame"} <= set(subjects)


def test_the_same_seed_gives_the_same_messages(produce: Produce, services: Services, prefix: str) -> None:
    args = ("--simulate", "binance", "--trades", "5000", "--seed", "9", "--compression", "zstd")
    produce(*args)
    first = {p: [value_of(m) for m in messages] for p, messages in consume(services, prefix + "binance").items()}
    produce(*args, create=False)
    both = {p: [value_of(m) for m in messages] for p, messages in consume(services, prefix + "binance").items()}
    assert sum(map(len, first.values())) > 5000
    assert sum(map(len, both.values())) == 2 * sum(map(len, first.values()))
    keyed = {p: [v for v in values if v[4] == 3] for p, values in first.items()}  # rejects have no key, any partition
    assert {p: [v for v in values if v[4] == 3] for p, values in both.items()} == {
        p: values * 2 for p, values in keyed.items()
    }


def test_a_rate_is_kept_and_live_messages_are_of_now(produce: Produce, services: Services, prefix: str) -> None:
    began = datetime.now(timezone.utc)
    done = produce("--simulate", "binance", "--trades", "6000", "--rate", "3000", "--live", "--output", "json")
    report = json.loads(done.stdout)
    assert 1.5 < report["elapsed_seconds"] < 6
    late = 0
    for messages in consume(services, prefix + "binance").values():
        for message in messages:
            schema_id, row = decode(message, BUILT_IN)
            if schema_id != 1:
                continue
            assert row["ingestion_timestamp"] >= began
            late += message.timestamp()[1] / 1000 - row["ingestion_timestamp"].timestamp() > 1.0
    assert late < 600, "messages are made when they are sent"


def test_as_fast_as_it_was_received(
    produce: Produce, services: Services, prefix: str, real_recordings: list[tuple[str, Path]]
) -> None:
    exchange, path = real_recordings[0]  # 346 s
    done = produce(*recording_flags([(exchange, path)]), "--speed", "100", "--output", "json")
    report = json.loads(done.stdout)
    assert 3.3 < report["elapsed_seconds"] < 8
    assert report["delivered"] == 9757


def test_mistakes_are_said(produce: Produce, services: Services, tmp_path: Path) -> None:
    missing = produce("--simulate", "binance", "--trades", "10", create=False, expect=2)
    assert "--create-topics" in missing.stderr
    assert "nothing to produce" in produce(expect=2).stderr
    assert "cannot be changed" in produce("--simulate", "kraken", "--kafka-set", "acks=0", expect=2).stderr
    assert "no such" in produce("--recording", f"kraken={tmp_path}/none.gz", expect=2).stderr.lower()
    refused = produce("--simulate", "kraken", "--registry", "http://127.0.0.1:1", expect=3)
    assert "registry" in refused.stderr


def test_what_is_not_delivered_is_a_failure(produce: Produce, services: Services, tmp_path: Path) -> None:
    """A frame that no broker takes: larger than a message may be."""
    huge = tmp_path / "huge.txt"
    frame = json.dumps({"stream": "x@trade", "data": "x" * 3_000_000})
    good = (
        '{"stream":"btcusdt@trade","data":{"e":"trade","E":1723161255343,"s":"BTCUSDT","t":5,"p":"1.5","q":"2",'
        '"T":1723161255342,"m":true,"M":true}}'
    )
    huge.write_text(f"1723161254000000000 {good}\n1723161254000000001 {frame}\n1723161254000000002 {good}\n")
    done = produce("--recording", f"binance={huge}", "--output", "json", expect=1)
    assert json.loads(done.stdout)["delivered"] == 2
    assert "1 of 3 messages were not delivered" in done.stderr


def test_a_broker_that_restarts_loses_and_doubles_nothing(
    k2: Path, produce: Produce, services: Services, prefix: str
) -> None:
    before = json.loads(produce("--simulate", "binance", "--trades", "10", "--output", "json").stdout)["delivered"]
    command = [k2, "produce", "--kafka", services.kafka.brokers, "--topic-prefix", prefix, "--simulate", "binance"]
    command += ["--trades", "60000", "--seed", "5", "--rate", "20000", "--output", "json", "--first-id", "5000000"]
    running = subprocess.Popen(
        list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=k2_environment()
    )
    try:
        time.sleep(1.0)
        services.kafka.kill()
        services.kafka.start()
        out, err = running.communicate(timeout=90)
    finally:
        if running.poll() is None:
            running.kill()
    assert running.returncode == 0, err
    report = json.loads(out)
    rows = [m for messages in consume(services, prefix + "binance").values() for m in messages]
    assert report["failed"] == 0
    assert len(rows) == report["delivered"] + before
    # The same session, undisturbed.
    again = ["--simulate", "binance", "--trades", "60000", "--seed", "5", "--first-id", "5000000"]
    produce(*again, "--topic-prefix", prefix + "again.")
    undisturbed = Counter(m.value() for held in consume(services, prefix + "again.binance").values() for m in held)
    first = Counter(m.value() for m in rows) - undisturbed
    assert first.total() == before
    assert not undisturbed - Counter(m.value() for m in rows)


def test_a_signal_ends_it_with_what_was_sent_delivered(
    k2: Path, produce: Produce, services: Services, prefix: str
) -> None:
    produce("--simulate", "kraken", "--trades", "10")
    command = [k2, "produce", "--kafka", services.kafka.brokers, "--topic-prefix", prefix, "--simulate", "kraken"]
    command += ["--trades", "10000000", "--rate", "5000", "--live", "--output", "json"]
    running = subprocess.Popen(
        list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=k2_environment()
    )
    try:
        time.sleep(1.5)
        running.send_signal(signal.SIGTERM)
        out, err = running.communicate(timeout=30)
    finally:
        if running.poll() is None:
            running.kill()
    assert running.returncode == 0, err
    report = json.loads(out)
    assert 0 < report["delivered"] == report["messages"]
