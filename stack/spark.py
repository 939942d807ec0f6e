"""Spark's standalone cluster: a master and two workers, as the containers of docker-compose.yml have them."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import shutil
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from stack.pins import ROOT, StackError, versions
from stack.process import HOST, Server, clean_environment, group_members
from stack.tools import http

CONFIG = ROOT / "config"
SOURCES = ROOT / "python" / "src"
#: The native engine as `make dist` packs it, for jobs to carry to the executors.
ARCHIVE = ROOT / "dist" / "k2-linux-x86_64.tar.gz"
WORKERS = 2
WORKER_CORES = 2
WORKER_MEMORY = "3g"
#: Heaps of the daemons. What an executor takes is counted by the worker, not out of these.
MASTER_HEAP = "512m"
WORKER_HEAP = "128m"
# A daemon waits more than it works.
_DAEMON_FLAGS = "-XX:+UseSerialGC -XX:TieredStopAtLevel=1 -XX:-UsePerfData"
_EXECUTOR = "org.apache.spark.executor.CoarseGrainedExecutorBackend"


def spark_home() -> Path:
    """The folder of the installed pyspark, which must be of the version that is pinned."""
    found = importlib.util.find_spec("pyspark")
    if found is None or found.origin is None:
        raise StackError("there is no pyspark: run scripts/setup.sh")
    home = Path(found.origin).parent
    has, wanted = importlib.metadata.version("pyspark"), versions()["SPARK_VERSION"]
    if has != wanted:
        raise StackError(f"pyspark is {has}, not {wanted} (stack/versions.env): run scripts/setup.sh")
    return home


class SparkDaemon(Server):
    """What master and worker have in common."""

    main_class = ""
    heap = ""
    host = HOST

    def __init__(self, folder: Path, ports: Mapping[str, int] | None = None, keep: bool = False) -> None:
        super().__init__(folder, ports, keep)
        self._home = spark_home()

    @property
    def page(self) -> str:
        """Address of its web page, which has `/json/` and Prometheus' figures too."""
        return f"http://{HOST}:{self.ports['page']}"

    def command(self) -> Sequence[str | Path]:
        port, page = self.ports["rpc"], self.ports["page"]
        spark_class = self._home / "bin" / "spark-class"
        return [spark_class, self.main_class, "--host", self.host, "--port", str(port), "--webui-port", str(page)]

    def environment(self) -> dict[str, str]:
        return spark_variables(self._home) | {
            "SPARK_DAEMON_MEMORY": self.heap,
            "SPARK_DAEMON_JAVA_OPTS": _DAEMON_FLAGS,
            # A port that another program has is an error: by itself Spark would take the next one.
            "SPARK_MASTER_OPTS": "-Dspark.port.maxRetries=0",
            "SPARK_WORKER_OPTS": "-Dspark.port.maxRetries=0",
        }

    def settings(self) -> list[str]:
        return [path.read_text() for path in sorted(CONFIG.iterdir())]


class SparkMaster(SparkDaemon):
    """The master. What it knows outlives it: killed and started again, it finds its workers and the jobs that run."""

    name = "spark-master"
    main_class = "org.apache.spark.deploy.master.Master"
    default_ports: ClassVar = {"rpc": 7077, "page": 8090}
    heap = MASTER_HEAP

    @property
    def url(self) -> str:
        return f"spark://{HOST}:{self.ports['rpc']}"

    def environment(self) -> dict[str, str]:
        named = super().environment()
        recovery = f"-Dspark.deploy.recoveryMode=FILESYSTEM -Dspark.deploy.recoveryDirectory={self.folder}/recovery"
        return named | {"SPARK_MASTER_OPTS": f"{named['SPARK_MASTER_OPTS']} {recovery}"}

    def forget(self) -> None:
        """Drops what it knew of workers and jobs, for a cluster that begins anew."""
        shutil.rmtree(self.folder / "recovery", ignore_errors=True)

    def state(self) -> Any:
        """What its page says, as JSON: workers, applications, cores and memory."""
        return http(f"{self.page}/json/", timeout_s=5)

    def check(self) -> str | None:
        try:
            said = self.state()["status"]
        except (OSError, ValueError, KeyError) as error:
            return f"{self.page}: {error}"
        return None if said == "ALIVE" else f"{self.page}: it is {said}"


class SparkWorker(SparkDaemon):
    """A worker. Its executors, and what these start, belong to its process group: they are killed with it."""

    name = "spark-worker"
    main_class = "org.apache.spark.deploy.worker.Worker"
    default_ports: ClassVar = {"rpc": 7078, "page": 8091}
    heap = WORKER_HEAP

    def __init__(
        self,
        folder: Path,
        master: SparkMaster,
        ports: Mapping[str, int] | None = None,
        keep: bool = False,
        variables: Mapping[str, str] | None = None,
        host: str = HOST,
    ) -> None:
        """`variables`: what executors are told besides: where Kafka, the catalog and the store are. `host`: a name of
        loopback."""
        super().__init__(folder, ports, keep)
        self._master = master
        self.host = host
        self.variables = dict(variables or {})

    def command(self) -> Sequence[str | Path]:
        given = ["--cores", str(WORKER_CORES), "--memory", WORKER_MEMORY, "--work-dir", str(self.folder / "work")]
        return [*super().command(), *given, self._master.url]

    def environment(self) -> dict[str, str]:
        return super().environment() | self.variables | {"SPARK_LOCAL_DIRS": str(self.folder / "scratch")}

    def check(self) -> str | None:
        """It serves when the master counts on it."""
        try:
            known = self._master.state()["workers"]
        except (OSError, ValueError, KeyError) as error:
            return f"{self._master.page}: {error}"
        mine = [row for row in known if row["port"] == self.ports["rpc"]]
        if any(row["state"] == "ALIVE" for row in mine):
            return None
        return (
            f"{self._master.url} does not know it" if not mine else f"{self._master.url} calls it {mine[-1]['state']}"
        )

    def executors(self) -> list[int]:
        """Process ids of the executors that it runs now."""
        return [pid for pid in group_members(self.pid) if _EXECUTOR in _command_line(pid)] if self.pid else []

    def kill_executors(self) -> list[int]:
        """SIGKILL to its executors, not to what these have started; the worker stays."""
        killed = self.executors()
        for pid in killed:
            os.kill(pid, signal.SIGKILL)
        return killed


class SparkCluster:
    """Master and workers together. Made by `Services.spark`."""

    def __init__(self, master: SparkMaster, workers: Sequence[SparkWorker]) -> None:
        self.master = master
        self.workers = list(workers)

    @property
    def url(self) -> str:
        """What a session names as its master: spark://HOST:PORT."""
        return self.master.url

    def executors(self) -> list[int]:
        """Process ids of all executors that run now."""
        return [pid for worker in self.workers for pid in worker.executors()]

    def environment(self) -> dict[str, str]:
        """The variables that a driver of this cluster needs beside those of the services: spark-submit's, or those of
        Python with a session in it."""
        checkpoints = self.master.folder.parent / "spark-checkpoints"
        named = {"K2_SPARK_MASTER": self.url, "K2_SPARK_CHECKPOINTS": str(checkpoints)} | spark_variables(spark_home())
        return {name: value for name, value in named.items() if name not in ("PATH", "SPARK_HOME")}

    def driver_environment(self) -> dict[str, str]:
        """All variables of a driver's process: this program's, the services', the cluster's."""
        services = self.workers[0].variables
        return clean_environment() | services | spark_variables(spark_home()) | self.environment()

    def submit_command(self, program: str | Path, *arguments: str, conf: Mapping[str, str] | None = None) -> list[str]:
        """What `docker exec k2-spark-master spark-submit …` is in the containers."""
        settings = {"spark.ui.showConsoleProgress": "false"} | dict(conf or {})
        words = [word for name, value in settings.items() for word in ("--conf", f"{name}={value}")]
        submit = str(spark_home() / "bin" / "spark-submit")
        return [submit, "--master", self.url, *words, str(program), *arguments]


def spark_variables(home: Path) -> dict[str, str]:
    """Those of master, workers and drivers alike: everything listens on loopback, and `python3` is ours."""
    python = ROOT / ".venv" / "bin"
    return {
        "SPARK_HOME": str(home),
        "SPARK_CONF_DIR": str(CONFIG),
        "SPARK_LOCAL_IP": HOST,
        "PYTHONPATH": str(SOURCES),
        "PYSPARK_PYTHON": str(python / "python"),
        "PATH": f"{python}:{os.environ.get('PATH', os.defpath)}",
    }


def _command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""
