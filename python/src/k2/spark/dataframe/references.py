"""Schemas that use named types of other schemas, as registries keep them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from k2.spark.dataframe.avro_schema import JSON_DEPTH_MAX, PRIMITIVES, SchemaError, nests_too_deep

_NAMED = ("record", "error", "enum", "fixed")
_BUILT_IN = frozenset((*_NAMED, *PRIMITIVES, "array", "map", "union"))


def inline_references(text: str, references: Sequence[str]) -> str:
    """A self-contained schema: the first use of a type that one of the references defines becomes
    its definition. Names that nobody defines stay as they are. SchemaError: one of the texts is not JSON, or nests too
    deep."""
    inliner = _Inliner()
    for reference in references:
        inliner.collect(_parse(reference), "", 0)
    return json.dumps(inliner.inline(_parse(text), "", 0, referred=False), ensure_ascii=False)


def _parse(text: str) -> Any:
    if nests_too_deep(text):
        raise SchemaError(f"Avro schema: JSON nested more than {JSON_DEPTH_MAX} levels")
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise SchemaError("Avro schema: not JSON") from None


def _text(schema: dict[str, Any], key: str) -> str:
    value = schema.get(key)
    return value if isinstance(value, str) else ""


def _name_of(definition: dict[str, Any], outer: str) -> tuple[str, str]:
    """Full name and namespace."""
    name = _text(definition, "name")
    if "." in name:
        return name, name.rpartition(".")[0]
    space = _text(definition, "namespace") if "namespace" in definition else outer
    return (f"{space}.{name}" if space else name), space


class _Inliner:
    def __init__(self) -> None:
        self.definitions: dict[str, tuple[dict[str, Any], str]] = {}  # by full name, with the enclosing namespace
        self.defined: set[str] = set()  # full names, in what was written so far

    def collect(self, schema: Any, space: str, depth: int) -> None:
        """Notes the named types that a reference defines."""
        _check_depth(depth)
        if isinstance(schema, list):
            for branch in schema:
                self.collect(branch, space, depth + 1)
        if not isinstance(schema, dict):
            return
        if _text(schema, "type") in _NAMED:
            full, inner = _name_of(schema, space)
            if full not in _BUILT_IN:
                self.definitions.setdefault(full, (schema, space))
            space = inner
        for key in ("type", "items", "values"):
            if key in schema:
                self.collect(schema[key], space, depth + 1)
        fields = schema.get("fields")
        for field in fields if isinstance(fields, list) else ():
            if isinstance(field, dict) and "type" in field:
                self.collect(field["type"], space, depth + 1)

    def inline(self, schema: Any, space: str, depth: int, referred: bool) -> Any:
        """`referred`: the schema is one of the references, or a part of it."""
        _check_depth(depth)
        if isinstance(schema, str):
            return self._by_name(schema, space, depth)
        if isinstance(schema, list):
            return [self.inline(branch, space, depth + 1, referred) for branch in schema]
        if not isinstance(schema, dict) or "type" not in schema:
            return schema
        if _text(schema, "type") in _NAMED:
            return self._definition(schema, space, depth, referred)
        kind = schema["type"]
        if isinstance(kind, str) and self._find(kind, space):
            return self._by_name(kind, space, depth)
        return {
            key: self.inline(value, space, depth + 1, referred)
            if key in ("items", "values") or (key == "type" and not isinstance(value, str))
            else value
            for key, value in schema.items()
        }

    def _find(self, name: str, space: str) -> str | None:
        """The full name of a type that a reference defines."""
        full = f"{space}.{name}" if "." not in name and space else name
        if full != name and full in self.defined:
            return None
        if full in self.definitions:
            return full
        return name if name in self.definitions else None

    def _by_name(self, name: str, space: str, depth: int) -> Any:
        full = self._find(name, space)
        if full is None:
            return name
        if full in self.defined:
            return full
        definition, enclosing = self.definitions[full]
        return self.inline(definition, enclosing, depth + 1, referred=True)

    def _definition(self, schema: dict[str, Any], outer: str, depth: int, referred: bool) -> Any:
        full, space = _name_of(schema, outer)
        # The same type by two ways; one that the schema itself defines twice is an error of the schema's.
        if full in self.defined and referred:
            return full
        self.defined.add(full)
        inlined = dict(schema)
        if isinstance(schema.get("fields"), list):
            inlined["fields"] = [
                field | {"type": self.inline(field["type"], space, depth + 1, referred)}
                if isinstance(field, dict) and "type" in field
                else field
                for field in schema["fields"]
            ]
        if referred and "name" in schema:  # it may stand in another namespace now
            inlined |= {"name": full, "namespace": space}
        return inlined


def _check_depth(depth: int) -> None:
    if depth > JSON_DEPTH_MAX:
        raise SchemaError(f"Avro schema: nested more than {JSON_DEPTH_MAX} levels with its references")
