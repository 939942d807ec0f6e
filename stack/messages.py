"""Where messages come from: Kafka and the schema registry."""

from __future__ import annotations

import base64
import shutil
import subprocess
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from stack.pins import STACK, StackError, fetched, versions
from stack.process import HOST, Server, answers
from stack.tools import PARTITIONS, SMALL_JVM, java, why_not


class Kafka(Server):
    """One broker that is its own controller (KRaft). Topics are made on purpose only, with twelve partitions each.

    The port `proxied` is a second listener whose clients are told to come through the port `proxy`: a proxy between
    the two sees all that they say.
    """

    name = "kafka"
    default_ports: ClassVar = {"broker": 9092, "controller": 9093, "proxied": 9094, "proxy": 9095}

    def __init__(
        self,
        folder: Path,
        ports: Mapping[str, int] | None = None,
        keep: bool = False,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        """`settings`: of server.properties, over those below."""
        super().__init__(folder, ports, keep)
        self._settings = dict(settings or {})
        self._properties = folder / "server.properties"

    @property
    def brokers(self) -> str:
        return f"{HOST}:{self.ports['broker']}"

    @property
    def brokers_by_proxy(self) -> str:
        return f"{HOST}:{self.ports['proxy']}"

    def prepare(self) -> None:
        text = "".join(f"{name}={value}\n" for name, value in self._all_settings().items())
        self._properties.write_text(text)
        data = self.folder / "data"
        if (data / "meta.properties").exists():
            return
        shutil.rmtree(data, ignore_errors=True)
        cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=").replace("-", "A")
        words = [*self._java("-Xmx128m", *SMALL_JVM), "kafka.tools.StorageTool", "format"]
        done = subprocess.run(
            [*words, "--cluster-id", cluster, "--config", str(self._properties)],
            capture_output=True,
            text=True,
            timeout=self.start_timeout_s,
            check=False,
        )
        if done.returncode != 0:
            raise StackError(f"kafka: cannot format {data}:\n{done.stdout}{done.stderr}")

    def command(self) -> Sequence[str | Path]:
        heap = ("-Xmx512m", "-Xms256m", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20", "-XX:-UsePerfData")
        return [*self._java(*heap), "kafka.Kafka", self._properties]

    def settings(self) -> list[str]:
        return [self._properties.read_text()]

    def listens_on(self) -> list[int]:
        return [port for purpose, port in self.ports.items() if purpose != "proxy"]

    def check(self) -> str | None:
        if not answers(self.ports["broker"]):
            return f"nothing answers on {self.brokers}"
        from confluent_kafka import KafkaException
        from confluent_kafka.admin import AdminClient

        try:
            there = AdminClient(self._client()).list_topics(timeout=5)
        except KafkaException as error:
            return f"{self.brokers}: {error}"
        if not there.brokers:
            return f"{self.brokers}: no broker is ready"
        waiting = [t.topic for t in there.topics.values() if any(p.leader < 0 for p in t.partitions.values())]
        return f"{self.brokers}: {waiting[0]} has partitions without a leader" if waiting else None

    def create_topics(self, names: Sequence[str], partitions: int = PARTITIONS) -> None:
        """Makes those that are not there yet, and waits until they have leaders."""
        from confluent_kafka.admin import AdminClient
        from confluent_kafka.cimpl import NewTopic

        admin = AdminClient(self._client())
        there = admin.list_topics(timeout=10).topics
        wanted = [NewTopic(name, partitions, 1) for name in names if name not in there]
        for made in admin.create_topics(wanted, operation_timeout=10).values() if wanted else ():
            made.result(timeout=15)

    def _client(self) -> dict[str, Any]:
        return {"bootstrap.servers": self.brokers, "log_level": 0, "socket.timeout.ms": 5000}

    def _java(self, *flags: str) -> list[str]:
        log = [f"-Dlog4j2.configurationFile={STACK}/kafka/log4j2.yaml", f"-Dkafka.log={self.folder}/server.log"]
        return [java(), *flags, *log, "-cp", f"{fetched('kafka/lib')}/*"]

    def _all_settings(self) -> dict[str, str]:
        port = self.ports
        return {
            "process.roles": "broker,controller",
            "node.id": "1",
            "controller.quorum.voters": f"1@{HOST}:{port['controller']}",
            "controller.listener.names": "CONTROLLER",
            "inter.broker.listener.name": "PLAINTEXT",
            "listeners": f"PLAINTEXT://{HOST}:{port['broker']},CONTROLLER://{HOST}:{port['controller']},"
            f"PROXIED://{HOST}:{port['proxied']}",
            "advertised.listeners": f"PLAINTEXT://{HOST}:{port['broker']},PROXIED://{HOST}:{port['proxy']}",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,PROXIED:PLAINTEXT",
            "log.dirs": str(self.folder / "data"),
            "num.partitions": str(PARTITIONS),
            "auto.create.topics.enable": "false",
            "offsets.topic.num.partitions": "4",
            "offsets.topic.replication.factor": "1",
            "transaction.state.log.num.partitions": "4",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.min.isr": "1",
            "share.coordinator.state.topic.replication.factor": "1",
            "share.coordinator.state.topic.min.isr": "1",
            "group.initial.rebalance.delay.ms": "0",
            # A broker that was killed is let in again when the session of its former life has ended.
            "broker.session.timeout.ms": "3000",
            "broker.heartbeat.interval.ms": "500",
            "log.retention.hours": "168",
            "log.segment.bytes": str(256 << 20),
            "message.max.bytes": str(8 << 20),
        } | self._settings

    @property
    def server_log(self) -> Path:
        return self.folder / "server.log"

    def log_tail(self, lines: int = 25) -> str:
        said = self.server_log.read_text(errors="replace").splitlines()[-lines:] if self.server_log.exists() else []
        return "\n".join([super().log_tail(lines), *said])


class Registry(Server):
    """Apicurio, asked by Confluent's API. It keeps its schemas in a database file, so that ids outlive it."""

    name = "registry"
    default_ports: ClassVar = {"http": 8081}

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.ports['http']}/apis/ccompat/v7"

    def command(self) -> Sequence[str | Path]:
        folder = fetched("registry")
        runner = folder / f"apicurio-registry-app-{versions()['APICURIO_VERSION']}-runner.jar"
        return [java(), "-Xmx256m", *SMALL_JVM, "-jar", runner]

    def environment(self) -> dict[str, str]:
        return {
            "HTTP_PORT": str(self.ports["http"]),
            "QUARKUS_HTTP_HOST": HOST,
            "REGISTRY_DATASOURCE_URL": f"jdbc:h2:file:{self.folder}/registry;WRITE_DELAY=0;DB_CLOSE_ON_EXIT=FALSE",
            "QUARKUS_DATASOURCE_JDBC_INITIAL_SIZE": "1",
            "QUARKUS_DATASOURCE_JDBC_MIN_SIZE": "1",
            "QUARKUS_DATASOURCE_JDBC_MAX_SIZE": "10",
            "LOG_LEVEL": "WARN",
            "REGISTRY_LOG_LEVEL": "WARN",
        }

    def check(self) -> str | None:
        return why_not(f"{self.url}/subjects")
