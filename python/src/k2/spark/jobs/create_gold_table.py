"""Makes the Gold table. Options: --help."""

from __future__ import annotations

from collections.abc import Sequence

from k2.spark import schemas
from k2.spark.jobs import tables
from k2.spark.utils.errors import run_main

TABLES = (schemas.GOLD,)


def main(arguments: Sequence[str] | None = None) -> int:
    return tables.main("create_gold_table", TABLES, arguments)


if __name__ == "__main__":
    run_main(main)
