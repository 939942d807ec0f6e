"""The schema registry is away for a while, or the disk of its cache is full: verdicts wait, and none is wrong."""

from __future__ import annotations

import subprocess
import threading
import time
import uuid
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from disks import fill, mount, unmount
from registry_world import World
from warehouse import BRONZE, GOLD, REJECTED, k2_environment

from stack.process import HOST
from stack.services import Services


def test_a_registry_that_is_away_for_a_while(world: World, tmp_path: Path) -> None:
    """Known schemas go on without it, an unknown one waits and is not rejected, what does not exist is rejected."""
    oracle, lake, registry = world.oracle, world.lake, world.registry
    world.send(300)
    service = lake.begin("run")
    lake.await_rows(oracle.expected_counts())
    registry.kill()
    world.send(300)
    lake.await_rows(oracle.expected_counts())
    known = lake.total(GOLD)

    world.with_the_second()
    oracle.send(world.topics[0], 50, partition=0)
    world.with_the_first()
    for partition in (1, 2, 3):
        world.send(40, partition)
    oracle.flush()
    lake.await_rows({BRONZE: oracle.expected_counts()[BRONZE]})
    service.await_words("registry")
    time.sleep(2)
    assert lake.total(REJECTED) == 0
    assert known <= lake.total(GOLD) < oracle.expected_counts()[GOLD]
    assert service.code is None

    registry.start()
    lake.await_rows(oracle.expected_counts())
    for topic in world.topics:
        oracle.send_one(topic, oracle.maker.broken(topic.rsplit(".", 1)[1], "unknown_schema_id"))
    world.send(20)
    lake.await_rows(oracle.expected_counts() | {REJECTED: 2})
    service.stop()
    oracle.check(lake)

    registry.kill()
    world.send(100)
    world.with_the_second()
    world.send(100)
    elsewhere = {"K2_SCHEMA_CACHE": str(tmp_path / "none yet")}
    refused = lake.k2_run("run", "--until-caught-up", "--retry-timeout", "2s", env=elsewhere, expect=3)
    assert registry.url in refused.stderr
    assert lake.total(REJECTED) == 2
    assert lake.run_kafka()["silver"]["rejected"] == {}
    oracle.check(lake)


def test_a_cache_on_a_full_disk(world: World, tmp_path: Path) -> None:
    """A run goes on with schemas in memory and says it once; with room again it keeps them, and needs no registry."""
    oracle, lake = world.oracle, world.lake
    disk = tmp_path / "disk"
    mount(disk, "64k")
    try:
        filler = fill(disk)
        lake.variables["K2_SCHEMA_CACHE"] = str(disk / "schemas")
        world.send(200)
        world.with_the_second()
        world.send(200)
        service = lake.begin("run")
        lake.await_rows(oracle.expected_counts())
        said = service.stop()
        assert said.count("cannot cache schemas on disk") == 1, said
        assert "No space left" in said
        assert str(disk) in said
        oracle.check(lake)

        filler.unlink()
        world.send(100)
        world.with_the_first()
        world.send(100)
        done = lake.k2_run("run", "--until-caught-up")
        assert "cannot cache schemas" not in done.stderr
        world.registry.kill()
        world.send(100)
        lake.run_kafka()
        oracle.check(lake)
    finally:
        unmount(disk)


class ScriptedRegistry:
    """Leaves the first `silent` requests without a reply, then takes every schema."""

    def __init__(self, silent: int) -> None:
        self.requests: list[str] = []
        script = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                script.requests.append(self.path)
                if len(script.requests) <= silent:
                    self.close_connection = True
                    return
                body = b'{"is_compatible":true}' if "/compatibility/" in self.path else b'{"id":7}'
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None: ...

        self._server = ThreadingHTTPServer((HOST, 0), Handler)
        self.url = f"http://{HOST}:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def produce(k2: Path, services: Services) -> Callable[[ScriptedRegistry], subprocess.CompletedProcess[str]]:
    def run(registry: ScriptedRegistry) -> subprocess.CompletedProcess[str]:
        prefix = f"r{uuid.uuid4().hex[:8]}."
        command = [
            k2,
            "produce",
            "--kafka",
            services.kafka.brokers,
            "--registry",
            registry.url,
            "--topic-prefix",
            prefix,
        ]
        command += ["--simulate", "kraken", "--trades", "10", "--create-topics", "1"]
        words = list(map(str, command))
        return subprocess.run(words, capture_output=True, text=True, env=k2_environment(), timeout=60, check=False)

    return run


@pytest.mark.parametrize(("silent", "code"), [(1, 0), (2, 3)])
def test_produce_asks_a_registry_twice(
    produce: Callable[[ScriptedRegistry], subprocess.CompletedProcess[str]], silent: int, code: int
) -> None:
    """One request without a reply is sent once more; after two the run ends, and says which registry it was."""
    registry = ScriptedRegistry(silent)
    try:
        done = produce(registry)
    finally:
        registry.close()
    assert done.returncode == code, done.stderr
    assert registry.url in done.stderr
    assert registry.requests[0] == registry.requests[1]
    assert len(registry.requests) == (2 if code else 5)
