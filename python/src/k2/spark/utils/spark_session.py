"""The factories of sessions: K2's catalog, its jars, and errors that say what to do."""

from __future__ import annotations

import os
import re
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from k2.spark.utils import settings as names
from k2.spark.utils.checks import check_address, check_java, check_master, check_python
from k2.spark.utils.coordinates import Jar, installed_spark, jars
from k2.spark.utils.errors import ConfigurationError, UnavailableError, one_line
from k2.spark.utils.explain import explain

if TYPE_CHECKING:
    from pyspark.sql import SparkSession
    from typing_extensions import Unpack

    from k2.spark.utils.settings import SessionOptions, StreamingOptions

# A master that takes connections and does not answer is given so long, once the JVM runs: with the waiting for its port
# and the start of the JVM before it, a session is there or has failed within 90 s.
REGISTRATION_S = 50.0
MASTER_S = 20.0
# Only these must be known when the JVM starts. The others would show their secrets in the list of processes.
LAUNCH_KEYS = re.compile(r"spark\.(master$|submit\.|driver\.|jars|archives|files|ivy|local\.dir)")


def create_spark_session(app_name: str, **options: Unpack[SessionOptions]) -> SparkSession:
    """A session with K2's catalog `iceberg`, S3 and jars; the one that runs already, where there is one.

    Every option goes before its variable, that one before what spark-submit and spark-defaults say, and those before
    the default (see SessionOptions); only of the master spark-submit's goes before the variable's. Raises
    ConfigurationError for what is wrong here (Python, Java, jars, words) and UnavailableError for a master that does
    not answer, within 90 s. Whether the catalog answers is asked by check_catalog, or by the first query.
    """
    return _create(app_name, options, streaming=False)


def create_streaming_spark_session(app_name: str, **options: Unpack[StreamingOptions]) -> SparkSession:
    """The same for streams: a checkpoint folder, state in RocksDB, bounded rates, batches that end before a stop.
    Sources get their options from kafka_stream_options."""
    return _create(app_name, options, streaming=True)


def kafka_stream_options(
    topics: Sequence[str] | str, brokers: str | None = None, messages_per_batch: int | None = None
) -> dict[str, str]:
    """Options for `spark.readStream.format("kafka")`: from the beginning, bounded batches, loss is an error.

    Variables: K2_KAFKA (brokers), K2_SPARK_MESSAGES_PER_BATCH.
    """
    servers = brokers or os.environ.get("K2_KAFKA")
    if not servers:
        raise ConfigurationError("there are no Kafka brokers: give the argument brokers, or set K2_KAFKA")
    variable = "K2_SPARK_MESSAGES_PER_BATCH"
    told = names.given("messages_per_batch", (variable,), {"messages_per_batch": messages_per_batch}) or "500000"
    count = names.whole_number(f"messages_per_batch ({variable})", told, 1)
    return {
        "kafka.bootstrap.servers": servers,
        "subscribe": topics if isinstance(topics, str) else ",".join(topics),
        "startingOffsets": "earliest",
        "maxOffsetsPerTrigger": str(count),
        "failOnDataLoss": "true",
        # Only what a transaction has committed.
        "kafka.isolation.level": "read_committed",
        "groupIdPrefix": "k2-spark",
    }


def check_catalog(spark: SparkSession, catalog: str | None = None) -> list[str]:
    """The namespaces of the catalog. Raises what is wrong with its address, its credentials or its jars."""
    name = catalog or names.catalog_name({})
    key = f"spark.sql.catalog.{name}"
    if not spark.conf.get(key, ""):
        raise ConfigurationError(f"this session has no catalog {name}: create it with create_spark_session")
    uri = spark.conf.get(f"{key}.uri", "") or ""
    if uri.startswith("http"):
        check_address("the catalog", uri, lambda: "Set K2_CATALOG to the address that serves /v1/config")
    try:
        return [str(row[0]) for row in spark.sql(f"SHOW NAMESPACES IN {name}").collect()]
    except Exception as error:
        raise explain(error, f"catalog {uri or name}") from error


def _create(app_name: str, options: Mapping[str, Any], streaming: bool) -> SparkSession:
    if not app_name:
        raise ConfigurationError("app_name is empty: Spark's pages name the application by it")
    version = installed_spark()
    check_python(version)
    level = names.log_level(options)
    iceberg = os.environ.get("K2_ICEBERG_VERSION") or None
    wanted = jars(version, iceberg)
    submitted, running = _submitted(version, iceberg)
    settings = names.resolve(options, submitted, streaming)
    master = settings.pop("spark.master", "") or names.master(options, submitted)
    _refuse_another_master(master, options)
    check_master(master, names.seconds("connect_timeout_s", "K2_SPARK_CONNECT_TIMEOUT_S", options, MASTER_S))
    settings |= {"spark.master": master, "spark.app.name": app_name}
    packages = _packages(options, wanted, submitted, settings)
    if packages and not running:
        settings["spark.jars.packages"] = ",".join(packages)
    is_new = not _has_session()
    session = _start(settings, running, packages)
    session.sparkContext.setLogLevel(level)
    if packages is not None:
        needed = [jar for jar in wanted if streaming or jar.always]
        _check_classes(session, needed, wanted, running, is_new)
    return session


def _submitted(version: str, iceberg: str | None) -> tuple[dict[str, str], bool]:
    """What was set before this program, and whether the JVM runs already."""
    from pyspark import SparkConf, SparkContext
    from pyspark.find_spark_home import _find_spark_home

    gateway: Any = SparkContext._gateway
    if gateway is not None or "PYSPARK_GATEWAY_PORT" in os.environ:
        SparkContext._ensure_initialized()
        return dict(SparkConf().getAll()), True
    check_java(version, iceberg)
    return names.submitted_settings(Path(_find_spark_home())), False


def _has_session() -> bool:
    from pyspark import SparkContext

    return SparkContext._active_spark_context is not None


def _refuse_another_master(master: str, options: Mapping[str, Any]) -> None:
    from pyspark import SparkContext

    active: Any = SparkContext._active_spark_context
    if active is not None and options.get("master") and active.master != master:
        raise ConfigurationError(
            f"a session on {active.master} runs in this process already, and there can be no second one on {master}: "
            "stop it first"
        )


def _packages(
    options: Mapping[str, Any], wanted: Sequence[Jar], submitted: Mapping[str, str], settings: Mapping[str, str]
) -> list[str] | None:
    """Coordinates for spark.jars.packages, those of others included; None where none are to be fetched."""
    given = options.get("packages")
    if given is None:
        given = os.environ.get("K2_SPARK_PACKAGES") or None
    if isinstance(given, str):
        if given.strip().lower() == "none":
            return None
        given = [part.strip() for part in given.split(",") if part.strip()]
    there = settings.get("spark.jars.packages") or submitted.get("spark.jars.packages", "")
    packages = [part.strip() for part in there.split(",") if part.strip()]
    if given is not None:
        return packages + [str(part) for part in given if part not in packages]
    for bad in packages:
        if bad.count(":") < 2:
            raise ConfigurationError(f"spark.jars.packages holds {bad!r}, which is not GROUP:ARTIFACT:VERSION")
    have = {part.split(":")[1] for part in packages} | _artifacts_at_hand(submitted, settings)
    return packages + [str(jar) for jar in wanted if jar.artifact not in have]


def _artifacts_at_hand(submitted: Mapping[str, str], settings: Mapping[str, str]) -> set[str]:
    """Artifacts whose jars lie in Spark's own folder, or are named by spark.jars or the class path."""
    from pyspark.find_spark_home import _find_spark_home

    paths = [str(path) for path in Path(_find_spark_home(), "jars").glob("*.jar")]
    for key in ("spark.jars", "spark.driver.extraClassPath"):
        for part in re.split("[,:]", settings.get(key) or submitted.get(key, "")):
            folder = Path(part.removesuffix("*"))
            paths += [str(path) for path in folder.glob("*.jar")] if part.endswith("*") else [part]
    found = (re.match(r"(.+?)-\d+\.\d+\.\d+\S*\.jar$", Path(path).name) for path in paths)
    # Ivy's own cache calls its files GROUP_ARTIFACT-VERSION.jar.
    return {name for match in found if match for name in (match[1], re.sub(r"^[a-z.]+_", "", match[1]))}


def _start(settings: Mapping[str, str], running: bool, packages: Sequence[str] | None) -> SparkSession:
    from pyspark import SparkConf, SparkContext
    from pyspark.sql import SparkSession

    if not running:
        launch = SparkConf(loadDefaults=False)
        for key, value in settings.items():
            if LAUNCH_KEYS.match(key):
                launch.set(key, value)
        try:
            with _stdout_to_stderr():
                SparkContext._ensure_initialized(conf=launch)
        except Exception as error:
            raise ConfigurationError(
                f"Spark's Java process ended before it was ready ({one_line(error)}); see its output above. If jars "
                f"could not be fetched ({', '.join(packages or ())}), put them in Spark's folder jars, or name a "
                "repository by spark.jars.repositories or spark.jars.ivySettings"
            ) from error
    builder = SparkSession.builder
    for key, value in settings.items():
        builder = builder.config(key, value)
    master = settings["spark.master"]
    if master.startswith("local"):  # its workers run here: by this Python, unless another one is named
        os.environ.setdefault("PYSPARK_PYTHON", settings.get("spark.pyspark.python") or sys.executable)
    try:
        if not master.startswith("spark://"):
            return builder.getOrCreate()
        with _deadline(REGISTRATION_S, f"the Spark master {master} takes connections and does not answer"):
            return builder.getOrCreate()
    except Exception as error:
        raise explain(error, f"a session on {master}") from error


@contextmanager
def _stdout_to_stderr() -> Iterator[None]:
    """For the JVM, which is a child with our streams: what it says while it fetches jars is no output of a job."""
    try:
        sys.stdout.flush()
        kept = os.dup(1)
        os.dup2(2, 1)
    except (OSError, ValueError):  # there are no such streams
        yield
        return
    try:
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)


@contextmanager
def _deadline(seconds: float, what: str) -> Iterator[None]:
    """Cuts Python off from the JVM when it takes longer, which ends the call that waits there."""
    from pyspark import SparkContext

    late = threading.Event()

    def cut() -> None:
        late.set()
        gateway: Any = SparkContext._gateway
        process = getattr(gateway, "proc", None)
        if process is not None:
            process.kill()
        gateway.shutdown()

    timer = threading.Timer(seconds, cut)
    timer.daemon = True
    timer.start()
    try:
        yield
    except Exception as error:
        if not late.is_set():
            raise
        SparkContext._gateway = None
        SparkContext._jvm = None
        raise UnavailableError(f"{what} within {seconds:g} s. Look at its page and log, or restart it") from error
    finally:
        timer.cancel()


def _check_classes(
    session: SparkSession, needed: Sequence[Jar], wanted: Sequence[Jar], submitted: bool, is_new: bool
) -> None:
    jvm: Any = session.sparkContext._jvm
    loader = jvm.java.lang.Thread.currentThread().getContextClassLoader()
    missing = []
    for jar in needed:
        try:
            loader.loadClass(jar.has_class)
        except Exception:  # ClassNotFoundException, as Py4J has it
            missing.append(jar)
    if not missing:
        return
    if is_new:
        session.stop()
    what = ", ".join(f"{jar} ({jar.purpose})" for jar in missing)
    how = "the JVM was started without them" if submitted else "Spark did not load them"
    raise ConfigurationError(
        f"jars are missing: {what}: {how}. Give spark-submit --packages {','.join(map(str, wanted))}; or, if they are "
        "not needed here, set K2_SPARK_PACKAGES=none"
    )
