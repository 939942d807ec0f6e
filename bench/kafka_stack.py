"""What the benchmarks on real servers share: the servers, topics, a `k2 run` that is watched, lag, the live feed."""

import argparse
import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from common import K2, ROOT, Finished
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec
from confluent_kafka.cimpl import NewTopic
from kafka_feed import EXCHANGES
from pyiceberg.catalog import Catalog
from pyiceberg.catalog.rest import RestCatalog
from pyiceberg.table import Table

sys.path.insert(0, str(ROOT))
from stack.services import Services

NAMESPACE = "market_data"
LAYER_TABLES = {
    "bronze": ("bronze_trades",),
    "silver": ("silver_binance_trades", "silver_kraken_trades"),
    "gold": ("gold_crypto_trades",),
}
PARTITIONS = 12
_TICKS = os.sysconf("SC_CLK_TCK")


def flags(description: str) -> argparse.ArgumentParser:
    """The arguments that all of them take."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("scratch", type=Path, help="folder for servers, messages and results")
    parser.add_argument("--quick", action="store_true", help="small sizes: shows that it works, not how fast")
    parser.add_argument("--seaweed-catalog", action="store_true", help="SeaweedFS's catalog instead of the servlet's")
    return parser


def _stat(pid: int) -> tuple[int, float]:
    """Parent and CPU seconds of a process; (0, 0) of one that is gone."""
    try:
        words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0, 0.0
    return int(words[1]), (int(words[11]) + int(words[12])) / _TICKS


def cpu_seconds(pids: Sequence[int]) -> float:
    """CPU seconds of living processes and their living children."""
    everyone = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]
    stats = {pid: _stat(pid) for pid in everyone}
    return sum(cpu for pid, (parent, cpu) in stats.items() if pid in pids or parent in pids)


def memory_mb(pid: int, name: str = "VmHWM") -> float:
    """A line of a process's status: VmHWM is its peak of resident memory, VmRSS what it has now. 0 when it is gone."""
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith(name + ":"):
                return int(line.split()[1]) / 1024
    except OSError:
        pass
    return 0.0


class Watched:
    """A process whose peak memory is followed while it runs (what wait4 tells includes the parent's, at the fork)."""

    def __init__(self, words: Sequence[str | Path], environment: dict[str, str], log: Path) -> None:
        self.words = [str(word) for word in words]
        self.started = time.monotonic()
        self.log = log
        self._out = log.with_suffix(".out")
        with log.open("w") as errors, self._out.open("w") as out:
            self.process = subprocess.Popen(self.words, stdout=out, stderr=errors, env=environment)
        self.pid = self.process.pid
        self.peak_mb = 0.0
        self._ended: Finished | None = None
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        while self._ended is None:
            self.peak_mb = max(self.peak_mb, memory_mb(self.pid))
            time.sleep(0.05)

    def ended(self) -> bool:
        """Whether it has ended by itself or was killed; its exit code and CPU time are known from then on."""
        if self._ended is None:
            pid, status, usage = os.wait4(self.pid, os.WNOHANG)
            if pid:
                self.process.returncode = os.waitstatus_to_exitcode(status)
                wall, cpu = time.monotonic() - self.started, usage.ru_utime + usage.ru_stime
                self._ended = Finished(wall, cpu, self.peak_mb, self._out.read_text())
        return self._ended is not None

    def finish(self, limit_s: float) -> Finished:
        """Waits for its end, for so long at most; a failure ends the benchmark and shows what it said."""
        deadline = time.monotonic() + limit_s
        while not self.ended():
            if time.monotonic() > deadline:
                self.kill()
                sys.exit(f"{' '.join(self.words)}: did not end within {limit_s:.0f} s\n{self.said()}")
            time.sleep(0.01)
        assert self._ended is not None
        if self.process.returncode != 0:
            sys.exit(f"{' '.join(self.words)}: exit {self.process.returncode}\n{self.said()}")
        return self._ended

    def stop(self, limit_s: float = 30) -> Finished:
        self.process.send_signal(signal.SIGTERM)
        return self.finish(limit_s)

    def alive(self) -> None:
        """Ends the benchmark when the process has ended."""
        if self.ended():
            sys.exit(f"{' '.join(self.words)}: ended with {self.process.returncode}\n{self.said()}")

    def kill(self) -> None:
        if self.ended():
            return
        self.process.kill()
        while not self.ended():
            time.sleep(0.01)

    def said(self) -> str:
        return self.log.read_text(errors="replace")[-3000:]


@dataclass
class Bench:
    """The servers of one benchmark, which die with it, and what it asks of them."""

    services: Services
    scratch: Path
    environment: dict[str, str]
    runs: int = 0
    _admin: AdminClient | None = None
    _children: list[Watched] = field(default_factory=list)

    @property
    def brokers(self) -> str:
        return self.services.kafka.brokers

    @property
    def admin(self) -> AdminClient:
        if self._admin is None:
            self._admin = AdminClient({"bootstrap.servers": self.brokers, "log_level": 0})
        return self._admin

    def topics(self, prefix: str, **config: str) -> list[str]:
        """Makes PREFIX.binance and PREFIX.kraken, with twelve partitions each."""
        names = [f"{prefix}.{exchange}" for exchange in EXCHANGES]
        wanted = [NewTopic(name, PARTITIONS, 1, config=config) for name in names]
        for made in self.admin.create_topics(wanted, operation_timeout=10).values():
            made.result(timeout=15)
        deadline = time.monotonic() + 20
        while True:
            there = self.admin.list_topics(timeout=10).topics
            leaders = [at.leader for name in names if name in there for at in there[name].partitions.values()]
            if len(leaders) == PARTITIONS * len(names) and min(leaders) >= 0:
                return names
            if time.monotonic() > deadline:
                sys.exit(f"topics without leaders: {names}")
            time.sleep(0.05)

    def watermarks(self, topics: Sequence[str]) -> dict[tuple[str, int], int]:
        """The offset after the last message of each partition."""
        asked = {TopicPartition(t, p): OffsetSpec.latest() for t in topics for p in range(PARTITIONS)}
        replies = self.admin.list_offsets(asked, request_timeout=10)
        return {(at.topic, at.partition): reply.result(timeout=15).offset for at, reply in replies.items()}

    def catalog(self) -> Catalog:
        environment = self.environment
        settings = {
            "uri": environment["K2_CATALOG"],
            "s3.endpoint": environment["K2_S3_ENDPOINT"],
            "s3.access-key-id": environment["AWS_ACCESS_KEY_ID"],
            "s3.secret-access-key": environment["AWS_SECRET_ACCESS_KEY"],
            "s3.region": environment["AWS_REGION"],
        }
        if environment["K2_CATALOG_WAREHOUSE"]:
            settings["warehouse"] = environment["K2_CATALOG_WAREHOUSE"]
            settings["credential"] = environment["K2_CATALOG_CREDENTIAL"]
        return RestCatalog("bench", **settings)

    def fresh_tables(self) -> None:
        """Forgets all tables: the next run makes new ones, in a folder of its own."""
        catalog = self.catalog()
        if (NAMESPACE,) in catalog.list_namespaces():
            for name in catalog.list_tables(NAMESPACE):
                catalog.drop_table(name)
        self.runs += 1
        base = self.services.environment(bool(self.environment["K2_CATALOG_WAREHOUSE"]))["K2_WAREHOUSE"]
        self.environment["K2_WAREHOUSE"] = base if self.environment["K2_CATALOG_WAREHOUSE"] else f"{base}-{self.runs}"

    def k2(self, *words: str) -> Watched:
        """Starts k2 on the services."""
        return self.child([K2, *words], self.environment)

    def run_k2(self, topics: Sequence[str], *words: str) -> Watched:
        """Starts `k2 run` on topics, with default settings but for the words given."""
        return self.k2("run", "--topics", ",".join(topics), "--output", "json", *words)

    def feed(self, prefix: str, rate: float, pools: Sequence[Path], *words: str) -> Watched:
        """Starts the live feed."""
        script = Path(__file__).with_name("kafka_feed.py")
        command = [sys.executable, script, self.brokers, prefix, str(rate), *pools, *words]
        return self.child(command)

    def server_cpu(self) -> dict[str, float]:
        """CPU seconds so far, by server."""
        names = ("kafka", "registry", "seaweedfs", "postgres", "catalog")
        return {name: cpu_seconds([self.services.server(name).pid]) for name in names}

    def close(self) -> None:
        for child in self._children:
            child.kill()
        self.services.stop()

    def child(self, words: Sequence[str | Path], environment: Mapping[str, str] | None = None) -> Watched:
        """Starts a program that ends with the benchmark at the latest."""
        log = self.scratch / f"{Path(words[0]).stem}-{len(self._children)}.log"
        self._children.append(Watched(words, {**os.environ, **(environment or {})}, log))
        return self._children[-1]


@contextmanager
def bench(scratch: Path, seaweed_catalog: bool = False) -> Iterator[Bench]:
    """Starts the servers in the scratch folder, on free ports, with data from nothing; stops them at the end."""
    scratch.mkdir(parents=True, exist_ok=True)
    folder = scratch / "servers"
    if folder.exists():
        Services(folder).stop()
        subprocess.run(["rm", "-rf", folder], check=True)
    services = Services(folder)
    made = Bench(services, scratch, {})
    try:
        services.start()
        made.environment = services.environment(seaweed_catalog)
        made.environment["K2_SCHEMA_CACHE"] = str(folder / "schemas")
        _register(made.environment["K2_REGISTRY"])
        yield made
    finally:
        made.close()
        subprocess.run(["rm", "-rf", folder], check=True)


def _register(registry: str) -> None:
    """Gives K2's schemas the registry's first ids: the pools' messages say those that they have in recordings."""
    from python_route import own_schemas

    for wanted, schema in sorted(own_schemas().items()):
        body = json.dumps({"schema": json.dumps(schema)}).encode()
        url = f"{registry}/subjects/{schema['name']}-{wanted}/versions"
        request = urllib.request.Request(url, body, {"Content-Type": "application/vnd.schemaregistry.v1+json"})
        with urllib.request.urlopen(request, timeout=20) as reply:
            given = json.loads(reply.read())["id"]
        if given != wanted:
            sys.exit(f"the new registry calls its schema number {wanted} {given}")


def progress(table: Table) -> dict[tuple[str, int], int]:
    """The next offset of each partition, as the newest snapshot that carries K2's offsets says."""
    snapshot = table.current_snapshot()
    while snapshot is not None:
        text = snapshot.summary.additional_properties.get("k2.offsets") if snapshot.summary else None
        if text is not None:
            sources = json.loads(text).get("sources", [])
            return {(source["topic"], at[0]): at[1] for source in sources for at in source["at"]}
        snapshot = table.snapshot_by_id(snapshot.parent_snapshot_id) if snapshot.parent_snapshot_id else None
    return {}


def lag(table: Table, watermarks: dict[tuple[str, int], int]) -> int:
    """Messages that the topics hold and the table does not speak of yet."""
    done = progress(table)
    return sum(max(end - done.get(at, 0), 0) for at, end in watermarks.items())


def figures(finished: Finished) -> dict[str, Any]:
    """The JSON that `k2 run --output json` printed."""
    parsed: dict[str, Any] = json.loads(finished.out)
    return parsed
