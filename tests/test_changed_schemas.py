"""Tables whose columns others have moved, or that have columns of others: rows are written by name, never by place."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import Simulate
from pyiceberg.types import LongType
from reading import gold_of
from warehouse import BRONZE, GOLD, REJECTED, SILVER, TABLES, Warehouse, assert_nothing_lost

MOVES = {
    BRONZE: ("avro_payload", "message_key"),
    REJECTED: ("detail", "reason"),
    SILVER[0]: ("side", "currency"),
    SILVER[1]: ("platform_sequence", "source_sequence"),
    GOLD: ("quantity", "price"),
}


@pytest.fixture(scope="module")
def recordings(simulate: Simulate) -> list[tuple[str, Path]]:
    return [(exchange, simulate(exchange, 2000, 81, "--malformed-ppm", "20000")) for exchange in ("binance", "kraken")]


@pytest.mark.parametrize("handover", ["192MB", "0"])
def test_moved_and_added_columns(warehouse: Warehouse, recordings: list[tuple[str, Path]], handover: str) -> None:
    warehouse.run(recordings[:1])
    for name in TABLES:
        with warehouse.table(name).update_schema() as change:
            change.move_before(*MOVES[name])
            change.add_column("theirs", LongType())
    warehouse.run(recordings, "--batch-cache-size", handover)
    gold = warehouse.gold()
    expected = gold_of(*recordings)
    assert gold.keys() == expected.keys()
    for message_id, row in expected.items():
        assert gold[message_id] == row | {"theirs": None}
    assert_nothing_lost(warehouse)
    for row in warehouse.rows(REJECTED):
        assert row["reason"].replace("_", "").isalnum()
    for name in SILVER:
        assert {row["side"] for row in warehouse.rows(name, ("side",))} == {"BUY", "SELL"}


def test_rows_after_a_migration(warehouse: Warehouse, recordings: list[tuple[str, Path]]) -> None:
    """The tables of both exchanges are not of one age: their field ids differ."""
    warehouse.k2_run("tables", "create")
    for name in (SILVER[0], GOLD):
        with warehouse.table(name).update_schema() as change:
            change.delete_column("source_sequence")
    warehouse.k2_run("tables", "migrate")
    warehouse.run(recordings)
    assert warehouse.gold() == gold_of(*recordings)
    other = Warehouse(warehouse.k2, warehouse.folder.parent / "layers")
    other.k2_run("tables", "create")
    with other.table(SILVER[0]).update_schema() as change:
        change.delete_column("source_sequence")
    other.k2_run("tables", "migrate")
    other.run(recordings, "--layer", "bronze")
    other.run([], "--layer", "silver")
    other.run([], "--layer", "gold")
    assert other.gold() == gold_of(*recordings)
