"""Options that all jobs share, and a session made by them."""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from k2.spark.utils.errors import ConfigurationError
from k2.spark.utils.settings import SessionOptions
from k2.spark.utils.spark_session import check_catalog, create_spark_session

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

EPILOG = (
    "Settings are taken from --conf, then from the other options, then from variables (K2_CATALOG, "
    "K2_CATALOG_WAREHOUSE, K2_S3_ENDPOINT and those below), then from spark-submit and spark-defaults, then defaults; "
    "but spark-submit's --master goes before K2_SPARK_MASTER. Both engines work on the catalog and the store that the "
    "session then has; no k2.toml is read. Secrets have variables only: K2_CATALOG_CREDENTIAL (ID:SECRET) or "
    "K2_CATALOG_TOKEN, or these with _FILE behind them; AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN; "
    "K2_CATALOG_AUTH=sigv4 for a catalog that wants AWS's signatures. Exit codes: 0 done, 1 data or a "
    "check failed, 2 usage or configuration, 3 a service does not answer, 4 the outcome of a commit is not known."
)
_UNITS_US = {"s": 1_000_000, "m": 60_000_000, "h": 3_600_000_000, "d": 86_400_000_000}


def parser(program: str, what: str) -> argparse.ArgumentParser:
    """A parser with the session's options: as the k2 program calls them."""
    made = argparse.ArgumentParser(prog=program, description=what, epilog=EPILOG)
    made.add_argument("--master", help="of Spark; else spark-submit's, K2_SPARK_MASTER, or spark://spark-master:7077")
    made.add_argument("--catalog", metavar="URL", help="address of the Iceberg REST catalog (K2_CATALOG)")
    made.add_argument("--catalog-warehouse", metavar="NAME", help="sent to the catalog (K2_CATALOG_WAREHOUSE)")
    made.add_argument("--s3-endpoint", metavar="URL", help="address of the S3 store (K2_S3_ENDPOINT)")
    made.add_argument("--log-level", metavar="LEVEL", help="of Spark: WARN unless set (K2_SPARK_LOG_LEVEL)")
    made.add_argument("--conf", action="append", default=[], metavar="KEY=VALUE", help="a setting of Spark; repeatable")
    made.add_argument("--output", choices=("table", "json"), default="table", help="what is printed at the end")
    return made


def session_options(arguments: argparse.Namespace) -> SessionOptions:
    config = {"spark.ui.showConsoleProgress": "false"}  # a job tells its progress itself
    for word in arguments.conf:
        key, equals, value = word.partition("=")
        if not equals:
            raise ConfigurationError(f"--conf {word!r} is not of the form KEY=VALUE")
        config[key] = value
    options = {
        "master": arguments.master,
        "catalog_uri": arguments.catalog,
        "catalog_warehouse": arguments.catalog_warehouse,
        "s3_endpoint": arguments.s3_endpoint,
        "log_level": arguments.log_level,
        "config": config,
    }
    return cast(SessionOptions, {name: value for name, value in options.items() if value is not None})


def session(app_name: str, arguments: argparse.Namespace) -> SparkSession:
    """A session whose catalog answers."""
    spark = create_spark_session(app_name, **session_options(arguments))
    check_catalog(spark)
    return spark


def duration_us(text: str) -> int | None:
    """`90s`, `30m`, `24h`, `7d`; None for `forever`. For argparse's `type`."""
    if text == "forever":
        return None
    found = re.fullmatch(r"(\d+)([smhd])", text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time such as 90s, 30m, 24h, 7d")
    return int(found[1]) * _UNITS_US[found[2]]


def byte_size(text: str) -> int:
    """`512KB`, `128MB`, `1GB`, or bytes. For argparse's `type`."""
    found = re.fullmatch(r"(\d+)\s*([KMG]?)i?B?", text, re.IGNORECASE)
    if found is None or int(found[1]) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a size such as 128MB")
    return int(found[1]) << {"": 0, "K": 10, "M": 20, "G": 30}[found[2].upper()]


def say(text: str) -> None:
    """Progress, for people: on the standard error."""
    print(text, file=sys.stderr, flush=True)


def print_rows(rows: Sequence[Mapping[str, Any]], output: str) -> None:
    """On the standard output: JSON, or columns."""
    if output == "json":
        print(json.dumps(rows, indent=2, default=str))
        return
    if not rows:
        return
    names = list(dict.fromkeys(name for row in rows for name in row))
    cells = [names, *([str(row.get(name, "")) for name in names] for row in rows)]
    widths = [max(len(line[at]) for line in cells) for at in range(len(names))]
    for line in cells:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
