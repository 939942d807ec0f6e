"""`k2 run --http`: what it serves while a recording grows, judged by Prometheus' own parser and tool."""

from __future__ import annotations

import http.client
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from conftest import ROOT, Simulate
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families
from warehouse import BRONZE, GOLD, REJECTED, SILVER, Warehouse

DEADLINE_S = 60
TRADES = 6_000
# Not there in a local warehouse; tests/test_token_expiry.py sees them.
OF_SERVICES = {"k2_service_requests_total", "k2_credential_expiry_timestamp_seconds"}


@dataclass
class Server:
    """A k2 that runs with a status page."""

    process: subprocess.Popen[str]
    log: list[str] = field(default_factory=list)
    address: str = ""

    def get(self, path: str, host: str = "") -> tuple[int, str, str]:
        """Status, content type, body."""
        connection = http.client.HTTPConnection(self.address, timeout=10)
        try:
            connection.request("GET", path, headers={"Host": host} if host else {})
            response = connection.getresponse()
            return response.status, response.headers["Content-Type"], response.read().decode()
        finally:
            connection.close()

    def metrics(self) -> dict[str, Metric]:
        return families(self.get("/metrics")[2])

    def value(self, name: str, **labels: str) -> float:
        return value(self.metrics(), name, **labels)

    def wait_for(self, what: Callable[[], bool]) -> None:
        deadline = time.monotonic() + DEADLINE_S
        while not what():
            assert self.process.poll() is None, "".join(self.log)
            assert time.monotonic() < deadline, self.get("/metrics")[2] + "".join(self.log)
            time.sleep(0.1)

    def wait_for_value(self, wanted: float, name: str, **labels: str) -> None:
        self.wait_for(lambda: self.value(name, **labels) == wanted)


def families(text: str) -> dict[str, Metric]:
    return {family.name: family for family in text_string_to_metric_families(text)}


def value(metrics: dict[str, Metric], name: str, **labels: str) -> float:
    """Sum of the samples of that name whose labels are (at least) those."""
    return sum(
        sample.value
        for family in metrics.values()
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    )


@dataclass
class Growing:
    """A recording that is written while it is read."""

    path: Path
    whole: Path
    lines: list[bytes]
    written: int = 0

    def write(self, count: int) -> None:
        with self.path.open("ab") as file:
            file.write(b"".join(self.lines[self.written : self.written + count]))
        self.written += count


@pytest.fixture
def growing(simulate: Simulate, tmp_path: Path) -> Growing:
    """Has unreadable frames and trades that come twice."""
    flags = ("--malformed-ppm", "5000", "--duplicates-ppm", "20000")
    whole = simulate("binance", TRADES, 97, *flags, suffix=".jsonl")
    return Growing(tmp_path / "growing.jsonl", whole, whole.read_bytes().splitlines(keepends=True))


@pytest.fixture
def server(warehouse: Warehouse, growing: Growing) -> Iterator[Server]:
    growing.write(100)
    flags = ("--follow", "--http", "127.0.0.1:0", "--log-level", "info", "--rows-per-commit", "500")
    running = Server(
        warehouse.start("run", "--recording", f"binance={growing.path}", "--commit-interval", "50ms", *flags)
    )
    with read_log(running):
        yield running


@contextmanager
def read_log(running: Server) -> Iterator[None]:
    """Waits for the address that it serves; ends the process afterwards."""
    reader = threading.Thread(target=lambda: running.log.extend(iter(running.process.stderr.readline, "")))  # type: ignore[union-attr]
    reader.start()
    try:
        deadline = time.monotonic() + DEADLINE_S
        while not running.address:
            assert running.process.poll() is None, "".join(running.log)
            assert time.monotonic() < deadline, "".join(running.log)
            found = re.search(r"status page is available.*address=(\S+)", "".join(running.log))
            if found:
                running.address = found[1]
            time.sleep(0.02)
        yield
    finally:
        if running.process.poll() is None:
            running.process.terminate()
        running.process.wait(timeout=60)
        reader.join(timeout=10)


def promtool() -> str:
    """Of the Debian package, or as stack/fetch.sh has unpacked it."""
    fetched = ROOT / ".deps" / "prometheus" / "usr" / "bin" / "promtool"
    found = str(fetched) if fetched.exists() else shutil.which("promtool")
    if not found:
        pytest.skip("there is no promtool: scripts/setup.sh --services fetches it")
    return found


def documented() -> dict[str, tuple[str, set[str]]]:
    """Name: type, labels; as docs/metrics.md has them. Those of jobs on Spark stand behind."""
    own, _, _ = (ROOT / "docs" / "metrics.md").read_text().partition("\n## Jobs on Spark\n")
    rows = re.findall(r"^\| `(\w+)` \| (counter|gauge|histogram) \| ([^|]*)\|", own, re.M)
    return {name: (kind, set(re.findall(r"`(\w+)`", labels))) for name, kind, labels in rows}


def exposed(metrics: dict[str, Metric]) -> dict[str, tuple[str, set[str]]]:
    return {
        family.name + ("_total" if family.type == "counter" else ""): (
            family.type,
            {label for sample in family.samples for label in sample.labels} - {"le"},
        )
        for family in metrics.values()
    }


def test_figures_follow_a_growing_recording(
    server: Server, growing: Growing, warehouse: Warehouse, k2: Path, tmp_path: Path
) -> None:
    whole = Warehouse(k2, tmp_path / "whole")  # what the figures must come to
    expected = whole.run([("binance", growing.whole)])
    first = server.metrics()
    growing.write(len(growing.lines))
    for layer in ("bronze", "silver", "gold"):
        server.wait_for_value(expected[layer]["rows_in"], "k2_rows_total", layer=layer, kind="in")
    server.wait_for(lambda: server.value("k2_lag_messages") + server.value("k2_lag_seconds") == 0)
    last = server.metrics()
    for family in first.values():  # counters never fall
        for sample in family.samples if family.type == "counter" else ():
            assert value(last, sample.name, **sample.labels) >= sample.value
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(timeout=60) == 0, "".join(server.log)

    # The figures are the tables' own.
    counts = warehouse.counts()
    for layer, kind, rows in (
        ("bronze", "out", counts[BRONZE]),
        ("silver", "in", counts[BRONZE]),
        ("silver", "out", sum(counts[name] for name in SILVER)),
        ("gold", "in", sum(counts[name] for name in SILVER)),
        ("gold", "out", counts[GOLD]),
    ):
        assert value(last, "k2_rows_total", layer=layer, kind=kind) == rows, (layer, kind)
    rejected = warehouse.rows(REJECTED, ("reason",))
    assert rejected, "the recording has frames that cannot be read"
    for reason in {row["reason"] for row in rejected}:
        wanted = sum(row["reason"] == reason for row in rejected)
        assert value(last, "k2_rejected_rows_total", reason=reason) == wanted, reason
    assert value(last, "k2_rejected_rows_total") == len(rejected)
    duplicates = sum(counts[name] for name in SILVER) - counts[GOLD]
    assert value(last, "k2_duplicate_rows_total") == duplicates > 0
    assert value(last, "k2_identity_conflicts_total") == 0
    for layer in ("bronze", "silver", "gold"):
        assert value(last, "k2_commits_total", layer=layer, outcome="committed") > 0
        assert value(last, "k2_commits_total", layer=layer) == value(last, "k2_commit_attempts_total", layer=layer)
        assert value(last, "k2_commit_duration_seconds_count", layer=layer) == value(
            last, "k2_commits_total", layer=layer
        )
        # The recording is of an earlier day, so is each latency; the sum tells that it is in seconds.
        count = value(last, "k2_latency_seconds_count", layer=layer)
        age = time.time() - oldest_of(warehouse)
        assert 0.9 * age * count < value(last, "k2_latency_seconds_sum", layer=layer) < 1.1 * age * count, layer
    for layer in ("silver", "gold"):
        assert value(last, "k2_lag_messages", layer=layer) == 0
        assert value(last, "k2_lag_seconds", layer=layer) == 0
    live = [f.file_size_in_bytes for name in (BRONZE, GOLD) for f in data_files(warehouse, name)]
    layers = ("bronze", "gold")
    assert sum(value(last, "k2_data_files_total", layer=layer) for layer in layers) == len(live)
    assert sum(value(last, "k2_data_file_bytes_total", layer=layer) for layer in layers) == sum(live)
    assert 1e6 < value(last, "process_resident_memory_bytes") < 1e9


def oldest_of(warehouse: Warehouse) -> float:
    return min(float(row["kafka_timestamp"].timestamp()) for row in warehouse.rows(BRONZE, ("kafka_timestamp",)))


def data_files(warehouse: Warehouse, name: str) -> list:
    return [task.file for task in warehouse.table(name).scan().plan_files()]


def test_the_exposition_is_as_documented_and_passes_promtool(server: Server, growing: Growing) -> None:
    growing.write(len(growing.lines))
    server.wait_for(lambda: server.value("k2_rows_total", layer="gold", kind="out") > 0)
    server.wait_for(lambda: "k2_dedup_memory_bytes" in server.metrics())
    status, content_type, text = server.get("/metrics")
    assert status == 200
    assert content_type == "text/plain; version=0.0.4; charset=utf-8"
    shown = {name: figure for name, figure in documented().items() if name not in OF_SERVICES}
    assert exposed(families(text)) == shown
    assert all(family.documentation.endswith(".") for family in families(text).values()), "each has a help"
    judged = subprocess.run(
        [promtool(), "check", "metrics"], input=text, capture_output=True, text=True, timeout=60, check=False
    )
    assert judged.returncode == 0, judged.stdout + judged.stderr
    assert not judged.stderr, judged.stderr


def test_health(server: Server) -> None:
    server.wait_for(lambda: server.get("/readyz")[0] == 200)
    assert server.get("/livez")[:1] == (200,)
    assert server.get("/livez")[2] == "ok\n"
    verbose = server.get("/readyz?verbose")[2]
    for layer in ("bronze", "silver", "gold"):
        assert re.search(rf"^\[\+\] layer {layer}: runs \(\d+\.\d s ago\)$", verbose, re.M), verbose
    assert verbose.endswith("readyz: ok\n")
    assert "/metrics" in server.get("/")[2]
    assert server.get("/nothing")[0] == 404


def test_wrong_requests_get_their_status(server: Server) -> None:
    def status(request: bytes) -> int:
        host, port = server.address.split(":")
        with socket.create_connection((host, int(port)), timeout=10) as connection:
            connection.sendall(request)
            return int(connection.makefile("rb").readline().split()[1])

    get, host = b"GET /livez HTTP/1.1\r\n", b"Host: localhost\r\n"
    for request, wanted in (
        (get + host + b"\r\n", 200),
        (b"GET /livez HTTP/1.0\r\n\r\n", 200),
        (b"nonsense\r\n\r\n", 400),
        (get + b"\r\n", 400),
        (get + host + host + b"\r\n", 400),
        (b"GET /nothing HTTP/1.1\r\n" + host + b"\r\n", 404),
        (b"DELETE /livez HTTP/1.1\r\n" + host + b"\r\n", 405),
        (get + host + b"Content-Length: 1\r\n\r\n", 413),
        (get + host + b"Transfer-Encoding: chunked\r\n\r\n", 413),
        (b"GET /" + b"a" * 100_000, 414),
        (get + b"Host: evil.example\r\n\r\n", 421),
        (get + b"Host: 127.0.0.1.evil.example\r\n\r\n", 421),
        (b"GET http://evil.example/livez HTTP/1.1\r\n" + host + b"\r\n", 421),
        (get + host + b"X: " + b"a" * 100_000, 431),
        (b"GET /livez HTTP/2.0\r\n" + host + b"\r\n", 505),
    ):
        assert status(request) == wanted, request[:80]


def test_names_that_are_allowed(warehouse: Warehouse, growing: Growing, k2: Path) -> None:
    """`http-host` adds names; beyond loopback, monitoring comes by names of its own."""
    growing.write(10)
    flags = ("--follow", "--http", "0.0.0.0:0", "--http-host", "page.example,k2", "--log-level", "info")
    running = Server(warehouse.start("run", "--recording", f"binance={growing.path}", *flags))
    with read_log(running):
        running.address = running.address.replace("0.0.0.0", "127.0.0.1")
        for path, host, wanted in (
            ("/", "page.example:80", 200),
            ("/", "K2", 200),
            ("/", "evil.example", 421),
            ("/livez", "k2-0.k2.default.svc.cluster.local:9464", 200),
            ("/metrics", "k2-0.k2.default.svc.cluster.local:9464", 200),
        ):
            assert running.get(path, host)[0] == wanted, (path, host)
    done = warehouse.k2_run(
        "run", "--recording", f"binance={growing.path}", "--http", ":0", "--http-host", "a:1", expect=2
    )
    assert "'a:1' is not a host" in done.stderr


def test_sigterm_ends_it_beside_open_connections(server: Server) -> None:
    host, port = server.address.split(":")
    clients = [socket.create_connection((host, int(port)), timeout=10) for _ in range(20)]
    for client in clients[::2]:
        client.sendall(b"GET /metrics HTTP/1.1\r\nHost: local")
    server.wait_for(lambda: server.get("/readyz")[0] == 200)
    begin = time.monotonic()
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(timeout=60) == 0, "".join(server.log)
    assert time.monotonic() - begin < 5
    for client in clients:
        client.close()


def test_an_idle_run_stays_alive(warehouse: Warehouse, server: Server) -> None:
    """Layers without work make their turns all the same."""
    server.wait_for(lambda: server.get("/readyz")[0] == 200)
    ages: list[float] = []
    for _ in range(20):
        ages += map(float, re.findall(r"layer \w+: runs \((\d+\.\d) s ago\)", server.get("/readyz?verbose")[2]))
        time.sleep(0.2)
    assert len(ages) == 60
    assert max(ages) < 10, ages


def test_an_address_in_use_ends_the_run(server: Server, simulate: Simulate, k2: Path, tmp_path: Path) -> None:
    other = Warehouse(k2, tmp_path / "other")
    recording = simulate("binance", 10, 3)
    done = other.k2_run("run", "--recording", f"binance={recording}", "--http", server.address, expect=2)
    assert f"cannot listen on {server.address}: Address already in use" in done.stderr
    done = other.k2_run("run", "--recording", f"binance={recording}", "--http", "nonsense", expect=2)
    assert "'nonsense' is not an address to listen on" in done.stderr


def test_no_page_unless_asked_for(warehouse: Warehouse, simulate: Simulate) -> None:
    done = warehouse.k2_run("run", "--recording", f"binance={simulate('binance', 10, 3)}", "--log-level", "info")
    assert "status page" not in done.stderr


def test_the_port_is_free_again(server: Server) -> None:
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(timeout=60) == 0, "".join(server.log)
    host, port = server.address.split(":")
    with pytest.raises(ConnectionRefusedError), socket.create_connection((host, int(port)), timeout=5):
        pass


def test_alert_rules() -> None:
    for words in (["check", "rules", "alerts.yml"], ["test", "rules", "alerts_test.yml"]):
        done = subprocess.run(
            [promtool(), *words],
            cwd=ROOT / "deploy" / "prometheus",
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_alert_rules_name_metrics_that_are_there() -> None:
    text = (ROOT / "deploy" / "prometheus" / "alerts.yml").read_text()
    named = set(re.findall(r"\b((?:k2|process)_[a-z_]+)\b", text))
    assert named, "the rules name metrics"
    assert named <= documented().keys()
