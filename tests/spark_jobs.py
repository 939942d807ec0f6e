"""The jobs of the three layers as tests run them, against a lake of their own on the shared cluster."""

from __future__ import annotations

import json
import subprocess
import sys
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from kafka_oracle import Oracle
from service_warehouse import Lake, Process

from stack.services import Services
from stack.spark import SparkCluster

JOBS = {"bronze": "bronze_ingestion", "silver": "silver_transformation", "gold": "gold_aggregation"}


def oracle_of_two_topics(services: Services, seed: int) -> Iterator[Oracle]:
    """One for each exchange, with names that no other test has."""
    services.start("kafka")
    made = Oracle(services.kafka.brokers, seed)
    stem = f"t{uuid.uuid4().hex[:8]}.trades"
    for exchange in ("binance", "kraken"):
        made.create(f"{stem}.{exchange}")
    yield made
    made.delete(set(made.partitions))


def lake_on_rest(k2: Path, folder: Path, services: Services, oracle: Oracle, seaweed: bool = False) -> Iterator[Lake]:
    """Of the oracle's topics, without tables yet."""
    made = Lake.rest(k2, folder / "lake", services, seaweed=seaweed)
    made.variables["K2_TOPICS"] = ",".join(oracle.partitions)
    yield made
    made.kill_all()


def send(oracle: Oracle, count: int) -> None:
    for topic in oracle.partitions:
        oracle.send(topic, count)
    oracle.flush()


def words(said: str) -> str:
    """Without Java's stacks."""
    return "\n".join(line for line in said.splitlines() if not line.lstrip().startswith("at "))[-6000:]


class Jobs:
    """Jobs against a lake, each in a process of its own, on the cluster or in the driver alone."""

    def __init__(self, cluster: SparkCluster, lake: Lake, k2: Path, folder: Path) -> None:
        self.cluster = cluster
        self.lake = lake
        self.folder = folder
        self.conf = {"spark.ui.enabled": "false", "spark.executor.memory": "512m", "spark.driver.memory": "512m"}
        self.variables = cluster.driver_environment() | lake.variables | {"K2_PROGRAM": str(k2)}
        if "K2_REGISTRY" not in lake.variables:  # the schemas of the maker have the built-in ids
            self.variables.pop("K2_REGISTRY", None)
        self.conf["spark.executorEnv.K2_PROGRAM"] = str(k2)

    def command(self, layer: str, *arguments: str, conf: Mapping[str, str] | None = None) -> list[str]:
        settings = [f"--conf={name}={value}" for name, value in (self.conf | dict(conf or {})).items()]
        return [sys.executable, "-m", f"k2.spark.jobs.{JOBS[layer]}", "--output", "json", *settings, *arguments]

    def run(self, layer: str, *arguments: str, expect: int = 0, conf: Mapping[str, str] | None = None) -> Any:
        """The job's report; its standard error where it is to fail."""
        done = subprocess.run(
            self.command(layer, *arguments, conf=conf),
            env=self.variables,
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )
        assert done.returncode == expect, f"{done.returncode}: {words(done.stderr)}"
        return json.loads(done.stdout)[0] if expect == 0 else done.stderr

    def rebuild(self, layer: str, *arguments: str) -> Any:
        command = self.command(layer, layer, *arguments)
        command[2] = "k2.spark.jobs.rebuild"
        done = subprocess.run(command, env=self.variables, capture_output=True, text=True, timeout=200, check=False)
        assert done.returncode == 0, words(done.stderr)
        return json.loads(done.stdout)[0]

    def begin(self, layer: str, *arguments: str, variables: Mapping[str, str] | None = None) -> Process:
        """A job in a process group of its own, which dies whole: Python, JVM, and what these have started."""
        log = self.folder / f"{layer}-{uuid.uuid4().hex[:4]}.log"
        process = Process(self.command(layer, *arguments), self.variables | dict(variables or {}), log, group=True)
        self.lake.processes.append(process)
        return process
