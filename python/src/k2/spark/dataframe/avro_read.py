"""Reading Avro's binary form, value by value, as K2's decoder does: bounds on everything, and where it stopped."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from k2.spark.dataframe.avro_schema import Node

SKIP_DEPTH_MAX = 128
EMPTY_ITEMS_MAX = 64  # items that take no bytes are legal, but not more of them beyond the bytes that are there
VARINT_BYTES_MAX = 10


class StoppedError(Exception):
    """Reading a message ended: `truncated`, `trailing`, `malformed` or `unresolvable`, in a slot, at a byte."""

    def __init__(self, outcome: str, slot: int = 0, offset: int = 0) -> None:
        super().__init__(outcome, slot, offset)
        self.outcome = outcome
        self.slot = slot
        self.offset = offset


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


def branch_index(reader: Reader, slot: int, count: int) -> int:
    try:
        index = reader.long()
    except StoppedError as stopped:
        stopped.slot = slot
        raise
    if not 0 <= index < count:
        raise StoppedError("malformed", slot)
    return index


def in_slot(slot: int, read: Callable[[Reader, Sink], None]) -> Step:
    def step(reader: Reader, sink: Sink) -> None:
        try:
            read(reader, sink)
        except StoppedError as stopped:
            stopped.slot = slot
            raise

    return step


def null_step(slot: int) -> Step:
    return lambda reader, sink: sink.null(slot)


def long_step(slot: int) -> Step:
    return in_slot(slot, lambda reader, sink: sink.number(slot, reader.long()))


def integer_step(slot: int) -> Step:
    def read(reader: Reader, sink: Sink) -> None:
        value = reader.long()
        if not -(1 << 31) <= value < 1 << 31:
            raise StoppedError("malformed")
        sink.number(slot, value)

    return in_slot(slot, read)


def text_step(slot: int) -> Step:
    return in_slot(slot, lambda reader, sink: sink.text(slot, reader.sized()))


def fixed_step(slot: int, size: int) -> Step:
    return in_slot(slot, lambda reader, sink: sink.text(slot, reader.take(size)))


def texts_step(slot: int, item_slot: int, is_map: bool) -> Step:
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

    return in_slot(slot, read)


def skip_step(node: Node, slot: int) -> Step:
    if node.type == "null":
        return lambda reader, sink: None
    sizes = {"float": 4, "double": 8, "fixed": node.size}
    if node.type in sizes:
        size = sizes[node.type]
        return in_slot(slot, lambda reader, sink: _drop(reader.take(size)))
    if node.type in ("int", "long"):
        return in_slot(slot, lambda reader, sink: _drop(reader.long()))
    if node.type in ("bytes", "string"):
        return in_slot(slot, lambda reader, sink: _drop(reader.sized()))
    return in_slot(slot, lambda reader, sink: _Skipper(reader).skip(node, 0))


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
