"""The operations of another engine for tests/foreign_fuzz.py: by PyIceberg, and by Spark's SQL and procedures.

Columns come by the names that they have now; `rows` are rows as dicts.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.parquet as pq
from engines import Spark
from pyiceberg.expressions import In
from pyiceberg.table.snapshots import ancestors_of
from pyiceberg.transforms import IdentityTransform, parse_transform
from pyiceberg.types import DecimalType, LongType, StringType
from pyspark.sql import DataFrame
from pyspark.sql import functions as f
from warehouse import NAMESPACE, Warehouse

Rows = Sequence[dict[str, Any]]


class Engine(Protocol):
    def append(self, table: str, rows: Rows, branch: str = "main") -> None: ...
    def delete(self, table: str, column: str, values: Collection[str]) -> None: ...
    def set_text(self, table: str, key: str, values: Collection[str], column: str, rows: Rows) -> bool: ...
    def add_files(self, table: str, path: Path, rows: Rows) -> bool: ...
    def rename(self, table: str, before: str, after: str) -> None: ...
    def widen(self, table: str, column: str, to: str) -> None: ...
    def add_column(self, table: str, column: str, of: str) -> None: ...
    def drop_column(self, table: str, column: str) -> None: ...
    def partition_by(self, table: str, column: str, transform: str, name: str) -> None: ...
    def no_more_by(self, table: str, name: str) -> None: ...
    def set_ref(self, table: str, name: str, kind: str) -> None: ...
    def publish(self, table: str, branch: str) -> bool: ...
    def set_main(self, table: str, snapshot_id: int) -> None: ...
    def expire(self, table: str) -> None: ...
    def set_property(self, table: str, key: str, value: str) -> None: ...


class PyIceberg:
    def __init__(self, warehouse: Warehouse, draw: random.Random) -> None:
        self.warehouse = warehouse
        self.draw = draw

    def append(self, table: str, rows: Rows, branch: str = "main") -> None:
        opened = self.warehouse.table(table)
        schema = opened.schema().as_arrow()
        opened.append(pa.Table.from_pylist([only(row, schema.names) for row in rows], schema=schema), branch=branch)

    def delete(self, table: str, column: str, values: Collection[str]) -> None:
        self.warehouse.table(table).delete(In(column, set(values)))

    def set_text(self, table: str, key: str, values: Collection[str], column: str, rows: Rows) -> bool:
        """Copy-on-write; `rows` are left out."""
        opened = self.warehouse.table(table)
        head = opened.current_snapshot()
        if head is None or head.schema_id != opened.schema().schema_id:
            return False  # PyIceberg's upsert reads by the schema of the newest snapshot
        found = opened.scan(row_filter=In(key, set(values))).to_arrow()
        field = found.schema.field(column)
        texts = pa.array(["EUR"] * len(found), pa.large_string()).cast(field.type)
        changed = found.set_column(found.schema.get_field_index(column), field, texts)
        opened.upsert(changed, join_cols=[key])
        return False

    def add_files(self, table: str, path: Path, rows: Rows) -> bool:
        """A Parquet file without field ids, and a name mapping. PyIceberg takes a file's partition from the bounds of
        its columns, which must be equal: one row, and identity transforms."""
        opened = self.warehouse.table(table)
        if any(not isinstance(field.transform, IdentityTransform) for field in opened.spec().fields):
            return False
        schema = pa.schema(
            [plain(field) for field in opened.schema().as_arrow() if not field.name.startswith("extra_")]
        )
        pq.write_table(pa.Table.from_pylist(list(rows[:1]), schema=schema), path.with_suffix(".parquet"))
        opened.add_files([str(path.with_suffix(".parquet"))])
        return True

    def rename(self, table: str, before: str, after: str) -> None:
        with self.warehouse.table(table).update_schema() as change:
            change.rename_column(before, after)

    def widen(self, table: str, column: str, to: str) -> None:
        """`to`: bigint, or decimal(38,SCALE)."""
        of = LongType() if to == "bigint" else DecimalType(38, int(to.removeprefix("decimal(38,").removesuffix(")")))
        with self.warehouse.table(table).update_schema() as change:
            change.update_column(column, field_type=of)

    def add_column(self, table: str, column: str, of: str) -> None:
        with self.warehouse.table(table).update_schema() as change:
            change.add_column(column, LongType() if of == "bigint" else StringType())

    def drop_column(self, table: str, column: str) -> None:
        with self.warehouse.table(table).update_schema(allow_incompatible_changes=True) as change:
            change.delete_column(column)

    def partition_by(self, table: str, column: str, transform: str, name: str) -> None:
        with self.warehouse.table(table).update_spec() as change:
            change.add_field(column, parse_transform(transform), name)

    def no_more_by(self, table: str, name: str) -> None:
        with self.warehouse.table(table).update_spec() as change:
            change.remove_field(name)

    def set_ref(self, table: str, name: str, kind: str) -> None:
        opened = self.warehouse.table(table)
        head = opened.current_snapshot()
        assert head is not None
        with opened.manage_snapshots() as change:
            (change.create_tag if kind == "tag" else change.create_branch)(head.snapshot_id, name)

    def publish(self, table: str, branch: str) -> bool:
        """PyIceberg picks no snapshots: main becomes the branch where it is its ancestor."""
        opened = self.warehouse.table(table)
        head, there = opened.current_snapshot(), opened.snapshot_by_name(branch)
        assert head is not None
        assert there is not None
        if there.parent_snapshot_id != head.snapshot_id:
            return False
        self.set_main(table, there.snapshot_id)
        return True

    def set_main(self, table: str, snapshot_id: int) -> None:
        with self.warehouse.table(table).manage_snapshots() as change:
            change.set_current_snapshot(snapshot_id)

    def expire(self, table: str) -> None:
        opened = self.warehouse.table(table)
        kept = {ref.snapshot_id for ref in opened.refs().values()}
        doomed = [one.snapshot_id for one in opened.snapshots() if one.snapshot_id not in kept]
        if doomed:
            chosen = self.draw.sample(doomed, len(doomed) // 2 + 1)
            opened.maintenance.expire_snapshots().by_ids(chosen).commit()

    def set_property(self, table: str, key: str, value: str) -> None:
        with self.warehouse.table(table).transaction() as transaction:
            transaction.set_properties({key: value})


class SparkSql:
    def __init__(self, warehouse: Warehouse, draw: random.Random, spark: Spark) -> None:
        self.warehouse = warehouse
        self.draw = draw
        self.spark = spark
        self.session = spark.of(warehouse.folder)
        self.session.conf.set("spark.sql.codegen.wholeStage", "false")  # of a few rows: compiling takes longer
        self.session.conf.set("spark.sql.codegen.factoryMode", "NO_CODEGEN")

    def sql(self, text: str) -> list[Any]:
        return self.spark.sql(self.warehouse.folder, text)

    def call(self, procedure: str, table: str, arguments: str = "") -> None:
        self.sql(f"CALL iceberg.system.{procedure}(table => '{NAMESPACE}.{table}'{arguments})")

    @staticmethod
    def full(table: str, branch: str = "main") -> str:
        return f"iceberg.{NAMESPACE}.{table}" + ("" if branch == "main" else f".branch_{branch}")

    def frame(self, table: str, rows: Rows) -> DataFrame:
        schema = self.session.table(self.full(table)).schema
        values = [tuple(typed(row.get(name)) for name in schema.names) for row in rows]
        return self.session.createDataFrame(values, schema)

    def modes(self, table: str) -> None:
        kinds = ", ".join(
            f"'write.{kind}.mode'='{self.draw.choice(['copy-on-write', 'merge-on-read'])}'"
            for kind in ("delete", "update", "merge")
        )
        self.sql(f"ALTER TABLE {{ns}}.{table} SET TBLPROPERTIES ({kinds})")

    def append(self, table: str, rows: Rows, branch: str = "main") -> None:
        self.frame(table, rows).writeTo(self.full(table, branch)).append()

    def delete(self, table: str, column: str, values: Collection[str]) -> None:
        self.modes(table)
        self.sql(f"DELETE FROM {{ns}}.{table} WHERE `{column}` IN ({quoted(values)})")

    def set_text(self, table: str, key: str, values: Collection[str], column: str, rows: Rows) -> bool:
        """UPDATE, or a MERGE that inserts `rows` too."""
        self.modes(table)
        if self.draw.random() < 0.3:
            self.sql(f"UPDATE {{ns}}.{table} SET `{column}` = 'EUR' WHERE `{key}` IN ({quoted(values)})")
            return False
        found = self.session.table(self.full(table)).where(f.col(key).isin(list(values)))
        found.unionByName(self.frame(table, rows)).createOrReplaceTempView("merged")
        self.sql(
            f"MERGE INTO {{ns}}.{table} t USING merged s ON t.`{key}` = s.`{key}` "
            f"WHEN MATCHED THEN UPDATE SET t.`{column}` = 'EUR' WHEN NOT MATCHED THEN INSERT *"
        )
        return True

    def add_files(self, table: str, path: Path, rows: Rows) -> bool:
        """Files in Hive's layout, without field ids: the columns that a table is partitioned by are in the folders'
        names alone, which are those of the spec's fields. Spark sets a name mapping."""
        spec = self.warehouse.table(table).spec().fields
        names = [field.name for field in spec]
        frame = self.frame(table, rows)
        if any(not isinstance(field.transform, IdentityTransform) or field.name not in frame.columns for field in spec):
            return False
        frame.drop(*(name for name in frame.columns if name.startswith("extra_"))).write.partitionBy(*names).parquet(
            str(path)
        )
        self.sql(f"CALL iceberg.system.add_files(table => '{NAMESPACE}.{table}', source_table => '`parquet`.`{path}`')")
        return True

    def rename(self, table: str, before: str, after: str) -> None:
        self.sql(f"ALTER TABLE {{ns}}.{table} RENAME COLUMN `{before}` TO `{after}`")

    def widen(self, table: str, column: str, to: str) -> None:
        self.sql(f"ALTER TABLE {{ns}}.{table} ALTER COLUMN `{column}` TYPE {to}")

    def add_column(self, table: str, column: str, of: str) -> None:
        self.sql(f"ALTER TABLE {{ns}}.{table} ADD COLUMNS ({column} {of})")

    def drop_column(self, table: str, column: str) -> None:
        self.sql(f"ALTER TABLE {{ns}}.{table} DROP COLUMN {column}")

    def partition_by(self, table: str, column: str, transform: str, name: str) -> None:
        kind, _, width = transform.rstrip("]").partition("[")
        field = f"`{column}`" if kind == "identity" else f"{kind}s(`{column}`)"
        if width:
            field = f"{kind}({width}, `{column}`)"
        self.sql(f"ALTER TABLE {{ns}}.{table} ADD PARTITION FIELD {field} AS {name}")

    def no_more_by(self, table: str, name: str) -> None:
        self.sql(f"ALTER TABLE {{ns}}.{table} DROP PARTITION FIELD {name}")

    def set_ref(self, table: str, name: str, kind: str) -> None:
        self.sql(f"ALTER TABLE {{ns}}.{table} CREATE {kind} `{name}`")

    def publish(self, table: str, branch: str) -> bool:
        """Where main has moved on, the branch's newest snapshot is picked."""
        opened = self.warehouse.table(table)
        head, there = opened.current_snapshot(), opened.snapshot_by_name(branch)
        assert head is not None
        assert there is not None
        if there.parent_snapshot_id == head.snapshot_id:
            self.sql(f"CALL iceberg.system.fast_forward('{NAMESPACE}.{table}', 'main', '{branch}')")
        else:
            self.call("cherrypick_snapshot", table, f", snapshot_id => {there.snapshot_id}")
        return True

    def set_main(self, table: str, snapshot_id: int) -> None:
        """Back by rollback_to_snapshot, which takes ancestors alone."""
        opened = self.warehouse.table(table)
        head = opened.current_snapshot()
        back = snapshot_id in {one.snapshot_id for one in ancestors_of(head, opened.metadata)}
        procedure = "rollback_to_snapshot" if back else "set_current_snapshot"
        self.call(procedure, table, f", snapshot_id => {snapshot_id}")

    def expire(self, table: str) -> None:
        now = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(time.time() + 1))
        kept = self.draw.choice([1, 2, 5])
        self.call("expire_snapshots", table, f", older_than => TIMESTAMP '{now}', retain_last => {kept}")

    def set_property(self, table: str, key: str, value: str) -> None:
        self.sql(f"ALTER TABLE {{ns}}.{table} SET TBLPROPERTIES ('{key}'='{value}')")

    # ---- what Spark alone has

    def overwrite_a_day(self, table: str, date: str) -> None:
        """The rows of one day, written again in the place of all its files."""
        whole = self.session.table(self.full(table))
        day = whole.select(f.min(date)).collect()[0][0]
        if day is not None:
            whole.where(f.col(date) == f.lit(day)).writeTo(self.full(table)).overwrite(f.col(date) == f.lit(day))

    def rewrite_files(self, table: str) -> None:
        self.call("rewrite_data_files", table, ", options => map('rewrite-all', 'true')")

    def rewrite_manifests(self, table: str) -> None:
        self.call("rewrite_manifests", table)

    def remove_orphans(self, table: str) -> None:
        """Of files that are all four days old, as far as their times tell."""
        old = time.time() - 4 * 86_400
        for folder, _, names in os.walk(self.warehouse.folder / NAMESPACE / table):
            for name in names:
                os.utime(Path(folder) / name, (old, old))
        self.call("remove_orphan_files", table)


def only(row: dict[str, Any], names: Collection[str]) -> dict[str, Any]:
    return {column: value for column, value in row.items() if column in names}


def typed(value: Any) -> Any:
    """A map is a list of pairs for PyArrow, and a dict for Spark."""
    return dict(value) if isinstance(value, list) and value and isinstance(value[0], tuple) else value


def quoted(values: Collection[str]) -> str:
    return ", ".join(f"'{value}'" for value in sorted(values))


def plain(field: pa.Field) -> pa.Field:
    """The same column without field ids."""
    kind = field.type
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        kind = pa.list_(pa.field("element", pa.string(), False))
    elif pa.types.is_map(kind):
        kind = pa.map_(pa.string(), pa.field("value", pa.string(), False))
    elif pa.types.is_large_string(kind):
        kind = pa.string()
    return pa.field(field.name, kind, field.nullable)
