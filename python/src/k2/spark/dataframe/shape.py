"""Proof, in the JVM, that bytes are one well-formed message of a schema, before spark-avro sees them.

from_avro trusts what it reads: a length of two thousand million makes it ask for that much memory, bytes behind the
message are ignored, texts are not checked. Avro's binary form is a prefix code, though, so that messages of ordinary
sizes can be told by a regular expression: each alternative begins with another byte. What matches is one whole
message, with ASCII texts and legal indexes, and is decoded to the same values by every reader. What does not match may
still be a good message (long texts, other letters, many blocks): K2's exact judge in Python decides.
"""

from __future__ import annotations

import json
from typing import Any

from k2.spark.dataframe.avro_schema import Node, SchemaError, parse_schema
from k2.spark.schemas import TRADE_SCHEMA, TRADE_SCHEMA_JSON

# What is usual for trades: an expression grows with it, and all of Spark's planning with the expression.
TEXT_SIZE_MAX = 63  # of a text in a record
KEY_SIZE_MAX = 31  # in a map
ITEM_SIZE_MAX = 47  # of a text in a list or map
LIST_ITEMS_MAX = 3
MAP_ITEMS_MAX = 8
_ASCII = "[\0-\x7f]"  # the characters themselves: shorter
_ANY = "[\0-\xff]"
_GROUP = 8

TRADE_FIELDS: tuple[str, ...] = tuple(field["name"] for field in TRADE_SCHEMA["fields"])


def _byte(value: int) -> str:
    return f"\\x{value:02x}"


def _sized(sizes: range, unit: str) -> str:
    """A length, then so many units. Alternatives stand in groups, so that few are tried."""
    groups = []
    for begin in range(sizes.start, sizes.stop, _GROUP):
        part = range(begin, min(begin + _GROUP, sizes.stop))
        # Lengths are zig-zag: twice the number, in seven bits a byte.
        heads = [_byte(2 * n) if n < 64 else _byte(0x80 | (2 * n & 0x7F)) + _byte(n >> 6) for n in part]
        tails = ["" if n == 0 else f"{unit}{{{n}}}" for n in part]
        first, last = heads[0][:4], heads[-1][:4]
        inner = "|".join(head + tail for head, tail in zip(heads, tails, strict=True))
        groups.append(f"(?=[{first}-{last}])(?>{inner})")
    return f"(?>{'|'.join(groups)})"


def _items(item: str, count_max: int) -> str:
    """No items, or one block of some, and the end."""
    blocks = [_byte(2 * n) + f"(?:{item}){{{n}}}" for n in range(1, count_max + 1)]
    return rf"(?>\x00|(?>{'|'.join(blocks)})\x00)"


_INT = r"[\x80-\xff]{0,3}+[\x00-\x7f]"
_LONG = r"[\x80-\xff]{0,8}+[\x00-\x7f]"


def _index(count: int) -> str:
    if not 1 <= count <= 64:
        raise SchemaError("more indexes than one byte tells")
    return "[" + "".join(_byte(2 * n) for n in range(count)) + "]"


def _shape(node: Node, inside: bool = False, depth: int = 0) -> tuple[str, Any]:
    """The expression of a type's encodings, and the schema by which spark-avro reads them. SchemaError: none here."""
    if depth > 4:
        raise SchemaError("nested too deep for this")
    kind = node.type
    if kind == "int":
        return _INT, "int"
    if kind == "long":
        return _LONG, "long"
    if kind == "boolean":
        return r"[\x00\x01]", "boolean"
    if kind in ("float", "double"):
        return f"{_ANY}{{{4 if kind == 'float' else 8}}}", kind
    if kind == "enum":
        return _index(len(node.symbols)), "int"
    if kind == "bytes":
        if node.logical == "decimal":
            return _sized(range(1, 9), _ANY), "bytes"
        return _sized(range((ITEM_SIZE_MAX if inside else TEXT_SIZE_MAX) + 1), _ANY), "bytes"
    if kind == "string":
        return _sized(range((ITEM_SIZE_MAX if inside else TEXT_SIZE_MAX) + 1), _ASCII), "string"
    if kind == "array":
        item, schema = _shape(node.items, True, depth + 1)
        return _items(item, LIST_ITEMS_MAX), {"type": "array", "items": schema}
    if kind == "map":
        item, schema = _shape(node.items, True, depth + 1)
        key = _sized(range(KEY_SIZE_MAX + 1), _ASCII)
        return _items(key + item, MAP_ITEMS_MAX), {"type": "map", "values": schema}
    if kind == "union" and len(node.branches) == 2 and "null" in (node.branches[0].type, node.branches[1].type):
        null_at = 0 if node.branches[0].type == "null" else 1
        item, schema = _shape(node.branches[1 - null_at], inside, depth + 1)
        choices = ["null", schema] if null_at == 0 else [schema, "null"]
        return f"(?>{_byte(2 * null_at)}|{_byte(2 - 2 * null_at)}{item})", choices
    raise SchemaError(f"{kind} is nothing for this")


def _same(writer: Node, reader: Node) -> bool:
    """Of one form, so that resolution has nothing to change but an enum's symbols."""
    if writer.type != reader.type or writer.logical != reader.logical or writer.scale != reader.scale:
        return False
    if writer.type == "enum":
        return writer.name.rpartition(".")[2] == reader.name.rpartition(".")[2]
    if writer.type in ("array", "map"):
        return _same(writer.items, reader.items)
    if writer.type == "union":
        return len(writer.branches) == len(reader.branches) and all(
            _same(one, other) for one, other in zip(writer.branches, reader.branches, strict=True)
        )
    return True


class FastSchema:
    """How the JVM reads the messages of a schema: `pattern` proves them, `schema` decodes them, `columns` has for each
    field of V2 the name it has in `schema`, or None where its default holds; `symbols` those of the two enums."""

    def __init__(self, schema_json: str) -> None:
        writer, trade = parse_schema(schema_json), parse_schema(TRADE_SCHEMA_JSON)
        if writer.type != "record" or writer.name.rpartition(".")[2] != "TradeV2":
            raise SchemaError("not a trade")
        targets = {field.name: field for field in trade.fields}
        patterns: list[str] = []
        fields: list[dict[str, Any]] = []
        self.columns: dict[str, str | None] = {}
        self.symbols: dict[str, list[str]] = {}
        for i, field in enumerate(writer.fields):
            target = targets.get(field.name)
            if target is not None and not _same(field.type, target.type):
                raise SchemaError(f"{field.name} must be resolved")
            pattern, schema = _shape(field.type)
            patterns.append(pattern)
            fields.append({"name": f"f{i}", "type": schema})
            if target is None:
                continue
            self.columns[field.name] = f"f{i}"
            if field.type.type == "enum":
                self.symbols[field.name] = field.type.symbols
            if field.type.logical == "decimal":
                fields[-1]["type"] = {"type": "bytes", "logicalType": "decimal", "precision": 18, "scale": 8}
        for field in trade.fields:
            if field.name not in self.columns:
                if not field.has_default:
                    raise SchemaError(f"{field.name} is missing")
                self.columns[field.name] = None
        self.pattern = r"\A" + "".join(patterns) + r"\z"
        self.schema = json.dumps({"type": "record", "name": "Message", "fields": fields})


def fast_schema(schema_json: str) -> FastSchema | None:
    """None: every message of the schema is the exact judge's."""
    try:
        return FastSchema(schema_json)
    except SchemaError:
        return None
