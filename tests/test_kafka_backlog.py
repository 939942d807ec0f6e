"""A backlog of millions: killed in the middle of it and started again, every message is there once."""

from __future__ import annotations

import struct
import time
import uuid
import zlib
from array import array
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient
from service_warehouse import Lake, wait_until
from warehouse import BRONZE, GOLD, REJECTED, SILVER

from stack.services import Services

TRADES = 1_500_000  # of each exchange
AGAIN = 20_000  # of them, that are sent once more
PARTITIONS = 12
PATIENCE_S = 600.0
TRADE_ID = 1  # K2's own schema of trades
MESSAGE_ID = slice(6, 42)  # of a framed trade: five bytes before it, one for its length

Place = tuple[str, int]


class Truth:
    """What Kafka holds, read by a client that is not K2's: a checksum of each message, and the ids of the trades."""

    def __init__(self, brokers: str, topics: list[str]) -> None:
        self.sums: dict[Place, array[int]] = {}
        self.ids: set[bytes] = set()
        self.trades = 0
        consumer = Consumer({"bootstrap.servers": brokers, "group.id": "judge", "enable.auto.commit": False})
        try:
            for place in [(topic, partition) for topic in topics for partition in range(PARTITIONS)]:
                self.sums[place] = self._read(consumer, place)
        finally:
            consumer.close()

    def _read(self, consumer: Consumer, place: Place) -> array[int]:
        low, high = consumer.get_watermark_offsets(TopicPartition(*place), timeout=20)
        assert low == 0
        sums = array("I", bytes(4 * high))
        consumer.assign([TopicPartition(*place, 0)])
        end, left = time.monotonic() + PATIENCE_S, high
        while left > 0:
            assert time.monotonic() < end, f"{place} could not be read to its end"
            for message in consumer.consume(min(left, 20_000), timeout=0.5):
                assert message.error() is None, message.error()
                value, offset = message.value() or b"", int(message.offset() or 0)
                sums[offset] = zlib.crc32(value)
                left -= 1
                self.trades += 1
                assert struct.unpack_from(">i", value, 1)[0] == TRADE_ID
                self.ids.add(value[MESSAGE_ID])
        return sums


def check_bronze(lake: Lake, truth: Truth) -> None:
    """Each offset once, with the bytes that Kafka has there."""
    seen = {place: array("I", bytes(4 * len(sums))) for place, sums in truth.sums.items()}
    times = {place: bytearray(len(sums)) for place, sums in truth.sums.items()}
    scan = lake.table(BRONZE).scan(selected_fields=("topic", "partition", "offset", "avro_payload"))
    for batch in scan.to_arrow_batch_reader():
        columns = (batch[name].to_pylist() for name in ("topic", "partition", "offset", "avro_payload"))
        for topic, partition, offset, payload in zip(*columns, strict=True):
            seen[topic, partition][offset] = zlib.crc32(payload)
            times[topic, partition][offset] += 1
    for place, sums in truth.sums.items():
        lost, once = times[place].count(0), times[place].count(1)
        assert once == len(sums), f"{place}: {lost} of {len(sums)} lost, {len(sums) - lost - once} there more than once"
        assert seen[place] == sums, place


def check_the_rest(lake: Lake, truth: Truth) -> None:
    """Each message judged once, each trade once in Gold."""
    assert lake.total(REJECTED) == 0
    assert sum(lake.total(name) for name in SILVER) == truth.trades
    gold = [name.encode() for name in lake.arrow(GOLD, ("message_id",))["message_id"].to_pylist()]
    assert len(gold) == len(truth.ids)
    assert set(gold) == truth.ids


@pytest.fixture
def topics(services: Services) -> Iterator[list[str]]:
    stem = f"b{uuid.uuid4().hex[:8]}.trades."
    made = [f"{stem}{exchange}" for exchange in ("binance", "kraken")]
    yield made
    admin = AdminClient({"bootstrap.servers": services.kafka.brokers})
    for done in admin.delete_topics(made).values():
        done.result(timeout=20)


@pytest.mark.long
@pytest.mark.timeout(0)
@pytest.mark.parametrize("where", ["local", "rest"])
def test_a_kill_in_a_backlog_of_millions(
    k2: Path, tmp_path: Path, services: Services, topics: list[str], where: str
) -> None:
    """Three million messages wait; k2 dies among them, and the next start works off the rest, each message once."""
    local = Lake.local(k2, tmp_path / "lake", services.kafka.brokers)
    lake = local if where == "local" else Lake.rest(k2, tmp_path / "lake", services)
    lake.variables["K2_TOPICS"] = ",".join(topics)
    what = ("--simulate", "binance", "--simulate", "kraken", "--malformed-ppm", "0")
    where_to = ("--topic-prefix", topics[0].removesuffix("binance"), "--create-topics", str(PARTITIONS))
    try:
        for trades in (TRADES, AGAIN):
            producing = lake.begin("produce", *what, *where_to, "--trades", str(trades))
            assert producing.wait(PATIENCE_S) == 0, lake.state()
        truth = Truth(services.kafka.brokers, topics)
        assert truth.trades >= 2 * (TRADES + AGAIN)  # a session sends some of its own twice
        assert 2 * TRADES <= len(truth.ids) <= truth.trades - 2 * AGAIN
        victim = lake.begin("run")
        wait_until(lambda: lake.total(GOLD) > TRADES // 2, PATIENCE_S, lake.state)
        victim.kill()
        assert lake.total(GOLD) < 2 * TRADES, "it was killed among them"
        assert lake.begin("run", "--until-caught-up").wait(PATIENCE_S) == 0, lake.state()
        check_bronze(lake, truth)
        check_the_rest(lake, truth)
        lake.assert_files_exist()
    finally:
        lake.kill_all()
