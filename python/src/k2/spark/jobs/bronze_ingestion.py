"""Moves messages from Kafka into Bronze, exactly once, with either engine. Options: --help."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from k2.spark.jobs import layers
from k2.spark.utils.errors import ConfigurationError, run_main

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def by_dataframe(spark: SparkSession, options: argparse.Namespace) -> layers.Step:
    from k2.spark.dataframe import BronzeOptions, bronze_step
    from k2.spark.dataframe.feed import java_settings, partitions_of

    brokers = layers.brokers_of(options)
    if not brokers:
        raise ConfigurationError("there are no Kafka brokers: give --kafka, or set K2_KAFKA")
    first, last = partitions_of(layers.setting(options, "partitions"))
    wanted = BronzeOptions(
        **layers.lake_options(options),
        brokers=brokers,
        topics=layers.topics_of(options),
        start=layers.setting(options, "start") or "earliest",
        group=layers.setting(options, "kafka-group") or "k2",
        kafka_settings=java_settings(layers.kafka_settings(options)),
        first_partition=first,
        last_partition=last,
    )
    return lambda: layers.reported(bronze_step(spark, wanted))


def main(arguments: Sequence[str] | None = None) -> int:
    return layers.main("bronze_ingestion", __doc__ or "", "bronze", by_dataframe, arguments)


if __name__ == "__main__":
    run_main(main)
