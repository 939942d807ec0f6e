"""Spark Structured Streaming on the same topics: one warm session on two cores, tuned as who knows it would: one Silver
table, no distribution before writing, fan-out writers, decoding by spark-avro in the JVM, triggers of available data in
batches. Every layer runs once on a small topic before, so that no class is loaded and no code compiled while it is
measured. Gold drops what is twice in a batch, then what the hours of the batch hold already (no MERGE).

Usage: kafka_spark.py BROKERS FOLDER TOPICS WARM-UP-TOPICS local|rest BATCH MEMORY
Prints the layers' seconds as JSON."""

import json
import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any

from kafka_stack import cpu_seconds, memory_mb
from pyspark.sql import Column, DataFrame, SparkSession, Window
from pyspark.sql import functions as f
from pyspark.sql.avro.functions import from_avro
from python_route import TRADE_ID, own_schemas

SPARK, ICEBERG = "3.5.7", "1.12.0"
PACKAGES = (
    f"org.apache.iceberg:iceberg-spark-runtime-3.5_2.12:{ICEBERG}",
    f"org.apache.iceberg:iceberg-aws-bundle:{ICEBERG}",
    f"org.apache.spark:spark-sql-kafka-0-10_2.12:{SPARK}",
    f"org.apache.spark:spark-avro_2.12:{SPARK}",
)
PROPERTIES = {
    "format-version": "2",
    "write.distribution-mode": "none",
    "write.spark.fanout.enabled": "true",
    "write.parquet.compression-codec": "zstd",
    "write.parquet.compression-level": "1",
    # A micro-batch is some ten megabytes: with the default of 128 one core would read it alone.
    "read.split.target-size": str(4 << 20),
    "read.split.open-file-cost": str(1 << 20),
}
TRADE = """message_id string, trade_id string, symbol string, exchange string, asset_class string, timestamp timestamp,
  price decimal(24,14), quantity decimal(24,8), currency string, side string, trade_conditions array<string>,
  source_sequence bigint, ingestion_timestamp timestamp, platform_sequence bigint, vendor_data map<string,string>,
  source string"""
COLUMNS = {
    "bronze": """message_key binary, avro_payload binary, topic string, partition int, offset bigint,
      kafka_timestamp timestamp, ingestion_timestamp timestamp, ingestion_date date""",
    "silver": TRADE + ", exchange_date date",
    "gold": TRADE + ", exchange_date date, exchange_hour int",
}
PARTITIONED = {"bronze": "ingestion_date", "silver": "exchange_date", "gold": "exchange_date, exchange_hour"}


def session(folder: Path, where: str, memory: str) -> SparkSession:
    """Local, two cores. The catalog `lake` is a folder, or the services that the variables name."""
    settings = {
        "spark.jars.packages": ",".join(PACKAGES),
        "spark.sql.extensions": "org.apache.iceberg.spark.extensions.IcebergSparkSessionExtensions",
        "spark.driver.memory": memory,
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.host": "127.0.0.1",
        "spark.ui.enabled": "false",
        "spark.local.dir": str(folder / "local"),
        "spark.sql.shuffle.partitions": "2",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.streaming.metricsEnabled": "false",
        "spark.sql.catalog.lake": "org.apache.iceberg.spark.SparkCatalog",
        # A stream runs in a clone of the session; what another session has cached would not show what it wrote.
        "spark.sql.catalog.lake.cache-enabled": "false",
        "spark.ui.showConsoleProgress": "false",
    }
    lake = {"type": "hadoop", "warehouse": f"file://{folder}/tables"}
    if where == "rest":
        lake = {
            "type": "rest",
            "uri": os.environ["K2_CATALOG"],
            "warehouse": os.environ["K2_CATALOG_WAREHOUSE"] or os.environ["K2_WAREHOUSE"],
            "credential": os.environ["K2_CATALOG_CREDENTIAL"],
            "io-impl": "org.apache.iceberg.aws.s3.S3FileIO",
            "s3.endpoint": os.environ["K2_S3_ENDPOINT"],
            "s3.path-style-access": "true",
            "s3.access-key-id": os.environ["AWS_ACCESS_KEY_ID"],
            "s3.secret-access-key": os.environ["AWS_SECRET_ACCESS_KEY"],
            "client.region": os.environ["AWS_REGION"],
        }
    settings |= {f"spark.sql.catalog.lake.{name}": value for name, value in lake.items() if value}
    builder = SparkSession.builder.master("local[2]").appName("k2-bench")
    for name, value in settings.items():
        builder = builder.config(name, value)
    spark = builder.getOrCreate()
    spark.sparkContext.setLogLevel("ERROR")
    return spark


class Pipeline:
    """The three layers over topics, in a namespace of their own."""

    def __init__(self, spark: SparkSession, brokers: str, topics: str, name: str, folder: Path, batch: int) -> None:
        self.spark = spark
        self.brokers = brokers
        self.topics = topics
        self.name = name
        self.checkpoints = folder / f"checkpoints-{name}"
        self.batch = batch
        self.batches = 0  # of the last layer
        spark.sql(f"CREATE NAMESPACE IF NOT EXISTS lake.{name}")
        properties = ", ".join(f"'{key}'='{value}'" for key, value in PROPERTIES.items())
        for layer, columns in COLUMNS.items():
            spark.sql(
                f"CREATE TABLE {self.table(layer)} ({columns}) USING iceberg "
                f"PARTITIONED BY ({PARTITIONED[layer]}) TBLPROPERTIES ({properties})"
            )

    def table(self, layer: str) -> str:
        return f"lake.{self.name}.{layer}"

    def bronze(self) -> None:
        messages = (
            self.spark.readStream.format("kafka")
            .option("kafka.bootstrap.servers", self.brokers)
            .option("subscribe", self.topics)
            .option("startingOffsets", "earliest")
            .option("maxOffsetsPerTrigger", self.batch)
            .load()
        )
        now = f.current_timestamp()
        rows = messages.select(
            f.col("key").alias("message_key"),
            f.col("value").alias("avro_payload"),
            "topic",
            "partition",
            "offset",
            f.col("timestamp").alias("kafka_timestamp"),
            now.alias("ingestion_timestamp"),
            f.to_date(now).alias("ingestion_date"),
        )
        self.write(rows, "bronze")

    def silver(self) -> None:
        trade = from_avro(
            f.expr("substring(avro_payload, 6)"), json.dumps(own_schemas()[TRADE_ID]), {"mode": "PERMISSIVE"}
        )
        rows = self.read("bronze").where(f"substring(avro_payload, 1, 5) = X'{TRADE_ID:010X}'").select(trade.alias("t"))
        self.write(rows.select("t.*").where(valid()).withColumn("exchange_date", f.to_date("timestamp")), "silver")

    def gold(self) -> None:
        newest = Window.partitionBy("message_id").orderBy("ingestion_timestamp")
        target = self.table("gold")

        def append(batch: DataFrame, _: int) -> None:
            once = batch.withColumn("exchange_hour", f.hour("timestamp")).withColumn("n", f.row_number().over(newest))
            once = once.where("n = 1").drop("n")
            hours = batch.select("exchange_date", f.hour("timestamp").alias("exchange_hour")).distinct().collect()
            there = self.spark.table(target).where(in_hours([(row[0], row[1]) for row in hours])).select("message_id")
            once.join(there, "message_id", "left_anti").writeTo(target).append()

        trades = self.read("silver")
        query = self.started(trades.writeStream.foreachBatch(append), "gold").start()
        self.wait(query)

    def read(self, layer: str) -> DataFrame:
        """A stream of a table's rows, in micro-batches."""
        options = {"streaming-max-rows-per-micro-batch": str(self.batch)}
        return self.spark.readStream.format("iceberg").options(**options).load(self.table(layer))

    def write(self, rows: DataFrame, layer: str) -> None:
        stream = rows.writeStream.format("iceberg").outputMode("append").option("fanout-enabled", "true")
        self.wait(self.started(stream, layer).toTable(self.table(layer)))

    def started(self, stream: Any, layer: str) -> Any:
        return stream.option("checkpointLocation", str(self.checkpoints / layer)).trigger(availableNow=True)

    def wait(self, query: Any) -> None:
        if not query.awaitTermination(500):
            raise SystemExit("Spark's query did not end within 500 s")
        self.batches = sum(progress["numInputRows"] > 0 for progress in query.recentProgress)

    def count(self, layer: str) -> int:
        return self.spark.table(self.table(layer)).count()


def valid() -> Column:
    """The rules of Silver that Spark's types can break."""
    rules = """message_id <> '' AND trade_id <> '' AND symbol <> '' AND exchange <> '' AND price > 0 AND quantity > 0
      AND side IN ('BUY', 'SELL') AND asset_class = 'crypto' AND timestamp <= ingestion_timestamp + INTERVAL 60 SECONDS
      AND timestamp >= ingestion_timestamp - INTERVAL 365 DAYS"""
    return f.expr(rules)


def in_hours(hours: list[tuple[Any, int]]) -> Column:
    """A row is in one of the hours, as constants: the scan leaves out all other partitions."""
    return f.expr(" OR ".join(f"(exchange_date = DATE'{day}' AND exchange_hour = {hour})" for day, hour in hours))


def main() -> None:
    brokers, folder, topics, warm_up, where, batch, memory = sys.argv[1:8]
    scratch = Path(folder)
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    spark = session(scratch, where, memory)
    jvm = spark.sparkContext._gateway.proc.pid  # type: ignore[union-attr]
    took: dict[str, float] = {}
    warm = Pipeline(spark, brokers, warm_up, "warm", scratch, int(batch))
    measured = Pipeline(spark, brokers, topics, "measured", scratch, int(batch))
    for pipeline in (warm, measured):
        for layer in COLUMNS:
            started, cpu = time.monotonic(), cpu_seconds([jvm])
            getattr(pipeline, layer)()
            took[layer] = time.monotonic() - started
            took[f"{layer}_cpu"] = round(cpu_seconds([jvm]) - cpu, 1)
            print(f"{pipeline.name} {layer} {took[layer]:.1f} s, {pipeline.batches} batches", file=sys.stderr)
    took["messages"] = measured.count("bronze")
    assert measured.count("silver") == took["messages"], "every message is a valid trade"
    took["gold_rows"] = measured.count("gold")
    took["peak_mb"] = memory_mb(jvm)
    spark.stop()
    print(json.dumps(took))


if __name__ == "__main__":
    main()
