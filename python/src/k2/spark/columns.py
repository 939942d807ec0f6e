"""Which column of a table is which of K2's: by field id, for names change and ids do not (src/task/table_shape.h)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from k2.spark import schemas
from k2.spark.utils.errors import ConfigurationError, DataError

PROPERTY = "k2.columns"  # of a table: field ids by K2's names of its columns, as JSON
_PAYLOADS = ("avro_payload", "payload")  # optional, and yet all that their tables are for

Field = dict[str, Any]  # as in table metadata


def column_ids(table: str, properties: Mapping[str, str], all_schemas: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """By K2's names; 0: the table never had it. As the property has them; without it by the names that the columns had
    first. Raises DataError."""
    names = [column.name for column in schemas.table(table).columns]
    if PROPERTY in properties:
        try:
            read = {str(name): int(field_id) for name, field_id in json.loads(properties[PROPERTY]).items()}
        except (ValueError, TypeError, AttributeError) as error:
            raise DataError(
                f"{table}: the property {PROPERTY} is not what K2 wrote: {error}. Remove it to have the columns found "
                "by their names"
            ) from None
        return dict.fromkeys(names, 0) | read
    found = dict.fromkeys(names, 0)
    for schema in sorted(all_schemas, key=lambda one: one.get("schema-id", 0), reverse=True):
        found |= {field["name"]: field["id"] for field in schema["fields"] if field["name"] in found}
    return found


def to_json(ids: Mapping[str, int]) -> str:
    return json.dumps({name: field_id for name, field_id in sorted(ids.items()) if field_id}, separators=(",", ":"))


def k2_names(ids: Mapping[str, int], fields: Sequence[Field]) -> list[str]:
    """K2's names of a schema's columns. One of others that has the name of one of K2's is told apart by its id."""
    own = {field_id: name for name, field_id in ids.items() if field_id}
    names = []
    for field in fields:
        other = f"{field['name']} (field id {field['id']})" if field["name"] in ids else field["name"]
        names.append(own.get(field["id"], other))
    return names


def check(table: str, ids: Mapping[str, int], fields: Sequence[Field], writing: bool) -> None:
    """The one check of a table's columns, the same as the k2 program's. Raises ConfigurationError with what to do."""
    by_id = {field["id"]: field for field in fields}
    problem = ""
    for column in schemas.table(table).columns:
        found = by_id.get(ids.get(column.name, 0))
        if found is None:
            if column.required or column.name in _PAYLOADS:
                field_id = ids.get(column.name, 0)
                gone = f"the column {column.name} (field id {field_id}) was dropped"
                problem = gone if field_id else f"there is no column {column.name}"
                problem += "; `k2 tables migrate` adopts a column of that name, or adds one"
        elif _is_of_older_format(column.name, found["type"], column.type):
            # Spark would round what K2 writes.
            problem = (
                f"the column {column.name} is {found['type']}, of an older format: run `k2 tables migrate` "
                "(--dry-run reports rows and time)"
            )
        elif not _holds(found["type"], column.type):
            problem = f"the column {column.name} has the type {found['type']}, but K2 needs {column.sql_type}"
        elif writing and found["required"] and not column.required:
            problem = f"the column {column.name} is now required, but K2 does not have a value for it in each row"
        if problem:
            break
    own = set(ids.values())
    for field in fields if writing and not problem else ():
        if field["required"] and field["id"] not in own and "write-default" not in field:
            problem = f"the column {field['name']} is required, but K2 has no value for it; make it optional"
    if problem:
        raise ConfigurationError(f"cannot {'write to' if writing else 'read'} {schemas.NAMESPACE}.{table}: {problem}")


def _is_of_older_format(name: str, kind: Any, own: Any) -> bool:
    """Whether this is the type of a price or quantity as it was until TradeV2, or one that it was widened to."""
    return name in ("price", "quantity") and _holds(kind, "decimal(18, 8)") and not _holds(kind, own)


def _holds(kind: Any, own: Any) -> bool:
    """Whether a column of this type holds K2's values: of the same type, or one that it may be widened to."""
    if isinstance(kind, dict) or isinstance(own, dict):
        if not (isinstance(kind, dict) and isinstance(own, dict)) or kind["type"] != own["type"]:
            return False
        if own["type"] == "struct":  # its members are found by their names
            pairs = list(zip(kind["fields"], own["fields"], strict=False))
            return len(kind["fields"]) == len(own["fields"]) and all(
                one["name"] == other["name"] and _holds(one["type"], other["type"]) for one, other in pairs
            )
        return all(_holds(kind[part], own[part]) for part in ("element", "key", "value") if part in own)
    if (own, kind) in (("int", "long"), ("float", "double")):
        return True
    wide, narrow = (re.fullmatch(r"decimal\((\d+), ?(\d+)\)", one) for one in (kind, own))
    if wide and narrow:
        return wide[2] == narrow[2] and int(wide[1]) >= int(narrow[1])
    return bool(kind == own)
