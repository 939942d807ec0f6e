"""Which jars, which Java and which Python go with a version of Spark."""

from __future__ import annotations

import re
from dataclasses import dataclass

from k2.spark.utils.errors import ConfigurationError

ICEBERG_VERSION = "1.12.0"
# The bundle is Amazon's SDK without any class of Iceberg's own; not each release of Iceberg has one on every mirror.
AWS_BUNDLE_OF = {"1.4.1": "1.4.3", "1.4.2": "1.4.3"}


@dataclass(frozen=True)
class SparkLine:
    """What K2 was tried with on one line of Spark."""

    line: str
    scala: str
    python_newest: tuple[int, int]
    java_newest: int

    def iceberg(self, spark_version: str) -> str:
        # The runtime is built against the newest of a line: 3.5.0 misses classes that came with 3.5.1 and later.
        return "1.4.1" if spark_version == "3.5.0" else ICEBERG_VERSION


LINES = {
    "3.5": SparkLine("3.5", scala="2.12", python_newest=(3, 11), java_newest=21),
    "4.1": SparkLine("4.1", scala="2.13", python_newest=(3, 14), java_newest=21),
}


@dataclass(frozen=True)
class Jar:
    """A library of the class path: where it comes from, and a class that tells whether it is there."""

    group: str
    artifact: str
    version: str
    has_class: str
    purpose: str
    always: bool = False  # no session goes without it

    def __str__(self) -> str:
        return f"{self.group}:{self.artifact}:{self.version}"


def line_of(spark_version: str) -> SparkLine:
    found = re.match(r"(\d+\.\d+)\.\d+", spark_version)
    if found is None or found[1] not in LINES:
        known = " and ".join(f"{line}.x" for line in LINES)
        raise ConfigurationError(
            f"pyspark {spark_version} is installed; K2 supports {known}. Install one of them, such as pyspark==3.5.7"
        )
    return LINES[found[1]]


def java_oldest(spark_version: str, iceberg_version: str | None = None) -> int:
    """Spark 3.5 runs on Java 8; Iceberg from 1.7 on asks for 11, from 1.11 on for 17, and so does Spark 4."""
    line = line_of(spark_version)
    if line.line != "3.5":
        return 17
    numbers = re.match(r"(\d+)\.(\d+)", iceberg_version or line.iceberg(spark_version))
    iceberg = (int(numbers[1]), int(numbers[2])) if numbers else (1, 12)
    if iceberg >= (1, 11):
        return 17
    return 11 if iceberg >= (1, 7) else 8


def jars(spark_version: str, iceberg_version: str | None = None) -> tuple[Jar, ...]:
    """The libraries of K2's jobs for this Spark: Iceberg's runtime, its AWS bundle, Kafka and Avro."""
    line = line_of(spark_version)
    iceberg = iceberg_version or line.iceberg(spark_version)
    spark = re.match(r"\d+\.\d+\.\d+", spark_version)
    assert spark is not None, "line_of has seen it"
    return (
        Jar(
            "org.apache.iceberg",
            f"iceberg-spark-runtime-{line.line}_{line.scala}",
            iceberg,
            "org.apache.iceberg.spark.SparkCatalog",
            "Iceberg tables",
            always=True,
        ),
        Jar(
            "org.apache.iceberg",
            "iceberg-aws-bundle",
            AWS_BUNDLE_OF.get(iceberg, iceberg),
            "software.amazon.awssdk.services.s3.S3Client",
            "files on S3",
            always=True,
        ),
        Jar(
            "org.apache.spark",
            f"spark-sql-kafka-0-10_{line.scala}",
            spark[0],
            "org.apache.spark.sql.kafka010.KafkaSourceProvider",
            "reading Kafka",
        ),
        Jar(
            "org.apache.spark",
            f"spark-avro_{line.scala}",
            spark[0],
            "org.apache.spark.sql.avro.AvroFileFormat",
            "decoding Avro",
        ),
    )


def coordinates(spark_version: str | None = None, iceberg_version: str | None = None) -> tuple[str, ...]:
    """Maven coordinates for `--packages`; of the installed pyspark, unless a version is given."""
    if spark_version is None:
        spark_version = installed_spark()
    return tuple(str(jar) for jar in jars(spark_version, iceberg_version))


def installed_spark() -> str:
    try:
        import pyspark
    except ImportError:
        raise ConfigurationError("pyspark is not installed: pip install 'k2[spark]', or run by spark-submit") from None
    return str(pyspark.__version__)
