"""The services that the other tests rely on: all start, serve, and keep what they were given when they are killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from composing import composed_services
from confluent_kafka import Consumer, Producer, TopicPartition
from pyiceberg.catalog.rest import RestCatalog

from stack.pins import ROOT, StackError, versions
from stack.process import Server, answers, start_time
from stack.services import TOPICS, Services, make_topics
from stack.tables import Prometheus
from stack.tools import ACCESS_KEY, BUCKET, REGION, SECRET_KEY, WAREHOUSE, http

SCHEMA = '{"type": "record", "name": "Tick", "fields": [{"name": "price", "type": "string"}]}'


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    running = Services(tmp_path_factory.mktemp("stack"))
    begun = time.monotonic()
    running.start()
    print(f"all services started in {time.monotonic() - begun:.1f} s")
    yield running
    running.stop()
    assert [row for row in running.status() if row[2]] == []


def produce(stack: Services, topic: str, values: list[bytes]) -> None:
    producer = Producer({"bootstrap.servers": stack.kafka.brokers, "acks": "all", "message.timeout.ms": 20000})
    failed: list[Any] = []
    for value in values:
        producer.produce(
            topic, value, partition=0, on_delivery=lambda error, _: failed.append(error) if error else None
        )
    assert producer.flush(20) == 0
    assert failed == []


def consume(brokers: str, topic: str, count: int) -> list[bytes]:
    settings = {"bootstrap.servers": brokers, "group.id": "judge", "enable.auto.commit": False}
    consumer = Consumer(settings)
    consumer.assign([TopicPartition(topic, 0, 0)])
    try:
        values: list[bytes] = []
        for message in consumer.consume(count, timeout=20):
            value = message.value()
            assert message.error() is None
            assert isinstance(value, bytes)
            values.append(value)
        return values
    finally:
        consumer.close()


def open_catalog(stack: Services, seaweed: bool = False) -> RestCatalog:
    names = stack.environment(seaweed_catalog=seaweed)
    properties = {
        "uri": names["K2_CATALOG"],
        "s3.endpoint": names["K2_S3_ENDPOINT"],
        "s3.access-key-id": ACCESS_KEY,
        "s3.secret-access-key": SECRET_KEY,
        "s3.region": REGION,
    }
    if seaweed:
        properties |= {"warehouse": names["K2_CATALOG_WAREHOUSE"], "credential": names["K2_CATALOG_CREDENTIAL"]}
    return RestCatalog("judge", **properties)


def test_kafka_keeps_messages_when_killed(stack: Services) -> None:
    make_topics(stack)
    make_topics(stack)
    there = Producer({"bootstrap.servers": stack.kafka.brokers}).list_topics(timeout=10).topics
    assert {name: len(there[name].partitions) for name in TOPICS} == dict.fromkeys(TOPICS, 12)
    values = [b"message %d" % i for i in range(1000)]
    produce(stack, TOPICS[0], values)
    before = stack.kafka.pid
    stack.kafka.kill()
    assert not answers(stack.kafka.ports["broker"])
    stack.kafka.start()
    assert stack.kafka.pid != before
    assert consume(stack.kafka.brokers, TOPICS[0], 1000) == values


def test_registry_keeps_ids_when_killed(stack: Services) -> None:
    url = stack.registry.url
    made = http(f"{url}/subjects/ticks-value/versions", {"schema": SCHEMA})["id"]
    stack.registry.kill()
    stack.registry.start()
    assert json.loads(http(f"{url}/schemas/ids/{made}")["schema"]) == json.loads(SCHEMA)
    assert http(f"{url}/subjects/ticks-value/versions", {"schema": SCHEMA})["id"] == made
    with pytest.raises(urllib.error.HTTPError, match="404"):
        http(f"{url}/schemas/ids/{made + 1000}")


def test_store_keeps_files_when_killed(stack: Services) -> None:
    content = os.urandom(3 << 20)
    with stack.s3.filesystem().open_output_stream(f"{BUCKET}/some/file") as file:
        file.write(content)
    stack.s3.kill()
    stack.s3.start()
    with stack.s3.filesystem().open_input_stream(f"{BUCKET}/some/file") as file:
        assert file.read() == content
    # Other keys are refused.
    from pyarrow.fs import S3FileSystem

    stranger = S3FileSystem(access_key="who", secret_key="ever", endpoint_override=stack.s3.endpoint, region=REGION)
    with pytest.raises(OSError, match=r"ACCESS_DENIED|Forbidden|403"):
        stranger.get_file_info(f"{BUCKET}/some/file")


@pytest.mark.parametrize("seaweed", [False, True], ids=["reference", "seaweedfs"])
def test_catalog_keeps_tables_when_killed(stack: Services, seaweed: bool) -> None:
    catalog = open_catalog(stack, seaweed)
    catalog.create_namespace("judged")
    rows = pa.table({"symbol": ["BTCUSDT", "ETHUSDT"], "quantity": pa.array([1, 2], pa.int64())})
    table = catalog.create_table("judged.ticks", rows.schema)
    table.append(rows)
    if not seaweed:
        assert table.location().startswith(WAREHOUSE)
    killed: list[Server] = [stack.s3] if seaweed else [stack.catalog, stack.postgres, stack.s3]
    for server in killed:
        server.kill()
    for server in reversed(killed):
        server.start()
    table = open_catalog(stack, seaweed).load_table("judged.ticks")
    assert table.scan().to_arrow().to_pylist() == rows.to_pylist()
    table.append(rows)
    assert len(table.scan().to_arrow()) == 4


def test_paused_server_answers_again_when_resumed(stack: Services) -> None:
    stack.registry.pause()
    with pytest.raises(TimeoutError):
        http(f"{stack.registry.url}/subjects", timeout_s=0.5)
    stack.registry.resume()
    assert isinstance(http(f"{stack.registry.url}/subjects", timeout_s=10), list)


def test_services_are_mended(stack: Services) -> None:
    stack.registry.kill()
    stack.s3.pause()
    stack.mend()
    assert stack.registry.serves()
    assert stack.s3.serves()


def test_proxy_cuts_and_mends(stack: Services) -> None:
    proxied = stack.toxiproxy.proxy("registry", stack.registry.ports["http"])
    url = f"http://127.0.0.1:{proxied}/apis/ccompat/v7/subjects"
    assert isinstance(http(url), list)
    stack.toxiproxy.cut("registry")
    with pytest.raises((urllib.error.URLError, OSError)):
        http(url)
    stack.toxiproxy.mend("registry")
    with stack.toxiproxy.stalled("registry"), pytest.raises(TimeoutError):
        http(url, timeout_s=0.5)
    with stack.toxiproxy.losing("registry"), pytest.raises((TimeoutError, ConnectionError)):
        http(url, timeout_s=0.5)
    stack.toxiproxy.restart()
    assert isinstance(http(url), list)

    brokers = stack.toxiproxy.proxy_kafka(stack.kafka)
    stack.kafka.create_topics(["proxied"], partitions=1)
    produce(stack, "proxied", [b"one"])
    assert consume(brokers, "proxied", 1) == [b"one"]
    stack.toxiproxy.cut("kafka")
    there = Producer({"bootstrap.servers": brokers, "log_level": 0})
    with pytest.raises(Exception, match="_TRANSPORT"):
        there.list_topics(timeout=1)
    stack.toxiproxy.mend()


def test_nothing_outlives_a_program_that_is_killed(tmp_path: Path) -> None:
    program = (
        "import os, signal, sys; from pathlib import Path; from stack.services import Services\n"
        f"services = Services(Path({str(tmp_path)!r})); services.start('seaweedfs', 'postgres')\n"
        "print(services.s3.pid, services.postgres.pid, flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    pids = [int(word) for word in done.stdout.split()]
    assert len(pids) == 2
    end = time.monotonic() + 10
    while any(start_time(pid) is not None for pid in pids):
        assert time.monotonic() < end, f"still there: {pids}"
        time.sleep(0.05)


def test_a_server_that_cannot_start_says_why(tmp_path: Path) -> None:
    services = Services(tmp_path)
    store = services.s3
    taken = Services(tmp_path / "other").server("seaweedfs")
    taken.ports = dict(store.ports)
    with pytest.raises(StackError, match=r"seaweedfs: port \d+ of 127.0.0.1 is taken"):
        taken.start()
    store.kill()
    broken = Services(tmp_path / "broken").server("postgres")
    broken.prepare()
    (broken.folder / "data" / "PG_VERSION").write_text("3\n")
    with pytest.raises(StackError, match=r"(?s)postgres ended while starting.*version 3"):
        broken.start()


def stack_command(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "stack", *words, "--dir", str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_up_is_harmless_twice_and_mends_what_is_dead(tmp_path: Path) -> None:
    def pids() -> dict[str, int]:
        names = ("seaweedfs", "postgres", "catalog")
        return {name: json.loads((tmp_path / name / "state.json").read_text())["pid"] for name in names}

    try:
        up = ("up", "catalog", "--free-ports")
        first = stack_command(tmp_path, *up)
        assert first.returncode == 0, first.stderr
        before = pids()
        assert stack_command(tmp_path, *up).returncode == 0
        assert pids() == before
        os.killpg(before["postgres"], signal.SIGKILL)
        os.kill(before["catalog"], signal.SIGSTOP)
        status = stack_command(tmp_path, "status")
        assert status.returncode == 1
        assert "postgres" in status.stdout
        mended = stack_command(tmp_path, *up)
        assert mended.returncode == 0, mended.stderr
        after = pids()
        assert after["seaweedfs"] == before["seaweedfs"]
        assert after["postgres"] != before["postgres"]
        assert after["catalog"] != before["catalog"]

        shown = subprocess.run(
            ["bash", "-c", f"set -a; . {tmp_path}/env; env"], capture_output=True, text=True, check=True, timeout=10
        ).stdout
        variables = dict(line.split("=", 1) for line in shown.splitlines() if "=" in line)
        assert variables["K2_WAREHOUSE"] == WAREHOUSE
        with urllib.request.urlopen(variables["K2_CATALOG"] + "/v1/config", timeout=10) as reply:
            assert "overrides" in json.load(reply)
    finally:
        down = stack_command(tmp_path, "down")
    assert down.returncode == 0, down.stderr
    assert all(start_time(pid) is None for pid in after.values())
    assert stack_command(tmp_path, "down").returncode == 0


def test_prometheus_takes_the_configuration(tmp_path: Path, stack: Services) -> None:
    # Apicurio has metrics too: what scrapes it would scrape k2.
    scraped = f"127.0.0.1:{stack.registry.ports['http']}"
    prometheus = Prometheus(tmp_path / "prometheus", {"k2": [scraped]})
    prometheus.start()
    try:
        end = time.monotonic() + 20
        while True:
            targets = http(f"{prometheus.url}/api/v1/targets")["data"]["activeTargets"]
            if any(target["health"] == "up" for target in targets):
                break
            assert time.monotonic() < end, targets
            time.sleep(0.2)
        assert [target["labels"] for target in targets] == [{"instance": scraped, "job": "k2"}]
    finally:
        prometheus.kill()


@pytest.fixture(scope="module")
def composed() -> dict[str, Any]:
    return composed_services()


def test_compose_has_the_versions_of_the_stack(composed: dict[str, Any]) -> None:
    pins = versions()
    images = {name: service["image"].rsplit(":", 1)[-1] for name, service in composed.items()}
    assert images == {
        "kafka": pins["KAFKA_VERSION"],
        "kafka-topics": pins["KAFKA_VERSION"],
        "postgres": pins["POSTGRES_VERSION"],
        "schema-registry": pins["APICURIO_VERSION"],
        "seaweedfs": pins["SEAWEEDFS_VERSION"],
        "iceberg-rest": pins["ICEBERG_VERSION"],
        "k2": "k2",
        "prometheus": "v" + pins["PROMETHEUS_VERSION"],
        "grafana": pins["GRAFANA_VERSION"],
        **dict.fromkeys(
            ("spark-volumes", "spark-master", "spark-worker-1", "spark-worker-2"),
            f"{pins['SPARK_VERSION']}-scala2.12-java17-python3-ubuntu",
        ),
    }
    for name, value in composed["iceberg-rest"]["build"]["args"].items():
        assert value == pins[name]


def test_compose_has_the_settings_of_the_stack(composed: dict[str, Any], stack: Services) -> None:
    broker = composed["kafka"]["environment"]
    ours = dict(line.split("=", 1) for line in (stack.kafka.folder / "server.properties").read_text().splitlines())
    of_addresses = ("listener", "controller.quorum", "log.dirs")
    compared = [name for name in ours if not any(part in name for part in of_addresses)]
    assert len(compared) > 10
    for name in compared:
        assert str(broker["KAFKA_" + name.upper().replace(".", "_")]) == ours[name], name
    catalog = composed["iceberg-rest"]["environment"]
    mine = stack.catalog.environment()
    assert mine.keys() <= catalog.keys()
    elsewhere = ("CATALOG_URI", "CATALOG_S3_ENDPOINT")
    assert {k: v for k, v in mine.items() if k not in elsewhere} == {k: catalog[k] for k in mine if k not in elsewhere}
    told = composed["k2"]["environment"]
    wanted = {name: value for name, value in stack.environment().items() if value}
    assert wanted.keys() <= told.keys()
    assert all(told[name] == wanted[name] for name in wanted if name.startswith("AWS_") or name == "K2_WAREHOUSE")


def test_compose_watches_and_bounds_every_service(composed: dict[str, Any]) -> None:
    for name, service in composed.items():
        assert service["deploy"]["resources"]["limits"]["memory"], name
        if name in ("kafka-topics", "spark-volumes"):
            continue
        assert service["restart"] == "unless-stopped", name
        assert service["healthcheck"]["test"], name
        assert service["deploy"]["resources"]["reservations"]["memory"], name
    assert composed["seaweedfs"]["networks"]["default"]["aliases"] == ["minio"]
    assert composed["k2"]["environment"]["K2_S3_ENDPOINT"] == "http://minio:9000"
    published = [str(port) for service in composed.values() for port in service.get("ports", ())]
    assert published
    assert all("127.0.0.1" in port for port in published), published
