"""Messages that no honest producer sends, and honest ones of schemas that have changed."""

from __future__ import annotations

import io
import json
import random
import struct
import uuid
from collections.abc import Mapping
from datetime import timedelta
from decimal import Decimal
from typing import Any

import fastavro
from confluent_kafka import Producer
from kafka_oracle import Headers, Oracle, documented_schema
from registry_world import register

from k2.spark.schemas import FRAME_REASONS, REJECTED_FRAME_SCHEMA_JSON

CHANGED = ("same", "swapped", "more", "nested", "fewer", "ints", "nullable", "sides", "millis", "scale", "referred")


def varint(value: int) -> bytes:
    bits = (value << 1) ^ (value >> 63)
    out = bytearray()
    while bits >= 0x80:
        out.append(bits & 0x7F | 0x80)
        bits >>= 7
    return bytes([*out, bits])


def register_referring(registry: str, stem: str, trade: Mapping[str, Any]) -> int:
    """The id of the trade's schema in parts: its side is a type of another subject, which refers to a third one."""
    space = trade["namespace"]
    fields = {field["name"]: field for field in trade["fields"]}
    venue = {"type": "enum", "name": "Venue", "namespace": "com.example", "symbols": ["A", "B"]}
    side = fields["side"]["type"] | {"namespace": space}
    market = {"type": "record", "name": "Market", "namespace": space}
    market["fields"] = [{"name": "side", "type": side}, {"name": "venue", "type": "com.example.Venue"}]
    of_venue = [{"name": "com.example.Venue", "subject": f"{stem}.venue", "version": 1}]
    of_market = [{"name": f"{space}.Market", "subject": f"{stem}.market", "version": 1}]
    register(registry, f"{stem}.venue", venue)
    register(registry, f"{stem}.market", market, of_venue)
    used = {"name": "market", "type": ["null", f"{space}.Market"], "default": None}
    referring = fields | {"market": used, "side": fields["side"] | {"type": "TradeSide"}}
    # A type is there from its first use on: the side comes after the market that defines it.
    ordered = [referring["market"], *(field for name, field in referring.items() if name != "market")]
    return register(registry, f"{stem}.trade", dict(trade) | {"fields": ordered}, of_market)


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
        absent = {"name": "market", "type": ["null", "string"], "default": None}
        self.schemas["referred"] = first | {"fields": [absent, *first["fields"]]}  # as it is written: without a market
        self.ids_of["referred"] = register_referring(registry, f"{stem}.referred", first)
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

    def honest(self, exchange: str, partition: int) -> bytes:
        name = self.draw.choice(CHANGED)
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
            # An id that many trades have is of one partition: between two, the first one is whichever was read first.
            row[self.draw.choice(["message_id", "trade_id", "symbol", "currency"])] = self.draw.choice(
                [f"{'é' * 9}{partition}", f"{'x' * 200}{partition}"]
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

    def message(self, exchange: str, partition: int) -> bytes | None:
        luck = self.draw.random()
        if luck < 0.02:
            return self.draw.choice([None, b"", b"\0", b"\1abcdefgh", b"\0\0\0\0", b"\0" * 5])
        whole = self.frame(exchange) if luck < 0.1 else self.honest(exchange, partition)
        return whole if luck < 0.5 else self.broken(whole)

    def named(self, value: bytes) -> tuple[bytes, Headers]:
        """The message with its schema named in another way, or not any more."""
        number = (int.from_bytes(value[1:5], "big")).to_bytes(8, "big")  # Apicurio's content id is the id
        body, guid = value[5:], b"\1" + b"\x89\x79" * 8
        return self.draw.choice(
            [
                (body, [("apicurio.value.contentId", number)]),
                (body, [("trace", b"x"), ("apicurio.value.contentId", number), ("apicurio.value.globalId", b"7" * 8)]),
                (body, [("apicurio.value.globalId", (1 << 40).to_bytes(8, "big"))]),
                (body, [("__value_schema_id", value[:5])]),
                (body, [("__value_schema_id", guid)]),
                (body, [("__value_schema_id", guid[:9]), ("trace", None)]),
                (guid + body, []),
                (value, [("__value_schema_id", None), ("apicurio.value.globalId", b"7")]),
                (value, [("trace", None)]),
            ]
        )

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
        exchange = topic.rsplit(".", 1)[1]
        for i in range(count):
            value, headers = hostile.message(exchange, i % 2), []
            if value is not None and len(value) >= 5 and hostile.draw.random() < 0.25:
                value, headers = hostile.named(value)
            producer.produce(topic, value, partition=i % 2, headers=headers or None)
        huge = hostile.framed("same", oracle.maker.trade(exchange) | {"vendor_data": {"x": "y" * 900_000}})
        producer.produce(topic, huge, partition=0)
        # One id for another trade, and for a trade of the next hour.
        trade, hour = oracle.maker.trade(exchange), timedelta(hours=1)
        later = {name: trade[name] + hour for name in ("timestamp", "ingestion_timestamp")}
        for change in ({}, {"price": trade["price"] + 1}, {}, later):
            producer.produce(topic, hostile.framed("same", trade | change), partition=0)
    assert producer.flush(60) == 0
