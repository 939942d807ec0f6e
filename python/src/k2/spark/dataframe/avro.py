"""Avro schemas, and reading messages of one schema as another: the rules of K2's decoder, word for word.

Avro's schema resolution is worked out once for a writer's schema and then run message by message. It is stricter than
Avro where following the rules would misread a number: a decimal needs a decimal of the same scale, and of two time
types the units must be the same. This module knows nothing of Spark and nothing of the package: Spark ships it to its
Python workers by value.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

SCHEMA_BYTES_MAX = 1 << 20
SCHEMA_DEPTH_MAX = 64
JSON_DEPTH_MAX = 256
NODES_MAX = 1 << 16
FIXED_BYTES_MAX = 1 << 20
ATTEMPTS_MAX = 1 << 15
INSTRUCTIONS_MAX = 1 << 14
LOOPS_MAX = 16
SKIP_DEPTH_MAX = 128
EMPTY_ITEMS_MAX = 64
VARINT_BYTES_MAX = 10

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


class StoppedError(Exception):
    """Reading a message ended: `truncated`, `trailing`, `malformed` or `unresolvable`, in a slot, at a byte."""

    def __init__(self, outcome: str, slot: int = 0, offset: int = 0) -> None:
        super().__init__(outcome, slot, offset)
        self.outcome = outcome
        self.slot = slot
        self.offset = offset


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


def _nests_too_deep(text: str) -> bool:
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
    if _nests_too_deep(text):
        raise SchemaError(f"Avro schema: JSON nested more than {JSON_DEPTH_MAX} levels")

    def refuse(constant: str) -> Any:
        raise ValueError(constant)

    try:
        document = json.loads(text, parse_constant=refuse)
        json.dumps(document, ensure_ascii=False).encode()  # half a surrogate pair is no text
    except (ValueError, RecursionError):
        raise SchemaError("Avro schema: not JSON") from None
    return _Parser().parse(document, "", 0)


# Reading.


class Reader:
    """Reads primitives. A failed read leaves `at` where the failing one began."""

    __slots__ = ("at", "data", "end")

    def __init__(self, data: bytes, at: int = 0) -> None:
        self.data = data
        self.at = at
        self.end = len(data)

    def long(self) -> int:
        data, at, end = self.data, self.at, self.end
        bits = 0
        shift = 0
        while at < end:
            byte = data[at]
            at += 1
            if shift == 63 and byte > 1:
                break
            bits |= (byte & 0x7F) << shift
            if byte < 0x80:
                self.at = at
                return (bits >> 1) ^ -(bits & 1)
            shift += 7
            if shift == 70:
                break
        raise StoppedError("malformed" if end - self.at >= VARINT_BYTES_MAX else "truncated")

    def take(self, size: int) -> bytes:
        at = self.at
        if size < 0:
            raise StoppedError("malformed")
        if size > self.end - at:
            raise StoppedError("truncated")
        self.at = at + size
        return self.data[at : at + size]

    def sized(self) -> bytes:
        return self.take(self.long())

    def block(self) -> tuple[int, int]:
        """Items of an array's or map's block, and its bytes where the writer gave them, else -1."""
        size = -1
        count = self._block_long()
        if count < 0:
            if count == -(1 << 63):
                raise StoppedError("malformed")
            count = -count
            size = self._block_long()
            if size < 0:
                raise StoppedError("malformed" if size < -1 else "truncated")
            if size > self.end - self.at:
                raise StoppedError("truncated")
        if count > self.end - self.at + EMPTY_ITEMS_MAX:
            raise StoppedError("truncated")
        return count, size

    def _block_long(self) -> int:
        """Of a block's head, a number that is none counts as an early end."""
        try:
            return self.long()
        except StoppedError:
            raise StoppedError("truncated") from None


class Sink:
    """Takes the values of a message by slot: numbers, texts (bytes), None, lists and pairs."""

    def null(self, slot: int) -> None: ...
    def number(self, slot: int, value: int) -> None: ...
    def text(self, slot: int, value: bytes) -> None: ...
    def symbol(self, slot: int, value: int) -> None: ...
    def begin(self, slot: int) -> None: ...
    def key(self, slot: int, value: bytes) -> None: ...


Step = Callable[[Reader, Sink], None]


class _Place:
    """A place in the reader's schema, with its slot."""

    __slots__ = ("children", "node", "slot")

    def __init__(self, node: Node, slot: int) -> None:
        self.node = node
        self.slot = slot
        self.children: list[_Place] = []


class _MisfitError(Exception):
    """The writer's type cannot be read as the reader's; `args[0]` says so."""


class Plan:
    """Reads messages of a writer's schema as a reader's.

    Values go to the slots of the reader's schema: the fields of the root record are slots 0, 1, … in their order, what
    is nested in them has the slots after. A union shares its slot with its branches.
    """

    def __init__(self, writer: Node, reader: Node) -> None:
        self.slot_names: list[str] = []
        self._attempts = 0
        self._size = 0
        self._loops = 0
        self._reader = reader
        root = _Place(reader, 0)
        self._add_children(root, "")
        try:
            self._step = self._emit(writer, root)
        except _MisfitError as misfit:
            raise SchemaError(misfit.args[0]) from None

    def run(self, data: bytes, begin: int, sink: Sink) -> None:
        """Raises StoppedError with the slot and the byte of `data` at which it stopped."""
        reader = Reader(data, begin)
        try:
            self._step(reader, sink)
        except StoppedError as stopped:
            stopped.offset = reader.at
            raise
        if reader.at != reader.end:
            raise StoppedError("trailing", 0, reader.at)

    def _add_children(self, place: _Place, prefix: str) -> None:
        node = place.node
        names: list[str] = []
        if node.type == "record":
            names = [prefix + field.name for field in node.fields]
            types = [field.type for field in node.fields]
        elif node.type in ("array", "map"):
            names = [prefix + ("element" if node.type == "array" else "value")]
            types = [node.items]
        else:
            types = []
        for name, kind in zip(names, types, strict=True):
            place.children.append(_Place(kind, len(self.slot_names)))
            self.slot_names.append(name)
        if node.type == "union":
            place.children = [_Place(branch, place.slot) for branch in node.branches]
        for i, child in enumerate(place.children):
            self._add_children(child, names[i] + "." if names else prefix)

    def _unresolvable(self, writer: Node, reader: _Place) -> _MisfitError:
        def describe(node: Node) -> str:
            return f"{node.type} {node.name}" if node.name else node.type

        where = "the message" if reader.node is self._reader else self.slot_names[reader.slot]
        return _MisfitError(
            f"Avro schema resolution: the writer's {describe(writer)} cannot be read as {where} "
            f"({describe(reader.node)})"
        )

    def _emit(self, writer: Node, reader: _Place) -> Step:
        self._attempts += 1
        self._size += 1
        if self._attempts > ATTEMPTS_MAX or self._size > INSTRUCTIONS_MAX:
            raise _MisfitError("Avro schema resolution: the schemas are too large or nest without end")
        if writer.type == "union":
            return self._writer_union(writer, reader)
        kind = reader.node.type
        if kind == "union":
            return self._reader_union(writer, reader)
        if kind == "record":
            return self._record(writer, reader)
        if kind == "enum":
            return self._enum(writer, reader)
        if kind in ("array", "map"):
            return self._items(writer, reader)
        return self._plain(writer, reader)

    def _plain(self, writer: Node, reader: _Place) -> Step:
        target, slot = reader.node, reader.slot
        if "decimal" in (writer.logical, target.logical):
            if writer.logical != target.logical or writer.scale != target.scale:
                raise self._unresolvable(writer, reader)
            return _fixed(slot, writer.size) if writer.type == "fixed" else _text(slot)
        if writer.logical in TIMES and target.logical in TIMES and writer.logical != target.logical:
            raise self._unresolvable(writer, reader)  # milliseconds are not microseconds
        if writer.type == "null" and target.type == "null":
            return _null(slot)
        if writer.type in ("int", "long") and target.type == "long":
            return _integer(slot) if writer.type == "int" else _long(slot)
        if writer.type in ("bytes", "string") and target.type in ("bytes", "string"):
            return _text(slot)
        raise self._unresolvable(writer, reader)

    def _enum(self, writer: Node, reader: _Place) -> Step:
        target, slot = reader.node, reader.slot
        if writer.type != "enum" or not _names_match(writer, target):
            raise self._unresolvable(writer, reader)
        absent = target.symbols.index(target.default_symbol) if target.default_symbol is not None else -1
        table = [target.symbols.index(symbol) if symbol in target.symbols else absent for symbol in writer.symbols]

        def step(reader: Reader, sink: Sink) -> None:
            try:
                index = reader.long()
            except StoppedError as stopped:
                stopped.slot = slot
                raise
            if not 0 <= index < len(table):
                raise StoppedError("malformed", slot)
            if table[index] < 0:
                raise StoppedError("unresolvable", slot)
            sink.symbol(slot, table[index])

        return step

    def _items(self, writer: Node, reader: _Place) -> Step:
        if writer.type != reader.node.type:
            raise self._unresolvable(writer, reader)
        slot, item, is_map = reader.slot, reader.children[0], writer.type == "map"
        if (
            writer.items.type in ("bytes", "string")
            and item.node.type in ("bytes", "string")
            and "decimal" not in (writer.items.logical, item.node.logical)
        ):
            return _texts(slot, item.slot, is_map)
        if self._loops >= LOOPS_MAX:
            raise _MisfitError(f"Avro schema resolution: more than {LOOPS_MAX} arrays within one another")
        self._loops += 1
        try:
            inner = self._emit(writer.items, item)
        finally:
            self._loops -= 1

        def step(reader: Reader, sink: Sink) -> None:
            sink.begin(slot)
            while True:
                try:
                    count, _ = reader.block()
                except StoppedError as stopped:
                    stopped.slot = slot
                    raise
                if count == 0:
                    return
                for _ in range(count):
                    if is_map:
                        try:
                            key = reader.sized()
                        except StoppedError as stopped:
                            stopped.slot = slot
                            raise
                        sink.key(slot, key)
                    inner(reader, sink)

        return step

    def _record(self, writer: Node, reader: _Place) -> Step:
        target = reader.node
        if writer.type != "record" or not _names_match(writer, target):
            raise self._unresolvable(writer, reader)
        # Which of the reader's fields takes each of the writer's: by name, else by the reader's alias.
        places = {field.name: i for i, field in enumerate(writer.fields)}
        taken_by: dict[int, int] = {}
        found: set[int] = set()

        def match(field: int, name: str) -> None:
            index = places.get(name)
            if index is not None and index not in taken_by:
                taken_by[index] = field
                found.add(field)

        for i, field in enumerate(target.fields):
            match(i, field.name)
        for i, field in enumerate(target.fields):
            for alias in field.aliases:
                if i not in found:
                    match(i, alias)
        steps: list[Step] = []
        for i, field in enumerate(writer.fields):
            if i in taken_by:
                steps.append(self._emit(field.type, reader.children[taken_by[i]]))
            else:
                self._size += 1
                steps.append(_skip(field.type, reader.slot))
        for i, field in enumerate(target.fields):
            if i not in found:
                steps.append(self._default(field, reader.children[i]))

        def step(reader: Reader, sink: Sink) -> None:
            for each in steps:
                each(reader, sink)

        return step

    def _default(self, field: Field, place: _Place) -> Step:
        if not field.has_default:
            raise _MisfitError(
                f"Avro schema resolution: the writer has no field {self.slot_names[place.slot]}, which has no default"
            )
        # The defaults of V2 are null, the first branch of a union, and the empty array: both are one byte, 0.
        assert field.default is None or field.default == []
        inner = self._emit(field.type, place)

        def step(reader: Reader, sink: Sink) -> None:
            inner(Reader(b"\0"), sink)

        return step

    def _reader_union(self, writer: Node, reader: _Place) -> Step:
        """The reader's first branch of the same type and name, else the first that can read it."""
        size = self._size
        for exact in (True, False):
            for branch in reader.children:
                if exact and (branch.node.type, branch.node.name) != (writer.type, writer.name):
                    continue
                try:
                    return self._emit(writer, branch)
                except _MisfitError:
                    self._size = size
        raise self._unresolvable(writer, reader)

    def _writer_union(self, writer: Node, reader: _Place) -> Step:
        slot, count = reader.slot, len(writer.branches)
        kinds = [branch.type for branch in writer.branches]
        reads_null = reader.node.type == "null" or (
            reader.node.type == "union" and any(child.node.type == "null" for child in reader.children)
        )
        if count == 2 and reads_null and "null" in kinds:
            null_at = kinds.index("null")
            other, _ = self._branch(writer.branches[1 - null_at], reader)

            def optional(reader: Reader, sink: Sink) -> None:
                index = _index(reader, slot, 2)
                if index == null_at:
                    sink.null(slot)
                else:
                    other(reader, sink)

            return optional
        branches = [self._branch(branch, reader) for branch in writer.branches]
        if not any(readable for _, readable in branches):
            raise self._unresolvable(writer, reader)
        steps = [step for step, _ in branches]

        def step(reader: Reader, sink: Sink) -> None:
            steps[_index(reader, slot, count)](reader, sink)

        return step

    def _branch(self, branch: Node, reader: _Place) -> tuple[Step, bool]:
        """A branch of the writer's that cannot be read is an error of the messages that have it."""
        size, slot = self._size, reader.slot
        try:
            return self._emit(branch, reader), True
        except _MisfitError:
            self._size = size + 1

        def step(reader: Reader, sink: Sink) -> None:
            raise StoppedError("unresolvable", slot)

        return step, False


def _index(reader: Reader, slot: int, count: int) -> int:
    try:
        index = reader.long()
    except StoppedError as stopped:
        stopped.slot = slot
        raise
    if not 0 <= index < count:
        raise StoppedError("malformed", slot)
    return index


def _names_match(writer: Node, reader: Node) -> bool:
    simple = writer.name.rpartition(".")[2]
    return simple == reader.name.rpartition(".")[2] or writer.name in reader.aliases


def _in_slot(slot: int, read: Callable[[Reader, Sink], None]) -> Step:
    def step(reader: Reader, sink: Sink) -> None:
        try:
            read(reader, sink)
        except StoppedError as stopped:
            stopped.slot = slot
            raise

    return step


def _null(slot: int) -> Step:
    return lambda reader, sink: sink.null(slot)


def _long(slot: int) -> Step:
    return _in_slot(slot, lambda reader, sink: sink.number(slot, reader.long()))


def _integer(slot: int) -> Step:
    def read(reader: Reader, sink: Sink) -> None:
        value = reader.long()
        if not -(1 << 31) <= value < 1 << 31:
            raise StoppedError("malformed")
        sink.number(slot, value)

    return _in_slot(slot, read)


def _text(slot: int) -> Step:
    return _in_slot(slot, lambda reader, sink: sink.text(slot, reader.sized()))


def _fixed(slot: int, size: int) -> Step:
    return _in_slot(slot, lambda reader, sink: sink.text(slot, reader.take(size)))


def _texts(slot: int, item_slot: int, is_map: bool) -> Step:
    """A whole array or map of bytes or strings."""

    def read(reader: Reader, sink: Sink) -> None:
        sink.begin(slot)
        while True:
            count, _ = reader.block()
            if count == 0:
                return
            for _ in range(count):
                if is_map:
                    key = reader.sized()
                    value = reader.sized()
                    sink.key(slot, key)
                    sink.text(item_slot, value)
                else:
                    sink.text(item_slot, reader.sized())

    return _in_slot(slot, read)


def _skip(node: Node, slot: int) -> Step:
    if node.type == "null":
        return lambda reader, sink: None
    sizes = {"float": 4, "double": 8, "fixed": node.size}
    if node.type in sizes:
        size = sizes[node.type]
        return _in_slot(slot, lambda reader, sink: _drop(reader.take(size)))
    if node.type in ("int", "long"):
        return _in_slot(slot, lambda reader, sink: _drop(reader.long()))
    if node.type in ("bytes", "string"):
        return _in_slot(slot, lambda reader, sink: _drop(reader.sized()))
    return _in_slot(slot, lambda reader, sink: _Skipper(reader).skip(node, 0))


def _drop(_: Any) -> None:
    return None


class _Skipper:
    """Moves behind one value of any type, within bounds: values that take no bytes must not multiply without end."""

    def __init__(self, reader: Reader) -> None:
        self.reader = reader
        self.steps_left = (1 << 16) + 4 * (reader.end - reader.at)

    def skip(self, node: Node, depth: int) -> None:
        self.steps_left -= 1
        if depth > SKIP_DEPTH_MAX or self.steps_left < 0:
            raise StoppedError("malformed")
        kind, reader = node.type, self.reader
        if kind == "null":
            return
        if kind in ("boolean", "float", "double", "fixed"):
            reader.take({"boolean": 1, "float": 4, "double": 8}.get(kind, node.size))
        elif kind in ("int", "long", "enum"):
            reader.long()
        elif kind in ("bytes", "string"):
            reader.sized()
        elif kind == "record":
            for field in node.fields:
                self.skip(field.type, depth + 1)
        elif kind == "union":
            branch = reader.long()
            if not 0 <= branch < len(node.branches):
                raise StoppedError("malformed")
            self.skip(node.branches[branch], depth + 1)
        else:
            self._items(node, depth)

    def _items(self, node: Node, depth: int) -> None:
        reader = self.reader
        while True:
            count, size = reader.block()
            if count == 0:
                return
            if size >= 0:
                reader.take(size)
                continue
            for _ in range(count):
                if node.type == "map":
                    reader.sized()
                self.skip(node.items, depth + 1)
