"""Makes Silver again out of Bronze, or Gold again out of Silver, after rules or code have changed: in one commit a
table, which the layer below passes over. It is refused, and nothing changes, where a trade would vanish. Options:
--help."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from k2.spark.jobs.layers import engine_options, engine_settings, line
from k2.spark.utils import command_line
from k2.spark.utils.command_line import say
from k2.spark.utils.errors import run_main
from k2.spark.utils.explain import explain


def parser() -> argparse.ArgumentParser:
    made = command_line.parser("rebuild", __doc__ or "")
    made.add_argument("layer", choices=("silver", "gold"), help="after silver, rebuild gold: it does not read it again")
    made.add_argument("--from", dest="first_date", metavar="DATE", help="gold: first exchange_date, YYYY-MM-DD")
    made.add_argument("--to", dest="last_date", metavar="DATE", help="gold: last exchange_date")
    engine_options(made)
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    from k2.spark.engine.native import NativeEngine

    options = parser().parse_args(arguments)
    spark = command_line.session(f"k2 rebuild {options.layer}", options)
    try:
        wanted: dict[str, Any] = {"rows": options.rows} if options.rows else {}
        engine = NativeEngine(spark, engine_settings(options), options.tasks, archive=options.archive, **wanted)
        report = engine.rebuild(options.layer, options.first_date, options.last_date)
    except Exception as error:
        raise explain(error, options.layer) from error
    finally:
        spark.stop()
    say(line(report))
    command_line.print_rows([report.row()], options.output)
    return 0


if __name__ == "__main__":
    run_main(main)
