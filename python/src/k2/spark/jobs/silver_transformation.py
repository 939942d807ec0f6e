"""Decodes and validates what is new in Bronze, into the Silver tables and rejected_trades, with either engine. Options:
--help."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from k2.spark.engine.step import StepReport
from k2.spark.jobs import layers
from k2.spark.utils.errors import run_main

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def by_dataframe(spark: SparkSession, options: argparse.Namespace) -> layers.Step:
    from k2.spark.dataframe import SilverOptions, silver_settle, silver_step
    from k2.spark.dataframe.feed import owned_by, partitions_of

    owns = None
    if layers.brokers_of(options):  # else the sources may be recordings, which are of no topics that are named
        partitions = partitions_of(layers.setting(options, "partitions"))
        owns = owned_by(layers.topics_of(options), partitions)
    wanted = SilverOptions(**layers.lake_options(options), schemas=layers.schemas_of(options), owns=owns)

    def step() -> StepReport | None:
        return layers.reported(silver_step(spark, wanted)) or layers.reported(silver_settle(spark, wanted))

    return step


def main(arguments: Sequence[str] | None = None) -> int:
    return layers.main("silver_transformation", __doc__ or "", "silver", by_dataframe, arguments)


if __name__ == "__main__":
    run_main(main)
