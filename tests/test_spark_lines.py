"""Other versions of pyspark, from PyPI: tables, maintenance, and the layers and their rebuilding by both engines."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest
from kafka_oracle import Oracle
from service_warehouse import Lake
from warehouse import k2_environment

from k2.spark.utils import coordinates
from stack.pins import ROOT
from stack.services import Services

pytestmark = [pytest.mark.long, pytest.mark.timeout(1800)]

QUIET = {"spark.ui.enabled": "false", "spark.driver.host": "127.0.0.1", "spark.driver.bindAddress": "127.0.0.1"}
JOBS = {"bronze": "bronze_ingestion", "silver": "silver_transformation", "gold": "gold_aggregation"}


class Line:
    """A Python with that pyspark, what its Arrow asks for, and nothing else that K2 asks for."""

    def __init__(self, version: str, folder: Path) -> None:
        self.version = version
        self.python = folder / "bin" / "python"
        subprocess.run([sys.executable, "-m", "venv", folder], check=True, timeout=120)
        pins = re.sub(r" --hash=.*", "", (ROOT / "requirements.lock").read_text())
        pins = pins.replace("\npyspark==", f"\npyspark=={version}  # not ")
        (folder / "constraints.txt").write_text(pins)
        pip = [str(self.python), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
        variables = k2_environment({"PIP_CONSTRAINT": str(folder / "constraints.txt")})
        packages = ["setuptools", "wheel", "pyspark", "pyarrow", "pandas"]
        subprocess.run([*pip, *packages], check=True, timeout=900, env=variables)

    def run(self, words: Sequence[str | Path], variables: Mapping[str, str], expect: int = 0) -> str:
        sources = {"PYTHONPATH": str(ROOT / "python" / "src")}
        environment = {
            name: value
            for name, value in k2_environment(sources | dict(variables)).items()
            if not name.startswith(("SPARK_", "PYSPARK_"))
        }
        done = subprocess.run(
            [self.python, *words], capture_output=True, text=True, timeout=600, check=False, env=environment
        )
        assert done.returncode == expect, done.stderr[-4000:]
        return done.stdout if expect == 0 else done.stderr


@pytest.fixture(scope="module", params=["3.5.0", "4.1.1"])
def line(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Line:
    return Line(request.param, tmp_path_factory.mktemp("venv") / request.param)


TABLES_SCRIPT = """
import json, sys
from k2.spark import schemas
from k2.spark.jobs import maintenance
from k2.spark.jobs.tables import create_tables
from k2.spark.utils import check_catalog, create_spark_session
options = json.loads(sys.argv[1])
spark = create_spark_session("K2-Test", **options)
out = {"version": spark.version, "type": spark.conf.get("spark.sql.catalog.iceberg.type")}
check_catalog(spark)
out["made"] = create_tables(spark, schemas.TABLES, sys.argv[2])
table = f"iceberg.{schemas.NAMESPACE}.{schemas.REJECTED}"
for offset in range(3):
    spark.sql(f"INSERT INTO {table} VALUES ('t', 0, {offset}, TIMESTAMP '2024-01-01', 1, X'00', 'malformed', 'd', "
              "DATE '2024-01-01', TIMESTAMP '2024-01-01', NULL)")
steps = ("retention", "rewrite", "manifests", "expire")
rows, error = maintenance.Maintenance(spark, maintenance.parser().parse_args(["--min-input-files", "2"])).run(
    steps, [schemas.REJECTED])
assert error is None, rows
out["rows"] = spark.table(table).count()
out["files"] = spark.sql(f"SELECT DISTINCT _file FROM {table}").count()
spark.stop()
print(json.dumps(out))
"""


def test_tables_and_maintenance(line: Line, k2: Path, services: Services, tmp_path: Path) -> None:
    """Settings, tables, a rewrite, and k2 goes on with them."""
    lake = Lake.rest(k2, tmp_path / "lake", services)
    script = tmp_path / "tables.py"
    script.write_text(TABLES_SCRIPT)
    options = {"master": "local[1]", "config": QUIET, "log_level": "ERROR"}
    out = json.loads(line.run([script, json.dumps(options), lake.variables["K2_WAREHOUSE"]], lake.variables))
    assert out["version"] == line.version
    assert out["type"] == "rest"
    assert set(out["made"].values()) == {"made"}
    assert (out["rows"], out["files"]) == (3, 1)
    assert lake.counts()["rejected_trades"] == 3


@pytest.fixture
def oracle(services: Services, seed: int) -> Iterator[Oracle]:
    services.start("kafka", "catalog")
    made = Oracle(services.kafka.brokers, seed)
    stem = f"t{uuid.uuid4().hex[:8]}.trades"
    for exchange in ("binance", "kraken"):
        made.create(f"{stem}.{exchange}")
    yield made
    made.delete(set(made.partitions))


@pytest.mark.parametrize("engine", ["native", "spark"])
def test_all_layers(line: Line, engine: str, k2: Path, services: Services, oracle: Oracle, tmp_path: Path) -> None:
    lake = Lake.rest(k2, tmp_path / "lake", services)
    lake.variables["K2_TOPICS"] = ",".join(oracle.partitions)
    lake.k2_run("tables", "create")
    for topic in oracle.partitions:  # files of k2's own, which an old Iceberg reads by its slower reader alone
        oracle.send(topic, 100)
    oracle.flush()
    lake.run_kafka("--layer", "bronze")
    variables = lake.variables | {"K2_PROGRAM": str(k2)}
    settings = [f"--conf={name}={value}" for name, value in QUIET.items()]
    jobs = [(layer, [f"k2.spark.jobs.{job}"]) for layer, job in JOBS.items()]
    again = [(layer, ["k2.spark.jobs.rebuild", layer]) for layer in ("silver", "gold")]
    for commands in (jobs, jobs, again):
        if commands is jobs:
            for topic in oracle.partitions:
                oracle.send(topic, 500)
            oracle.flush()
        for layer, job in commands:
            words = ["-m", *job, "--master", "local[2]", "--engine", engine, "--output", "json"]
            needed = {}
            if engine == "spark" and line.version == "3.5.0" and layer == "gold":  # whose own Iceberg is 1.4.1
                said = line.run([*words, *settings], variables, expect=2)
                assert "cannot use Iceberg 1.4.1: name the jars of 1.12.0" in said
                needed = {"K2_SPARK_PACKAGES": ",".join(coordinates(line.version, "1.12.0"))}
            (report,) = json.loads(line.run([*words, *settings], variables | needed))
            assert (report["layer"], report.get("engine", engine)) == (layer, engine)
            assert report["rows_in"] > 0
        oracle.check(lake)
