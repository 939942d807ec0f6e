"""What is looked at before a session begins, so that what is missing is told by its name and soon."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from urllib.parse import urlsplit

from k2.spark.utils.coordinates import SparkLine, java_oldest, line_of
from k2.spark.utils.errors import ConfigurationError, UnavailableError

CONNECT_S = 3.0


def check_python(spark_version: str, python: tuple[int, int] | None = None) -> None:
    """K2_SPARK_ANY_PYTHON=1 lets a newer one pass."""
    python = python or sys.version_info[:2]
    line = line_of(spark_version)
    if python <= line.python_newest or os.environ.get("K2_SPARK_ANY_PYTHON"):
        return
    name, newest = ".".join(map(str, python)), ".".join(map(str, line.python_newest))
    raise ConfigurationError(
        f"Python {name} is too new for Spark {spark_version}, which supports Python up to {newest}. {_newer_line(line)}"
        f"use Python {newest}; or set K2_SPARK_ANY_PYTHON=1 to try it anyway"
    )


def _newer_line(line: SparkLine) -> str:
    return "Install pyspark 4.1 (pip install 'k2[spark41]'), or " if line.line == "3.5" else "Please "


def java_program() -> str | None:
    home = os.environ.get("JAVA_HOME")
    return shutil.which("java", path=os.path.join(home, "bin") if home else None)


def java_version() -> int:
    """The major version of the Java that Spark will start."""
    java = java_program()
    if java is None:
        home = os.environ.get("JAVA_HOME")
        where = f"JAVA_HOME={home} holds no bin/java" if home else "there is no java on PATH, and JAVA_HOME is not set"
        raise ConfigurationError(f"Spark needs Java: {where}. Install Java 17 or set JAVA_HOME")
    try:
        done = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ConfigurationError(f"{java} -version does not work: {error}. Set JAVA_HOME to a Java 17") from None
    found = re.search(r'version "(?:1\.)?(\d+)', done.stderr + done.stdout)
    if found is None:
        said = (done.stderr or done.stdout).strip()[:200]
        raise ConfigurationError(f"{java} does not tell its version but {said!r}. Set JAVA_HOME to a Java 17")
    return int(found[1])


def check_java(spark_version: str, iceberg_version: str | None = None, java: int | None = None) -> None:
    version = java_version() if java is None else java
    oldest, newest = java_oldest(spark_version, iceberg_version), line_of(spark_version).java_newest
    if oldest <= version <= newest:
        return
    what = "too old" if version < oldest else "too new"
    raise ConfigurationError(
        f"Java {version} ({java_program()}) is {what} for Spark {spark_version} and its Iceberg, which run on Java "
        f"{oldest} to {newest}. Install Java 17, or set JAVA_HOME to one"
    )


def masters_of(url: str) -> list[tuple[str, int]]:
    """Hosts and ports of spark://host:port,host:port; none for other masters."""
    if not url.startswith("spark://"):
        return []
    found = []
    for place in url.removeprefix("spark://").split(","):
        host, _, port = place.strip().rpartition(":")
        if not host or not port.isdecimal() or not 0 < int(port) < 65536:
            raise ConfigurationError(f"the master {url!r} is not of the form spark://HOST:PORT[,HOST:PORT]")
        found.append((host.strip("[]"), int(port)))
    return found


def check_master(url: str, timeout_s: float) -> None:
    """Waits until one of the masters takes a connection."""
    if not re.match(r"local(\[|$)|local-cluster|spark://|yarn$|k8s://", url):
        raise ConfigurationError(
            f"the master {url!r} is not one that Spark supports: spark://HOST:PORT, local[N], yarn or k8s://https://HOST:PORT"
        )
    masters = masters_of(url)
    if not masters:
        return
    reasons = _first_that_answers(masters, timeout_s)
    if reasons is not None:
        raise UnavailableError(
            f"no Spark master answers at {url} ({'; '.join(reasons)}) within {timeout_s:g} s. Is the cluster up (`make "
            "spark-up`, or `docker compose up -d spark-master`)? Another one: --master of spark-submit, "
            "K2_SPARK_MASTER, or the argument master; local[*] needs no cluster"
        )


def _first_that_answers(places: list[tuple[str, int]], timeout_s: float) -> list[str] | None:
    """None once one of them takes a connection, else why each does not."""
    deadline = time.monotonic() + timeout_s
    while True:
        reasons = []
        for host, port in places:
            try:
                left = max(0.1, min(CONNECT_S, deadline - time.monotonic()))
                socket.create_connection((host, port), timeout=left).close()
                return None
            except OSError as error:
                reasons.append(f"{host}:{port}: {error.strerror or error}")
        if time.monotonic() >= deadline:
            return reasons
        time.sleep(min(0.5, max(0.0, deadline - time.monotonic())))


def place_of(url: str) -> tuple[str, int] | None:
    """Host and port of an http(s) address; None where it is none."""
    try:
        parts = urlsplit(url)
        port = parts.port if parts.port is not None else 443 if parts.scheme == "https" else 80
    except ValueError:  # a port that is no number, or none of TCP's
        return None
    return (parts.hostname, port) if parts.scheme in ("http", "https") and parts.hostname and port else None


def check_address(what: str, url: str, advice: Callable[[], str], timeout_s: float = CONNECT_S) -> None:
    """Whether something listens at an http(s) address."""
    place = place_of(url)
    if place is None:
        raise ConfigurationError(f"{what}: {url!r} is no address. {advice()}")
    reasons = _first_that_answers([place], timeout_s)
    if reasons is not None:
        raise UnavailableError(f"{what} does not answer at {url} ({'; '.join(reasons)}). {advice()}")
