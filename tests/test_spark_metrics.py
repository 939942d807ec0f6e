"""What a job of a layer tells Prometheus: the names, labels and meanings that the k2 process has."""

from __future__ import annotations

import http.client
import socket
import threading
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import replace

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from k2 import __version__
from k2.spark import schemas
from k2.spark.engine import StepReport
from k2.spark.engine.metrics import JobMetrics
from k2.spark.jobs import layers
from k2.spark.utils.errors import RaceError, UnknownOutcomeError
from stack.pins import ROOT


def series(metrics: JobMetrics) -> dict[tuple[str, ...], float]:
    with urllib.request.urlopen(f"http://127.0.0.1:{metrics.port}/metrics", timeout=10) as reply:
        families = list(text_string_to_metric_families(reply.read().decode()))
    assert all(family.type in ("counter", "gauge") and family.documentation for family in families)
    return {(one.name, *sorted(one.labels.values())): one.value for family in families for one in family.samples}


@pytest.fixture
def metrics() -> Iterator[JobMetrics]:
    made = JobMetrics(0)
    yield made
    made.close()


def test_metrics_are_prometheus_own_text(metrics: JobMetrics) -> None:
    silver, rejected = schemas.SILVER[0], schemas.REJECTED
    metrics.begin("silver")
    before = series(metrics)
    assert before["k2_commits_total", "committed", "silver", silver] == 0, "so that the first is an increase"
    assert before["k2_rejected_rows_total", "price_not_positive"] == before["k2_rows_total", "in", "silver"] == 0
    assert ("k2_lag_messages", "silver") not in before, "it is not known yet"
    assert before["k2_build_info", __version__] == 1
    step = StepReport(
        "silver",
        rows_in=70,
        rows_out=60,
        behind=30,
        rejected={"price_not_positive": 4},
        run_seconds=2.5,
        tables=[silver, rejected],
    )
    metrics.took("silver", step)
    metrics.took("silver", replace(step, tables=[silver]))
    metrics.failed("silver", TimeoutError())
    metrics.failed("silver", RaceError(f"market_data.{silver}: concurrent writer detected"))
    metrics.failed("silver", UnknownOutcomeError("the catalog did not say"))
    samples = series(metrics)
    assert samples["k2_rows_total", "in", "silver"] == 140
    assert samples["k2_rejected_rows_total", "price_not_positive"] == 8
    assert samples["k2_lag_messages", "silver"] == 30
    assert samples["k2_job_step_seconds_total", "run", "silver"] == 5
    assert samples["k2_job_failures_total", "TimeoutError"] == 1
    assert samples["k2_commits_total", "committed", "silver", silver] == 2
    assert samples["k2_commits_total", "committed", rejected, "silver"] == 1
    assert samples["k2_commits_total", "conflict", "silver", silver] == 1
    assert samples["k2_commits_total", rejected, "silver", "unknown"] == 1
    metrics.took("silver", None)
    assert series(metrics)["k2_lag_messages", "silver"] == 0


@pytest.mark.parametrize(
    ("host", "status"),
    [
        *((host, 200) for host in ("localhost", "localhost:9464", "127.0.0.1", "127.8.9.1:1", "[::1]:80", "LOCALHOST")),
        *(
            (host, 421)
            for host in ("evil.example", "127.0.0.1.evil.example:80", "192.0.2.7", "[2001:db8::1]", "a b", "[")
        ),
    ],
)
def test_a_foreign_host_is_refused_on_loopback(metrics: JobMetrics, host: str, status: int) -> None:
    asked = http.client.HTTPConnection("127.0.0.1", metrics.port, timeout=10)
    asked.request("GET", "/metrics", headers={"Host": host})
    assert asked.getresponse().status == status
    asked.close()


def test_any_host_beyond_loopback() -> None:
    made = JobMetrics(0, host="0.0.0.0")
    try:
        asked = http.client.HTTPConnection("127.0.0.1", made.port, timeout=10)
        asked.request("GET", "/metrics", headers={"Host": "prometheus.example"})
        assert asked.getresponse().status == 200
        asked.close()
    finally:
        made.close()


def test_metrics_of_gold(metrics: JobMetrics) -> None:
    metrics.begin("gold")
    metrics.took("gold", StepReport("gold", duplicates=5, identity_conflicts=2, tables=[schemas.GOLD]))
    samples = series(metrics)
    assert (samples["k2_duplicate_rows_total",], samples["k2_identity_conflicts_total",]) == (5, 2)
    assert ("k2_rejected_rows_total", "truncated") not in samples


def test_lag_in_seconds(metrics: JobMetrics) -> None:
    """As k2 tells it: since the layer was level, or since the newest message it has committed, if that is later."""

    def lag(step: StepReport | None) -> float | None:
        metrics.took("gold", step)
        return series(metrics).get(("k2_lag_seconds", "gold"))

    behind = StepReport("gold", rows_in=1, behind=9)
    hour_ago_us = int((time.time() - 3600) * 1e6)
    assert lag(behind) is None, "behind from the start on"
    assert lag(replace(behind, newest_us=hour_ago_us)) == pytest.approx(3600, abs=60)
    assert lag(replace(behind, newest_us=hour_ago_us * 2)) == pytest.approx(0, abs=60), "a producer's clock is ahead"
    assert lag(None) == 0
    assert lag(replace(behind, newest_us=hour_ago_us)) == pytest.approx(0, abs=60), "it was level a moment ago"
    assert lag(replace(behind, behind=0)) == 0


def test_clients_that_say_nothing_keep_nobody_from_an_answer(metrics: JobMetrics) -> None:
    metrics.begin("gold")
    before = threading.active_count()
    silent = []
    for _ in range(200):
        silent.append(socket.create_connection(("127.0.0.1", metrics.port), timeout=10))
        silent[-1].sendall(b"GET /metr")
    assert series(metrics)
    deadline = time.monotonic() + 10
    while threading.active_count() > before + 40 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert threading.active_count() <= before + 40, "a thread a client, without bound"
    for client in silent:
        client.close()


def test_ports_of_jobs_are_those_that_prometheus_looks_at() -> None:
    config = yaml.safe_load((ROOT / "deploy" / "prometheus" / "prometheus.yml").read_text())
    (targets,) = (
        job["static_configs"][0]["targets"] for job in config["scrape_configs"] if job["job_name"] == "k2-jobs"
    )
    for (layer, port), target in zip(layers.METRICS_PORTS.items(), targets, strict=True):
        assert layers.parser("x", "", layer).parse_args(["--metrics-port"]).metrics_port == port
        assert target == f"spark-master:{port}"
    assert layers.parser("x", "").parse_args([]).metrics_port is None
