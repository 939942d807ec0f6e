"""The factories of Spark sessions: settings, jars by the line of Spark, and errors that a person can act on."""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyspark
import pytest

from k2.spark.utils import (
    ConfigurationError,
    K2Error,
    UnavailableError,
    coordinates,
    create_spark_session,
    explain,
    kafka_stream_options,
)
from k2.spark.utils import settings as names
from k2.spark.utils.checks import (
    check_address,
    check_java,
    check_master,
    check_python,
    java_version,
    masters_of,
    place_of,
)
from k2.spark.utils.coordinates import java_oldest, line_of
from stack.process import free_port

ROOT = Path(__file__).resolve().parent.parent
CATALOG = "spark.sql.catalog.iceberg"
QUIET = {"spark.ui.enabled": "false", "spark.driver.host": "127.0.0.1", "spark.driver.bindAddress": "127.0.0.1"}


pytestmark = pytest.mark.usefixtures("no_settings_from_outside")


@pytest.fixture
def _no_session(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other tests may have left one in this process."""
    monkeypatch.setattr(pyspark.SparkContext, "_active_spark_context", None)
    monkeypatch.setattr(pyspark.SparkContext, "_gateway", None)


# Jars, Java and Python by the line of Spark.


def test_coordinates_follow_the_installed_spark() -> None:
    assert coordinates("3.5.7") == (
        "org.apache.iceberg:iceberg-spark-runtime-3.5_2.12:1.12.0",
        "org.apache.iceberg:iceberg-aws-bundle:1.12.0",
        "org.apache.spark:spark-sql-kafka-0-10_2.12:3.5.7",
        "org.apache.spark:spark-avro_2.12:3.5.7",
    )
    assert coordinates("3.5.0")[:3] == (
        "org.apache.iceberg:iceberg-spark-runtime-3.5_2.12:1.4.1",
        "org.apache.iceberg:iceberg-aws-bundle:1.4.3",
        "org.apache.spark:spark-sql-kafka-0-10_2.12:3.5.0",
    )
    assert coordinates("4.1.1") == (
        "org.apache.iceberg:iceberg-spark-runtime-4.1_2.13:1.12.0",
        "org.apache.iceberg:iceberg-aws-bundle:1.12.0",
        "org.apache.spark:spark-sql-kafka-0-10_2.13:4.1.1",
        "org.apache.spark:spark-avro_2.13:4.1.1",
    )
    assert coordinates("4.1.1", "1.11.0")[0].endswith(":1.11.0")
    assert coordinates() == coordinates("3.5.7"), "the one that is pinned"
    with pytest.raises(ConfigurationError, match=r"pyspark 3\.4\.1 is installed; K2 supports 3\.5\.x and 4\.1\.x"):
        coordinates("3.4.1")


def test_the_pins_agree() -> None:
    """pyproject.toml, requirements-tests.txt and the stack name the same Spark; and a line that K2 knows."""
    text = (ROOT / "python" / "pyproject.toml").read_text()
    pinned = re.findall(r'"pyspark==([\d.]+)"', text)
    assert [line_of(version).line for version in pinned] == ["3.5", "4.1"]
    assert f"pyspark=={pinned[0]}\n" in (ROOT / "requirements-tests.txt").read_text()


@pytest.mark.parametrize(
    ("spark", "python", "fits"),
    [
        ("3.5.7", (3, 10), True),
        ("3.5.7", (3, 11), True),
        ("3.5.7", (3, 12), False),
        ("3.5.0", (3, 13), False),
        ("4.1.1", (3, 13), True),
        ("4.1.1", (3, 15), False),
    ],
)
def test_a_python_that_is_too_new_is_told(
    spark: str, python: tuple[int, int], fits: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if fits:
        check_python(spark, python)
        return
    with pytest.raises(ConfigurationError, match=f"Python 3.{python[1]} is too new for Spark {spark}") as told:
        check_python(spark, python)
    assert ("pyspark 4.1" in str(told.value)) == spark.startswith("3.5")
    monkeypatch.setenv("K2_SPARK_ANY_PYTHON", "1")
    check_python(spark, python)


def test_java_is_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert java_oldest("3.5.7") == 17
    assert java_oldest("3.5.0") == 8
    assert java_oldest("3.5.7", "1.10.0") == 11
    assert java_oldest("4.1.1", "1.10.0") == 17
    check_java("3.5.7")
    with pytest.raises(ConfigurationError, match=r"Java 11 .* is too old .* Java 17 to 21"):
        check_java("3.5.7", java=11)
    with pytest.raises(ConfigurationError, match=r"Java 25 .* is too new"):
        check_java("3.5.7", java=25)

    program = tmp_path / "bin" / "java"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\necho 'openjdk version \"1.8.0_402\"' >&2\n")
    program.chmod(0o755)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    assert java_version() == 8
    program.write_text("#!/bin/sh\nexit 1\n")
    with pytest.raises(ConfigurationError, match="does not tell its version"):
        java_version()
    program.unlink()
    with pytest.raises(ConfigurationError, match="holds no bin/java"):
        java_version()
    monkeypatch.delenv("JAVA_HOME")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigurationError, match="there is no java on PATH"):
        java_version()


# Settings.


def test_the_defaults_are_those_of_the_cluster() -> None:
    settings = names.resolve({}, {})
    assert settings[CATALOG] == "org.apache.iceberg.spark.SparkCatalog"
    assert settings[f"{CATALOG}.type"] == "rest"
    assert settings[f"{CATALOG}.uri"] == "http://iceberg-rest:8181"
    assert settings[f"{CATALOG}.io-impl"] == "org.apache.iceberg.aws.s3.S3FileIO"
    assert settings[f"{CATALOG}.s3.endpoint"] == "http://minio:9000"
    assert settings[f"{CATALOG}.s3.path-style-access"] == "true"
    assert settings["spark.sql.extensions"].endswith("IcebergSparkSessionExtensions")
    assert settings["spark.sql.adaptive.enabled"] == "true"
    assert settings["spark.sql.adaptive.coalescePartitions.enabled"] == "true"
    assert names.master({}, {}) == "spark://spark-master:7077"
    assert names.log_level({}) == "WARN"
    assert not [key for key in settings if "credential" in key or "secret" in key], "only where there are any"
    streaming = names.resolve({}, {}, streaming=True)
    assert settings.items() <= streaming.items()
    assert streaming["spark.sql.streaming.checkpointLocation"] == "/checkpoints"
    assert streaming["spark.streaming.stopGracefullyOnShutdown"] == "true"
    assert streaming["spark.streaming.backpressure.enabled"] == "true"
    assert "RocksDB" in streaming["spark.sql.streaming.stateStore.providerClass"]


VALUES = {
    "catalog_uri": "https://one.example:1",
    "s3_endpoint": "https://two.example",
    "catalog_oauth2_uri": "https://three.example/t",
    "catalog_credential": "id:secret",
    "s3_path_style": "false",
    "adaptive": "false",
    "coalesce_partitions": "false",
    "catalog_cache": "true",
    "batches_kept": "7",
    "rate_per_partition": "8",
    "stop_timeout_s": "9s",
    "time_zone": "Asia/Tokyo",
}


@pytest.mark.parametrize("setting", names.SETTINGS + names.STREAMING_SETTINGS, ids=lambda setting: setting.name)
def test_argument_then_variable_then_submit_then_default(
    setting: names.Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = setting.key.replace("{catalog}", "iceberg")
    wanted = VALUES.get(setting.name, "some-value")

    def value(options: Mapping[str, Any], submitted: Mapping[str, str]) -> str | None:
        return names.resolve(options, submitted, streaming=True).get(key)

    assert value({}, {}) == setting.default
    assert value({}, {key: "submitted"}) is None, "what spark-submit says stays as it is"
    monkeypatch.setenv(setting.variables[0], wanted)
    assert value({}, {key: "submitted"}) == wanted
    given = {"true": "false", "false": "true"}.get(wanted, wanted.replace("one", "four").replace("7", "11"))
    assert value({setting.name: given}, {key: "submitted"}) == given
    assert value({setting.name: given, "config": {key: "over all"}}, {}) == "over all"


def test_master_is_spark_submits_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("K2_SPARK_MASTER", "spark://variable:1")
    assert names.master({}, {}) == "spark://variable:1"
    assert names.master({}, {"spark.master": "yarn"}) == "yarn"
    assert names.master({"master": "local[3]"}, {"spark.master": "yarn"}) == "local[3]"


def test_what_was_set_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "spark-defaults.conf").write_text(
        "# a comment\n\nspark.master  spark://a:7077\nspark.x=1\nspark.y = two words \n  spark.jars.packages g:a:1\n"
    )
    monkeypatch.setenv("SPARK_CONF_DIR", str(tmp_path))
    monkeypatch.setenv(
        "PYSPARK_SUBMIT_ARGS", "--master local[2] --conf spark.x=3 --conf=spark.z=a=b --packages g:b:2 pyspark-shell"
    )
    assert names.submitted_settings(tmp_path) == {
        "spark.master": "local[2]",
        "spark.x": "3",
        "spark.y": "two words",
        "spark.z": "a=b",
        "spark.jars.packages": "g:b:2",
    }


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"catalog_uri": "iceberg-rest:8181"}, r"catalog_uri \(K2_CATALOG\) is 'iceberg-rest:8181': an address"),
        ({"s3_endpoint": "minio"}, "K2_S3_ENDPOINT"),
        ({"catalog_credential": "secret"}, "not of the form ID:SECRET"),
        ({"adaptive": "maybe"}, "true or false"),
        ({"log_level": "LOUD"}, "one of ALL, TRACE"),
        ({"catalog": "my-lake"}, "letters, digits"),
        ({"master": "sparc://x:1"}, "not one that Spark supports"),
        ({"master": "spark://nowhere"}, "not of the form spark://HOST:PORT"),
        ({"catalogue_uri": "http://x"}, "there is no option catalogue_uri"),
        ({"connect_timeout_s": "soon"}, "a number of seconds"),
        ({"connect_timeout_s": "nan"}, "a number of seconds"),
        ({"connect_timeout_s": "inf"}, "a number of seconds"),
        ({"connect_timeout_s": -1}, "a number of seconds"),
        ({"catalog_uri": "http://127.0.0.1:99999"}, "an address such as http://iceberg-rest:8181"),
        ({"s3_endpoint": "http://store:s3"}, "an address such as"),
        ({"master": "spark://127.0.0.1:99999"}, "not of the form spark://HOST:PORT"),
        ({"time_zone": "Mars/Olympus"}, "a time zone such as"),
        ({"time_zone": "+1:0:"}, "a time zone such as"),
    ],
)
@pytest.mark.usefixtures("_no_session")
def test_words_that_are_wrong(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said) as told:
        create_spark_session("K2-Test", **options)
    assert told.value.exit_code == 2


@pytest.mark.parametrize("text", ["http://127.0.0.1:99999", "http://a:b", "http://[::1", "http://", "ftp://a", "a:1"])
def test_addresses_that_are_none(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"the catalog: .* is no address. Set it") as told:
        check_address("the catalog", text, lambda: "Set it")
    assert told.value.exit_code == 2


def test_addresses() -> None:
    for text, place in {
        "http://a": ("a", 80),
        "https://a/x?y": ("a", 443),
        "http://u:p@a:81/": ("a", 81),
        "http://[::1]:8181": ("::1", 8181),
    }.items():
        assert place_of(text) == place


def test_values_of_streams() -> None:
    def of(**options: object) -> dict[str, str]:
        return names.resolve(options, {}, streaming=True)

    stop = "spark.sql.streaming.stopTimeout"
    assert of(stop_timeout_s=1.5)[stop] == "1500ms"
    assert of(stop_timeout_s="90s")[stop] == "90s"
    for bad in ("1.2.3", "abc", "-1", "nan", "5 years", "."):
        with pytest.raises(ConfigurationError, match=r"stop_timeout_s \(K2_SPARK_STOP_TIMEOUT_S\) is .*seconds"):
            of(stop_timeout_s=bad)
    for name, bad in {"batches_kept": "0", "rate_per_partition": "²"}.items():
        with pytest.raises(ConfigurationError, match=f"{name} .*: a whole number, at least"):
            of(**{name: bad})


@pytest.mark.parametrize(
    "zone", ["UTC", "Europe/Berlin", "Etc/GMT+3", "Z", "+01:00", "-7", "GMT+2", "America/New_York"]
)
def test_time_zones(zone: str) -> None:
    assert names.resolve({"time_zone": zone}, {})["spark.sql.session.timeZone"] == zone


def test_options_of_a_kafka_source(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError, match="K2_KAFKA"):
        kafka_stream_options("a")
    monkeypatch.setenv("K2_KAFKA", "broker:9092")
    options = kafka_stream_options(["a", "b"], messages_per_batch=10)
    assert options["subscribe"] == "a,b"
    assert options["kafka.bootstrap.servers"] == "broker:9092"
    assert options["maxOffsetsPerTrigger"] == "10"
    assert options["failOnDataLoss"] == "true"
    assert kafka_stream_options("a")["maxOffsetsPerTrigger"] == "500000"
    for bad in (0, -1, 1.5):
        with pytest.raises(ConfigurationError, match=r"messages_per_batch .* a whole number, at least 1"):
            kafka_stream_options("a", messages_per_batch=bad)  # type: ignore[arg-type]
    monkeypatch.setenv("K2_SPARK_MESSAGES_PER_BATCH", "7")
    assert kafka_stream_options("a")["maxOffsetsPerTrigger"] == "7"


# Masters.


@pytest.mark.usefixtures("_no_session")
def test_a_master_that_does_not_answer_is_told_soon() -> None:
    began = time.monotonic()
    url = f"spark://127.0.0.1:{free_port()},no-such-host.invalid:7077"
    with pytest.raises(UnavailableError, match=r"no Spark master answers at .*refused.*make spark-up") as told:
        create_spark_session("K2-Test", master=url, connect_timeout_s=1)
    assert told.value.exit_code == 3
    assert time.monotonic() - began < 30
    assert masters_of("spark://a:1,b:2") == [("a", 1), ("b", 2)]
    assert masters_of("local[2]") == []


def test_a_master_that_comes_late_is_waited_for() -> None:
    port = free_port()
    server = socket.socket()
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)

    def listen() -> None:
        server.bind(("127.0.0.1", port))
        server.listen()

    timer = threading.Timer(0.7, listen)
    timer.start()
    try:
        check_master(f"spark://127.0.0.1:{port}", 30)
    finally:
        timer.join()
        server.close()


@pytest.mark.parametrize(
    ("java", "kind", "said"),
    [
        ("org.apache.iceberg.exceptions.NotAuthorizedException: Not authorized", UnavailableError, "CREDENTIAL"),
        ("java.lang.ClassNotFoundException: org.apache.iceberg.spark.SparkCatalog", ConfigurationError, "--packages"),
        (
            "org.apache.spark.SparkClassNotFoundException: Failed to find data source: kafka",
            ConfigurationError,
            "kafka",
        ),
        ("java.net.UnknownHostException: iceberg-rest", UnavailableError, "K2_CATALOG"),
        ("software.amazon.awssdk.services.s3.model.S3Exception: InvalidAccessKeyId", UnavailableError, "AWS_ACCESS"),
        ("software.amazon.awssdk.services.s3.model.NoSuchBucketException: NoSuchBucket", UnavailableError, "bucket"),
        ("org.apache.iceberg.exceptions.NoSuchTableException: Table does not exist", ConfigurationError, "create"),
        ("org.apache.spark.SparkException: All masters are unresponsive! Giving up.", UnavailableError, "master"),
        ("java.lang.ArithmeticException: / by zero", K2Error, "by zero"),
    ],
)
def test_javas_words_become_ours(java: str, kind: type[K2Error], said: str) -> None:
    text = f"An error occurred while calling o9.sql.\n: java.lang.Error: x\n\tat a.b(C.java:1)\nCaused by: {java}"
    told = explain(RuntimeError(text), "doing it")
    assert isinstance(told, kind)
    assert str(told).startswith("doing it: ")
    assert said in str(told)
    assert "\n" not in str(told)
