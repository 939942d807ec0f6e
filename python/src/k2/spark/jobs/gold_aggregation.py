"""Joins the Silver tables into Gold, each trade once, with either engine. Options: --help."""

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
    from k2.spark.dataframe import GoldOptions, gold_settle, gold_step

    wanted = GoldOptions(**layers.lake_options(options))

    def step() -> StepReport | None:
        return layers.reported(gold_step(spark, wanted)) or layers.reported(gold_settle(spark, wanted))

    return step


def main(arguments: Sequence[str] | None = None) -> int:
    return layers.main("gold_aggregation", __doc__ or "", "gold", by_dataframe, arguments)


if __name__ == "__main__":
    run_main(main)
