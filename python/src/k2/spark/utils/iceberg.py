"""Iceberg's own API in the session's JVM: for what Spark's SQL cannot say."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from k2.spark import columns
from k2.spark.utils.errors import ConfigurationError
from k2.spark.utils.place import check_catalog_place, check_table_place

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


class IcebergCatalog:
    """The session's catalog as Iceberg has it. Tables are Java objects of org.apache.iceberg.Table.

    Raises ConfigurationError where its warehouse was moved or copied: who asks for it is about to write."""

    def __init__(self, spark: SparkSession, name: str) -> None:
        self._conf: Callable[[str], str] = lambda key: spark.conf.get(key, "") or ""
        check_catalog_place(name, self._conf)
        jvm: Any = spark.sparkContext._jvm
        self._iceberg: Any = jvm.org.apache.iceberg
        self.name = name
        java: Any = spark._jsparkSession
        self._session: Any = java
        # Loaded by a query, the catalog has this session's settings; else it had those of the thread's session.
        spark.sql(f"SHOW NAMESPACES IN {name}").collect()
        self._java: Any = self._iceberg.spark.Spark3Util.loadIcebergCatalog(java, name)

    def _identifier(self, namespace: str, table: str) -> Any:
        return self._iceberg.catalog.TableIdentifier.parse(f"{namespace}.{table}")

    def exists(self, namespace: str, table: str) -> bool:
        return bool(self._java.tableExists(self._identifier(namespace, table)))

    def load(self, namespace: str, table: str) -> Any:
        if not self.exists(namespace, table):
            raise ConfigurationError(
                f"there is no table {namespace}.{table}: k2.spark.jobs.create_bronze_table and its like create it, or "
                "`k2 tables create`"
            )
        loaded = self._java.loadTable(self._identifier(namespace, table))
        check_table_place(loaded, self.name, self._conf)
        return loaded

    def create(
        self,
        namespace: str,
        table: str,
        schema: Mapping[str, Any],
        partition_spec: Mapping[str, Any],
        sort_order: Mapping[str, Any],
        properties: Mapping[str, str],
        location: str | None,
    ) -> Any:
        """The three in Iceberg's JSON. Nothing is typed again, so that nested nullability and docs come through."""
        java_schema = self._iceberg.SchemaParser.fromJson(json.dumps(schema))
        builder = self._java.buildTable(self._identifier(namespace, table), java_schema)
        builder = builder.withPartitionSpec(
            self._iceberg.PartitionSpecParser.fromJson(java_schema, json.dumps(partition_spec))
        )
        builder = builder.withSortOrder(self._iceberg.SortOrderParser.fromJson(java_schema, json.dumps(sort_order)))
        if location:
            builder = builder.withLocation(location)
        for key, value in properties.items():
            builder = builder.withProperty(key, value)
        return builder.create()

    def view_of_entries(self, table: Any, view: str) -> None:
        """The metadata table `entries` as a temporary view. Not by its name in SQL: for that Iceberg 1.4 asks the
        catalog for a namespace of two levels, which not every catalog lets pass."""
        kind = self._iceberg.MetadataTableType.ENTRIES
        rows = self._iceberg.spark.SparkTableUtil.loadMetadataTable(self._session, table, kind)
        rows.createOrReplaceTempView(view)

    def data_files(self, table: Any, column: str, last_day: str) -> Iterator[Any]:
        """The table's DataFile objects that may hold rows up to a day."""
        expression = self._iceberg.expressions.Expressions.lessThanOrEqual(column, last_day)
        tasks = table.newScan().filter(expression).planFiles()
        try:
            iterator = tasks.iterator()
            while iterator.hasNext():
                yield iterator.next().file()
        finally:
            tasks.close()

    def column_now(self, table: Any, name: str, column: str) -> str:
        """What one of K2's tables calls a column of K2 now."""
        ids = columns.column_ids(name, dict(table.properties()), self.schemas_json(table))
        return str(table.schema().findColumnName(ids[column]) or column)

    def schemas_json(self, table: Any) -> list[dict[str, Any]]:
        """All that the table has had."""
        return [json.loads(self._iceberg.SchemaParser.toJson(one)) for one in table.schemas().values()]

    def schema_json(self, table: Any) -> dict[str, Any]:
        schema: dict[str, Any] = json.loads(self._iceberg.SchemaParser.toJson(table.schema()))
        return schema
