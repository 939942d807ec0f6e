"""A warehouse that reads topics whose schemas a registry has."""

from __future__ import annotations

import json
import urllib.request
import uuid
from pathlib import Path
from typing import Any

from kafka_oracle import Maker, Oracle, documented_schema
from service_warehouse import Lake

from stack.services import Services

NEW_FIELD = {"name": "fee", "type": ["null", "string"], "default": None}


def register(url: str, subject: str, schema: Any, references: list[dict[str, Any]] | None = None) -> int:
    """The id under which the registry knows the schema from now on."""
    asked = {"schema": json.dumps(schema)} | ({"references": references} if references else {})
    request = urllib.request.Request(
        f"{url}/subjects/{subject}/versions",
        json.dumps(asked).encode(),
        {"Content-Type": "application/vnd.schemaregistry.v1+json"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return int(json.load(answer)["id"])


class World:
    """Two topics, a warehouse, and two schemas of the registry's: the documented one, and one with a field more."""

    def __init__(self, k2: Path, folder: Path, services: Services, seed: int) -> None:
        services.start("kafka", "registry")
        self.registry = services.registry
        name = f"t{uuid.uuid4().hex[:8]}"
        self.first = documented_schema()
        self.second = self.first | {"fields": [*self.first["fields"], NEW_FIELD]}
        self.first_id = register(self.registry.url, f"{name}.first", self.first)
        self.second_id = register(self.registry.url, f"{name}.second", self.second)
        assert self.first_id != self.second_id
        self.oracle = Oracle(services.kafka.brokers, seed, Maker(seed, self.first_id, broken=0))
        self.topics = [self.oracle.create(f"{name}.trades.{exchange}") for exchange in ("binance", "kraken")]
        self.lake = Lake.local(k2, folder / "lake", services.kafka.brokers)
        self.lake.variables |= {
            "K2_TOPICS": ",".join(self.topics),
            "K2_REGISTRY": self.registry.url,
            "K2_SCHEMA_CACHE": str(folder / "schemas"),
        }

    def send(self, count: int, partition: int | None = None) -> None:
        for topic in self.topics:
            self.oracle.send(topic, count, partition)
        self.oracle.flush()

    def with_the_second(self) -> None:
        self.oracle.maker.write_with(self.second_id, self.second)

    def with_the_first(self) -> None:
        self.oracle.maker.write_with(self.first_id, self.first)
