"""The registry client of the DataFrame path on a scripted registry: references, and odd answers."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import fastavro
import pytest
from scripted_registry import ScriptedRegistry

from k2.spark.dataframe import registry as client
from k2.spark.dataframe.registry import Asking, SchemaKey, Schemas
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
    text = Schemas(url=registry.url).of(False, ("id", 7))
    assert text
    side, money = (field["type"] for field in json.loads(text)["fields"])
    assert [f"{one['namespace']}.{one['name'].removeprefix('x.')}" for one in (side, money)] == ["x.Side", "x.Money"]
    assert money["fields"][0]["type"] == "x.Side"
    assert fastavro.parse_schema(json.loads(text))
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
        why = schemas.of(False, ("id", schema_id))
        assert why
        assert words in why
    assert schemas.of(False, ("id", 9)) is None


@pytest.mark.parametrize(
    "references", [7, [7], [{"name": "x"}], [{"subject": "", "version": 1}], [{"subject": "a", "version": 0}]]
)
def test_odd_answers_are_none(registry: ScriptedRegistry, references: Any) -> None:
    registry.answers["/schemas/ids/1"] = {"schema": '"int"', "references": references}
    with pytest.raises(UnavailableError):
        Schemas(url=registry.url).of(False, ("id", 1))


GUID = UUID("89791e5c-4b6a-4d21-9f60-00abcdefff02")


def test_a_guid_is_asked_for_by_its_own_path(registry: ScriptedRegistry) -> None:
    registry.guid(GUID, TRADE, ("side/a", 3), ("money", 1))
    registry.version("side/a", 3, SIDE)
    registry.version("money", 1, MONEY, ("side/a", 3))
    schemas = Schemas(url=registry.url)
    assert fastavro.parse_schema(json.loads(schemas.of(False, ("GUID", str(GUID))) or ""))
    assert schemas.of(False, ("GUID", str(UUID(int=7)))) is None
    assert schemas.of(False, ("global id", 7)) is None
    assert schemas.of(True, ("GUID", str(GUID))) is None


@pytest.mark.parametrize("version", ["v2", "v3"])
def test_apicurio_is_asked_by_its_own_api(version: str) -> None:
    apicurio = ScriptedRegistry(apicurio=version)
    try:
        apicurio.artifact("ids/globalIds/4294967303", TRADE, ("", "side"), ("a/b", "money"))
        apicurio.artifact("ids/contentIds/8", SIDE)
        apicurio.artifact("ids/contentIds/9", TRADE, ("", "gone"))
        apicurio.artifact("groups/default/artifacts/side/versions/1", SIDE)
        apicurio.artifact("groups/a%2Fb/artifacts/money/versions/1", MONEY, ("default", "side"))
        schemas = Schemas(url=apicurio.url)
        assert fastavro.parse_schema(json.loads(schemas.of(False, ("global id", 4294967303)) or ""))
        assert json.loads(schemas.of(False, ("content id", 8)) or "") == SIDE
        assert schemas.of(False, ("global id", 8)) is None
        assert "artifact gone of group default" in (schemas.of(False, ("content id", 9)) or "")
        assert schemas.of(False, ("GUID", str(GUID))) is None, "such a registry has no GUIDs"
        del apicurio.answers["/apis/ccompat/v7/schemas/types"]
        with pytest.raises(UnavailableError):
            Schemas(url=apicurio.url).of(False, ("GUID", str(GUID)))
    finally:
        apicurio.stop()


def test_many_are_asked_for_side_by_side() -> None:
    slow = ScriptedRegistry(delay_s=0.05)
    try:
        slow.id(7, SIDE)
        since = time.monotonic()
        keys = [(False, ("id", number)) for number in range(1, 161)]
        assert list(Schemas(url=slow.url).of_all(keys)) == [(False, ("id", 7))]
        assert time.monotonic() - since < 4, "160 of 50 ms one after another are 8 s"
        assert len(slow.asked) == 160
    finally:
        slow.stop()


def ids(*numbers: int) -> list[SchemaKey]:
    return [(False, ("id", number)) for number in numbers]


def test_what_is_not_there_is_remembered_for_a_while(
    registry: ScriptedRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    schemas = Schemas(url=registry.url)
    for _ in range(3):
        assert schemas.of(False, ("id", 9)) is None
        assert schemas.of(False, ("GUID", str(GUID))) is None
    assert registry.asked.count("/schemas/ids/9") == 1
    assert schemas.of(True, ("id", 1)) is not None, "K2's own, of recordings"
    monkeypatch.setattr(client, "_MISSING_S", -1.0)
    registry.id(8, SIDE)
    assert [schemas.of(False, ("id", 7)) for _ in range(2)] == [None, None]
    assert registry.asked.count("/schemas/ids/7") == 2
    registry.id(7, SIDE)
    assert schemas.of(False, ("id", 7)) is not None


def test_kinds_that_a_registry_does_not_know_are_not_asked_for_again() -> None:
    apicurio = ScriptedRegistry(apicurio="v3")
    try:
        schemas = Schemas(url=apicurio.url)
        for number in range(5):
            assert schemas.of(False, ("GUID", str(UUID(int=number)))) is None
        assert len(apicurio.asked) == 2, "for a GUID, and whether it is a registry at all"
    finally:
        apicurio.stop()


def test_a_registry_that_is_away_is_asked_once_a_step(registry: ScriptedRegistry) -> None:
    registry.id(1, SIDE)
    schemas = Schemas(url=registry.url)
    assert schemas.of(False, ("id", 1))
    registry.stop()
    asking = Asking(schemas)
    asking.learn(ids(1, *range(2, 200)))
    assert list(asking.found) == ids(1)
    assert set(asking.waiting) == set(ids(*range(2, 200)))
    assert all("schema registry" in str(error) for error in asking.waiting.values())
    since = time.monotonic()
    asking.learn(ids(*range(2, 200)))
    assert time.monotonic() - since < 0.5, "what waits is not asked for again"


def test_a_step_asks_for_so_many_schemas_and_so_long(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = ScriptedRegistry(delay_s=0.1)
    try:
        slow.id(3, SIDE)
        monkeypatch.setattr(client, "ASKED_FOR_MAX", 20)
        schemas = Schemas(url=slow.url)
        asking = Asking(schemas)
        asking.learn(ids(*range(50)))
        assert list(asking.found) == ids(3)
        assert list(asking.waiting) == ids(*range(20, 50)), "the first ones come first"
        assert "will be requested in the next step: this step has requested 20 unknown schemas" in str(
            asking.waiting[ids(20)[0]]
        )
        asking.learn(ids(60))
        assert ids(60)[0] in asking.waiting
        assert len(slow.asked) == 20

        monkeypatch.setattr(client, "ASKED_FOR_S_MAX", 0.3)
        asking = Asking(schemas)
        asking.learn(ids(*range(200)))
        assert 100 < len(asking.waiting) < 180
        assert len(slow.asked) == 20 + len(ids(*range(200))) - 20 - len(asking.waiting), "what is known costs nothing"
        everything = Asking(schemas, limited=False)
        everything.learn(ids(*range(60)))
        assert not everything.waiting
    finally:
        slow.stop()
