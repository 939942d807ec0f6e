"""Real sessions of Spark, each in a process of its own, for there is one JVM a process."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import pyspark
import pytest
from warehouse import k2_environment

from k2.spark.utils import (
    coordinates,
)
from k2.spark.utils.coordinates import jars
from stack.process import free_port
from stack.services import Services

ROOT = Path(__file__).resolve().parent.parent
CATALOG = "spark.sql.catalog.iceberg"
QUIET = {"spark.ui.enabled": "false", "spark.driver.host": "127.0.0.1", "spark.driver.bindAddress": "127.0.0.1"}

pytestmark = pytest.mark.usefixtures("no_settings_from_outside")

SETTINGS_SCRIPT = """
import json, sys
from k2.spark.utils import UnavailableError, check_catalog, create_spark_session, create_streaming_spark_session
options = json.loads(sys.argv[1])
spark = create_spark_session("K2-Test", **options)
out = {"version": spark.version, "master": spark.sparkContext.master, "name": spark.sparkContext.appName}
out["conf"] = {key: spark.conf.get(key) for key in json.loads(sys.argv[2])}
errors = {}
for name, uri, credential in json.loads(sys.argv[3]):
    other = spark.newSession()
    other.conf.set("spark.sql.catalog.iceberg.uri", uri)
    if credential:
        other.conf.set("spark.sql.catalog.iceberg.credential", credential)
    try:
        errors[name] = check_catalog(other)
    except UnavailableError as error:
        errors[name] = str(error)
out["catalogs"] = errors
stream = create_streaming_spark_session("K2-Test", **options)
out["checkpoints"] = stream.conf.get("spark.sql.streaming.checkpointLocation")
assert stream is spark or stream.sparkContext is spark.sparkContext
spark.stop()
print(json.dumps(out))
"""


def run(
    arguments: Sequence[str | Path], env: Mapping[str, str] | None = None, timeout_s: float = 240
) -> subprocess.CompletedProcess[str]:
    variables = k2_environment({"PYTHONPATH": str(ROOT / "python" / "src")} | dict(env or {}))
    return subprocess.run(
        [str(argument) for argument in arguments],
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
        env=variables,
    )


READ_BACK = (
    CATALOG,
    f"{CATALOG}.type",
    f"{CATALOG}.uri",
    f"{CATALOG}.s3.endpoint",
    f"{CATALOG}.s3.path-style-access",
    "spark.sql.adaptive.enabled",
    "spark.sql.adaptive.coalescePartitions.enabled",
    "spark.sql.session.timeZone",
)


def test_settings_are_read_back_and_catalogs_told(services: Services, tmp_path: Path) -> None:
    services.start("seaweedfs")
    store = services.s3
    script = tmp_path / "session.py"
    script.write_text(SETTINGS_SCRIPT)
    catalogs = [
        ("down", f"http://127.0.0.1:{free_port()}", ""),
        ("refused", store.catalog_uri, "k2-access-key:wrong"),
    ]
    options = {
        "master": "local[1]",
        "config": QUIET,
        "log_level": "ERROR",
        "catalog_warehouse": store.catalog_warehouse,
    }
    done = run([sys.executable, script, json.dumps(options), json.dumps(READ_BACK), json.dumps(catalogs)])
    assert done.returncode == 0, done.stderr[-3000:]
    out = json.loads(done.stdout)
    assert out["version"] == "3.5.7"
    assert (out["master"], out["name"]) == ("local[1]", "K2-Test")
    assert out["conf"] == {
        CATALOG: "org.apache.iceberg.spark.SparkCatalog",
        f"{CATALOG}.type": "rest",
        f"{CATALOG}.uri": "http://iceberg-rest:8181",
        f"{CATALOG}.s3.endpoint": "http://minio:9000",
        f"{CATALOG}.s3.path-style-access": "true",
        "spark.sql.adaptive.enabled": "true",
        "spark.sql.adaptive.coalescePartitions.enabled": "true",
        "spark.sql.session.timeZone": "UTC",
    }
    assert re.search("the catalog does not answer at .*refused.* Set K2_CATALOG", out["catalogs"]["down"])
    assert "refuses the credentials" in out["catalogs"]["refused"]
    assert "wrong" not in out["catalogs"]["refused"]
    assert out["checkpoints"] == "/checkpoints"


def test_jars_that_spark_submit_was_not_given_are_named(tmp_path: Path) -> None:
    script = tmp_path / "bare.py"
    script.write_text(
        "from k2.spark.utils import create_spark_session, run_main\n"
        "run_main(lambda: 0 if create_spark_session('K2-Test') else 1)\n"
    )
    submit = Path(pyspark.__file__).parent / "bin" / "spark-submit"
    words = [word for key, value in QUIET.items() for word in ("--conf", f"{key}={value}")]
    # An empty folder of settings: none of this machine's.
    env = {"PYSPARK_PYTHON": sys.executable, "SPARK_CONF_DIR": str(tmp_path)}
    done = run([submit, "--master", "local[1]", *words, script], env)
    assert done.returncode == 2, done.stderr[-2000:]
    told = next(line for line in (done.stdout + done.stderr).splitlines() if line.startswith("error: "))
    assert "jars are missing: org.apache.iceberg:iceberg-spark-runtime-3.5_2.12:1.12.0 (Iceberg tables)" in told
    assert f"--packages {','.join(str(jar) for jar in jars('3.5.7'))}" in told


@pytest.mark.long
def test_spark_submit_brings_master_and_jars(tmp_path: Path) -> None:
    script = tmp_path / "session.py"
    script.write_text(SETTINGS_SCRIPT)
    submit = Path(pyspark.__file__).parent / "bin" / "spark-submit"
    words = [word for key, value in QUIET.items() for word in ("--conf", f"{key}={value}")]
    words += ["--conf", f"{CATALOG}.uri=http://submitted.example:1", "--packages", ",".join(coordinates())]
    env = {"PYSPARK_PYTHON": sys.executable, "SPARK_CONF_DIR": str(tmp_path)}
    keys = (f"{CATALOG}.uri", f"{CATALOG}.type")
    done = run([submit, "--master", "local[2]", *words, script, "{}", json.dumps(keys), "[]"], env)
    assert done.returncode == 0, done.stderr[-3000:]
    out = json.loads(done.stdout.splitlines()[-1])
    assert out["master"] == "local[2]"
    assert out["conf"] == {f"{CATALOG}.uri": "http://submitted.example:1", f"{CATALOG}.type": "rest"}


@pytest.mark.long
def test_a_master_that_takes_connections_and_says_nothing() -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        url = f"spark://127.0.0.1:{server.getsockname()[1]}"
        code = (
            "from k2.spark.utils import create_spark_session, run_main\n"
            f"run_main(lambda: 0 if create_spark_session('x', master={url!r}, config={QUIET!r}) else 1)\n"
        )
        began = time.monotonic()
        done = run([sys.executable, "-c", code], timeout_s=150)
        took = time.monotonic() - began
    assert done.returncode == 3, done.stderr[-2000:]
    assert "takes connections and does not answer" in done.stderr
    assert took < 90
