"""PyIceberg as the judge of partitions: every row must lie in the partition that its transforms say."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime, timezone
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.partitioning import PartitionField, PartitionSpec
from pyiceberg.table import Table
from pyiceberg.table.update import AddPartitionSpecUpdate, SetDefaultSpecUpdate
from pyiceberg.transforms import Transform, VoidTransform

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def internal(value: Any) -> Any:
    """As PyIceberg's transforms take it."""
    if isinstance(value, datetime):
        return round((value - EPOCH).total_seconds() * 1_000_000)
    return (value - EPOCH.date()).days if isinstance(value, date) else value


def assert_rows_in_their_partitions(table: Table) -> None:
    """Of each file, by the spec that it names."""
    for task in table.scan().plan_files():
        file = task.file
        spec = table.specs()[file.spec_id]
        with table.io.new_input(file.file_path).open() as stream:
            rows = pq.ParquetFile(pa.PythonFile(stream, mode="r")).read()
        for place, field in enumerate(spec.fields):
            source = table.schema().find_field(field.source_id)
            apply = field.transform.transform(source.field_type)
            values = {internal(value) for value in rows[source.name].to_pylist()}
            wanted = {apply(value) for value in values}
            assert wanted == {file.partition[place]}, f"{file.file_path}: {field} of {values}"


def specs_of_files(table: Table) -> set[int]:
    return {task.file.spec_id for task in table.scan().plan_files()}


def evolve(table: Table, add: Mapping[str, Transform[Any, Any]], keep: bool = False) -> None:
    """Another engine makes these columns' transforms the table's partitioning, with what was there, or instead."""
    with table.update_spec() as update:
        if not keep:
            for field in table.spec().fields:
                update.remove_field(field.name)
        for column, transform in add.items():
            update.add_field(column, transform, f"by_{column}_{str(transform).partition('[')[0]}")


def make_void(table: Table) -> None:
    """As tables of format version 1 lose a partition field: it stays, and says nothing."""
    fields = [PartitionField(one.source_id, one.field_id, VoidTransform(), one.name) for one in table.spec().fields]
    spec = PartitionSpec(*fields, spec_id=max(table.specs()) + 1)
    with table.transaction() as transaction:
        transaction._apply((AddPartitionSpecUpdate(spec=spec), SetDefaultSpecUpdate(spec_id=-1)))
