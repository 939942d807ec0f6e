"""An oracle for Kafka: makes messages without any code of K2, knows what each must become, and judges the tables."""

from __future__ import annotations

import io
import json
import random
import re
import struct
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import fastavro
import pyarrow as pa
import pyarrow.compute as pc
from confluent_kafka import Consumer, Message, Producer, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic
from service_warehouse import Lake
from warehouse import BRONZE, GOLD, REJECTED, SILVER, Row

from k2.spark import schemas

TRADE_NAMESPACE = uuid.UUID("9df25468-8673-4cd2-8d9d-d6c934edddd0")
DOCS = Path(__file__).resolve().parent.parent / "docs"
BUILT_IN_ID = 3
UNKNOWN_ID = 987_654
PAIRS = {"binance": ("BTCUSDT", "ETHUSDT", "SOLUSDT"), "kraken": ("BTCUSD", "ETHUSD")}
BEGIN = datetime(2024, 5, 5, 21, 59, 0, tzinfo=timezone.utc)
WAIT_S = 90.0

Place = tuple[str, int, int]  # topic, partition, offset
Headers = list[tuple[str, bytes | None]]
Held = tuple[bytes | None, bytes | None, int, Headers]  # key, value, timestamp in ms, headers


def documented_schema() -> Any:
    """TradeV3 as the documentation gives it."""
    text = (DOCS / "messages.md").read_text().split("## TradeV3", 1)[1]
    found = re.search(r"```json\n(.*?)```", text, re.DOTALL)
    assert found
    return json.loads(found.group(1))


@dataclass(frozen=True)
class Verdict:
    """What a message must become: a row of Silver, or a reason of rejected_trades."""

    row: Row | None
    reason: str | None


@dataclass(frozen=True)
class Made:
    key: bytes | None
    value: bytes | None
    verdict: Verdict
    headers: Headers | None = None  # None: as the oracle draws them


class Maker:
    """Makes messages by a seed: trades, trades once more, trades whose copy was received later, and broken ones."""

    def __init__(self, seed: int, schema_id: int = BUILT_IN_ID, duplicates: float = 0.05, broken: float = 0.02) -> None:
        self.draw = random.Random(seed)
        self._schema = fastavro.parse_schema(documented_schema())
        self._header = b"\0" + struct.pack(">i", schema_id)
        self._scales = {"price": (10**19, -14), "quantity": (10**22, -8)}  # the largest, and the unit
        self._sources: tuple[str | None, ...] = (None, "stream", "snapshot", "rest", "archive")
        self._duplicates = duplicates
        self._broken = broken
        self._numbers: Counter[str] = Counter()
        self._recent: dict[str, list[Made]] = {"binance": [], "kraken": []}

    def write_v2(self) -> None:
        """From now on messages are K2 0.1's: TradeV2 under its id, with the numbers that it holds and no source."""
        self.write_with(1, json.loads(schemas.OWN_SCHEMAS[1]))
        self._scales = {"price": (10**13, -8), "quantity": (10**10, -8)}
        self._sources = (None,)

    def write_with(self, schema_id: int, schema: Any = None) -> None:
        """From now on messages bear this id and, where one is given, are of this schema."""
        self._header = b"\0" + struct.pack(">i", schema_id)
        self._schema = fastavro.parse_schema(schema) if schema else self._schema
        for recent in self._recent.values():
            recent.clear()

    def message(self, exchange: str) -> Made:
        luck = self.draw.random()
        recent = self._recent[exchange]
        if luck < self._broken:
            return self.broken(exchange, self.draw.choice(sorted(BROKEN)))
        if recent and luck < self._broken + self._duplicates:
            again = self.draw.choice(recent)
            assert again.verdict.row
            if self.draw.random() < 0.5:
                return again
            later = again.verdict.row["ingestion_timestamp"] + timedelta(seconds=self.draw.randrange(1, 60))
            return self.framed(again.verdict.row | {"ingestion_timestamp": later})
        made = self.framed(self.trade(exchange))
        recent.append(made)
        if len(recent) > 500:
            recent.pop(self.draw.randrange(len(recent)))
        return made

    def trade(self, exchange: str) -> Row:
        symbol = self.draw.choice(PAIRS[exchange])
        self._numbers[symbol] += 1
        number = 1_000_000 + self._numbers[symbol]
        numbered = self.draw.random() < 0.8
        trade_id = f"{exchange.upper()}-{number}"
        name = f"{exchange.upper()}|{symbol}|{trade_id}"
        made_at = BEGIN + timedelta(microseconds=self._numbers[symbol] * 15_000 + self.draw.randrange(10_000))
        vendor = {"pair": symbol, "note": "ü" * self.draw.randrange(4)} if self.draw.random() < 0.9 else None
        return {
            "message_id": str(uuid.uuid5(TRADE_NAMESPACE, name) if numbered else uuid.UUID(int=self._bits())),
            "trade_id": trade_id,
            "symbol": symbol,
            "exchange": exchange.upper(),
            "asset_class": "crypto",
            "timestamp": made_at,
            "price": self._number("price"),
            "quantity": self._number("quantity"),
            "currency": "USDT" if exchange == "binance" else "USD",
            "side": self.draw.choice(("BUY", "SELL")),
            "trade_conditions": ["x"] * self.draw.randrange(2),
            "source_sequence": number if numbered else None,
            "ingestion_timestamp": made_at + timedelta(microseconds=self.draw.randrange(900_000)),
            "platform_sequence": None,
            "vendor_data": vendor,
            "source": self.draw.choice(self._sources),
        }

    def _number(self, column: str) -> Decimal:
        most, unit = self._scales[column]
        return Decimal(self.draw.randrange(1, self.draw.choice((min(most, 10**10), most)))).scaleb(unit)

    def broken(self, exchange: str, reason: str) -> Made:
        """A message that is refused for this reason."""
        how, row = BROKEN[reason], self.trade(exchange)
        whole = self.framed(row if callable(how) else row | how)
        return Made(whole.key, how(whole.value) if callable(how) else whole.value, Verdict(None, reason))

    def framed(self, row: Row) -> Made:
        body = io.BytesIO()
        fastavro.schemaless_writer(body, self._schema, row)
        return Made(row["symbol"].encode(), self._header + body.getvalue(), Verdict(row, None))

    def _bits(self) -> int:
        return self.draw.getrandbits(128)


# How a message is broken, by the reason that must be given: a change of its bytes, or other fields.
BROKEN: Mapping[str, Any] = {
    "null_value": lambda _: None,
    "not_framed": lambda value: value[:4],
    "unknown_schema_id": lambda value: b"\0" + struct.pack(">i", UNKNOWN_ID) + value[5:],
    "truncated": lambda value: value[:-1],
    "trailing_bytes": lambda value: value + b"\0",
    "empty_message_id": {"message_id": ""},
    "empty_trade_id": {"trade_id": ""},
    "empty_symbol": {"symbol": ""},
    "exchange_mismatch": {"exchange": "COINBASE"},
    "price_not_positive": {"price": Decimal("-1.00000001")},
    "quantity_not_positive": {"quantity": Decimal(0)},
    "invalid_side": {"side": "SELL_SHORT"},
    "invalid_asset_class": {"asset_class": "futures"},
    "timestamp_out_of_range": {"timestamp": datetime(1999, 12, 31, tzinfo=timezone.utc)},
    "timestamp_in_future": {"timestamp": BEGIN + timedelta(days=366)},
}


def exchange_of(topic: str) -> str:
    return topic.rsplit(".", 1)[1]


class Oracle:
    """Sends messages to topics and judges what K2 makes of them."""

    def __init__(self, brokers: str, seed: int, maker: Maker | None = None) -> None:
        self.brokers = brokers
        self.maker = maker or Maker(seed)
        self.partitions: dict[str, int] = {}
        self.verdicts: dict[tuple[str, bytes | None], Verdict] = {}
        self.acknowledged: dict[Place, Held] = {}
        self.given_up: set[Place] = set()
        self.foreign: list[tuple[str, Row]] = []  # rows that others than K2 put into a table of trades
        self._failed: list[str] = []
        self._draw_headers = random.Random(seed)
        self._admin = AdminClient({"bootstrap.servers": brokers, "log_level": 0})
        self._producer = Producer(
            {
                "bootstrap.servers": brokers,
                "enable.idempotence": True,
                "acks": "all",
                "linger.ms": 5,
                "message.timeout.ms": 180_000,
                "reconnect.backoff.max.ms": 500,
                "log_level": 0,
            }
        )

    # Topics.

    def create(self, topic: str, partitions: int = 4) -> str:
        for made in self._admin.create_topics([NewTopic(topic, partitions, 1)], operation_timeout=10).values():
            made.result(timeout=20)
        self.partitions[topic] = partitions
        return topic

    def delete(self, topics: Iterable[str]) -> None:
        gone = self._admin.delete_topics(list(topics), operation_timeout=10)
        for topic, done in gone.items():
            done.result(timeout=20)
            self.partitions.pop(topic, None)

    def grow(self, topic: str, partitions: int) -> None:
        from confluent_kafka.cimpl import NewPartitions

        for done in self._admin.create_partitions([NewPartitions(topic, partitions)], operation_timeout=10).values():
            done.result(timeout=20)
        end = time.monotonic() + 20
        while len(self._producer.list_topics(topic, timeout=10).topics[topic].partitions) < partitions:
            assert time.monotonic() < end, f"{topic} did not grow"
            time.sleep(0.05)
        self.partitions[topic] = partitions

    def topic_ids(self) -> dict[str, str]:
        """Of the topics that there are, as librdkafka prints them."""
        found = self._admin.describe_topics(TopicCollection(list(self.partitions)))
        return {topic: str(described.result(timeout=20).topic_id) for topic, described in found.items()}

    def forget_before(self, topic: str, partition: int, offset: int) -> None:
        """What retention does: the partition begins at that offset."""
        wanted = [TopicPartition(topic, partition, offset)]
        for done in self._admin.delete_records(wanted, operation_timeout=10).values():
            done.result(timeout=20)

    # Messages.

    def send(self, topic: str, count: int = 1, partition: int | None = None) -> None:
        """Messages as the maker draws them, to that partition, or to all by chance. Does not wait: see flush()."""
        for _ in range(count):
            self.send_one(topic, self.maker.message(exchange_of(topic)), partition)

    def send_one(self, topic: str, made: Made, partition: int | None = None) -> None:
        place = self.maker.draw.randrange(self.partitions[topic]) if partition is None else partition
        self.verdicts[topic, made.value] = made.verdict
        headers = self.headers() if made.headers is None else made.headers
        while True:
            try:
                self._producer.produce(
                    topic,
                    made.value,
                    made.key,
                    partition=place,
                    headers=headers or None,
                    on_delivery=partial(self._delivered, headers),
                )
                break
            except BufferError:
                self._producer.poll(0.1)
        self._producer.poll(0)

    def headers(self) -> Headers:
        """None for most messages; keys that come again, values that are null, or no text."""
        if self._draw_headers.random() < 0.8:
            return []
        values = (None, b"", b"\0\xff\xfe", b"4f2c9a", "ü".encode())
        count = self._draw_headers.randrange(1, 4)
        return [(self._draw_headers.choice(("trace", "ü")), self._draw_headers.choice(values)) for _ in range(count)]

    def flush(self, timeout_s: float = WAIT_S) -> None:
        left = self._producer.flush(timeout_s)
        assert left == 0, f"{left} messages were not taken by Kafka"
        assert not self._failed, self._failed[:3]

    def _delivered(self, headers: Headers, error: Any, message: Message) -> None:
        if error is not None:
            self._failed.append(str(error))
            return
        place = (str(message.topic()), int(message.partition() or 0), int(message.offset() or 0))
        self.acknowledged[place] = (message.key(), message.value(), message.timestamp()[1], headers)

    def give_up(self, topic: str, partition: int, before: int, after: int = 0) -> None:
        """Messages that K2 cannot or should not read: they must not be in its tables."""
        places = (place for place in self.acknowledged if place[:2] == (topic, partition))
        self.given_up |= {place for place in places if after <= place[2] < before}

    def give_up_all(self) -> None:
        self.given_up |= self.acknowledged.keys()

    # What must be.

    def in_kafka(self) -> dict[Place, Held]:
        """Everything that the topics hold, read by a client that is not K2's."""
        consumer = Consumer({"bootstrap.servers": self.brokers, "group.id": "oracle", "enable.auto.commit": False})
        found: dict[Place, Held] = {}
        try:
            wanted: dict[tuple[str, int], int] = {}
            starts = []
            for topic, partitions in self.partitions.items():
                for partition in range(partitions):
                    low, high = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=20)
                    if high > low:
                        wanted[topic, partition] = high
                        starts.append(TopicPartition(topic, partition, low))
            consumer.assign(starts)
            end = time.monotonic() + WAIT_S
            while wanted:
                assert time.monotonic() < end, f"the topics could not be read to their ends: {wanted}"
                for message in consumer.consume(10_000, timeout=0.5):
                    assert message.error() is None, message.error()
                    place = (str(message.topic()), int(message.partition() or 0), int(message.offset() or 0))
                    headers: Any = message.headers() or []
                    found[place] = (message.key(), message.value(), message.timestamp()[1], headers)
                    if place[2] + 1 >= wanted.get(place[:2], 1 << 62):
                        del wanted[place[:2]]
        finally:
            consumer.close()
        return found

    def truth(self) -> dict[Place, Held]:
        """What was produced and was not given up; also what Kafka took without saying so."""
        known = self.acknowledged | self.in_kafka()
        return {place: what for place, what in known.items() if place not in self.given_up}

    def check(self, lake: Lake, files: bool = True, headers: bool = True) -> None:
        """Bronze holds each offset once, Silver and rejected_trades judge each once, Gold holds each trade once.

        Rows of the topic "theirs" are somebody else's. `headers`: Bronze has them, of all rows.
        """
        self.flush()
        truth = self.truth()
        check_bronze(lake, truth, headers)
        verdicts = {place: self.verdicts[place[0], what[1]] for place, what in truth.items()}
        check_rejected(lake, verdicts)
        accepted = [verdict.row for verdict in verdicts.values() if verdict.row is not None]
        check_silver(lake, [*accepted, *(row for name, row in self.foreign if name in SILVER)])
        check_gold(lake, [*accepted, *(row for _, row in self.foreign)])
        if files:
            lake.assert_files_exist()

    def expected_counts(self) -> dict[str, int]:
        """Rows that Bronze and Gold must hold of what was acknowledged so far."""
        rows = [self.verdicts[place[0], what[1]].row for place, what in self.truth().items()]
        return {BRONZE: len(rows), GOLD: len({row["message_id"] for row in rows if row is not None})}


def ours(table: pa.Table) -> pa.Table:
    return table.filter(pc.not_equal(table["topic"], "theirs"))


def check_bronze(lake: Lake, truth: Mapping[Place, Held], with_headers: bool = True) -> None:
    columns = ["topic", "partition", "offset", "message_key", "avro_payload", "kafka_timestamp"]
    if with_headers:
        columns.append("headers")
    table = ours(lake.arrow(BRONZE, columns))
    places = Counter(zip(*(table[name].to_pylist() for name in ("topic", "partition", "offset")), strict=True))
    doubled = sorted(place for place, count in places.items() if count > 1)
    assert not doubled, f"Bronze holds {len(doubled)} offsets more than once, such as {doubled[:3]}"
    lost = sorted(truth.keys() - places.keys())
    assert not lost, f"Bronze lacks {len(lost)} of {len(truth)} offsets, such as {lost[:3]} .. {lost[-1]}"
    invented = sorted(places.keys() - truth.keys())
    assert not invented, f"Bronze holds {len(invented)} offsets that Kafka does not, such as {invented[:3]}"
    keys, values = table["message_key"].to_pylist(), table["avro_payload"].to_pylist()
    stamps = table["kafka_timestamp"].cast(pa.int64()).to_pylist()
    headers = table["headers"].to_pylist() if with_headers else [None] * len(keys)
    for place, key, value, stamp, found in zip(places, keys, values, stamps, headers, strict=True):
        assert (key, value, stamp) == (truth[place][0], truth[place][1], truth[place][2] * 1000), place
        wanted = [{"key": name, "value": content} for name, content in truth[place][3]] if with_headers else []
        # PyIceberg reads a null list of structs as an empty one (apache/arrow#38809); other engines do not.
        assert (found or []) == wanted, place


def check_rejected(lake: Lake, verdicts: Mapping[Place, Verdict]) -> None:
    table = ours(lake.arrow(REJECTED, ("topic", "partition", "offset", "reason")))
    rejected = Counter(zip(*(table[name].to_pylist() for name in table.column_names), strict=True))
    wanted = Counter((*place, verdict.reason) for place, verdict in verdicts.items() if verdict.reason is not None)
    assert rejected == wanted, f"too many: {list(rejected - wanted)[:3]}, too few: {list(wanted - rejected)[:3]}"


def check_silver(lake: Lake, accepted: Iterable[Row]) -> None:
    found: Counter[tuple[str, Any]] = Counter()
    for name in SILVER:
        table = lake.arrow(name, ("message_id", "ingestion_timestamp"))
        found.update(zip(table["message_id"].to_pylist(), table["ingestion_timestamp"].to_pylist(), strict=True))
    wanted = Counter((row["message_id"], row["ingestion_timestamp"]) for row in accepted)
    more, fewer = found - wanted, wanted - found
    assert not more, f"Silver holds {more.total()} rows too many, such as {list(more)[:2]}"
    assert not fewer, f"Silver lacks {fewer.total()} rows, such as {list(fewer)[:2]}"


def check_gold(lake: Lake, accepted: Iterable[Row]) -> None:
    """Each trade once, all columns as in one of the messages that brought it."""
    wanted: dict[str, list[Row]] = {}
    for row in accepted:
        when = row["timestamp"]
        wanted.setdefault(row["message_id"], []).append(
            row | {"exchange_date": when.date(), "exchange_hour": when.hour}
        )
    gold = lake.gold()
    assert not gold.keys() - wanted.keys(), (
        f"Gold holds trades that nobody sent: {list(gold.keys() - wanted.keys())[:3]}"
    )
    lost = wanted.keys() - gold.keys()
    assert not lost, f"Gold lacks {len(lost)} of {len(wanted)} trades, such as {list(lost)[:3]}"
    for message_id, held in gold.items():
        row = {"source": None} | held  # tables of K2 0.1 have no such column, and its messages no such field
        assert row in wanted[message_id], f"Gold: {row}, sent: {wanted[message_id]}"


class LiveProducer:
    """Sends to the oracle's topics in a thread, at a steady rate, until stopped."""

    def __init__(self, oracle: Oracle, per_second: int) -> None:
        self._oracle = oracle
        self._per_second = per_second
        self._stop = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.sent = 0

    def __enter__(self) -> LiveProducer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(timeout=30)
        assert not self._thread.is_alive(), "the producer hangs"
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        try:
            begun = time.monotonic()
            while not self._stop.wait(0.01):
                due = int((time.monotonic() - begun) * self._per_second) - self.sent
                for _ in range(due):
                    self._oracle.send(self._oracle.maker.draw.choice(list(self._oracle.partitions)))
                self.sent += due
        except BaseException as error:
            self._error = error
