"""Schedules of random faults, each by a seed: whatever happens, every offset is there once at the end.

K2_SEED=n plays that schedule alone; K2_CHAOS_SCHEDULES=n plays so many in the long test.
"""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from chaos import catalog_proxy
from chaos.schedule import draw_schedule
from chaos.trips import Home, draw_trip, travel
from chaos.world import Links, play
from conftest import Simulate
from kafka_oracle import Oracle
from s3_proxy import Script
from service_warehouse import Lake
from warehouse import Warehouse

from stack.services import Services

SHORT = (1, 2, 3, 4)
SEAWEED = 6
LONG = int(os.environ.get("K2_CHAOS_SCHEDULES", "100"))


@pytest.fixture(scope="module")
def links(services: Services) -> Links:
    return Links(services)


@pytest.fixture(scope="module")
def seaweed_links(services: Services) -> Links:
    return Links(services, seaweed=True)


def seeds(count: int) -> list[int]:
    given = os.environ.get("K2_SEED")
    return [int(given)] if given else [random.SystemRandom().randrange(1 << 32) for _ in range(count)]


def play_seed(seed: int, links: Links, k2: Path, folder: Path) -> None:
    stem = f"chaos-{seed}-{os.urandom(3).hex()}.trades"
    schedule = draw_schedule(seed, (f"{stem}.binance", f"{stem}.kraken"), servers=links.servers)
    print(schedule)
    print(play(schedule, links, k2, folder / str(seed), stem))


@pytest.mark.parametrize("seed", [int(os.environ["K2_SEED"])] if "K2_SEED" in os.environ else SHORT)
def test_a_schedule(links: Links, k2: Path, tmp_path: Path, seed: int) -> None:
    play_seed(seed, links, k2, tmp_path)


@pytest.mark.long
@pytest.mark.timeout(0)
def test_many_schedules(links: Links, k2: Path, tmp_path: Path) -> None:
    play_seeds(seeds(LONG), links, k2, tmp_path)


@pytest.mark.long
@pytest.mark.timeout(0)
def test_schedules_with_the_catalog_of_seaweedfs(seaweed_links: Links, k2: Path, tmp_path: Path) -> None:
    play_seeds(seeds(SEAWEED), seaweed_links, k2, tmp_path)


def play_seeds(wanted: Sequence[int], links: Links, k2: Path, tmp_path: Path) -> None:
    play_all(wanted, lambda seed: play_seed(seed, links, k2, tmp_path))


def play_all(wanted: Sequence[int], one: Callable[[int], None]) -> None:
    """All are played; what failed is told at the end with its seed."""
    failed: dict[int, str] = {}
    for seed in wanted:
        try:
            one(seed)
        except Exception as error:
            failed[seed] = str(error)[:500]
            print(f"FAILED {seed}: {error}"[:3000])
    assert not failed, f"{len(failed)} of {len(wanted)} schedules failed; K2_SEED replays one: {failed}"


# Warehouses that are moved, copied, and lose their catalogs, with kills of what mends that.

SHORT_TRIPS = (7, 10, 13)


@pytest.fixture(scope="module")
def home(k2: Path, simulate: Simulate, tmp_path_factory: pytest.TempPathFactory) -> Home:
    folder = tmp_path_factory.mktemp("home")
    exchanges = ("binance", "kraken")
    recordings = [(exchange, simulate(exchange, 600, 5)) for exchange in exchanges]
    longer = [(exchange, simulate(exchange, 1200, 6, "--first-id", "5000000")) for exchange in exchanges]
    return Home(Warehouse(k2, folder / "lake"), recordings, longer, folder)


def travel_by_seed(seed: int, home: Home, folder: Path, simulate: Simulate) -> None:
    trip = draw_trip(seed)
    print(trip)
    more = ("binance", simulate("binance", 300, 7, "--first-id", "9000000"))
    print(travel(trip, home, Warehouse(home.warehouse.k2, folder / f"lake-{seed}"), more))


@pytest.mark.parametrize("seed", [int(os.environ["K2_SEED"])] if "K2_SEED" in os.environ else SHORT_TRIPS)
def test_a_trip(home: Home, simulate: Simulate, tmp_path: Path, seed: int) -> None:
    travel_by_seed(seed, home, tmp_path, simulate)


@pytest.mark.long
@pytest.mark.timeout(0)
def test_many_trips(home: Home, simulate: Simulate, tmp_path: Path) -> None:
    play_all(seeds(LONG), lambda seed: travel_by_seed(seed, home, tmp_path, simulate))


# Also those that a gateway gives which sends a request again by itself: the first one was applied, the second one not.
EVERY_REPLY = (*catalog_proxy.OF_COMMITS, "409-after", "400-after")


def one_in(every: int, faults: Sequence[str]) -> Script:
    """Breaks one of so many commits, with the faults in turn."""
    lock = threading.Lock()
    commits = 0

    def script(_number: int, method: str, path: str) -> str | None:
        nonlocal commits
        if method != "POST" or "/tables/" not in path:
            return None
        with lock:
            commits += 1
            return None if commits % every else faults[commits // every % len(faults)]

    return script


def broken_commits(services: Services, k2: Path, folder: Path, seed: int, faults: Sequence[str], rows: int) -> None:
    services.start("kafka", "catalog")
    stem = f"replies-{os.urandom(4).hex()}.trades"
    oracle = Oracle(services.kafka.brokers, seed)
    topics = [oracle.create(f"{stem}.{exchange}", 2) for exchange in ("binance", "kraken")]
    lake = Lake.rest(k2, folder, services)
    proxy = catalog_proxy.CatalogProxy("127.0.0.1", services.catalog.ports["http"], stall_s=0.6)
    try:
        for topic in topics:
            oracle.send(topic, rows // 2)
        oracle.flush()
        proxy.script = one_in(3, faults)
        flags = ("--topics", ",".join(topics), "--rows-per-commit", "60", "--catalog", proxy.endpoint)
        lake.run_kafka(*flags)
        assert proxy.hits.keys() == set(faults), proxy.hits
        oracle.check(lake)
    finally:
        proxy.close()
        oracle.delete(topics)


def test_every_reply_to_a_commit(services: Services, k2: Path, tmp_path: Path) -> None:
    """One commit in three is refused, lost, or lands and is then called refused: each in all the ways there are."""
    broken_commits(services, k2, tmp_path / "lake", 1, EVERY_REPLY, 1600)


@pytest.mark.long
@pytest.mark.parametrize("fault", EVERY_REPLY)
def test_one_reply_again_and_again(services: Services, k2: Path, tmp_path: Path, seed: int, fault: str) -> None:
    broken_commits(services, k2, tmp_path / "lake", seed, (fault,), 600)
