"""From the bytes of a message to a row of Silver, or to the reason why it is none (docs/messages.md).

The same verdicts, for the same reasons, in the same order as K2's decoder gives them. Python's pace: the DataFrame path
asks it only about messages that it cannot prove to be good trades by itself. Shipped to Spark's workers by value.
"""

from __future__ import annotations

import uuid
from typing import Any, NamedTuple

from k2.spark import schemas
from k2.spark.dataframe.avro_plan import Plan
from k2.spark.dataframe.avro_read import Sink, StoppedError
from k2.spark.dataframe.avro_schema import SchemaError, parse_schema
from k2.spark.schemas import REJECTED_FRAME_SCHEMA_JSON, RULES, TRADE_SCHEMA_JSON

# Values of this module's own: what is shipped by value takes no other module along.
RULES_VERSION: int = RULES["version"]
MESSAGE_BYTES_MAX: int = RULES["message-bytes-max"]
FRAME_MESSAGE_BYTES_MAX: int = RULES["frame-message-bytes-max"]
TIME_US_MIN: int = RULES["time-us-min"]
TIME_US_END: int = RULES["time-us-end"]
TRADE_AHEAD_US_MAX: int = RULES["ahead-us-max"]
DECIMAL_LIMIT = 10**18
DAY_US = 86_400_000_000
DETAIL_BYTES_MAX = 1000
HEADER_BYTES = 5
GUID_HEADER_BYTES = 17  # Confluent's other header: a byte 1 and a GUID

FRAME_REASONS = frozenset(schemas.FRAME_REASONS)
_FIELDS = {field["name"]: field for field in schemas.TRADE_SCHEMA["fields"]}
ASSET_CLASSES: tuple[str, ...] = tuple(_FIELDS["asset_class"]["type"]["symbols"])
SIDES: tuple[str, ...] = tuple(_FIELDS["side"]["type"]["symbols"])

# Slots of the V2 schema: its fields in order, then what is inside the list and the map.
(
    _MESSAGE_ID,
    _TRADE_ID,
    _SYMBOL,
    _EXCHANGE,
    _ASSET_CLASS,
    _TIMESTAMP,
    _PRICE,
    _QUANTITY,
    _CURRENCY,
    _SIDE,
    _CONDITIONS,
    _SOURCE_SEQUENCE,
    _INGESTION,
    _PLATFORM_SEQUENCE,
    _VENDOR_DATA,
    _CONDITION,
    _VENDOR_VALUE,
) = range(17)


class Verdict(NamedTuple):
    """`reason` is None where the message is a row of Silver: then `row` holds it, times in microseconds since 1970, the
    date in days, prices and quantities in units of 10^-8."""

    reason: str | None
    detail: str | None
    schema_id: int | None
    row: tuple[Any, ...] | None


class _RejectedError(Exception):
    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail


def show(value: bytes) -> str:
    """A value of a message in a detail: short, and text whatever the bytes are."""
    shown = "".join(
        chr(c) if 0x20 <= c < 0x7F and c not in (0x22, 0x5C) else f"\\x{c:02x}"  # no quote, no backslash
        for c in value[:48]
    )
    return f'"{shown}"...' if len(value) > 48 else f'"{shown}"'


def cut(text: bytes) -> str:
    """A text of a message, as far as a detail may hold it."""
    if len(text) <= DETAIL_BYTES_MAX:
        return text.decode()
    size = DETAIL_BYTES_MAX
    while size > 0 and text[size] & 0xC0 == 0x80:
        size -= 1
    return text[:size].decode() + "..."


def is_text(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True


class _TradeSink(Sink):
    def __init__(self) -> None:
        self.texts: list[bytes] = [b""] * 17
        self.numbers = [0] * 17
        self.present = [False] * 17
        self.conditions: list[bytes] = []
        self.entries: list[tuple[bytes, bytes]] = []

    def null(self, slot: int) -> None:
        self.present[slot] = False

    def number(self, slot: int, value: int) -> None:
        self.numbers[slot] = value
        self.present[slot] = True

    def text(self, slot: int, value: bytes) -> None:
        if slot < _CONDITION:
            self.texts[slot] = value
        elif slot == _CONDITION:
            self.conditions.append(value)
        else:
            self.entries.append((self.texts[_VENDOR_DATA], value))

    def symbol(self, slot: int, value: int) -> None:
        self.numbers[slot] = value

    def begin(self, slot: int) -> None:
        self.present[slot] = True

    def key(self, slot: int, value: bytes) -> None:
        self.texts[_VENDOR_DATA] = value


class _FrameSink(Sink):
    def __init__(self) -> None:
        self.reason = b""
        self.detail = b""

    def text(self, slot: int, value: bytes) -> None:
        if slot == 1:
            self.reason = value
        elif slot == 2:
            self.detail = value


class _Known:
    """What is known under one schema id."""

    def __init__(self, schema: str) -> None:
        self.error = ""
        self.trade: Plan | None = None
        self.frame: Plan | None = None
        try:
            writer = parse_schema(schema)
            try:
                self.trade = Plan(writer, parse_schema(TRADE_SCHEMA_JSON))
            except SchemaError as as_trade:
                try:
                    self.frame = Plan(writer, parse_schema(REJECTED_FRAME_SCHEMA_JSON))
                except SchemaError:
                    raise as_trade from None
        except SchemaError as error:
            self.error = str(error)


class Judge:
    """One for each source of schema ids: a registry, or the ids of recordings.

    `schemas`: JSON by id. An id whose schema is there and can never be read (another format, references) has the reason
    in place of its JSON. Other ids are unknown.
    """

    def __init__(self, schemas: dict[int, str]) -> None:
        self._json = schemas
        self._known: dict[int, _Known] = {}

    def verdict(self, payload: bytes | None, exchange: str, decode_only: bool = False) -> Verdict:
        """`decode_only`: whether it can be read, and what it says; no rule is asked."""
        schema_id: int | None = None
        try:
            if payload is None:
                raise _RejectedError("null_value", "the message has no value")
            payload = bytes(payload)
            if len(payload) >= GUID_HEADER_BYTES and payload[0] == 1:
                guid = uuid.UUID(bytes=payload[1:GUID_HEADER_BYTES])
                raise _RejectedError(
                    "not_framed", f"its schema is named by GUID {guid}: only ids of a Confluent header are resolved"
                )
            if len(payload) < HEADER_BYTES or payload[0] != 0:
                raise _RejectedError(
                    "not_framed",
                    f"{len(payload)} bytes, beginning {show(payload[:HEADER_BYTES])}: no Confluent header of 0 and a "
                    "schema id",
                )
            schema_id = int.from_bytes(payload[1:HEADER_BYTES], "big", signed=True)
            if schema_id not in self._json:
                raise _RejectedError("unknown_schema_id", f"no schema has the id {schema_id}")
            known = self._known.get(schema_id)
            if known is None:
                known = self._known[schema_id] = _Known(self._json[schema_id])
            size_max = FRAME_MESSAGE_BYTES_MAX if known.frame else MESSAGE_BYTES_MAX
            if len(payload) > size_max:
                raise _RejectedError("oversized", f"{len(payload)} bytes, more than {size_max}")
            if known.trade:
                return Verdict(None, None, schema_id, _trade(known.trade, payload, exchange, decode_only))
            if known.frame:
                _frame(known.frame, payload)
            raise _RejectedError("schema_not_resolvable", cut(known.error.encode("utf-8", "replace")))
        except _RejectedError as rejected:
            return Verdict(rejected.reason, rejected.detail, schema_id, None)


def _trade(plan: Plan, payload: bytes, exchange: str, decode_only: bool) -> tuple[Any, ...]:
    sink = _TradeSink()
    _run(plan, payload, sink, trade=True)
    texts, numbers = sink.texts, sink.numbers
    _check_texts(sink)
    price = _decimal(texts[_PRICE])
    quantity = _decimal(texts[_QUANTITY])
    if decode_only:
        _check_number("price", price, "", "price_out_of_range")
        _check_number("quantity", quantity, "", "quantity_out_of_range")
    else:
        _validate(sink, price, quantity, exchange)
    vendor = {key.decode(): value.decode() for key, value in sink.entries} if sink.present[_VENDOR_DATA] else None
    return (
        texts[_MESSAGE_ID].decode(),
        texts[_TRADE_ID].decode(),
        texts[_SYMBOL].decode(),
        texts[_EXCHANGE].decode(),
        ASSET_CLASSES[numbers[_ASSET_CLASS]],
        numbers[_TIMESTAMP],
        price,
        quantity,
        texts[_CURRENCY].decode(),
        SIDES[numbers[_SIDE]],
        [condition.decode() for condition in sink.conditions],
        numbers[_SOURCE_SEQUENCE] if sink.present[_SOURCE_SEQUENCE] else None,
        numbers[_INGESTION],
        numbers[_PLATFORM_SEQUENCE] if sink.present[_PLATFORM_SEQUENCE] else None,
        vendor,
        numbers[_TIMESTAMP] // DAY_US,
    )


def _validate(sink: _TradeSink, price: int | None, quantity: int | None, exchange: str) -> None:
    """Names the first rule that a decoded trade breaks."""
    texts, numbers = sink.texts, sink.numbers
    for slot, name in ((_MESSAGE_ID, "message_id"), (_TRADE_ID, "trade_id"), (_SYMBOL, "symbol")):
        if not texts[slot]:
            raise _RejectedError(f"empty_{name}", f"{name} is empty")
    if not texts[_EXCHANGE]:
        raise _RejectedError("empty_exchange", "exchange is empty")
    if texts[_EXCHANGE] != exchange.encode():
        raise _RejectedError("exchange_mismatch", f"exchange is {show(texts[_EXCHANGE])}, not {exchange}")
    _check_number("price", price, "price_not_positive", "price_out_of_range")
    _check_number("quantity", quantity, "quantity_not_positive", "quantity_out_of_range")
    side = SIDES[numbers[_SIDE]]
    if side not in ("BUY", "SELL"):
        raise _RejectedError("invalid_side", f"side is {side}, neither BUY nor SELL")
    if ASSET_CLASSES[numbers[_ASSET_CLASS]] != "crypto":
        raise _RejectedError("invalid_asset_class", "asset_class is not crypto")
    time, received = numbers[_TIMESTAMP], numbers[_INGESTION]
    for name, micros in (("timestamp", time), ("ingestion_timestamp", received)):
        if not TIME_US_MIN <= micros < TIME_US_END:
            raise _RejectedError(
                "timestamp_out_of_range", f"{name} is {micros} us since 1970, not within the years 2000 to 2199"
            )
    if time - received > TRADE_AHEAD_US_MAX:
        raise _RejectedError(
            "timestamp_in_future", f"timestamp is {time} us, ingestion_timestamp {received} us since 1970"
        )


def _check_texts(sink: _TradeSink) -> None:
    """Names the first text of a decoded trade that is not UTF-8."""

    def check(field: str, value: bytes) -> None:
        if not is_text(value):
            raise _RejectedError("invalid_utf8", f"{field} is not UTF-8: {show(value)}")

    for slot, name in (
        (_MESSAGE_ID, "message_id"),
        (_TRADE_ID, "trade_id"),
        (_SYMBOL, "symbol"),
        (_EXCHANGE, "exchange"),
        (_CURRENCY, "currency"),
    ):
        check(name, sink.texts[slot])
    for condition in sink.conditions:
        check("trade_conditions", condition)
    if sink.present[_VENDOR_DATA]:
        for key, value in sink.entries:
            check("a key of vendor_data", key)
            check("a value of vendor_data", value)


def _decimal(value: bytes) -> int | None:
    """Unscaled; None where there are no bytes."""
    return int.from_bytes(value, "big", signed=True) if value else None


def _check_number(field: str, value: int | None, not_positive: str, out_of_range: str) -> None:
    """`not_positive` is empty where zero and negative numbers may pass."""
    if value is None:
        raise _RejectedError("malformed", f"{field} is a decimal of no bytes")
    if value >= DECIMAL_LIMIT:
        raise _RejectedError(out_of_range, f"{field} is 10^10 or more")
    if value <= -DECIMAL_LIMIT:
        raise _RejectedError(not_positive or out_of_range, f"{field} is -10^10 or less")
    if value <= 0 and not_positive:
        raise _RejectedError(not_positive, f"{field} is zero" if value == 0 else f"{field} is negative")


def _run(plan: Plan, payload: bytes, sink: Sink, trade: bool) -> None:
    try:
        plan.run(payload, HEADER_BYTES, sink)
    except StoppedError as stopped:
        field, at = plan.slot_names[stopped.slot], stopped.offset
        if stopped.outcome == "truncated":
            raise _RejectedError("truncated", f"ends within {field} at byte {at}") from None
        if stopped.outcome == "trailing":
            raise _RejectedError("trailing_bytes", f"the trade ends at byte {at}, the message later") from None
        if stopped.outcome == "unresolvable":
            if trade and stopped.slot == _SIDE:
                raise _RejectedError("invalid_side", "side is a symbol that V2 does not have") from None
            if trade and stopped.slot == _ASSET_CLASS:
                raise _RejectedError("invalid_asset_class", "asset_class is a symbol that V2 does not have") from None
            raise _RejectedError("schema_not_resolvable", f"{field} has a type or symbol that cannot be read") from None
        raise _RejectedError("malformed", f"{field} is not legal Avro at byte {at}") from None


def _frame(plan: Plan, payload: bytes) -> None:
    sink = _FrameSink()
    _run(plan, payload, sink, trade=False)
    detail = cut(sink.detail) if is_text(sink.detail) else show(sink.detail)
    detail = detail or "the message gives no detail"
    reason = sink.reason.decode("ascii", "replace")
    if reason in FRAME_REASONS:
        raise _RejectedError(reason, detail)
    raise _RejectedError("frame_other", f"{show(sink.reason)}: {detail}")
