"""The registry client of the DataFrame path on a scripted registry: references, and odd answers."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import quote

import pytest

from k2.spark.dataframe.avro_schema import parse_schema
from k2.spark.dataframe.judge import Judge
from k2.spark.dataframe.registry import Schemas
from k2.spark.utils.errors import UnavailableError
from stack.process import HOST

SIDE = {"type": "enum", "name": "x.Side", "symbols": ["BUY", "SELL"]}
MONEY = {"type": "record", "name": "x.Money", "fields": [{"name": "of", "type": "x.Side"}]}
TRADE = {
    "type": "record",
    "name": "x.T",
    "fields": [{"name": "s", "type": "x.Side"}, {"name": "m", "type": "x.Money"}],
}


class Scripted:
    def __init__(self) -> None:
        self.answers: dict[str, Any] = {}
        self.asked: list[str] = []
        registry = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                registry.asked.append(self.path)
                missing = {"error_code": 40403 if self.path.startswith("/schemas") else 40401, "message": "not found"}
                found = registry.answers.get(self.path)
                body = json.dumps(missing if found is None else found).encode()
                self.send_response(404 if found is None else 200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer((HOST, 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://{HOST}:{self.server.server_port}"

    def id(self, number: int, schema: Any, *references: tuple[str, int]) -> None:
        self.answers[f"/schemas/ids/{number}"] = self._answer(schema, references)

    def version(self, subject: str, number: int, schema: Any, *references: tuple[str, int]) -> None:
        path = f"/subjects/{quote(subject, safe='')}/versions/{number}?deleted=true"
        self.answers[path] = self._answer(schema, references)

    def _answer(self, schema: Any, references: tuple[tuple[str, int], ...]) -> dict[str, Any]:
        named = [{"name": f"x.{subject}", "subject": subject, "version": number} for subject, number in references]
        return {"schema": json.dumps(schema), "references": named}


@pytest.fixture
def registry() -> Iterator[Scripted]:
    made = Scripted()
    yield made
    made.server.shutdown()
    made.server.server_close()


def test_references_are_resolved(registry: Scripted) -> None:
    registry.id(7, TRADE, ("side/a", 3), ("money", 1))
    registry.version("side/a", 3, SIDE)
    registry.version("money", 1, MONEY, ("side/a", 3))
    text = Schemas(url=registry.url).of(False, 7)
    assert text
    root = parse_schema(text)
    assert [field.type.name for field in root.fields] == ["x.Side", "x.Money"]
    assert root.fields[1].type.fields[0].type is root.fields[0].type
    assert len(registry.asked) == 3


def test_references_that_cannot_be_resolved(registry: Scripted) -> None:
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
def test_odd_answers_are_none(registry: Scripted, references: Any) -> None:
    registry.answers["/schemas/ids/1"] = {"schema": '"int"', "references": references}
    with pytest.raises(UnavailableError):
        Schemas(url=registry.url).of(False, 1)


def test_a_guid_is_named() -> None:
    """A header that is not resolved: the detail has what to look for."""
    verdict = Judge({}).verdict(bytes.fromhex("0189791e5c4b6a4d219f6000abcdefff02") + b"body", "BINANCE")
    assert verdict.reason == "not_framed"
    assert "GUID 89791e5c-4b6a-4d21-9f60-00abcdefff02" in (verdict.detail or "")
