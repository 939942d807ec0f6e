"""Topics that are deleted and created again under their names, and what the tables must hold of both."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from kafka_oracle import Oracle, check_gold, check_silver
from service_warehouse import Lake
from warehouse import BRONZE, REJECTED

# What was sent, and the ids of the topics at that time; None: the tables had no column for them.
Generations = list[tuple[Oracle, Mapping[str, str | None]]]


def recreate(oracle: Oracle, topic: str, seed: int, partitions: int = 2) -> Oracle:
    oracle.delete([topic])
    fresh = Oracle(oracle.brokers, seed)
    fresh.create(topic, partitions)
    oracle.partitions[topic] = partitions  # for the fixture to delete
    return fresh


def check(lake: Lake, generations: Generations) -> None:
    """Every message of each topic that had the name is in the tables once, under its topic's id."""
    placed: Counter[tuple[Any, ...]] = Counter()
    refused: Counter[tuple[Any, ...]] = Counter()
    accepted = []
    for oracle, ids in generations:
        for place, held in oracle.acknowledged.items():
            verdict = oracle.verdicts[place[0], held[1]]
            placed[(ids[place[0]], *place, held[1])] += 1
            if verdict.row is None:
                refused[(ids[place[0]], *place, verdict.reason)] += 1
            else:
                accepted.append(verdict.row)
    columns = ("topic_id", "topic", "partition", "offset")
    bronze = lake.arrow(BRONZE, (*columns, "avro_payload"))
    assert Counter(zip(*(bronze[name].to_pylist() for name in bronze.column_names), strict=True)) == placed
    rejected = lake.arrow(REJECTED, (*columns, "reason"))
    assert Counter(zip(*(rejected[name].to_pylist() for name in rejected.column_names), strict=True)) == refused
    check_silver(lake, accepted)
    check_gold(lake, accepted)
    lake.assert_files_exist()
