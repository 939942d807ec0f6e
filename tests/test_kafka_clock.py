"""The wall clock jumps while a service runs: a day ahead, a day back, and ahead of the catalog's."""

from __future__ import annotations

import itertools
import shutil
import subprocess
import time
import uuid
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from engines import Spark
from kafka_oracle import Oracle
from service_warehouse import Lake
from warehouse import GOLD, TABLES

from stack.services import Services

LIBRARY = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1")
DAY = timedelta(days=1)
DISORDER_MS = 60_000  # what Iceberg's libraries allow between a snapshot and the metadata before it


# librdkafka waits until a time of the wall clock by a function that libfaketime does not know of: without this one it
# would compare a time of the false clock with the true one, and wait for a day.
SHIM = """
#include <errno.h>
#include <pthread.h>
#include <threads.h>
int cnd_timedwait(cnd_t* condition, mtx_t* mutex, const struct timespec* until) {
  const int code = pthread_cond_timedwait((pthread_cond_t*)condition, (pthread_mutex_t*)mutex, until);
  return code == 0 ? thrd_success : code == ETIMEDOUT ? thrd_timedout : thrd_error;
}
"""


class Clock:
    """That of the processes that have its variables: this machine's, and a distance that can be changed at any time."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "clock"
        self.set(timedelta())
        shim = folder / "waits.so"
        subprocess.run(["cc", "-shared", "-fPIC", "-x", "c", "-", "-o", shim], input=SHIM, text=True, check=True)
        self.variables = {
            "LD_PRELOAD": f"{shim}:{LIBRARY}",
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "DONT_FAKE_MONOTONIC": "1",
        }

    def set(self, distance: timedelta) -> None:
        part = self._file.with_suffix(".part")
        part.write_text(f"{int(distance.total_seconds()):+d}\n")
        part.replace(self._file)
        self.distance = distance


@pytest.fixture
def clock(tmp_path: Path) -> Clock:
    if not LIBRARY.exists():
        pytest.skip(f"there is no {LIBRARY}: Debian has it in the package libfaketime")
    if shutil.which("cc") is None:
        pytest.skip("there is no C compiler")
    return Clock(tmp_path)


@pytest.fixture
def oracle(services: Services, seed: int) -> Iterator[Oracle]:
    made = Oracle(services.kafka.brokers, seed)
    stem = f"t{uuid.uuid4().hex[:8]}.trades"
    for exchange in ("binance", "kraken"):
        made.create(f"{stem}.{exchange}")
    yield made
    made.delete(set(made.partitions))


@pytest.fixture
def lake(k2: Path, tmp_path: Path, services: Services, oracle: Oracle) -> Iterator[Lake]:
    """On a folder: a REST catalog has a clock of its own, and refuses a snapshot that is a day ahead of it."""
    made = Lake.local(k2, tmp_path / "lake", services.kafka.brokers)
    made.variables["K2_TOPICS"] = ",".join(oracle.partitions)
    yield made
    made.kill_all()


def send_and_await(oracle: Oracle, lake: Lake) -> None:
    for topic in oracle.partitions:
        oracle.send(topic, 300)
    oracle.flush()
    lake.await_rows(oracle.expected_counts(), 30)


def newest_commit(lake: Lake) -> datetime:
    snapshot = lake.table(GOLD).current_snapshot()
    assert snapshot is not None
    return datetime.fromtimestamp(snapshot.timestamp_ms / 1000, timezone.utc)


def check_history(lake: Lake) -> None:
    """What readers hold of a table's times: no snapshot and no entry of its log before the one before it."""
    for name in TABLES:
        metadata = lake.table(name).metadata
        for times in (
            [
                snapshot.timestamp_ms
                for snapshot in sorted(metadata.snapshots, key=lambda one: one.sequence_number or 0)
            ],
            [entry.timestamp_ms for entry in metadata.snapshot_log],
        ):
            assert all(later >= earlier - DISORDER_MS for earlier, later in itertools.pairwise(times)), name
            assert all(time <= metadata.last_updated_ms + DISORDER_MS for time in times), name


def test_the_clock_jumps_a_day_ahead_and_two_back(lake: Lake, oracle: Oracle, clock: Clock, spark: Spark) -> None:
    """Nothing is lost, doubled or expired unread, commits go on at once, and the tables' times stay in order."""
    service = lake.begin("run", "--retention-interval", "1s", env=clock.variables)
    send_and_await(oracle, lake)
    for distance in (DAY, -DAY, timedelta()):
        clock.set(distance)
        time.sleep(1.5)
        for _ in range(3):
            send_and_await(oracle, lake)
        if distance == DAY:
            assert newest_commit(lake) - datetime.now(timezone.utc) > DAY - timedelta(minutes=5), "the clock did jump"
        check_history(lake)
    assert newest_commit(lake) - datetime.now(timezone.utc) > DAY - timedelta(minutes=5), "time does not go back"
    said = service.stop()
    assert "standing by" not in said
    oracle.check(lake)
    report = lake.run_kafka()
    assert [report[layer]["rows_in"] for layer in ("bronze", "silver", "gold")] == [0, 0, 0]
    rows = len(lake.gold())
    found = spark.sql(lake.folder, f"SELECT count(*) FROM {{ns}}.{GOLD}")
    assert [tuple(row) for row in found] == [(rows,)]


def test_the_clock_is_ahead_of_the_catalogs(
    k2: Path, tmp_path: Path, services: Services, oracle: Oracle, clock: Clock
) -> None:
    """The catalog refuses snapshots of the future: the run says so, waits until a clock is set right, and goes on."""
    lake = Lake.rest(k2, tmp_path / "lake", services)
    lake.variables["K2_TOPICS"] = ",".join(oracle.partitions)
    try:
        service = lake.begin("run", env=clock.variables)
        send_and_await(oracle, lake)
        before = lake.heads()
        clock.set(timedelta(minutes=10))
        for topic in oracle.partitions:
            oracle.send(topic, 300)
        oracle.flush()
        service.await_words("the catalog's clock is behind")
        time.sleep(1)
        assert service.code is None
        assert lake.heads() == before
        clock.set(timedelta())
        lake.await_rows(oracle.expected_counts(), 30)
        service.stop()
        oracle.check(lake)
    finally:
        lake.kill_all()
