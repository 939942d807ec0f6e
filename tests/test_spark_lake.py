"""A job of the native engine works on the lake of its session, though a folder that looks like one is at hand."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from service_warehouse import Lake
from warehouse import SILVER, Warehouse, k2_environment

from stack.pins import ROOT
from stack.services import Services

CATALOG = "spark.sql.catalog.iceberg"


@pytest.mark.long
@pytest.mark.parametrize("seaweed", [False, True], ids=["servlet", "with-credentials"])
def test_a_job_that_is_told_by_conf_alone(
    k2: Path, services: Services, tmp_path: Path, simulate: Callable[..., Path], seaweed: bool
) -> None:
    """No variable names the lake; the driver's folder holds a laptop lake, and a k2.toml that names one, too."""
    recording = [("binance", simulate("binance", 2000, 5))]
    lake = Lake.rest(k2, tmp_path / "lake", services, seaweed=seaweed)
    bronze = lake.run(recording, "--layer", "bronze")["bronze"]["rows_in"]
    Warehouse(k2, tmp_path / "warehouse").run(recording, "--layer", "bronze")
    (tmp_path / "k2.toml").write_text('warehouse = "elsewhere"\ncatalog = "http://127.0.0.1:1"\n')
    spelled = {
        "uri": "K2_CATALOG",
        "warehouse": "K2_CATALOG_WAREHOUSE",
        "credential": "K2_CATALOG_CREDENTIAL",
        "s3.endpoint": "K2_S3_ENDPOINT",
        "s3.access-key-id": "AWS_ACCESS_KEY_ID",
        "s3.secret-access-key": "AWS_SECRET_ACCESS_KEY",
        "client.region": "AWS_REGION",
    }
    conf = {f"{CATALOG}.{key}": lake.variables[name] for key, name in spelled.items() if lake.variables[name]}
    conf |= {"spark.ui.enabled": "false", "spark.driver.host": "127.0.0.1", "spark.driver.bindAddress": "127.0.0.1"}
    words = [word for key, value in conf.items() for word in ("--conf", f"{key}={value}")]
    variables = k2_environment({"PYTHONPATH": str(ROOT / "python" / "src"), "K2_PROGRAM": str(k2)})
    done = subprocess.run(
        [sys.executable, "-m", "k2.spark.jobs.silver_transformation", "--master=local[1]", "--output=json", *words],
        env={name: value for name, value in variables.items() if not name.startswith("AWS_")},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads(done.stdout)[0]["rows_in"] == bronze >= 2000
    assert lake.total(SILVER[0]) >= 2000
    assert "0 behind" in done.stderr
