"""Trades as the tests of k2.native make them: rows, tables of Arrow, messages by fastavro, and frames of recordings."""

from __future__ import annotations

import io
import json
import random
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import fastavro
import pyarrow as pa
from reading import read_bytes

from k2 import native

HEADER = bytes([0, 0, 0, 0, 3])
WHEN = datetime(2024, 8, 8, 12, 0, tzinfo=timezone.utc)
TRADE_SCHEMA = fastavro.parse_schema(json.loads(native.TRADE_SCHEMA_JSON))


def frames_of(path: Path) -> tuple[list[bytes], list[int]]:
    lines = [line.partition(b" ") for line in read_bytes(path).split(b"\n") if line]
    return [frame for _, _, frame in lines], [int(stamp) // 1000 for stamp, _, _ in lines]


def rows_of(table: Any) -> list[dict[str, Any]]:
    rows = pa.table(table).to_pylist()
    for row in rows:
        if isinstance(row.get("vendor_data"), list):
            row["vendor_data"] = dict(row["vendor_data"])
    return rows  # type: ignore[no-any-return]


def trade(**fields: Any) -> dict[str, Any]:
    return {
        "message_id": "85cb576c-4aad-52dc-8859-673926c79977",
        "trade_id": "BINANCE-3735683259",
        "symbol": "BTCUSDT",
        "exchange": "BINANCE",
        "asset_class": "crypto",
        "timestamp": WHEN,
        "price": Decimal("55000.10000000"),
        "quantity": Decimal("0.00100000"),
        "currency": "USDT",
        "side": "SELL",
        "trade_conditions": [],
        "source_sequence": 3735683259,
        "ingestion_timestamp": WHEN,
        "platform_sequence": None,
        "vendor_data": None,
        "source": None,
    } | fields


def trades_table(rows: list[dict[str, Any]]) -> pa.Table:
    texts = ("message_id", "trade_id", "symbol", "exchange", "asset_class", "currency", "side", "source")
    types: dict[str, pa.DataType] = dict.fromkeys(texts, pa.string())
    types |= dict.fromkeys(("timestamp", "ingestion_timestamp"), pa.timestamp("us", "UTC"))
    types |= {"price": pa.decimal128(24, 14), "quantity": pa.decimal128(24, 8)}
    types |= dict.fromkeys(("source_sequence", "platform_sequence"), pa.int64())
    types |= {"trade_conditions": pa.list_(pa.string()), "vendor_data": pa.map_(pa.string(), pa.string())}
    return pa.table({name: pa.array([row[name] for row in rows], types[name]) for name in rows[0]})


def by_fastavro(row: dict[str, Any], schema: Any = TRADE_SCHEMA) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, schema, row)
    return HEADER + out.getvalue()


def random_trades(seed: int, count: int) -> list[dict[str, Any]]:
    draw = random.Random(seed)
    texts = ["", "é", "a" * 300, "BTC", "漢字", "\U0001f680"]
    return [
        trade(
            message_id=f"{draw.getrandbits(64):x}",
            trade_id=f"T-{at}{draw.choice(texts)}",
            symbol=draw.choice(["BTCUSDT", "ETHUSDT", "X" * 40]),
            asset_class=draw.choice(["equities", "crypto", "futures", "options"]),
            side=draw.choice(["BUY", "SELL", "SELL_SHORT", "UNKNOWN"]),
            timestamp=WHEN + timedelta(microseconds=draw.randrange(-(10**15), 10**15)),
            price=Decimal(draw.randrange(-(10**24) + 1, 10**24)).scaleb(-14),
            quantity=Decimal(
                draw.choice([0, 1, -1, 127, 128, -128, -129, 10**17, 2**63, -(2**63) - 1, 10**24 - 1])
            ).scaleb(-8),
            trade_conditions=[draw.choice(texts) for _ in range(draw.randrange(4))],
            source_sequence=draw.choice([None, 0, -1, 2**63 - 1, -(2**63)]),
            platform_sequence=draw.choice([None, 17]),
            source=draw.choice([None, "stream", "snapshot", "rest", "archive"]),
            vendor_data=draw.choice([None, {}, {str(i): draw.choice(texts) for i in range(draw.randrange(1, 9))}]),
        )
        for at in range(count)
    ]
