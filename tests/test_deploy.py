"""deploy/: what Prometheus scrapes, alerts on and Grafana draws is there, in a k2 and a Spark cluster that run."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import yaml
from composing import composed_services
from test_status_server import OF_SERVICES
from warehouse import Warehouse, k2_environment

from stack.pins import ROOT
from stack.process import free_port
from stack.services import Services
from stack.tables import Prometheus
from stack.tools import http

DEPLOY = ROOT / "deploy"
PROMETHEUS = DEPLOY / "prometheus"
DASHBOARDS = sorted((DEPLOY / "grafana" / "dashboards").glob("*.json"))
RULES = ("alerts.yml", "spark_alerts.yml")

# A job that has a page until it is killed.
PROGRAM = """
import time
from pyspark import TaskContext
from pyspark.sql import SparkSession

spark = SparkSession.builder.appName("k2-scraped").getOrCreate()
spark.sparkContext.parallelize(range(100), 4).map(str).count()
print("ready", flush=True)
time.sleep(200)
"""


def promtool(*words: str) -> None:
    fetched = ROOT / ".deps" / "prometheus" / "usr" / "bin" / "promtool"
    program = str(fetched) if fetched.exists() else shutil.which("promtool")
    if not program:
        pytest.skip("there is no promtool: scripts/setup.sh --services fetches it")
    done = subprocess.run([program, *words], cwd=PROMETHEUS, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def panels(dashboard: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(dashboard.read_text())["panels"]
    return found


def drawn(dashboard: Path) -> list[str]:
    """The expressions of its panels, with Grafana's variables as they are by default."""
    expressions = [target["expr"] for panel in panels(dashboard) for target in panel.get("targets", ())]
    return [text.replace("$__rate_interval", "1m").replace("$instance", ".*") for text in expressions]


def alerting() -> list[str]:
    files = [yaml.safe_load((PROMETHEUS / name).read_text()) for name in RULES]
    return [rule["expr"] for file in files for group in file["groups"] for rule in group["rules"]]


def metrics_named(expression: str) -> set[str]:
    return set(re.findall(r"\b(?:k2|process|metrics|jvm)_\w+", expression))


def test_promtool_takes_configuration_and_rules() -> None:
    promtool("check", "config", "prometheus.yml")
    for name in RULES:
        promtool("check", "rules", name)
        promtool("test", "rules", name.replace(".yml", "_test.yml"))


def test_every_rule_is_tested() -> None:
    for name in RULES:
        rules = yaml.safe_load((PROMETHEUS / name).read_text())["groups"][0]["rules"]
        tests = (PROMETHEUS / name.replace(".yml", "_test.yml")).read_text()
        for rule in rules:
            assert re.search(rf'alertname="{rule["alert"]}"', tests), f"{rule['alert']} never fires in a test"
            assert f"alertname: {rule['alert']}, exp_alerts: []" in tests, f"{rule['alert']} is never silent in a test"


def test_targets_are_services_of_compose() -> None:
    config = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())
    services = composed_services()
    for job in config["scrape_configs"]:
        for target in job["static_configs"][0]["targets"]:
            assert target.split(":")[0] in services, target
    mounted = services["prometheus"]["volumes"]
    assert f"{PROMETHEUS}:/etc/prometheus:ro" in mounted
    for name in config["rule_files"]:
        assert (PROMETHEUS / name).exists()
    assert sorted(config["rule_files"]) == sorted(RULES)


def test_grafana_finds_dashboards_and_prometheus() -> None:
    folder = DEPLOY / "grafana" / "provisioning"
    source = yaml.safe_load((folder / "datasources" / "prometheus.yml").read_text())["datasources"][0]
    provider = yaml.safe_load((folder / "dashboards" / "k2.yml").read_text())["providers"][0]
    grafana = composed_services()["grafana"]
    assert f"{DEPLOY}/grafana/dashboards:{provider['options']['path']}:ro" in grafana["volumes"]
    assert f"{folder}:/etc/grafana/provisioning:ro" in grafana["volumes"]
    assert source["url"] == "http://prometheus:9090"
    assert [path.stem for path in DASHBOARDS] == ["k2-pipeline", "spark-cluster"]
    identities = set()
    for path in DASHBOARDS:
        dashboard = json.loads(path.read_text())
        identities.add(dashboard["uid"])
        assert dashboard["title"]
        boxes: set[tuple[int, int]] = set()
        for panel in dashboard["panels"]:
            place = panel["gridPos"]
            assert place["x"] + place["w"] <= 24
            box = {
                (x, y)
                for x in range(place["x"], place["x"] + place["w"])
                for y in range(place["y"], place["y"] + place["h"])
            }
            assert not boxes & box, f"{path.name}: {panel['title']} lies on another panel"
            boxes |= box
            if panel["type"] == "row":
                continue
            assert panel["datasource"] == {"type": "prometheus", "uid": source["uid"]}
            assert panel["title"]
            assert panel["description"]
            assert panel["targets"]
            assert panel["fieldConfig"]["defaults"]["unit"]
        assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
    assert len(identities) == len(DASHBOARDS)


def start_job(lake: Warehouse, port: int, log: Path) -> subprocess.Popen[str]:
    """Silver's, on a lake that k2 keeps in a folder."""
    catalog = "spark.sql.catalog.iceberg"
    conf = {
        f"{catalog}.type": "jdbc",
        f"{catalog}.uri": f"jdbc:sqlite:{lake.folder}/catalog.db",
        f"{catalog}.jdbc.schema-version": "V1",
        f"{catalog}.warehouse": str(lake.folder),
        "spark.jars.packages": "org.xerial:sqlite-jdbc:3.46.1.3",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.ui.enabled": "false",
    }
    words = ["--master", "local[1]", "--continuous", "--interval", "1s", "--metrics-port", str(port)]
    with log.open("w") as said:
        return subprocess.Popen(
            [sys.executable, "-m", "k2.spark.jobs.silver_transformation", *words, *conf_words(conf)],
            env=k2_environment({"PYTHONPATH": str(ROOT / "python" / "src"), "K2_PROGRAM": str(lake.k2)}),
            stdout=said,
            stderr=said,
            text=True,
        )


def conf_words(conf: Mapping[str, str]) -> list[str]:
    return [word for name, value in conf.items() for word in ("--conf", f"{name}={value}")]


@pytest.fixture(scope="module")
def scraped(
    services: Services, k2: Path, simulate: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Prometheus]:
    """Prometheus with deploy's configuration at a cluster, a program of it, a k2 that runs, and a job of a layer."""
    folder = tmp_path_factory.mktemp("scraped")
    cluster = services.spark
    (folder / "program.py").write_text(PROGRAM)
    port, k2_port, job_port = free_port(), free_port(), free_port()
    conf = {"spark.ui.port": str(port), "spark.executor.memory": "512m", "spark.executor.heartbeatInterval": "1s"}
    started: list[subprocess.Popen[str]] = []
    prometheus = Prometheus(
        folder / "prometheus",
        {
            "k2": [f"127.0.0.1:{k2_port}"],
            "k2-jobs": [f"127.0.0.1:{job_port}"],
            "spark-master": [f"127.0.0.1:{cluster.master.ports['page']}"],
            "spark-worker": [f"127.0.0.1:{worker.ports['page']}" for worker in cluster.workers],
            "spark-driver": [f"127.0.0.1:{port}"],
            "spark-executors": [f"127.0.0.1:{port}"],
        },
    )
    try:
        started.append(
            subprocess.Popen(
                cluster.submit_command(folder / "program.py", conf=conf),
                env=cluster.driver_environment(),
                stdout=subprocess.PIPE,
                stderr=(folder / "stderr.txt").open("w"),
                text=True,
            )
        )
        recording = simulate("binance", 2000, 5)
        started.append(
            Warehouse(k2, folder / "warehouse").start(
                "run", "--recording", f"binance={recording}", "--follow", "--http", f"127.0.0.1:{k2_port}"
            )
        )
        lake = Warehouse(k2, folder / "of-the-job")
        lake.k2_run("run", "--recording", f"binance={recording}", "--layer", "bronze")
        started.append(start_job(lake, job_port, folder / "job.txt"))
        prometheus.start()
        assert started[0].stdout is not None
        said = started[0].stdout.readline()
        assert said == "ready\n", (folder / "stderr.txt").read_text()[-3000:]
        yield prometheus
    finally:
        prometheus.kill()
        for process in started:
            process.send_signal(signal.SIGKILL)
            process.wait(timeout=20)


def query(prometheus: Prometheus, expression: str) -> Any:
    return http(f"{prometheus.url}/api/v1/query?query={quote(expression)}")["data"]["result"]


def test_all_targets_are_up(scraped: Prometheus) -> None:
    end = time.monotonic() + 60
    while True:
        targets = http(f"{scraped.url}/api/v1/targets")["data"]["activeTargets"]
        if all(target["health"] == "up" for target in targets):
            break
        assert time.monotonic() < end, [(t["scrapeUrl"], t["health"], t["lastError"]) for t in targets]
        time.sleep(0.3)
    assert sorted(target["labels"]["job"] for target in targets) == sorted(
        ["k2", "k2-jobs", "spark-master", "spark-worker", "spark-worker", "spark-driver", "spark-executors"]
    )
    groups = http(f"{scraped.url}/api/v1/rules")["data"]["groups"]
    assert {group["name"] for group in groups} == {"k2", "spark"}


def test_what_is_drawn_and_alerted_on_is_there(scraped: Prometheus) -> None:
    wanted = {
        name for text in (*alerting(), *(e for d in DASHBOARDS for e in drawn(d))) for name in metrics_named(text)
    }
    wanted -= OF_SERVICES  # k2's warehouse is a local one here
    assert len(wanted) > 20
    end = time.monotonic() + 120
    while missing := wanted - set(http(f"{scraped.url}/api/v1/label/__name__/values")["data"]):
        assert time.monotonic() < end, f"nothing that was scraped has {sorted(missing)}"
        time.sleep(0.5)
    # The second executor may come after the first has done the job's tasks.
    for of_two in ("metrics_master_aliveWorkers_Value", 'count(metrics_executor_totalCores{executor_id!="driver"})'):
        while (found := [sample["value"][1] for sample in query(scraped, of_two)]) != ["2"]:
            assert time.monotonic() < end, f"{of_two} is {found}"
            time.sleep(0.5)


def test_rules_see_a_job_as_they_see_k2(scraped: Prometheus) -> None:
    """What alerts and the dashboard ask for of every layer, with the labels that they ask by."""
    wanted = {
        'sum(k2_rows_total{layer="silver",kind="in",job="k2-jobs"}) >= bool 2000': "1",
        'sum(k2_commits_total{layer="silver",table="silver_binance_trades",outcome="committed",job="k2-jobs"})': "1",
        'max(k2_lag_messages{layer="silver",job="k2-jobs"})': "0",
        'max(k2_lag_seconds{layer="silver",job="k2-jobs"})': "0",
        'sum(k2_rejected_rows_total{job="k2-jobs"}) >= bool 0': "1",
    }
    end = time.monotonic() + 60
    for expression, value in wanted.items():
        while (found := [sample["value"][1] for sample in query(scraped, expression)]) != [value]:
            assert time.monotonic() < end, f"{expression} is {found}"
            time.sleep(0.3)


def test_every_expression_is_one(scraped: Prometheus) -> None:
    for text in (*alerting(), *(e for d in DASHBOARDS for e in drawn(d))):
        query(scraped, text)
