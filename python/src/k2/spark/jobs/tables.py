"""Makes K2's tables through Spark's catalog, the same as `k2 tables create` makes them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from k2.spark import columns, schemas
from k2.spark.utils import command_line
from k2.spark.utils.errors import ConfigurationError
from k2.spark.utils.explain import explain
from k2.spark.utils.iceberg import IcebergCatalog
from k2.spark.utils.settings import catalog_name

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def create_tables(
    spark: SparkSession, names: Sequence[str], warehouse: str | None = None, catalog: str | None = None
) -> dict[str, str]:
    """Makes those that are missing and looks at those that are there. "made" or "there", by name.

    `warehouse`: tables lie at <warehouse>/<namespace>/<table>, else where the catalog puts them. ConfigurationError: a
    table is there and K2 could not write to it.
    """
    if warehouse is not None and not (warehouse.startswith("/") or "://" in warehouse):
        raise ConfigurationError(f"the warehouse {warehouse!r} is neither s3://BUCKET/FOLDER nor an absolute path")
    name = catalog or catalog_name({})
    done: dict[str, str] = {}
    try:
        spark.sql(f"CREATE NAMESPACE IF NOT EXISTS {name}.{schemas.NAMESPACE}")
        iceberg = IcebergCatalog(spark, name)
        for table in names:
            done[table] = _create(iceberg, schemas.table(table), warehouse)
    except Exception as error:
        raise explain(error, "creating the tables") from error
    return done


def _create(iceberg: IcebergCatalog, definition: schemas.TableDefinition, warehouse: str | None) -> str:
    namespace, name = schemas.NAMESPACE, definition.name
    outcome = "there"
    if not iceberg.exists(namespace, name):
        location = f"{warehouse.rstrip('/')}/{namespace}/{name}" if warehouse else None
        try:
            iceberg.create(
                namespace,
                name,
                definition.schema,
                definition.partition_spec,
                definition.sort_order,
                definition.all_properties(),
                location,
            )
            outcome = "made"
        except Exception as error:
            if "AlreadyExistsException" not in str(error):  # else another process was faster
                raise
    table = iceberg.load(namespace, name)
    fields = iceberg.schema_json(table)["fields"]
    ids = columns.column_ids(name, dict(table.properties()), iceberg.schemas_json(table))
    columns.check(name, ids, fields, writing=True)
    if columns.PROPERTY not in table.properties():
        # By the ids that the catalog has given, which need not be those that were asked for.
        table.updateProperties().set(columns.PROPERTY, columns.to_json(ids)).commit()
    if table.currentSnapshot() is None:
        # Every commit of K2 asks for the head it stands on, so a table has one from the first.
        table.newFastAppend().commit()
    return outcome


def main(program: str, names: Sequence[str], arguments: Sequence[str] | None = None) -> int:
    """The command line of the three jobs that make tables."""
    what = f"Create {', '.join(names)}: the same as `k2 tables create`. Existing tables are not changed."
    parser = command_line.parser(program, what)
    parser.add_argument("--warehouse", metavar="URI", help="location of the tables: s3://BUCKET/FOLDER (K2_WAREHOUSE)")
    parser.add_argument("--ddl", action="store_true", help="print the tables as SQL, and create none")
    options = parser.parse_args(arguments)
    warehouse = options.warehouse or os.environ.get("K2_WAREHOUSE") or None
    if options.ddl:
        for name in names:
            location = f"{warehouse.rstrip('/')}/{schemas.NAMESPACE}/{name}" if warehouse else None
            print(schemas.table(name).create_sql(catalog_name({}), location) + ";\n")
        return 0
    spark = command_line.session(f"k2-{program}", options)
    try:
        done = create_tables(spark, names, warehouse)
    finally:
        spark.stop()
    command_line.print_rows([{"table": name, "outcome": outcome} for name, outcome in done.items()], options.output)
    return 0
