"""Avro schemas: JSON to a tree, with K2's limits and K2's words for what is wrong.

This module knows nothing of Spark, nor do avro_read and avro_plan: Spark ships them to its Python workers by value.
"""

from __future__ import annotations

import json
import re
from typing import Any

SCHEMA_BYTES_MAX = 1 << 20
SCHEMA_DEPTH_MAX = 64
JSON_DEPTH_MAX = 256
NODES_MAX = 1 << 16
FIXED_BYTES_MAX = 1 << 20

PRIMITIVES = ("null", "boolean", "int", "long", "float", "double", "bytes", "string")
TIMES = ("date", "time-millis", "time-micros", "timestamp-millis", "timestamp-micros", "timestamp-nanos")
_LOGICAL_OF = {
    "date": "int",
    "time-millis": "int",
    "time-micros": "long",
    "timestamp-millis": "long",
    "timestamp-micros": "long",
    "timestamp-nanos": "long",
}
_SIMPLE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


class SchemaError(Exception):
    """A schema that cannot be read, or one that cannot be read as another."""


class Node:
    """One type of a schema. A named type that is referred to again is the same node."""

    __slots__ = (
        "aliases",
        "branches",
        "default_symbol",
        "fields",
        "items",
        "logical",
        "name",
        "scale",
        "size",
        "symbols",
        "type",
    )

    def __init__(self, kind: str) -> None:
        self.type = kind
        self.logical = ""
        self.scale = 0
        self.name = ""
        self.aliases: list[str] = []
        self.fields: list[Field] = []
        self.symbols: list[str] = []
        self.default_symbol: str | None = None
        self.size = 0
        self.items: Any = None
        self.branches: list[Node] = []


class Field:
    __slots__ = ("aliases", "default", "has_default", "name", "type")

    def __init__(self, name: str) -> None:
        self.name = name
        self.type: Any = None
        self.aliases: list[str] = []
        self.has_default = False
        self.default: Any = None


def _is_integer(value: Any) -> bool:
    """As K2's JSON reader sees it: beyond 64 bits a number is a double."""
    return isinstance(value, int) and not isinstance(value, bool) and -(1 << 63) <= value < (1 << 64)


def _excerpt(value: Any) -> str:
    text = json.dumps(value, separators=(",", ":"), sort_keys=True)
    return text if len(text) <= 60 else text[:57] + "..."


def nests_too_deep(text: str) -> bool:
    depth = 0
    in_string = False
    skip = False
    for c in text:
        if skip:
            skip = False
        elif in_string:
            skip = c == "\\"
            in_string = c != '"'
        elif c == '"':
            in_string = True
        elif c in "[{":
            depth += 1
            if depth > JSON_DEPTH_MAX:
                return True
        elif c in "]}":
            depth -= 1
    return False


class _Parser:
    def __init__(self) -> None:
        self.count = 0
        self.named: dict[str, Node] = {}

    def parse(self, schema: Any, space: str, depth: int) -> Node:
        if depth > SCHEMA_DEPTH_MAX:
            raise SchemaError(f"Avro schema: nested more than {SCHEMA_DEPTH_MAX} levels")
        if self.count >= NODES_MAX:
            raise SchemaError(f"Avro schema: more than {NODES_MAX} types")
        if isinstance(schema, str):
            return self._by_name(schema, space)
        if isinstance(schema, list):
            return self._union(schema, space, depth)
        if not isinstance(schema, dict):
            raise SchemaError(f"Avro schema: {_excerpt(schema)} is no type")
        if "type" not in schema:
            raise SchemaError(f'Avro schema: {_excerpt(schema)} has no "type"')
        kind = schema["type"]
        if not isinstance(kind, str):
            return self.parse(kind, space, depth + 1)
        if kind in ("record", "error"):
            return self._record(schema, space, depth)
        if kind == "enum":
            return self._enum(schema, space)
        if kind == "fixed":
            return self._fixed(schema, space)
        if kind in ("array", "map"):
            return self._container(schema, space, depth, kind)
        if kind not in PRIMITIVES:
            return self._by_name(kind, space)
        node = self._add(kind)
        _set_logical(node, schema)
        return node

    def _add(self, kind: str) -> Node:
        self.count += 1
        return Node(kind)

    def _by_name(self, name: str, space: str) -> Node:
        if name in PRIMITIVES:
            return self._add(name)
        full = f"{space}.{name}" if "." not in name and space else name
        # Java's reader takes a type without a namespace then, and so do schemas that were written with it.
        if full not in self.named and "." not in name:
            full = name
        if full not in self.named:
            raise SchemaError(f"Avro schema: type {_excerpt(name)} is not defined before its use")
        return self.named[full]

    def _union(self, schema: list[Any], space: str, depth: int) -> Node:
        node = self._add("union")
        seen: set[tuple[str, str]] = set()
        for branch in schema:
            kind = self.parse(branch, space, depth + 1)
            if kind.type == "union":
                raise SchemaError("Avro schema: a union directly in a union")
            if (kind.type, kind.name) in seen:
                raise SchemaError(f"Avro schema: a union has {kind.name or kind.type} twice")
            seen.add((kind.type, kind.name))
            node.branches.append(kind)
        return node

    def _set_name(self, node: Node, schema: dict[str, Any], outer: str) -> str:
        name = _string_member(schema, "name", node.type)
        space = outer
        if "." in name:
            space, _, name = name.rpartition(".")
        elif "namespace" in schema:
            space = _optional_string(schema, "namespace")
        node.name = f"{space}.{name}" if space else name
        if not all(_SIMPLE_NAME.match(part) for part in node.name.split(".")) or node.name in PRIMITIVES:
            raise SchemaError(f"Avro schema: {_excerpt(node.name)} is no legal type name")
        node.aliases = [a if "." in a or not space else f"{space}.{a}" for a in _aliases(schema)]
        if node.name in self.named:
            raise SchemaError(f"Avro schema: type {node.name} is defined twice")
        self.named[node.name] = node
        return space

    def _record(self, schema: dict[str, Any], outer: str, depth: int) -> Node:
        node = self._add("record")
        space = self._set_name(node, schema, outer)
        fields = schema.get("fields")
        if not isinstance(fields, list):
            raise SchemaError(f'Avro schema: record {node.name} has no array "fields"')
        seen: set[str] = set()
        for item in fields:
            if not isinstance(item, dict):
                raise SchemaError(f"Avro schema: a field of {node.name} is no object")
            field = Field(_string_member(item, "name", f"a field of {node.name}"))
            if not field.name:
                raise SchemaError(f"Avro schema: a field of {node.name} has no name")
            if field.name in seen:
                raise SchemaError(f"Avro schema: record {node.name} has two fields {field.name}")
            seen.add(field.name)
            if "type" not in item:
                raise SchemaError(f"Avro schema: field {node.name}.{field.name} has no type")
            field.type = self.parse(item["type"], space, depth + 1)
            field.aliases = _aliases(item)
            if "default" in item:
                field.has_default = True
                field.default = item["default"]
            node.fields.append(field)
        return node

    def _enum(self, schema: dict[str, Any], outer: str) -> Node:
        node = self._add("enum")
        self._set_name(node, schema, outer)
        symbols = schema.get("symbols")
        if not isinstance(symbols, list):
            raise SchemaError(f'Avro schema: enum {node.name} has no array "symbols"')
        for symbol in symbols:
            if not isinstance(symbol, str) or not _SIMPLE_NAME.match(symbol):
                raise SchemaError(f"Avro schema: enum {node.name} has the illegal symbol {_excerpt(symbol)}")
            if symbol in node.symbols:
                raise SchemaError(f"Avro schema: enum {node.name} has {_excerpt(symbol)} twice")
            node.symbols.append(symbol)
        if "default" in schema:
            node.default_symbol = _string_member(schema, "default", f"enum {node.name}")
            if node.default_symbol not in node.symbols:
                raise SchemaError(f"Avro schema: the default of enum {node.name} is none of its symbols")
        return node

    def _fixed(self, schema: dict[str, Any], outer: str) -> Node:
        node = self._add("fixed")
        self._set_name(node, schema, outer)
        size = schema.get("size")
        if not _is_integer(size) or not 0 <= size <= FIXED_BYTES_MAX:  # type: ignore[operator]
            raise SchemaError(f'Avro schema: fixed {node.name} needs a "size" from 0 to {FIXED_BYTES_MAX}')
        node.size = size  # type: ignore[assignment]
        _set_logical(node, schema)
        return node

    def _container(self, schema: dict[str, Any], space: str, depth: int, kind: str) -> Node:
        node = self._add(kind)
        key = "values" if kind == "map" else "items"
        if key not in schema:
            raise SchemaError(f'Avro schema: {kind} has no "{key}"')
        node.items = self.parse(schema[key], space, depth + 1)
        return node


def _string_member(schema: dict[str, Any], key: str, of: str) -> str:
    if key not in schema:
        raise SchemaError(f'Avro schema: {of} has no "{key}"')
    value = schema[key]
    if not isinstance(value, str):
        raise SchemaError(f'Avro schema: "{key}" of {of} is not a string')
    return value


def _optional_string(schema: dict[str, Any], key: str) -> str:
    value = schema.get(key)
    return value if isinstance(value, str) else ""


def _aliases(schema: dict[str, Any]) -> list[str]:
    if "aliases" not in schema:
        return []
    if not isinstance(schema["aliases"], list):
        raise SchemaError('Avro schema: "aliases" is not an array')
    if not all(isinstance(alias, str) for alias in schema["aliases"]):
        raise SchemaError("Avro schema: an alias is not a string")
    return list(schema["aliases"])


def _set_logical(node: Node, schema: dict[str, Any]) -> None:
    name = _optional_string(schema, "logicalType")
    if name == "decimal" and node.type in ("bytes", "fixed"):
        precision, scale = schema.get("precision"), schema.get("scale", 0)
        # A decimal that is not legal is its underlying type.
        if not _is_integer(precision) or not _is_integer(scale):
            return
        assert isinstance(precision, int)
        if 1 <= precision <= 1000 and 0 <= scale <= precision:
            node.logical, node.scale = name, scale
    else:
        is_uuid = name == "uuid" and (node.type == "string" or (node.type == "fixed" and node.size == 16))
        if is_uuid or _LOGICAL_OF.get(name) == node.type:
            node.logical = name


def parse_schema(text: str) -> Node:
    """The schema's root. SchemaError: not JSON, no schema, or beyond the limits above."""
    size = len(text.encode("utf-8", "surrogatepass"))
    if size > SCHEMA_BYTES_MAX:
        raise SchemaError(f"Avro schema: {size} bytes of JSON, more than {SCHEMA_BYTES_MAX}")
    if nests_too_deep(text):
        raise SchemaError(f"Avro schema: JSON nested more than {JSON_DEPTH_MAX} levels")

    def refuse(constant: str) -> Any:
        raise ValueError(constant)

    try:
        document = json.loads(text, parse_constant=refuse)
        json.dumps(document, ensure_ascii=False).encode()  # half a surrogate pair is no text
    except (ValueError, RecursionError):
        raise SchemaError("Avro schema: not JSON") from None
    return _Parser().parse(document, "", 0)
