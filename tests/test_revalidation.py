"""`k2 rebuild --layer rejected`: rows that older rules have rejected go to Silver and Gold, without Bronze, also where
the run is killed in between."""

from __future__ import annotations

import json
import uuid
from pathlib import Path

import pyarrow as pa
import pytest
from conftest import Simulate
from engines import duckdb_with_iceberg
from reading import Row, gold_of
from warehouse import BRONZE, GOLD, REJECTED, SILVER, Warehouse, recording_flags

TRADES = 400
SPOILT = ("--malformed-ppm", "20000", "--duplicates-ppm", "0")
KRAKEN = SILVER[1]


@pytest.fixture
def recordings(simulate: Simulate) -> list[tuple[str, Path]]:
    return [(exchange, simulate(exchange, TRADES, 11, *SPOILT)) for exchange in ("binance", "kraken")]


@pytest.fixture
def expected(recordings: list[tuple[str, Path]]) -> dict[str, Row]:
    return gold_of(*recordings)


@pytest.fixture
def old_lake(warehouse: Warehouse, recordings: list[tuple[str, Path]], tmp_path: Path) -> Warehouse:
    """As rules version 1 would have left it: some good trades of Kraken are rejected as too old. It was killed between
    rejected_trades and Silver, and the K2 of now has gone on."""
    today = Warehouse(warehouse.k2, tmp_path / "today")
    today.run(recordings)
    reasons = {(row["topic"], row["offset"]): row["reason"] for row in today.rows(REJECTED)}
    warehouse.k2_run("run", "--layer", "bronze", *recording_flags(recordings))
    bronze, rejected = warehouse.table(BRONZE), warehouse.table(REJECTED)
    rows = [row for row in bronze.scan().to_arrow().to_pylist() if row["topic"].startswith("recording/kraken/")]
    bad = [row for row in rows if (row["topic"], row["offset"]) in reasons]
    good = [row for row in rows if row not in bad and row["offset"] % 3 == 0]
    assert len(good) > 50
    assert bad
    stamp = rows[0]["ingestion_timestamp"]
    made = [
        {
            **{name: row[name] for name in ("topic", "partition", "offset", "kafka_timestamp", "ingestion_date")},
            "schema_id": row["avro_payload"][4],
            "payload": row["avro_payload"],
            "reason": reasons.get((row["topic"], row["offset"]), "timestamp_too_old"),
            "detail": "as it was found",
            "rejected_at": stamp,
        }
        for row in good + bad
    ]
    head = bronze.current_snapshot()
    assert head is not None
    assert head.summary is not None
    document = json.loads(head.summary["k2.offsets"] or "")
    recordings = {"kraken": document["recordings"]["kraken"]}
    document |= {"table": str(rejected.metadata.table_uuid), "rules": 1, "recordings": recordings}
    rejected.append(
        pa.Table.from_pylist(made, schema=rejected.schema().as_arrow()),
        snapshot_properties={"k2.offsets": json.dumps(document), "k2.commit-id": str(uuid.uuid4())},
    )
    warehouse.k2_run("run", "--layer", "silver")
    warehouse.k2_run("run", "--layer", "gold")
    return warehouse


def rebuild(warehouse: Warehouse, *flags: str) -> dict[str, tuple[int, int, int]]:
    rows = warehouse.json("rebuild", "--layer", "rejected", *flags)
    return {row["reason"]: (row["accepted"], row["trades"], row["left"]) for row in rows}


def ids(warehouse: Warehouse, name: str) -> list[str]:
    return sorted(row["message_id"] for row in warehouse.rows(name, ("message_id",)))


def test_what_old_rules_rejected_comes_back(old_lake: Warehouse, expected: dict[str, Row]) -> None:
    old = [row for row in old_lake.rows(REJECTED) if row["reason"] == "timestamp_too_old"]
    missing = expected.keys() - old_lake.gold().keys()
    assert len(missing) == len(old) > 50
    old_lake.table(BRONZE).delete("topic != ''")  # as retention has long done
    silver, others = ids(old_lake, KRAKEN), old_lake.counts()[REJECTED] - len(old)

    dry = rebuild(old_lake, "--dry-run")
    assert dry["timestamp_too_old"] == (len(old), len(old), 0)
    assert sum(left for _, _, left in dry.values()) == others
    assert ids(old_lake, KRAKEN) == silver

    assert rebuild(old_lake) == dry
    assert not [row for row in old_lake.rows(REJECTED) if row["reason"] == "timestamp_too_old"]
    assert old_lake.counts()[REJECTED] == others
    assert len(ids(old_lake, KRAKEN)) == len(silver) + len(old)
    for _ in range(2):
        old_lake.k2_run("run", "--layer", "gold")
        gold = old_lake.gold()
        assert gold.keys() == expected.keys()
        assert all(gold[message_id] == row for message_id, row in expected.items())
        assert "timestamp_too_old" not in rebuild(old_lake), "nothing is left to accept"
    location = old_lake.table(KRAKEN).metadata_location.removeprefix("file://")
    counted = duckdb_with_iceberg().execute(f"SELECT count(*) FROM iceberg_scan('{location}')").fetchone()
    assert counted == (len(silver) + len(old),)


@pytest.mark.parametrize("place", ["revalidated.manifests", "revalidated.done", "rejected.manifests", "rejected.done"])
def test_killed_in_between(old_lake: Warehouse, expected: dict[str, Row], place: str) -> None:
    silver, rejected = ids(old_lake, KRAKEN), old_lake.counts()[REJECTED]
    old = sum(row["reason"] == "timestamp_too_old" for row in old_lake.rows(REJECTED))
    old_lake.k2_run("rebuild", "--layer", "rejected", env={"K2_TEST_CRASH_AT": place}, expect=-9)
    taken = len(ids(old_lake, KRAKEN)) - len(silver)
    assert taken == (0 if place == "revalidated.manifests" else old)
    if taken and place != "rejected.done":
        said = old_lake.k2_run("rebuild", "--layer", "silver", expect=1).stderr
        assert "k2 rebuild --layer rejected" in said
    old_lake.k2_run("run", "--layer", "gold")
    rebuild(old_lake)
    assert old_lake.counts()[REJECTED] == rejected - old
    assert len(ids(old_lake, KRAKEN)) == len(silver) + old
    old_lake.k2_run("run", "--layer", "gold")
    gold = old_lake.gold()
    assert gold.keys() == expected.keys()
    assert all(gold[message_id] == row for message_id, row in expected.items())
    assert old_lake.counts()[GOLD] == len(expected)
    old_lake.k2_run("rebuild", "--layer", "silver")
    assert len(ids(old_lake, KRAKEN)) == len(silver) + old


def test_flags(warehouse: Warehouse) -> None:
    warehouse.k2_run("tables", "create")
    assert rebuild(warehouse) == {}
    assert "of Gold" in warehouse.k2_run("rebuild", "--layer", "rejected", "--from", "2024-01-01", expect=2).stderr
    assert "--layer rejected" in warehouse.k2_run("rebuild", "--layer", "gold", "--dry-run", expect=2).stderr
