"""Makes Silver again out of Bronze, or Gold again out of Silver, after rules or code have changed: in one commit a
table, which the layer below passes over. It is refused, and nothing changes, where a trade would vanish. Options:
--help."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from typing import TYPE_CHECKING

from k2.spark.engine.step import StepReport
from k2.spark.jobs import layers
from k2.spark.utils import command_line
from k2.spark.utils.command_line import say
from k2.spark.utils.errors import ConfigurationError, run_main
from k2.spark.utils.explain import explain

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from k2.spark.dataframe import Days


def parser() -> argparse.ArgumentParser:
    made = command_line.parser("rebuild", __doc__ or "")
    made.add_argument(
        "layer", choices=("silver", "gold"), help="after silver, rebuild gold too: it does not read silver again"
    )
    made.add_argument("--from", dest="first_date", metavar="DATE", help="gold: first exchange_date, YYYY-MM-DD")
    made.add_argument("--to", dest="last_date", metavar="DATE", help="gold: last exchange_date")
    layers.engine_choice(made)
    layers.engine_options(made)
    layers.schemas_option(made)
    return made


def by_native(spark: SparkSession, options: argparse.Namespace, _: Days) -> StepReport:
    engine = layers.native_engine(spark, options)
    return engine.rebuild(options.layer, options.first_date, options.last_date)


def by_dataframe(spark: SparkSession, options: argparse.Namespace, days: Days) -> StepReport:
    from k2.spark.dataframe import GoldOptions, SilverOptions, gold_rebuild, silver_rebuild

    lake = layers.lake_options(options)
    if options.layer == "gold":
        done = gold_rebuild(spark, GoldOptions(**lake), days)
    else:
        done = silver_rebuild(spark, SilverOptions(**lake, schemas=layers.schemas_of(options)))
    return replace(layers.reported(done) or StepReport(options.layer), behind=0)


def days_of(options: argparse.Namespace) -> Days:
    """As the k2 program takes them."""
    from k2.spark.dataframe import Days

    found: list[date | None] = []
    for name, text in (("--from", options.first_date), ("--to", options.last_date)):
        try:
            day = date.fromisoformat(text) if text else None
        except ValueError:
            day = None
        if text and (day is None or day.isoformat() != text):  # newer Pythons know other forms, too
            raise ConfigurationError(f"{name}: '{text}' is not a date of the form YYYY-MM-DD")
        found.append(day)
    days = Days(*found)
    if options.layer == "silver" and days != Days():
        raise ConfigurationError("--from, --to: Silver is rebuilt as a whole; days are for Gold")
    if days.first is not None and days.last is not None and days.first > days.last:
        raise ConfigurationError(f"--from {options.first_date} is after --to {options.last_date}")
    return days


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    layers.check(options)
    days = days_of(options)
    spark = command_line.session(f"k2 rebuild {options.layer}", options)
    try:
        report = (by_native if options.engine == "native" else by_dataframe)(spark, options, days)
    except Exception as error:
        raise explain(error, options.layer) from error
    finally:
        spark.stop()
    say(layers.line(report))
    command_line.print_rows([report.row()], options.output)
    return 0


if __name__ == "__main__":
    run_main(main)
