"""Trino reads what K2 wrote, through the REST catalog and S3, and sees what PyIceberg sees."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from service_warehouse import Lake
from warehouse import BRONZE, GOLD, NAMESPACE, TABLES

from stack.services import Services
from stack.trino import Trino

TRADES = 3_000


@pytest.fixture(scope="module")
def trino(services: Services, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trino]:
    if reason := Trino.why_not():
        pytest.skip(reason)
    services.start("catalog")
    server = Trino(tmp_path_factory.mktemp("trino"), services.catalog.uri, services.s3.endpoint)
    server.start()
    yield server
    server.kill()


def total(table: pa.Table, column: str) -> object:
    return pc.sum(table[column].cast(pa.decimal256(76, 8))).as_py()


@pytest.mark.long
@pytest.mark.timeout(600)
def test_trino_sees_what_pyiceberg_sees(
    trino: Trino, services: Services, simulate: Callable[..., Path], k2: Path, tmp_path: Path
) -> None:
    lake = Lake.rest(k2, tmp_path / f"trino-{os.urandom(3).hex()}", services)
    recordings = [(exchange, simulate(exchange, TRADES, seed=7)) for exchange in ("binance", "kraken")]
    for count in (1, 2):
        lake.run(recordings[:count], "--rows-per-commit", "1000")

    found = {name: trino.query(f'SELECT count(*) FROM {NAMESPACE}."{name}"')[0][0] for name in TABLES}
    assert found == {name: lake.total(name) for name in TABLES}
    assert found[BRONZE] >= 2 * TRADES

    columns = ("message_id", "symbol", "exchange", "timestamp", "price", "quantity")
    gold = lake.arrow(GOLD, columns)
    sums = trino.query(f"SELECT CAST(sum(price) AS varchar), CAST(sum(quantity) AS varchar) FROM {NAMESPACE}.{GOLD}")
    assert sums == [[str(total(gold, "price")), str(total(gold, "quantity"))]]

    in_micros = "CAST(to_unixtime(timestamp) * 1e6 AS bigint)"
    rows = trino.query(f"SELECT message_id, symbol, exchange, CAST(price AS varchar) FROM {NAMESPACE}.{GOLD}")
    expected = zip(*(gold[name].to_pylist() for name in ("message_id", "symbol", "exchange", "price")), strict=True)
    assert sorted(rows) == sorted([*row[:3], str(row[3])] for row in expected)
    last = trino.query(f"SELECT max({in_micros}) FROM {NAMESPACE}.{GOLD}")[0][0]
    assert abs(last - pc.max(gold["timestamp"].cast(pa.int64())).as_py()) <= 1  # to_unixtime gives a double

    # A filter on a partition's column, and each snapshot there has been.
    day, count = trino.query(f"SELECT exchange_date, count(*) FROM {NAMESPACE}.{GOLD} GROUP BY 1 ORDER BY 2 LIMIT 1")[0]
    where = f"WHERE exchange_date = DATE '{day}'"
    assert trino.query(f"SELECT count(*) FROM {NAMESPACE}.{GOLD} {where}") == [[count]]
    assert lake.table(GOLD).scan(row_filter=f"exchange_date == '{day}'").to_arrow().num_rows == count
    snapshots = lake.table(GOLD).metadata.snapshots
    assert len(snapshots) >= 4
    for snapshot in snapshots:
        number = snapshot.snapshot_id
        then = trino.query(f"SELECT count(*) FROM {NAMESPACE}.{GOLD} FOR VERSION AS OF {number}")
        assert then == [[lake.table(GOLD).scan(snapshot_id=number).to_arrow().num_rows]]
