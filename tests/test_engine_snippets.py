"""The snippets of docs/engines.md for a warehouse on one machine run as written there, and see what k2 sees."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import Simulate
from warehouse import Warehouse, k2_environment

DOCUMENT = Path(__file__).resolve().parent.parent / "docs" / "engines.md"
BY_SYMBOL = "SELECT symbol, count(*) AS trades, sum(quantity) AS volume FROM gold_crypto_trades GROUP BY symbol"
FOUND = """
import json
print(json.dumps({
    "pyiceberg": rows.num_rows,
    "duckdb": [[row[0], row[1], str(row[2])] for row in by_symbol_duckdb],
    "polars": [[row["symbol"], row["len"], str(row["quantity"])] for row in by_symbol.to_dicts()],
    "daft": dict(zip(volume["symbol"], map(str, volume["quantity"]))),
    "clickhouse": str(answer),
}))
"""


def snippets() -> list[str]:
    """The blocks of Python below the heading of the SQLite catalog."""
    text = DOCUMENT.read_text().split("\n## Through the SQLite catalog\n", 1)[1]
    return re.findall(r"^```python\n(.*?)^```", text, re.M | re.S)


def run(program: str, folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-"],
        input=program,
        cwd=folder,
        env=k2_environment({"POLARS_ICEBERG_PLANNER": "pyiceberg", "SPARK_LOCAL_IP": "127.0.0.1"}),
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout


@pytest.fixture(scope="module")
def lake(k2: Path, tmp_path_factory: pytest.TempPathFactory, simulate: Simulate) -> Warehouse:
    warehouse = Warehouse(k2, tmp_path_factory.mktemp("snippets") / "lake")
    warehouse.run([("binance", simulate("binance", 3_000, 5))])
    return warehouse


@pytest.mark.timeout(300)
def test_the_snippets_see_what_k2_sees(lake: Warehouse) -> None:
    *others, spark = snippets()
    assert len(others) == 5
    program = "".join(others)
    fetched = 'duck.execute("SELECT symbol'
    assert fetched in program
    program = program.replace(fetched, f"by_symbol_duckdb = {fetched}")
    found = json.loads(run(program + FOUND, lake.folder.parent).splitlines()[-1])

    expected = {row["symbol"]: row for row in lake.json("query", BY_SYMBOL)}
    assert len(expected) > 1
    counts = {symbol: row["trades"] for symbol, row in expected.items()}
    volumes = {symbol: float(row["volume"]) for symbol, row in expected.items()}
    for engine in ("duckdb", "polars"):
        assert {row[0]: row[1] for row in found[engine]} == counts, engine
        assert {row[0]: float(row[2]) for row in found[engine]} == pytest.approx(volumes), engine
    assert {symbol: float(volume) for symbol, volume in found["daft"].items()} == pytest.approx(volumes)
    told = [line.split(",") for line in found["clickhouse"].splitlines()]
    assert {symbol.strip('"'): int(count) for symbol, count, _ in told} == counts
    day = "exchange_date = '2024-01-02' AND symbol = 'BTCUSDT'"
    asked = f"SELECT count(*) AS trades FROM gold_crypto_trades WHERE {day}"
    assert found["pyiceberg"] == lake.json("query", asked)[0]["trades"] > 0

    assert "/absolute/path/to/lake" in spark
    shown = run(spark.replace("/absolute/path/to/lake", str(lake.folder)), lake.folder.parent)
    assert {symbol: int(count) for symbol, count in re.findall(r"\| *(\w+)\| *(\d+)\|", shown)} == counts
