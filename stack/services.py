"""All services together: started side by side, in the order their needs allow, and told to k2 as variables."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TypeVar

from stack.faults import Toxiproxy
from stack.messages import Kafka, Registry
from stack.pins import StackError
from stack.process import HOST, Server, free_port, is_running, port_is_free, saved_state
from stack.spark import WORKERS, SparkCluster, SparkMaster, SparkWorker
from stack.tables import Postgres, RestCatalog, Rustberg, SeaweedFs
from stack.tools import ACCESS_KEY, REGION, SECRET_KEY, WAREHOUSE

_SCHEMAS = Path(__file__).resolve().parent.parent / "python" / "src" / "k2" / "spark" / "schemas.json"
TOPICS = tuple(f"market.crypto.trades.{one['topic']}" for one in json.loads(_SCHEMAS.read_text())["exchanges"])
CORE = ("kafka", "registry", "postgres", "seaweedfs", "catalog")
SPARK_WORKERS = tuple(f"spark-worker-{number}" for number in range(1, WORKERS + 1))
SPARK = ("spark-master", *SPARK_WORKERS)
# Of the workers: one host by two names, for Spark starts no second copy of a slow task on the host of the first.
_NAMES_OF_LOOPBACK = (HOST, "localhost")

# How long a process that runs and does not serve is given, before it is replaced.
_PATIENCE_S = 5.0

AnyServer = TypeVar("AnyServer", bound=Server)


class Services:
    """The services in a folder. Each is made at its first mention and started when asked for.

    `services.kafka` and its like start the server at first use; `start()` starts several side by side.
    """

    def __init__(self, folder: Path, keep: bool = False, durable: bool = False, usual_ports: bool = False) -> None:
        """`keep`: whether the servers outlive this program. `durable`: whether they outlive a loss of power.
        `usual_ports`: those of docker-compose.yml where nothing else has them."""
        self.folder = folder
        self._keep = keep
        self._durable = durable
        self._usual_ports = usual_ports
        self._servers: dict[str, Server] = {}
        self._started: set[str] = set()

    # The servers, running.

    @property
    def kafka(self) -> Kafka:
        return self._running("kafka", Kafka)

    @property
    def registry(self) -> Registry:
        return self._running("registry", Registry)

    @property
    def postgres(self) -> Postgres:
        return self._running("postgres", Postgres)

    @property
    def s3(self) -> SeaweedFs:
        return self._running("seaweedfs", SeaweedFs)

    @property
    def seaweed_catalog(self) -> SeaweedFs:
        """The same process as `s3`: its catalog_uri, catalog_warehouse and credential."""
        return self.s3

    @property
    def catalog(self) -> RestCatalog:
        return self._running("catalog", RestCatalog)

    @property
    def rustberg(self) -> Rustberg:
        """One more REST catalog, where stack/fetch.sh rustberg has built it."""
        return self._running("rustberg", Rustberg)

    @property
    def toxiproxy(self) -> Toxiproxy:
        return self._running("toxiproxy", Toxiproxy)

    @property
    def spark(self) -> SparkCluster:
        """A master and two workers, whose executors know where the services are. They start none of these."""
        if not self._started.issuperset(SPARK):
            self.start("spark")
        return self.spark_cluster()

    def spark_cluster(self) -> SparkCluster:
        """The same, running or not."""
        return SparkCluster(
            self._made("spark-master", SparkMaster), [self._made(name, SparkWorker) for name in SPARK_WORKERS]
        )

    def start(self, *names: str) -> None:
        """Starts those named (when none is: all but rustberg, toxiproxy and spark) side by side, and what they need;
        mends what is dead."""
        wanted = set(names or CORE)
        if "catalog" in wanted:
            wanted |= {"postgres", "seaweedfs"}
        if "rustberg" in wanted:
            wanted.add("seaweedfs")
        if not wanted.isdisjoint(("spark", *SPARK)):
            wanted = wanted - {"spark"} | set(SPARK)
        # Those that take longest begin first; a catalog asks PostgreSQL for its tables as soon as it begins.
        first = ("spark-master", "registry", "seaweedfs", "kafka", "toxiproxy", "postgres", "rustberg")
        order: list[str] = [name for name in first if name in wanted]
        if "spark-master" in wanted and not any(self.server(name).running() for name in SPARK):
            self._made("spark-master", SparkMaster).forget()
        for name in order:
            self._begin(name)
        if "catalog" in wanted:
            self.server("postgres").wait()
            self._begin("catalog")
            order.append("catalog")
        if "spark-master" in wanted:
            # A worker that finds no master asks again only after some ten seconds.
            self.server("spark-master").wait()
            for name in SPARK_WORKERS:
                self._begin(name)
            order += SPARK_WORKERS
        for name in order:
            self.server(name).wait()
            self._started.add(name)

    def mend(self) -> None:
        """Brings back what was started once and is dead or paused now, and what a proxy was told to break."""
        for name in self._started:
            self.server(name).resume()
        dead = [name for name in self._started if not self.server(name).running()]
        if "spark-master" in dead:
            # Workers would look for a new master only after some ten seconds, and begin anew at once.
            for name in SPARK_WORKERS:
                self.server(name).kill()
        if dead:
            self.start(*dead)
        if "toxiproxy" in self._started:
            self.toxiproxy.mend()

    def stop(self, *names: str) -> None:
        """Stops those named, or all that run in this folder, whoever started them; the last begun first."""
        every = (*reversed(SPARK), "toxiproxy", "rustberg", "catalog", "registry", "kafka", "seaweedfs", "postgres")
        wanted = {part for name in names or every for part in (SPARK if name == "spark" else (name,))}
        for name in every:
            if name in wanted and (name in self._servers or (self.folder / name / "state.json").exists()):
                self.server(name).stop()
        self._started -= wanted

    def kill(self) -> None:
        """SIGKILL to all that this object has made."""
        for server in self._servers.values():
            server.kill()
        self._started.clear()

    def status(self, names: Iterable[str] = CORE) -> list[tuple[str, str, int, str]]:
        """Name, address, process id and state of each."""
        rows = []
        for name in names:
            if not (self.folder / name / "state.json").exists():
                rows.append((name, "", 0, "down"))
                continue
            server = self.server(name)
            reason = server.check() if server.pid else "down"
            rows.append((name, self.address(name), server.pid, reason or "serves"))
        return rows

    def address(self, name: str) -> str:
        server = self.server(name)
        match server:
            case Kafka():
                return server.brokers
            case Registry():
                return server.url
            case Postgres():
                return server.jdbc.removeprefix("jdbc:")
            case SeaweedFs():
                return f"{server.endpoint}, catalog {server.catalog_uri}"
            case RestCatalog() | Rustberg():
                return server.uri
            case SparkMaster():
                return f"{server.url}, page {server.page}"
            case SparkWorker():
                return f"page {server.page}"
        return ""

    def environment(self, seaweed_catalog: bool = False) -> dict[str, str]:
        """The variables by which k2 finds the services, with the reference catalog or with SeaweedFS's."""
        kafka, registry = self._made("kafka", Kafka), self._made("registry", Registry)
        store, catalog = self._made("seaweedfs", SeaweedFs), self._made("catalog", RestCatalog)
        return {
            "K2_KAFKA": kafka.brokers,
            "K2_REGISTRY": registry.url,
            "K2_CATALOG": store.catalog_uri if seaweed_catalog else catalog.uri,
            "K2_CATALOG_WAREHOUSE": store.catalog_warehouse if seaweed_catalog else "",
            "K2_CATALOG_CREDENTIAL": store.credential if seaweed_catalog else "",
            "K2_WAREHOUSE": store.catalog_warehouse if seaweed_catalog else WAREHOUSE,
            "K2_S3_ENDPOINT": store.endpoint,
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_REGION": REGION,
        }

    def server(self, name: str) -> Server:
        """The server of that name, running or not."""
        if name not in self._servers:
            self._servers[name] = self._make(name)
        return self._servers[name]

    # Inside.

    def _make(self, name: str) -> Server:
        folder = self.folder / name
        if name == "postgres":
            return Postgres(folder, self._ports(Postgres, folder), self._keep, self._durable)
        if name == "catalog":
            jdbc, endpoint = self._made("postgres", Postgres).jdbc, self._made("seaweedfs", SeaweedFs).endpoint
            return RestCatalog(folder, jdbc, endpoint, self._ports(RestCatalog, folder), self._keep)
        if name == "rustberg":
            endpoint = self._made("seaweedfs", SeaweedFs).endpoint
            return Rustberg(folder, endpoint, self._ports(Rustberg, folder), self._keep)
        if name == "spark-master":
            return SparkMaster(folder, self._ports(SparkMaster, folder), self._keep)
        if name in SPARK_WORKERS:
            number = SPARK_WORKERS.index(name)
            ports = self._ports(SparkWorker, folder, shift=number)
            master, host = self._made("spark-master", SparkMaster), _NAMES_OF_LOOPBACK[number % 2]
            return SparkWorker(folder, master, ports, self._keep, self.environment(), host)
        kinds: dict[str, type[Kafka] | type[Registry] | type[SeaweedFs] | type[Toxiproxy]] = {
            "kafka": Kafka,
            "registry": Registry,
            "seaweedfs": SeaweedFs,
            "toxiproxy": Toxiproxy,
        }
        return kinds[name](folder, self._ports(kinds[name], folder), self._keep)

    def _ports(self, kind: type[Server], folder: Path, shift: int = 0) -> dict[str, int]:
        """Those of an earlier start in the folder or else the usual ones; free ones for those that another has.
        `shift`: of the usual ones, where there are several of a kind."""
        if not self._usual_ports:
            return {}
        usual = {purpose: port + shift for purpose, port in kind.default_ports.items()}
        wanted: dict[str, int] = usual | saved_state(folder).get("ports", {})
        if is_running(folder):
            return wanted
        taken = set(wanted.values())
        return {purpose: port if port_is_free(port) else free_port(taken) for purpose, port in wanted.items()}

    def _made(self, name: str, kind: type[AnyServer]) -> AnyServer:
        server = self.server(name)
        assert isinstance(server, kind)
        return server

    def _running(self, name: str, kind: type[AnyServer]) -> AnyServer:
        if name not in self._started:
            self.start(name)
        return self._made(name, kind)

    def _begin(self, name: str) -> None:
        server = self.server(name)
        if server.running():
            try:
                server.wait(_PATIENCE_S)
            except StackError:
                server.kill()
        server.begin()


def make_topics(services: Services, names: Iterable[str] = TOPICS) -> None:
    services.kafka.create_topics(list(names))
