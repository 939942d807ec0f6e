"""The Spark cluster of plain processes: it starts, runs jobs, outlives kills, and is the one of docker-compose.yml."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from composing import composed_services

from stack.pins import ROOT, StackError, versions
from stack.process import start_time
from stack.services import Services
from stack.spark import (
    ARCHIVE,
    MASTER_HEAP,
    WORKER_CORES,
    WORKER_HEAP,
    WORKER_MEMORY,
    WORKERS,
    SparkCluster,
    SparkMaster,
    SparkWorker,
)
from stack.tools import http

JOB_TIMEOUT_S = 150

# Says where its tasks ran and what they found there. The folder of its argument holds a file for each task that began,
# and keeps tasks waiting until it has one named `go`.
PROGRAM = """
import json, os, sys, time
from pathlib import Path
from pyspark import SparkFiles, TaskContext
from pyspark.sql import SparkSession

folder, tasks = Path(sys.argv[1]), int(sys.argv[2])
spark = SparkSession.builder.appName("k2-test").getOrCreate()
names = ("K2_KAFKA", "K2_CATALOG", "K2_S3_ENDPOINT", "AWS_ACCESS_KEY_ID")

def work(number):
    import k2
    (folder / f"{number}-{os.getpid()}-{time.time_ns()}").touch()
    end = time.monotonic() + 100
    while not (folder / "go").exists() and time.monotonic() < end:
        time.sleep(0.05)
    found = {name: os.environ.get(name) for name in names}
    worker = Path.cwd().parent.parent.parent.name
    return [(number, worker, k2.__file__, sys.version, found)]

rows = spark.sparkContext.parallelize(range(tasks), tasks).flatMap(work).collect()
answer = {
    "rows": rows,
    "version": spark.version,
    "python": sys.version,
    "memory": spark.conf.get("spark.executor.memory"),
    "adaptive": spark.conf.get("spark.sql.adaptive.enabled"),
}
print(json.dumps(answer))
spark.stop()
"""


class Job:
    """A driver in a process of its own."""

    def __init__(self, cluster: SparkCluster, folder: Path, tasks: int, hold: bool = False) -> None:
        """`hold`: tasks wait until `let_go`."""
        folder.mkdir()
        self.folder = folder
        program = folder / "program.py"
        program.write_text(PROGRAM)
        if not hold:
            self.let_go()
        conf = {"spark.ui.enabled": "false", "spark.executor.memory": "512m", "spark.task.maxFailures": "8"}
        self._errors = (folder / "stderr.txt").open("w")
        self.process = subprocess.Popen(
            cluster.submit_command(program, str(folder), str(tasks), conf=conf),
            env=cluster.driver_environment(),
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )

    def let_go(self) -> None:
        (self.folder / "go").touch()

    def begun(self) -> int:
        """Tasks that have begun, also those that begin again."""
        return len(list(self.folder.glob("*-*-*")))

    def answer(self) -> Any:
        try:
            said, _ = self.process.communicate(timeout=JOB_TIMEOUT_S)
        finally:
            self.end()
        assert self.process.returncode == 0, self.errors()
        return json.loads(said.splitlines()[-1])

    def errors(self) -> str:
        return (self.folder / "stderr.txt").read_text()[-5000:]

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait(timeout=20)
        self._errors.close()


def wait_for(what: Callable[[], object], timeout_s: float, why: str) -> None:
    end = time.monotonic() + timeout_s
    while not what():
        assert time.monotonic() < end, f"not within {timeout_s} s: {why}"
        time.sleep(0.1)


@pytest.fixture
def cluster(services: Services) -> SparkCluster:
    return services.spark


def health_check(service: str, *, port: int | None = None) -> int:
    """The exit code of a container's check, run here; `port`: of the page, which in the container is 8080."""
    words = composed_services()[service]["healthcheck"]["test"]
    assert words[0] == "CMD"
    given = [word.replace("$$", "$").replace("8080", str(port)) if port else word for word in words[1:]]
    return subprocess.run(given, capture_output=True, timeout=20, check=False).returncode


def test_the_cluster_is_healthy(cluster: SparkCluster) -> None:
    registered = re.findall(
        r"Registering worker (?:127\.0\.0\.1|localhost):(\d+) with 2 cores, 3\.0 GiB RAM",
        cluster.master.log.read_text(),
    )
    assert {int(port) for port in registered} == {worker.ports["rpc"] for worker in cluster.workers}
    with urllib.request.urlopen(cluster.master.page, timeout=10) as reply:
        assert "Workers (2)" in reply.read().decode()
    state = cluster.master.state()
    assert (state["aliveworkers"], state["cores"], state["memory"]) == (2, 4, 6 * 1024)
    assert state["url"] == cluster.url
    for worker in cluster.workers:
        with urllib.request.urlopen(worker.page, timeout=10) as reply:
            assert "Spark Worker" in reply.read().decode()

    assert health_check("spark-master", port=cluster.master.ports["page"]) == 0
    assert health_check("spark-worker-1") == 0
    words = composed_services()["spark-worker-1"]["healthcheck"]["test"][1:]
    found = subprocess.run(words, capture_output=True, text=True, timeout=20, check=False).stdout.split()
    assert {str(worker.pid) for worker in cluster.workers} <= set(found)


def test_the_health_check_can_fail(services: Services, tmp_path: Path) -> None:
    silent = SparkMaster(tmp_path / "master").ports["page"]
    assert health_check("spark-master", port=silent) == 1
    # Neither itself, nor what called it, nor the container's first process is a worker.
    name = f"NoSuchWorker{os.getpid()}"
    words = [
        word.replace(".Worker", f".{name}") for word in composed_services()["spark-worker-1"]["healthcheck"]["test"][1:]
    ]
    assert any(name in word for word in words)

    def healthy() -> bool:
        """As Docker calls it, and from a shell."""
        given = (words, ["sh", "-c", f"{shlex.join(words)} || exit 1"])
        codes = {subprocess.run(one, capture_output=True, timeout=20, check=False).returncode for one in given}
        assert len(codes) == 1
        return codes == {0}

    init = "/sbin/docker-init -- /opt/entrypoint.sh /opt/spark/bin/spark-class"
    with called(f"{init} org.apache.spark.deploy.worker.{name} --host x"):
        assert not healthy()
        with called(f"/opt/java/openjdk/bin/java -cp /opt/k2/config/ org.apache.spark.deploy.worker.{name} --host x"):
            assert healthy()
        assert not healthy()


@contextlib.contextmanager
def called(command_line: str) -> Iterator[None]:
    """A process of that command line."""
    process = subprocess.Popen([command_line, "60"], executable=shutil.which("sleep"))
    try:
        yield
    finally:
        process.kill()
        process.wait(timeout=20)


def test_a_job_runs_on_both_workers(services: Services, cluster: SparkCluster, tmp_path: Path) -> None:
    job = Job(cluster, tmp_path / "job", tasks=4, hold=True)
    try:
        # Four tasks at once: a worker has two cores.
        wait_for(lambda: job.begun() == 4 or job.process.poll() is not None, 150, "four tasks begin")
        assert len(cluster.executors()) == 2, job.errors()
        state = cluster.master.state()
        assert (state["coresused"], state["memoryused"]) == (4, 2 * 512)
        job.let_go()
        answer = job.answer()
    finally:
        job.end()
    assert [row[0] for row in answer["rows"]] == [0, 1, 2, 3]
    assert {row[1] for row in answer["rows"]} == {"spark-worker-1", "spark-worker-2"}
    variables = services.environment()
    for _, _, package, python, found in answer["rows"]:
        assert package == str(ROOT / "python" / "src" / "k2" / "__init__.py")
        assert python == sys.version
        assert found == {name: variables[name] for name in found}
    assert answer["version"] == versions()["SPARK_VERSION"]
    # The command line before config/spark-defaults.conf, and that before Spark's own.
    assert answer["memory"] == "512m"
    assert answer["adaptive"] == "true"
    wait_for(lambda: not cluster.executors(), 20, "executors end with their job")


@pytest.mark.long
def test_a_job_outlives_executors_and_a_worker(cluster: SparkCluster, tmp_path: Path) -> None:
    job = Job(cluster, tmp_path / "job", tasks=6, hold=True)
    try:
        wait_for(lambda: job.begun() >= 4, 150, "four tasks begin")
        assert cluster.workers[0].kill_executors()
        wait_for(lambda: job.begun() >= 6, 60, "the tasks of the executor begin again")
        cluster.workers[1].kill()
        wait_for(lambda: cluster.master.state()["aliveworkers"] == 1, 60, "the master sees it")
        job.let_go()
        assert [row[0] for row in job.answer()["rows"]] == list(range(6))
    finally:
        job.end()
    cluster.workers[1].start()
    assert cluster.master.state()["aliveworkers"] == 2


@pytest.mark.long
def test_a_job_outlives_the_master(cluster: SparkCluster, tmp_path: Path) -> None:
    job = Job(cluster, tmp_path / "job", tasks=6, hold=True)
    try:
        wait_for(lambda: job.begun() >= 4, 150, "four tasks begin")
        executors = cluster.executors()
        cluster.master.kill()
        begun = time.monotonic()
        stranger = Job(cluster, tmp_path / "stranger", tasks=1)
        stranger.process.wait(timeout=90)
        stranger.end()
        assert stranger.process.returncode != 0
        assert "masters are unresponsive" in stranger.errors(), stranger.errors()
        assert time.monotonic() - begun < 90
        assert cluster.executors() == executors
        # The master comes back and knows its workers and the job.
        cluster.master.start()
        wait_for(lambda: cluster.master.state()["aliveworkers"] == 2, 90, "the workers are known again")
        assert [app["name"] for app in cluster.master.state()["activeapps"]] == ["k2-test"]
        assert cluster.executors() == executors
        job.let_go()
        assert [row[0] for row in job.answer()["rows"]] == list(range(6))
    finally:
        job.end()
    wait_for(lambda: not cluster.master.state()["activeapps"], 30, "the master sees that the job is done")


def test_a_killed_master_is_mended(services: Services, cluster: SparkCluster) -> None:
    cluster.master.kill()
    assert not cluster.workers[0].serves()
    services.mend()
    assert cluster.master.state()["aliveworkers"] == WORKERS
    assert all(worker.serves() for worker in cluster.workers)


def stack_command(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "stack", *words, "--dir", str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def sourced(file: Path) -> dict[str, str]:
    shown = subprocess.run(
        ["bash", "-c", f"set -a; . {file}; set +a; env"],
        capture_output=True,
        text=True,
        check=True,
        timeout=10,
        env={"PATH": "/usr/bin:/bin"},
    ).stdout
    return dict(line.split("=", 1) for line in shown.splitlines() if "=" in line)


def test_up_status_and_down(tmp_path: Path) -> None:
    def pids() -> dict[str, int]:
        return {path.parent.name: json.loads(path.read_text())["pid"] for path in tmp_path.glob("*/state.json")}

    (tmp_path / "env").write_text("# Of an earlier start.\nK2_KAFKA=127.0.0.1:9\nK2_CATALOG_WAREHOUSE=\nK2_X='a b'\n")
    try:
        up = stack_command(tmp_path, "up", "spark", "--free-ports")
        assert up.returncode == 0, up.stdout + up.stderr
        before = pids()
        assert before.keys() == {"spark-master", "spark-worker-1", "spark-worker-2"}
        variables = sourced(tmp_path / "env")
        assert (variables["K2_KAFKA"], variables["K2_CATALOG_WAREHOUSE"], variables["K2_X"]) == (
            "127.0.0.1:9",
            "",
            "a b",
        )
        ports = json.loads((tmp_path / "spark-master" / "state.json").read_text())["ports"]
        assert variables["K2_SPARK_MASTER"] == f"spark://127.0.0.1:{ports['rpc']}"
        assert variables["SPARK_CONF_DIR"] == str(ROOT / "config")
        assert len(http(f"http://127.0.0.1:{ports['page']}/json/")["workers"]) == WORKERS
        status = stack_command(tmp_path, "status", "spark")
        assert status.returncode == 0
        assert status.stdout.count("serves") == 1 + WORKERS
    finally:
        down = stack_command(tmp_path, "down", "spark")
    assert down.returncode == 0, down.stderr
    assert all(start_time(pid) is None for pid in before.values())
    left = sourced(tmp_path / "env")
    assert left["K2_KAFKA"] == "127.0.0.1:9"
    assert "K2_SPARK_MASTER" not in left
    assert stack_command(tmp_path, "status", "spark").returncode == 1


def test_another_version_of_pyspark_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("stack.spark.versions", lambda: {"SPARK_VERSION": "3.5.99"})
    with pytest.raises(StackError, match=r"pyspark is 3\.5\.\d+, not 3\.5\.99 .*scripts/setup\.sh"):
        SparkMaster(tmp_path)


@pytest.mark.long
def test_packages_are_fetched_by_a_user_without_a_home(cluster: SparkCluster, tmp_path: Path) -> None:
    """As the containers' user is one: its jars go where SPARK_SUBMIT_OPTS says."""
    told = composed_services()["spark-master"]["environment"]["SPARK_SUBMIT_OPTS"]
    assert told == "-Divy.home=/checkpoints/ivy"
    environment = cluster.driver_environment()
    environment["SPARK_SUBMIT_OPTS"] = f"-Duser.home=/nonexistent -Divy.home={tmp_path}/ivy"
    program = tmp_path / "program.py"
    program.write_text(
        "from pyspark.sql import SparkSession\nprint(SparkSession.builder.getOrCreate().range(5).count())\n"
    )
    command = cluster.submit_command(
        program, conf={"spark.jars.packages": "org.tukaani:xz:1.9", "spark.cores.max": "1"}
    )
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[-1] == "5"
    assert (tmp_path / "ivy" / "jars" / "org.tukaani_xz-1.9.jar").exists()


# docker-compose.yml beside stack/spark.py.

_UNITS = {"m": 1 << 20, "M": 1 << 20, "g": 1 << 30, "G": 1 << 30}


def bytes_of(text: str) -> int:
    return int(text[:-1]) * _UNITS[text[-1]]


def flags_of(service: dict[str, Any]) -> dict[str, str]:
    words = service["command"]
    assert words[0] == "/opt/spark/bin/spark-class"
    return {"class": words[1]} | {
        words[i].removeprefix("--"): words[i + 1] for i in range(2, len(words) - 1) if words[i].startswith("--")
    }


@pytest.fixture(scope="module")
def containers() -> dict[str, Any]:
    found = {name: service for name, service in composed_services().items() if name.startswith("spark-")}
    found.pop("spark-volumes")
    assert list(found) == ["spark-master", *(f"spark-worker-{n}" for n in range(1, WORKERS + 1))]
    return found


def test_versions_are_one(containers: dict[str, Any]) -> None:
    version = versions()["SPARK_VERSION"]
    assert re.fullmatch(r"3\.5\.\d+", version)
    assert re.search(r"^pyspark==(.*)$", (ROOT / "requirements-tests.txt").read_text(), re.M)[1] == version  # type: ignore[index]
    volumes = composed_services()["spark-volumes"]
    for service in (*containers.values(), volumes):
        assert service["image"] == f"apache/spark:{version}-scala2.12-java17-python3-ubuntu"
    assert metadata.version("pyspark") == version
    # Of the image's own py4j, which is pyspark's.
    line = (ROOT / "stack" / "spark-image" / "pyspark.pth").read_text().split()[-1]
    assert line == f"/opt/spark/python/lib/py4j-{metadata.version('py4j')}-src.zip"


def test_limits_are_one(containers: dict[str, Any]) -> None:
    def share(name: str, kind: str) -> tuple[float, int]:
        given = containers[name]["deploy"]["resources"][kind]
        return float(given["cpus"]), bytes_of(given["memory"])

    assert (share("spark-master", "limits"), share("spark-master", "reservations")) == ((2, 2 << 30), (1, 1 << 30))
    for name in list(containers)[1:]:
        assert (share(name, "limits"), share(name, "reservations")) == ((2, 4 << 30), (1, 2 << 30))
        flags = flags_of(containers[name])
        assert (int(flags["cores"]), flags["memory"]) == (WORKER_CORES, WORKER_MEMORY)
        assert containers[name]["environment"]["SPARK_DAEMON_MEMORY"] == WORKER_HEAP
        # The worker's own process and the native tasks have room beside the executors.
        assert share(name, "limits")[1] - bytes_of(WORKER_MEMORY) - bytes_of(WORKER_HEAP) >= 800 << 20
    assert containers["spark-master"]["environment"]["SPARK_DAEMON_MEMORY"] == MASTER_HEAP
    limits = [share(name, "limits") for name in containers]
    assert sum(cpus for cpus, _ in limits) <= 6
    assert sum(memory for _, memory in limits) <= 10 << 30
    defaults = dict(
        line.split(None, 1)
        for line in (ROOT / "config" / "spark-defaults.conf").read_text().splitlines()
        if line and not line.startswith("#")
    )
    assert bytes_of(defaults["spark.executor.memory"]) <= bytes_of(WORKER_MEMORY)
    assert bytes_of(MASTER_HEAP) + bytes_of(defaults["spark.driver.memory"]) < share("spark-master", "limits")[1]


def test_ports_are_one(containers: dict[str, Any]) -> None:
    def published(name: str) -> dict[int, int]:
        """Port in the container: port of the machine."""
        pairs = (re.fullmatch(r"127\.0\.0\.1:(\d+):(\d+)/tcp", str(port)) for port in containers[name]["ports"])
        return {int(pair[2]): int(pair[1]) for pair in pairs if pair}

    master = SparkMaster.default_ports
    flags = flags_of(containers["spark-master"])
    assert (flags["class"], flags["host"]) == (SparkMaster.main_class, "spark-master")
    assert (int(flags["port"]), int(flags["webui-port"])) == (7077, 8080)
    ports = published("spark-master")
    assert {"rpc": ports[7077], "page": ports[8080]} == dict(master) == {"rpc": 7077, "page": 8090}
    for shift, name in enumerate(list(containers)[1:]):
        flags = flags_of(containers[name])
        assert (flags["class"], flags["host"]) == (SparkWorker.main_class, name)
        assert published(name) == {int(flags["webui-port"]): SparkWorker.default_ports["page"] + shift}
        assert containers[name]["command"][-1] == "spark://spark-master:7077"
        assert flags["work-dir"] == f"/checkpoints/worker-{shift + 1}"


def test_containers_have_what_the_image_lacks(containers: dict[str, Any], tmp_path: Path) -> None:
    told = composed_services()["k2"]["environment"]
    for name, service in containers.items():
        assert service["container_name"] == f"k2-{name}"
        assert service["restart"] == "unless-stopped"
        assert service["depends_on"]["spark-volumes"]["condition"] == "service_completed_successfully"
        environment = service["environment"]
        assert environment["PATH"].startswith("/opt/spark/bin:")
        assert environment["PYTHONPATH"] == "/opt/k2/src"
        assert environment["SPARK_CONF_DIR"] == "/opt/k2/config"
        for variable in told.keys() - {"K2_HTTP"}:
            assert environment[variable] == told[variable]
        mounts = dict(
            reversed(volume.removesuffix(":ro").removesuffix(":rw").split(":")) for volume in service["volumes"]
        )
        assert mounts["/opt/k2/src"] == str(ROOT / "python" / "src")
        assert mounts["/opt/k2/config"] == str(ROOT / "config")
        assert mounts["/opt/k2/dist"] == str(ROOT / "dist")
        assert mounts["/checkpoints"] == "spark-checkpoints"
        files = [source for source in mounts.values() if source.startswith("/") and not source.endswith("/dist")]
        assert all(Path(source).exists() for source in files)
        assert environment["SPARK_LOCAL_DIRS"] == "/checkpoints/scratch"
        assert environment["K2_ARCHIVE"] == f"/opt/k2/dist/{ARCHIVE.name}"
        assert environment["K2_SPARK_MASTER"] == "spark://spark-master:7077"
    assert composed_services()["spark-volumes"]["entrypoint"] == ["/bin/chown", "185:185", "/checkpoints"]
    recovery = "-Dspark.deploy.recoveryMode=FILESYSTEM"
    assert recovery in containers["spark-master"]["environment"]["SPARK_MASTER_OPTS"]
    assert recovery in SparkMaster(tmp_path).environment()["SPARK_MASTER_OPTS"]
