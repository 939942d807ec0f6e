"""An independent reading of a recording: the rows that Gold must hold, computed without any code of K2."""

from __future__ import annotations

import gzip
import io
import json
import uuid
from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import zstandard

TRADE_NAMESPACE = uuid.UUID("9df25468-8673-4cd2-8d9d-d6c934edddd0")
EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
QUOTES = ("USDT", "USDC", "FDUSD", "BTC", "ETH", "BNB", "EUR", "TRY")  # of the recordings that the tests read
COMMON_NAMES = {"XBT": "BTC", "XDG": "DOGE"}
TYPES = {"price": (10, 14), "quantity": (16, 8)}  # digits before and behind the point

Row = dict[str, Any]


class NotATradeError(Exception):
    """A trade that K2 must refuse."""


def read_bytes(path: Path) -> bytes:
    data = path.read_bytes()
    if path.suffix == ".gz":
        return gzip.decompress(data)
    if path.suffix == ".zst":
        return zstandard.ZstdDecompressor().stream_reader(io.BytesIO(data), read_across_frames=True).read()
    return data


def read_trades(exchange: str, path: Path) -> tuple[list[Row], int]:
    """The rows of the valid trades, in order and as often as they were sent, and how many were refused."""
    rows: list[Row] = []
    refused = 0
    for line in read_bytes(path).split(b"\n"):
        if not line:
            continue
        stamp, _, frame = line.partition(b" ")
        received = EPOCH + timedelta(microseconds=int(stamp) // 1000)
        try:
            message = json.loads(frame.decode("utf-8"), parse_float=Decimal, parse_int=Number)
        except (UnicodeDecodeError, json.JSONDecodeError):
            refused += 1
            continue
        for trade in split_frame(exchange, message):
            try:
                rows.append(complete(trade() | {"ingestion_timestamp": received}))
            except (NotATradeError, KeyError, ValueError):
                refused += 1
    return rows, refused


class Number(Decimal):
    """A JSON number that was written without a point."""


def split_frame(exchange: str, message: Any) -> Iterator[Any]:
    """One function for each trade of a frame; it raises for what is to be refused."""
    if exchange == "binance":
        if isinstance(message, dict) and "@trade" in message.get("stream", ""):
            yield lambda: binance(message["data"]) | {"source": "stream"}
        elif not isinstance(message, dict):
            yield refuse
    elif exchange == "coinbase":
        if isinstance(message, dict) and message.get("type") in ("match", "last_match"):
            told = "snapshot" if message["type"] == "last_match" else "stream"
            yield lambda: coinbase(message) | {"source": told}
        elif not isinstance(message, dict):
            yield refuse
    elif isinstance(message, dict):
        if message.get("channel") == "trade":
            for entry in message["data"]:
                told = {"snapshot": "snapshot", "update": "stream"}.get(message.get("type"))
                yield lambda entry=entry, told=told: kraken_v2(entry) | {"source": told}
    elif isinstance(message, list):
        if message[2] == "trade":
            seen: Counter[str] = Counter()
            for entry in message[1]:
                yield lambda entry=entry: kraken_v1(message[3], entry, seen) | {"source": None}
    else:
        yield refuse


def refuse() -> Row:
    raise NotATradeError


def text_number(value: Any) -> Decimal:
    if not isinstance(value, str):
        raise NotATradeError
    try:
        return Decimal(value)
    except ArithmeticError:
        raise NotATradeError from None


def json_number(value: Any) -> Decimal:
    if not isinstance(value, Decimal):
        raise NotATradeError
    return value


def integer(value: Any) -> int:
    if not isinstance(value, Number):
        raise NotATradeError
    return int(value)


def binance(event: Any) -> Row:
    base, quote = split_binance(event["s"])
    identity, time = integer(event["t"]), integer(event["T"])
    if event["m"] not in (True, False):
        raise NotATradeError
    return {
        "exchange": "BINANCE",
        "symbol": event["s"],
        "currency": quote,
        "trade_id": f"BINANCE-{identity}",
        "source_sequence": identity,
        "timestamp": EPOCH + timedelta(microseconds=time * 1000 if time < 10**14 else time),
        "price": text_number(event["p"]),
        "quantity": text_number(event["q"]),
        "side": "SELL" if event["m"] else "BUY",
        "vendor_data": {
            "is_buyer_maker": json.dumps(event["m"]),
            "event_type": event["e"],
            "event_time": str(event["E"]),
            "trade_time": str(event["T"]),
            "base_asset": base,
            "quote_asset": quote,
            "is_best_match": json.dumps(event["M"]),
        },
    }


def split_binance(symbol: Any) -> tuple[str, str]:
    for quote in sorted(QUOTES, key=len, reverse=True):
        if symbol.endswith(quote) and len(symbol) > len(quote):
            return symbol.removesuffix(quote), quote
    raise NotATradeError


def split_kraken(pair: str) -> tuple[str, str]:
    base, _, quote = pair.partition("/")
    if not base or not quote:
        raise NotATradeError
    return COMMON_NAMES.get(base, base), COMMON_NAMES.get(quote, quote)


def kraken_v2(entry: Any) -> Row:
    base, quote = split_kraken(entry["symbol"])
    identity = integer(entry["trade_id"])
    return {
        "exchange": "KRAKEN",
        "symbol": base + quote,
        "currency": quote,
        "trade_id": f"KRAKEN-{identity}",
        "source_sequence": identity,
        "timestamp": datetime.fromisoformat(entry["timestamp"].replace("Z", "+00:00")),
        "price": json_number(entry["price"]),
        "quantity": json_number(entry["qty"]),
        "side": {"buy": "BUY", "sell": "SELL"}[entry["side"]],
        "vendor_data": {
            "pair": entry["symbol"],
            "order_type": entry["ord_type"],
            "base_asset": base,
            "quote_asset": quote,
        },
    }


def coinbase(match: Any) -> Row:
    base, quote = match["product_id"].split("-")
    identity = integer(match["trade_id"])
    return {
        "exchange": "COINBASE",
        "symbol": base + quote,
        "currency": quote,
        "trade_id": f"COINBASE-{identity}",
        "source_sequence": identity,
        "timestamp": datetime.fromisoformat(match["time"].replace("Z", "+00:00")),
        "price": text_number(match["price"]),
        "quantity": text_number(match["size"]),
        "side": {"buy": "SELL", "sell": "BUY"}[match["side"]],  # the maker's
        "vendor_data": {
            "event_type": match["type"],
            "maker_side": match["side"],
            "base_asset": base,
            "quote_asset": quote,
            "sequence": str(match["sequence"]),
            "maker_order_id": match["maker_order_id"],
            "taker_order_id": match["taker_order_id"],
        },
    }


def kraken_v1(pair: str, entry: list[str], seen: Counter[str]) -> Row:
    price, volume, time, side, order_type, misc = entry
    base, quote = split_kraken(pair)
    derived = f"KRAKEN-{pair}:{time}:{price}:{volume}:{side}"
    seen[derived] += 1
    seconds, _, fraction = time.partition(".")
    return {
        "exchange": "KRAKEN",
        "symbol": base + quote,
        "currency": quote,
        "trade_id": f"{derived}:{seen[derived] - 1}",
        "source_sequence": None,
        "timestamp": EPOCH + timedelta(seconds=int(seconds), microseconds=int(fraction[:6].ljust(6, "0"))),
        "price": Decimal(price),
        "quantity": Decimal(volume),
        "side": {"b": "BUY", "s": "SELL"}[side],
        "vendor_data": {
            "pair": pair,
            "order_type": order_type,
            "misc": misc,
            "base_asset": base,
            "quote_asset": quote,
            "raw_timestamp": time,
        },
    }


def complete(row: Row) -> Row:
    for name, (before, behind) in TYPES.items():
        value = row[name]
        if value <= 0 or value >= 10**before or value != round(value, behind):
            raise NotATradeError
    name = f"{row['exchange']}|{row['symbol']}|{row['trade_id']}"
    return row | {
        "message_id": str(uuid.uuid5(TRADE_NAMESPACE, name)),
        "asset_class": "crypto",
        "trade_conditions": [],
        "platform_sequence": None,
        "exchange_date": row["timestamp"].date(),
        "exchange_hour": row["timestamp"].hour,
    }


def gold_of(*recordings: tuple[str, Path]) -> dict[str, Row]:
    """What Gold must hold of these recordings, by message_id: the first one of each."""
    gold: dict[str, Row] = {}
    for exchange, path in recordings:
        for row in read_trades(exchange, path)[0]:
            gold.setdefault(row["message_id"], row)
    return gold
