"""Who has committed what, and `k2 audit`: what took rows away, accepted losses or set offsets, also after expiry."""

from __future__ import annotations

import json
import re
import socket
import time
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, Simulate
from service_warehouse import Lake
from warehouse import BRONZE, GOLD, SILVER, TABLES, Warehouse

from stack.services import Services

OLD = ("--start", "2024-03-01T23:30:00Z", "--trades-per-second", "1")
SHORT = ("--retain-bronze", "1s", "--retain-silver", "1s", "--retain-rejected", "1s")


@pytest.fixture
def recordings(simulate: Simulate) -> list[tuple[str, Path]]:
    return [(exchange, simulate(exchange, 2_000, 83, *OLD)) for exchange in ("binance", "kraken")]


def version() -> str:
    found = re.search(r'__version__ = "(.*)"', (ROOT / "python" / "src" / "k2" / "__init__.py").read_text())
    assert found
    return found[1]


def audit(warehouse: Warehouse, *args: str) -> list[dict[str, Any]]:
    return json.loads(warehouse.k2_run("audit", *args, "--output", "json").stdout)  # type: ignore[no-any-return]


def summaries(warehouse: Warehouse, name: str) -> list[dict[str, str]]:
    return [one.summary.additional_properties for one in warehouse.table(name).metadata.snapshots if one.summary]


def expire(warehouse: Warehouse) -> None:
    warehouse.k2_run("maintain", "expire", "--older-than", "0s")
    for name in TABLES:
        metadata = warehouse.table(name).metadata
        named = {ref.snapshot_id for ref in metadata.refs.values()}
        assert {snapshot.snapshot_id for snapshot in metadata.snapshots} == named, name


def test_each_commit_names_version_host_and_process(warehouse: Warehouse, recordings: list[tuple[str, Path]]) -> None:
    warehouse.run(recordings)
    host = socket.gethostname()[:64]
    for name in TABLES:
        for summary in summaries(warehouse, name):
            assert (summary["engine-name"], summary["engine-version"]) == ("k2", version())
            assert (summary["k2.version"], summary["k2.host"]) == (version(), host)
            assert re.fullmatch(r"\d+/[0-9a-f]{8} run", summary["k2.process"])
    assert audit(warehouse) == []
    assert version() in warehouse.k2_run("--version").stdout


def test_each_kind_is_listed_and_outlives_its_snapshot(
    warehouse: Warehouse, recordings: list[tuple[str, Path]], simulate: Simulate
) -> None:
    warehouse.run(recordings)
    gold = len(warehouse.gold())
    topic = next(row["topic"] for row in warehouse.json("offsets", "show") if row["table"] == SILVER[0])

    # Another engine deletes rows of Gold, and rows of Bronze before Silver has read them.
    warehouse.table(GOLD).delete("exchange == 'KRAKEN'")
    left = len(warehouse.gold())
    assert left < gold
    later = simulate("binance", 500, 84, *OLD, "--first-id", "9000000")
    warehouse.run([("binance", later)], "--layer", "bronze")
    topics = {row["topic"] for row in warehouse.json("offsets", "show") if row["table"] == BRONZE}
    (unread,) = (
        topics
        - {row["topic"] for row in warehouse.json("offsets", "show") if row["table"] == SILVER[0]}
        - {row["topic"] for row in warehouse.json("offsets", "show") if row["table"] == SILVER[1]}
    )
    warehouse.table(BRONZE).delete(f"topic == '{unread}' and offset < 100")
    stands = warehouse.k2_run("run", "--recording", f"binance={later}", expect=None)
    assert stands.returncode == 1
    command = re.search(r"`k2 (offsets accept bronze_trades \d+) --dry-run`", stands.stderr)
    assert command, stands.stderr
    warehouse.k2_run(*command[1].split())
    warehouse.run([("binance", later)])

    warehouse.k2_run("offsets", "set", "--table", SILVER[0], "--topic", topic, "--next", "2050", "--accept-loss")
    warehouse.k2_run("rebuild", "--layer", "gold")
    time.sleep(1.1)
    warehouse.k2_run("maintain", "retention", *SHORT)

    events = audit(warehouse)
    by_kind = {(row["table"], row["event"]): row for row in events}
    assert set(by_kind) >= {
        (SILVER[0], "offsets accept"),
        (SILVER[0], "offsets set"),
        (GOLD, "rebuild"),
        (BRONZE, "retention"),
        (SILVER[1], "retention"),
    }
    others = [row for row in events if row["event"] in ("delete", "overwrite")]
    assert {row["engine"] for row in others} == {"another engine"}
    assert {row["process"] for row in others} == {None}
    assert {table: sum(row["rows"] for row in others if row["table"] == table) for table in (GOLD, BRONZE)} == {
        GOLD: gold - left,
        BRONZE: 100,
    }
    accepted = by_kind[SILVER[0], "offsets accept"]
    assert "100 missing" in accepted["detail"]
    assert accepted["process"].endswith(" offsets accept")
    assert f"{topic}/0 from 2000 to 2050" in by_kind[SILVER[0], "offsets set"]["detail"]
    assert by_kind[GOLD, "rebuild"]["process"].endswith(" rebuild")
    dropped = by_kind[BRONZE, "retention"]
    assert "ingestion_date_day=2024-03-01 (" in dropped["detail"]
    assert dropped["rows"] == 4_400
    assert (dropped["engine"], dropped["version"]) == ("k2", version())
    assert dropped["process"].endswith(" maintain retention")
    assert [row["time"] for row in events] == sorted(row["time"] for row in events)
    ids = {row["snapshot_id"] for row in events}
    assert len(ids) == len(events)

    expire(warehouse)
    assert audit(warehouse) == events
    assert audit(warehouse, BRONZE) == [row for row in events if row["table"] == BRONZE]
    assert audit(warehouse, "--since", dropped["time"]) == [row for row in events if row["time"] >= dropped["time"]]
    assert audit(warehouse, "--since", "1h") == events
    assert audit(warehouse, "--since", "2100-01-01") == []
    assert "retention" in warehouse.k2_run("audit").stdout


def test_what_it_cannot_list_it_says(warehouse: Warehouse, recordings: list[tuple[str, Path]]) -> None:
    warehouse.run(recordings)
    wrong = warehouse.k2_run("audit", "--since", "lately", expect=2)
    assert "cannot read the time 'lately' (--since)" in wrong.stderr
    assert "hint: 2024-08-08T23:55:00Z, or how long ago: 7d" in wrong.stderr
    assert "no_table" in warehouse.k2_run("audit", "no_table", expect=None).stderr
    warehouse.table(GOLD).delete("exchange == 'KRAKEN'")
    with warehouse.table(BRONZE).transaction() as change:
        change.set_properties({"k2.audit": "{}"})
    broken = warehouse.k2_run("audit", "--output", "json", expect=1)
    assert '"k2.audit"' in broken.stderr
    assert [row["table"] for row in json.loads(broken.stdout)] == [GOLD]


def test_on_a_rest_catalog(k2: Path, tmp_path: Path, services: Services, recordings: list[tuple[str, Path]]) -> None:
    lake = Lake.rest(k2, tmp_path / "audited", services)
    try:
        lake.run(recordings)
        lake.table(GOLD).delete("exchange == 'KRAKEN'")
        time.sleep(1.1)
        lake.k2_run("maintain", "retention", *SHORT)
        events = audit(lake)
        assert [row["engine"] for row in events if row["table"] == GOLD] == ["another engine"]
        assert (BRONZE, "retention") in {(row["table"], row["event"]) for row in events}
        expire(lake)
        assert audit(lake) == events
    finally:
        lake.kill_all()
        lake.drop_tables()


def test_no_event_without_its_record(warehouse: Warehouse, recordings: list[tuple[str, Path]]) -> None:
    """The property is changed in the commit of the event: where that is killed before or after the swap."""
    warehouse.run(recordings)
    time.sleep(1.1)
    for step in ("retention.manifests", "retention.done"):
        assert "k2.audit" not in warehouse.table(BRONZE).properties
        assert audit(warehouse) == []
        killed = warehouse.k2_run("maintain", "retention", *SHORT, expect=None, env={"K2_TEST_CRASH_AT": step})
        assert killed.returncode == -9
    (event,) = audit(warehouse)
    assert (event["table"], event["event"], event["rows"]) == (BRONZE, "retention", 4_000)
    (recorded,) = json.loads(warehouse.table(BRONZE).properties["k2.audit"])["events"]
    assert recorded["snapshot"] == int(event["snapshot_id"])
    assert warehouse.table(BRONZE).metadata.current_snapshot_id == recorded["snapshot"]
