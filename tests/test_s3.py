"""Files on a real S3 store, well and through a proxy that breaks requests."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pyarrow.fs
import pytest
from conftest import ROOT, Simulate
from pyiceberg.catalog.rest import RestCatalog
from s3_proxy import FAULTS, S3Proxy, at_random
from warehouse import k2_environment

from stack.services import Services

TIMEOUT_S = 90


@pytest.fixture(scope="module")
def own_services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    """Not the shared ones: this file counts what is in the store."""
    services = Services(tmp_path_factory.mktemp("s3"))
    yield services
    services.kill()


@pytest.fixture(scope="module")
def store(own_services: Services) -> dict[str, str]:
    """The environment that leads to the store."""
    own_services.start("seaweedfs")
    environment = own_services.environment()
    return {name: value for name, value in environment.items() if name.startswith("AWS_")} | {
        "K2_TEST_S3_ENDPOINT": own_services.s3.endpoint,
        "K2_TEST_S3_BUCKET": urlsplit(environment["K2_WAREHOUSE"]).netloc,
    }


def proxy_of(store: dict[str, str]) -> S3Proxy:
    upstream = urlsplit(store["K2_TEST_S3_ENDPOINT"])
    assert upstream.hostname
    assert upstream.port
    return S3Proxy(upstream.hostname, upstream.port)


@pytest.fixture(scope="session")
def storage_test() -> Path:
    path = Path(os.environ.get("K2_STORAGE_TEST", ROOT / "build" / "release" / "bin" / "storage_test"))
    if not path.exists():
        pytest.fail(f"there is no {path}: run `make` first, or set K2_STORAGE_TEST")
    return path


def run(storage_test: Path, environment: dict[str, str], tests: str) -> str:
    done = subprocess.run(
        [storage_test, f"--gtest_filter={tests}"],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-4000:]
    return done.stdout


def sizes(store: dict[str, str]) -> dict[str, int]:
    """What the bucket holds, seen past the proxy."""
    files = pyarrow.fs.S3FileSystem(
        access_key=store["AWS_ACCESS_KEY_ID"],
        secret_key=store["AWS_SECRET_ACCESS_KEY"],
        endpoint_override=store["K2_TEST_S3_ENDPOINT"],
        region="us-east-1",
    )
    selector = pyarrow.fs.FileSelector(store["K2_TEST_S3_BUCKET"], recursive=True)
    return {info.path: info.size for info in files.get_file_info(selector) if info.is_file}


def test_on_a_store(storage_test: Path, store: dict[str, str]) -> None:
    printed = run(storage_test, store, "S3*")
    assert "SKIPPED" not in printed
    print(printed)


@pytest.mark.parametrize("fault", [*FAULTS, "mixed"])
def test_broken_requests_are_repaired(storage_test: Path, store: dict[str, str], seed: int, fault: str) -> None:
    before = sizes(store)
    proxy = proxy_of(store)
    every = 30 if fault == "stall" else 8  # a stall takes as long as the time-out
    if fault == "mixed":
        proxy.script = at_random(seed, 0.1)
    else:
        proxy.script = lambda number, _method, _path: fault if number % every == 3 else None
    try:
        run(storage_test, store | {"K2_TEST_S3_ENDPOINT": proxy.endpoint, "K2_TEST_S3_FAULTS": "1"}, "S3FileIoTest.*")
    finally:
        proxy.close()
    print(f"{proxy.requests} requests, broken: {dict(proxy.hits)}")
    assert sum(proxy.hits.values()) > 5
    whole = {"stream-0": 0, "stream-1000": 1_000, "stream-3000000": 3_000_000, "stream-25000000": 25_000_000}
    whole |= {"ranges": 3_000_000, "once": 5, "empty": 0}
    left = {path: size for path, size in sizes(store).items() if path not in before}
    assert left
    for path, size in left.items():
        name = path.rsplit("/", 1)[1]
        assert whole.get(name, size) == size, f"{path} has {size} bytes"
        assert name not in ("destroyed", "aborted"), path


def test_the_pipeline_on_a_store_that_breaks_requests(
    k2: Path, own_services: Services, store: dict[str, str], simulate: Simulate, seed: int
) -> None:
    """Runs, queries and candles on s3:// tables of a REST catalog; PyIceberg reads the same rows."""
    own_services.start("catalog")
    proxy = proxy_of(store)
    proxy.script = at_random(seed, 0.1)
    environment = k2_environment(own_services.environment() | {"K2_S3_ENDPOINT": proxy.endpoint})

    def k2_run(*args: str) -> str:
        done = subprocess.run(
            [k2, *args], env=environment, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
        )
        assert done.returncode == 0, f"{args}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    try:
        k2_run("run", "--recording", f"binance={simulate('binance', 60_000, 5)}", "--rows-per-commit", "20000")
        print(f"run: {proxy.requests} requests, broken: {dict(proxy.hits)}")
        query = "SELECT count(*) AS n, count(DISTINCT message_id) AS ids FROM gold_crypto_trades"
        asked = json.loads(k2_run("query", "--output", "json", query))[0]
        candles = json.loads(k2_run("ohlcv", "BTCUSDT", "--output", "json"))
    finally:
        proxy.close()
    catalog = RestCatalog(
        "k2",
        uri=environment["K2_CATALOG"],
        **{
            "s3.endpoint": store["K2_TEST_S3_ENDPOINT"],
            "s3.access-key-id": store["AWS_ACCESS_KEY_ID"],
            "s3.secret-access-key": store["AWS_SECRET_ACCESS_KEY"],
            "s3.region": "us-east-1",
        },
    )
    gold = catalog.load_table("market_data.gold_crypto_trades")
    rows = gold.scan(selected_fields=("message_id", "symbol")).to_arrow().to_pylist()
    assert gold.location().startswith("s3://")
    assert asked == {"n": len(rows), "ids": len({row["message_id"] for row in rows})}
    assert asked["n"] == asked["ids"] > 50_000
    assert sum(candle["trades"] for candle in candles) == sum(row["symbol"] == "BTCUSDT" for row in rows)
    assert sum(proxy.hits.values()) > 0
