"""Commands that people type by heart, from the first version on: they are written here as they are typed, and go on
working whatever else changes."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyspark
import pytest
from composing import composed_services
from warehouse import BRONZE, NAMESPACE, Warehouse, k2_environment

from k2.spark.utils import coordinates
from stack.pins import ROOT

UP = "docker compose up -d spark-master spark-worker-1 spark-worker-2"
SUBMIT = "/opt/k2/src/k2/spark/jobs/create_bronze_table.py"
SESSION = """
from k2.spark.utils import create_spark_session
spark = create_spark_session("K2-Test")
print(spark.version, spark.sparkContext.master, spark.conf.get("spark.sql.catalog.iceberg.uri"))
print(spark.range(1000).count())
spark.stop()
"""
JOBS = (
    "create_bronze_table",
    "create_silver_tables",
    "create_gold_table",
    "bronze_ingestion",
    "silver_transformation",
    "gold_aggregation",
    "rebuild",
    "maintenance",
)
CATALOG = "spark.sql.catalog.iceberg"

pytestmark = pytest.mark.timeout(900)  # a machine that does much else besides


@pytest.fixture(scope="module")
def containers() -> dict[str, Any]:
    """The services that the command starts, by their names."""
    names = shlex.split(UP)[4:]
    services = composed_services()
    assert set(names) <= services.keys(), f"`{UP}` names services that docker-compose.yml has not"
    return {name: services[name] for name in names}


@pytest.fixture
def on_this_machine(containers: dict[str, Any]) -> Any:
    """Where a path in the master's container is on this machine, by the mounts of docker-compose.yml."""
    mounts = [re.sub(r":r[ow]$", "", volume).split(":") for volume in containers["spark-master"]["volumes"]]

    def path(inside: str) -> Path:
        for source, target in mounts:
            if inside.startswith(f"{target}/"):
                return Path(source) / inside.removeprefix(f"{target}/")
        raise AssertionError(f"{inside}: docker-compose.yml mounts nothing there")

    return path


def environment(sources: Path, **more: str) -> dict[str, str]:
    return k2_environment(
        {"PYTHONPATH": str(sources), "PYSPARK_PYTHON": sys.executable, "SPARK_LOCAL_IP": "127.0.0.1"} | more
    )


def run(command: list[str | Path], env: dict[str, str], folder: Path, stdin: str = "") -> str:
    env |= {"SPARK_CONF_DIR": str(folder)}  # an empty one
    done = subprocess.run(
        [str(word) for word in command],
        env=env,
        cwd=folder,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return done.stdout


def test_the_document_has_them() -> None:
    text = (ROOT / "docs" / "spark-cluster.md").read_text()
    for typed in (UP, SUBMIT, SESSION):
        assert typed in text


def test_each_job_is_a_file_of_the_containers(containers: dict[str, Any], on_this_machine: Any, tmp_path: Path) -> None:
    for service in containers.values():
        assert service["environment"]["PYTHONPATH"] == "/opt/k2/src"
    for job in JOBS:
        told = run(
            [sys.executable, on_this_machine(f"/opt/k2/src/k2/spark/jobs/{job}.py"), "--help"],
            environment(on_this_machine("/opt/k2/src/k2").parent),
            tmp_path,
        )
        assert told.startswith(f"usage: {job} ")


def test_spark_submit_makes_the_bronze_table(k2: Path, on_this_machine: Any, tmp_path: Path) -> None:
    """By the path in the container. Here Spark is local, and the catalog that of a folder; k2 then uses the table."""
    warehouse = Warehouse(k2, tmp_path / "lake")
    warehouse.folder.mkdir()
    conf = {
        f"{CATALOG}.type": "jdbc",
        f"{CATALOG}.uri": f"jdbc:sqlite:{warehouse.folder}/catalog.db",
        f"{CATALOG}.jdbc.schema-version": "V1",
        f"{CATALOG}.warehouse": str(warehouse.folder),
        f"{CATALOG}.io-impl": "org.apache.iceberg.hadoop.HadoopFileIO",
        "spark.ui.enabled": "false",
    }
    packages = ",".join((*coordinates(), "org.xerial:sqlite-jdbc:3.46.1.3"))
    told = run(
        [
            Path(pyspark.__file__).parent / "bin" / "spark-submit",
            *("--master", "local[1]", "--packages", packages),
            *(word for name, value in conf.items() for word in ("--conf", f"{name}={value}")),
            on_this_machine(SUBMIT),
        ],
        environment(on_this_machine("/opt/k2/src/k2").parent),
        tmp_path,
    )
    assert re.search(rf"{BRONZE} +made", told), told
    assert warehouse.catalog().list_tables(NAMESPACE) == [(NAMESPACE, BRONZE)]
    warehouse.k2_run("tables", "create")
    assert warehouse.counts()[BRONZE] == 0


def test_a_session_by_the_packages_own_name(on_this_machine: Any, tmp_path: Path) -> None:
    told = run(
        [sys.executable, "-"],
        environment(on_this_machine("/opt/k2/src/k2").parent, K2_SPARK_MASTER="local[1]"),
        tmp_path,
        stdin=SESSION,
    )
    version = (ROOT / "stack" / "versions.env").read_text().split("SPARK_VERSION=")[1].split()[0]
    assert told.splitlines()[-2:] == [f"{version} local[1] http://iceberg-rest:8181", "1000"]
