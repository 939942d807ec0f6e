"""Fixtures: the k2 binary, recorded data, fresh warehouses, simulated recordings."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from engines import Spark, spark_session
from kafka_oracle import Oracle
from registry_world import World
from service_warehouse import Lake
from skips import pytest_make_collect_report, pytest_runtest_makereport, scrub_environment  # noqa: F401
from spark_jobs import Jobs
from warehouse import Warehouse, k2_environment

from stack.services import Services

if TYPE_CHECKING:
    from spark_frames import Frames

ROOT = Path(__file__).resolve().parent.parent
scrub_environment()

REAL_RECORDINGS = (
    ("binance", "binance_spot_ws/btcusdt_20240808.gz"),
    ("binance", "binance_spot_ws/btcusdt_20240809.gz"),
    ("binance", "binance_spot_ws/ethusdt_20240808.gz"),
    ("kraken", "kraken/ws_v1_20210417.gz"),
    ("kraken", "kraken/ws_v2_reframed_20190701.gz"),
    ("coinbase", "coinbase/coinbase_exchange_20210417.gz"),
)


@pytest.fixture(scope="session", autouse=True)
def _own_folder(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Programs start in an empty folder: neither does a k2.toml of the clone reach them, nor they the clone."""
    os.chdir(tmp_path_factory.mktemp("cwd"))


@pytest.fixture(scope="session")
def k2() -> Path:
    path = Path(os.environ.get("K2_BIN", ROOT / "build" / "release" / "bin" / "k2"))
    if not path.exists():
        pytest.fail(f"there is no {path}: run `make` first, or set K2_BIN")
    return path


@pytest.fixture(scope="session")
def shared_data() -> Path:
    path = Path(os.environ.get("K2_SHARED_DATA", ROOT.parent / "shared" / "data"))
    if not path.exists():
        pytest.skip(f"there are no recorded feeds in {path}: set K2_SHARED_DATA")
    return path


@pytest.fixture(scope="session")
def real_recordings(shared_data: Path) -> list[tuple[str, Path]]:
    return [(exchange, shared_data / name) for exchange, name in REAL_RECORDINGS]


@pytest.fixture
def warehouse(k2: Path, tmp_path: Path) -> Warehouse:
    return Warehouse(k2, tmp_path / "warehouse")


@pytest.fixture(scope="session")
def spark(k2: Path) -> Iterator[Spark]:
    yield from spark_session(k2)


@pytest.fixture
def no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """What other tests of this process, or Spark, have put into its environment."""
    for name in list(os.environ):
        if name.startswith(("K2_", "AWS_", "PYSPARK_", "SPARK_")):
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    """Kafka, registry, S3 store, catalogs, on free ports; each starts at its first use, and all tests share them.
    What a test leaves dead, paused or cut off is mended before the next one.

    K2_TEST_SERVICES=FOLDER keeps them there, running, for the next call: for work on a test.
    """
    if kept := os.environ.get("K2_TEST_SERVICES"):
        yield Services(Path(kept), keep=True)
        return
    folder = tmp_path_factory.mktemp("services")
    running = Services(folder)
    yield running
    running.kill()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(autouse=True)
def _mended(request: pytest.FixtureRequest) -> None:
    if "services" in request.fixturenames:
        request.getfixturevalue("services").mend()


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    """Of what is random in a test. K2_SEED brings the one of an earlier failure back.

    The quick suite (-m "not long") takes the same one for a test each time, so that a change is judged by what it
    changes; every other run draws.
    """
    quick = request.config.getoption("markexpr") == "not long"
    drawn = zlib.crc32(request.node.nodeid.encode()) if quick else random.SystemRandom().randrange(1 << 32)
    value = int(os.environ.get("K2_SEED", drawn))
    print(f"K2_SEED={value}")
    return value


Simulate = Callable[..., Path]


@pytest.fixture(scope="session")
def simulate(k2: Path, tmp_path_factory: pytest.TempPathFactory) -> Simulate:
    """simulate(exchange, trades, seed, *flags, suffix=".zst"): a recording; the same arguments give the same file."""
    folder = tmp_path_factory.mktemp("recordings")
    made: dict[tuple[object, ...], Path] = {}

    def make(exchange: str, trades: int, seed: int = 1, *flags: str, suffix: str = ".zst") -> Path:
        key = (exchange, trades, seed, flags, suffix)
        if key not in made:
            path = folder / f"{exchange}-{len(made)}{suffix}"
            subprocess.run(
                [
                    k2,
                    "simulate",
                    "--exchange",
                    exchange,
                    "--trades",
                    str(trades),
                    "--seed",
                    str(seed),
                    *flags,
                    "--out",
                    path,
                ],
                check=True,
                capture_output=True,
                env=k2_environment(),
                timeout=120,
            )
            made[key] = path
        return made[key]

    return make


@pytest.fixture
def world(k2: Path, tmp_path: Path, services: Services, seed: int) -> Iterator[World]:
    made = World(k2, tmp_path, services, seed)
    yield made
    made.lake.kill_all()
    made.oracle.delete(made.topics)


# Of Spark's path of DataFrames and its jobs: what several of their files use. A file that has an oracle or a lake of
# another kind defines that itself, and these take it. Spark's part of k2 is loaded by the tests that use it alone.


@pytest.fixture
def oracle(services: Services, seed: int) -> Oracle:
    return Oracle(services.kafka.brokers, seed)


@pytest.fixture
def topics(oracle: Oracle) -> Iterator[list[str]]:
    from spark_frames import new_topics

    yield new_topics(oracle)
    oracle.delete(set(oracle.partitions))


@pytest.fixture
def lake(k2: Path, tmp_path: Path, services: Services, topics: list[str]) -> Iterator[Lake]:
    from spark_frames import new_lake

    made = new_lake(k2, tmp_path / "lake", services, topics)
    yield made
    made.kill_all()


@pytest.fixture
def frames(spark: Spark, lake: Lake, topics: list[str]) -> Frames:
    from spark_frames import Frames, session_of

    return Frames(session_of(spark, lake), lake, topics)


@pytest.fixture
def jobs(services: Services, lake: Lake, k2: Path, tmp_path: Path) -> Jobs:
    lake.k2_run("tables", "create")
    return Jobs(services.spark, lake, k2, tmp_path)
