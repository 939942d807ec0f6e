"""The registry client of the DataFrame path on a scripted registry: references, and odd answers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from scripted_registry import ScriptedRegistry

from k2.spark.dataframe.avro_schema import parse_schema
from k2.spark.dataframe.judge import Judge
from k2.spark.dataframe.registry import Schemas
from k2.spark.utils.errors import UnavailableError

SIDE = {"type": "enum", "name": "x.Side", "symbols": ["BUY", "SELL"]}
MONEY = {"type": "record", "name": "x.Money", "fields": [{"name": "of", "type": "x.Side"}]}
TRADE = {
    "type": "record",
    "name": "x.T",
    "fields": [{"name": "s", "type": "x.Side"}, {"name": "m", "type": "x.Money"}],
}


@pytest.fixture
def registry() -> Iterator[ScriptedRegistry]:
    made = ScriptedRegistry()
    yield made
    made.stop()


def test_references_are_resolved(registry: ScriptedRegistry) -> None:
    registry.id(7, TRADE, ("side/a", 3), ("money", 1))
    registry.version("side/a", 3, SIDE)
    registry.version("money", 1, MONEY, ("side/a", 3))
    text = Schemas(url=registry.url).of(False, 7)
    assert text
    root = parse_schema(text)
    assert [field.type.name for field in root.fields] == ["x.Side", "x.Money"]
    assert root.fields[1].type.fields[0].type is root.fields[0].type
    assert len(registry.asked) == 3


def test_references_that_cannot_be_resolved(registry: ScriptedRegistry) -> None:
    registry.id(1, TRADE, ("gone", 1))
    registry.id(2, TRADE, ("a", 1))
    registry.version("a", 1, SIDE, ("b", 2))
    registry.version("b", 2, MONEY, ("a", 1))
    registry.id(3, TRADE, ("d0", 1))
    for number in range(40):
        registry.version(f"d{number}", 1, SIDE, (f"d{number + 1}", 1))
    schemas = Schemas(url=registry.url)
    for schema_id, words in ((1, "does not have"), (2, "refers to itself"), (3, "more than 32 levels")):
        why = schemas.of(False, schema_id)
        assert why
        assert words in why
    assert schemas.of(False, 9) is None


@pytest.mark.parametrize(
    "references", [7, [7], [{"name": "x"}], [{"subject": "", "version": 1}], [{"subject": "a", "version": 0}]]
)
def test_odd_answers_are_none(registry: ScriptedRegistry, references: Any) -> None:
    registry.answers["/schemas/ids/1"] = {"schema": '"int"', "references": references}
    with pytest.raises(UnavailableError):
        Schemas(url=registry.url).of(False, 1)


def test_a_guid_is_named() -> None:
    """A header that is not resolved: the detail has what to look for."""
    verdict = Judge({}).verdict(bytes.fromhex("0189791e5c4b6a4d219f6000abcdefff02") + b"body", "BINANCE")
    assert verdict.reason == "not_framed"
    assert "GUID 89791e5c-4b6a-4d21-9f60-00abcdefff02" in (verdict.detail or "")
