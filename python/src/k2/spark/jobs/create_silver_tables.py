"""Makes the Silver tables, one an exchange, and rejected_trades. Options: --help."""

from __future__ import annotations

from collections.abc import Sequence

from k2.spark import schemas
from k2.spark.jobs import tables
from k2.spark.utils.errors import run_main

TABLES = (*schemas.SILVER, schemas.REJECTED)


def main(arguments: Sequence[str] | None = None) -> int:
    return tables.main("create_silver_tables", TABLES, arguments)


if __name__ == "__main__":
    run_main(main)
