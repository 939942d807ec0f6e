"""Reading messages of one Avro schema as another: the rules of K2's decoder, word for word.

Avro's schema resolution is worked out once for a writer's schema and then run message by message. It is stricter than
Avro where following the rules would misread a number: a decimal needs a decimal of the same scale, and of two time
types the units must be the same.
"""

from __future__ import annotations

from k2.spark.dataframe.avro_read import (
    Reader,
    Sink,
    Step,
    StoppedError,
    branch_index,
    fixed_step,
    integer_step,
    long_step,
    null_step,
    skip_step,
    text_step,
    texts_step,
)
from k2.spark.dataframe.avro_schema import TIMES, Field, Node, SchemaError

ATTEMPTS_MAX = 1 << 15  # unions in unions of the reader's are tried branch by branch
INSTRUCTIONS_MAX = 1 << 14
LOOPS_MAX = 16


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
            return fixed_step(slot, writer.size) if writer.type == "fixed" else text_step(slot)
        if writer.logical in TIMES and target.logical in TIMES and writer.logical != target.logical:
            raise self._unresolvable(writer, reader)  # milliseconds are not microseconds
        if writer.type == "null" and target.type == "null":
            return null_step(slot)
        if writer.type in ("int", "long") and target.type == "long":
            return integer_step(slot) if writer.type == "int" else long_step(slot)
        if writer.type in ("bytes", "string") and target.type in ("bytes", "string"):
            return text_step(slot)
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
            return texts_step(slot, item.slot, is_map)
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
                steps.append(skip_step(field.type, reader.slot))
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
                index = branch_index(reader, slot, 2)
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
            steps[branch_index(reader, slot, count)](reader, sink)

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


def _names_match(writer: Node, reader: Node) -> bool:
    simple = writer.name.rpartition(".")[2]
    return simple == reader.name.rpartition(".")[2] or writer.name in reader.aliases
