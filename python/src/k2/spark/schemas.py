"""Schemas of K2's tables and messages, as the k2 program makes them: schemas.json is `k2 tables definitions`.

from k2.spark import schemas

schemas.table("gold_crypto_trades").struct_type()   # of pyspark
schemas.table("bronze_trades").ddl()                # columns for CREATE TABLE
schemas.TRADE_SCHEMA_JSON                           # the message's Avro schema
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from pyspark.sql.types import DataType, StructType

IcebergType: TypeAlias = "str | dict[str, Any]"

DOCUMENT: dict[str, Any] = json.loads((Path(__file__).parent / "schemas.json").read_text(encoding="utf-8"))
if DOCUMENT["version"] != 1:
    raise ImportError(f"schemas.json has version {DOCUMENT['version']}, this package supports 1")

NAMESPACE: str = DOCUMENT["namespace"]
BRONZE = "bronze_trades"
REJECTED = "rejected_trades"
GOLD = "gold_crypto_trades"
FINISHED: str = DOCUMENT["finished-sources"]["name"]  # made by the k2 program when it is first needed; not in TABLES
TABLES: tuple[str, ...] = tuple(DOCUMENT["tables"])

# By the ids that they have where there is no registry.
OWN_SCHEMAS: dict[int, str] = {
    message["local-id"]: json.dumps(message["schema"]) for message in DOCUMENT["messages"].values()
}
TRADE_SCHEMA: dict[str, Any] = DOCUMENT["messages"]["TradeV3"]["schema"]
TRADE_SCHEMA_JSON: str = json.dumps(TRADE_SCHEMA)
TRADE_LOCAL_ID: int = DOCUMENT["messages"]["TradeV3"]["local-id"]  # where there is no registry
REJECTED_FRAME_SCHEMA: dict[str, Any] = DOCUMENT["messages"]["RejectedFrame"]["schema"]
REJECTED_FRAME_SCHEMA_JSON: str = json.dumps(REJECTED_FRAME_SCHEMA)
REJECTED_FRAME_LOCAL_ID: int = DOCUMENT["messages"]["RejectedFrame"]["local-id"]

COMMITS: dict[str, Any] = DOCUMENT["commits"]
RULES: dict[str, Any] = DOCUMENT["rules"]
REASONS: tuple[str, ...] = tuple(RULES["reasons"])
FRAME_REASONS: tuple[str, ...] = tuple(reason for reason in REASONS if reason.startswith("frame_"))

RECORDING_PREFIX = "recording/"  # of a recording's topic

OFFSETS_KEY: str = DOCUMENT["offsets"]["summary-key"]
OFFSETS_TAG: str = DOCUMENT["offsets"]["tag"]
OFFSETS_VERSION: int = DOCUMENT["offsets"]["version"]


@dataclass(frozen=True)
class Exchange:
    """An exchange K2 knows: its name in topics (binance), in messages (BINANCE), and its Silver table."""

    topic: str
    name: str
    silver: str


EXCHANGES: tuple[Exchange, ...] = tuple(Exchange(**exchange) for exchange in DOCUMENT["exchanges"])
SILVER: tuple[str, ...] = tuple(exchange.silver for exchange in EXCHANGES)
# What is read where no topics are named; a cluster need not have all of them.
DEFAULT_TOPICS: tuple[str, ...] = tuple(f"market.crypto.trades.{exchange.topic}" for exchange in EXCHANGES)


@dataclass(frozen=True)
class Column:
    field_id: int
    name: str
    type: IcebergType
    required: bool
    doc: str

    @property
    def sql_type(self) -> str:
        return _sql_type(self.type)

    def ddl(self) -> str:
        null = " NOT NULL" if self.required else ""
        comment = self.doc.replace("\\", "\\\\").replace("'", "\\'")
        return f"`{self.name}` {self.sql_type}{null} COMMENT '{comment}'"


@dataclass(frozen=True)
class TableDefinition:
    """One table: everything that `k2 tables create` gives it."""

    name: str
    schema: dict[str, Any]  # these four in Iceberg's JSON
    partition_spec: dict[str, Any]
    sort_order: dict[str, Any]
    properties: dict[str, str]

    @property
    def columns(self) -> tuple[Column, ...]:
        return tuple(
            Column(field["id"], field["name"], field["type"], field["required"], field.get("doc", ""))
            for field in self.schema["fields"]
        )

    @property
    def field_ids(self) -> dict[str, int]:
        """By name; what is inside a column by path: trade_conditions.element, vendor_data.key, headers.element.key."""
        ids: dict[str, int] = {}

        def add(path: str, field_id: int, kind: IcebergType) -> None:
            ids[path] = field_id
            if not isinstance(kind, dict):
                return
            for inner in ("element", "key", "value"):
                if f"{inner}-id" in kind:
                    add(f"{path}.{inner}", kind[f"{inner}-id"], kind[inner])
            for field in kind.get("fields", ()):
                add(f"{path}.{field['name']}", field["id"], field["type"])

        for column in self.columns:
            add(column.name, column.field_id, column.type)
        return ids

    def struct_type(self) -> StructType:
        """For pyspark; each column's metadata has its comment and its field id."""
        from pyspark.sql.types import StructField, StructType

        return StructType(
            [
                StructField(
                    column.name,
                    _spark_type(column.type),
                    nullable=not column.required,
                    metadata={"comment": column.doc, "iceberg.field-id": column.field_id},
                )
                for column in self.columns
            ]
        )

    def ddl(self) -> str:
        """The columns, as they stand between the brackets of CREATE TABLE."""
        return ",\n  ".join(column.ddl() for column in self.columns)

    def partitioned_by(self) -> list[str]:
        """As in PARTITIONED BY: days(ingestion_date), exchange_hour."""
        names = {column.field_id: column.name for column in self.columns}
        plural = {"day": "days", "hour": "hours", "month": "months", "year": "years"}
        parts = []
        for field in self.partition_spec["fields"]:
            source, transform = names[field["source-id"]], field["transform"]
            parts.append(f"`{source}`" if transform == "identity" else f"{plural[transform]}(`{source}`)")
        return parts

    def ordered_by(self) -> list[str]:
        """As in ALTER TABLE … WRITE ORDERED BY; empty where the table has no sort order."""
        names = {column.field_id: column.name for column in self.columns}
        parts = []
        for field in self.sort_order["fields"]:
            nulls = field["null-order"].replace("-", " ").upper()
            parts.append(f"`{names[field['source-id']]}` {field['direction'].upper()} {nulls}")
        return parts

    def create_sql(self, catalog: str = "iceberg", location: str | None = None) -> str:
        """CREATE TABLE in Spark's SQL: for people to read, and for engines without Iceberg's API. It cannot say that
        the elements of lists and the values of maps are never null; nor the sort order, see ordered_by."""
        properties = ",\n  ".join(f"'{key}' = '{value}'" for key, value in sorted(self.all_properties().items()))
        where = f"\nLOCATION '{location}'" if location else ""
        return (
            f"CREATE TABLE IF NOT EXISTS {catalog}.{NAMESPACE}.{self.name} (\n  {self.ddl()}\n) USING iceberg\n"
            f"PARTITIONED BY ({', '.join(self.partitioned_by())}){where}\nTBLPROPERTIES (\n  {properties}\n)"
        )

    def all_properties(self) -> dict[str, str]:
        return {"format-version": "2"} | self.properties


def table(name: str) -> TableDefinition:
    """The definition of one of TABLES, or of FINISHED."""
    of_all = DOCUMENT["tables"] | {FINISHED: DOCUMENT["finished-sources"]["table"]}
    if name not in of_all:
        raise KeyError(f"{name!r} is not one of K2's tables: {', '.join(of_all)}")
    parts = of_all[name]
    return TableDefinition(name, parts["schema"], parts["partition-spec"], parts["sort-order"], parts["properties"])


def exchange_of_topic(topic: str) -> Exchange | None:
    """`recording/<exchange>/<hash>`, or a topic whose name ends in `.<exchange>`."""
    word = topic.split("/")[1] if topic.startswith(RECORDING_PREFIX) else topic.rsplit(".", 1)[-1]
    return next((exchange for exchange in EXCHANGES if exchange.topic == word), None)


_SQL = {
    "string": "string",
    "binary": "binary",
    "int": "int",
    "long": "bigint",
    "date": "date",
    "timestamptz": "timestamp",
}


def _sql_type(kind: IcebergType) -> str:
    if isinstance(kind, dict):
        if kind["type"] == "list":
            return f"array<{_sql_type(kind['element'])}>"
        if kind["type"] == "struct":
            return f"struct<{', '.join(_sql_member(field) for field in kind['fields'])}>"
        return f"map<{_sql_type(kind['key'])}, {_sql_type(kind['value'])}>"
    return kind.replace(" ", "") if kind.startswith("decimal") else _SQL[kind]


def _sql_member(field: dict[str, Any]) -> str:
    return f"{field['name']}: {_sql_type(field['type'])}{' NOT NULL' if field['required'] else ''}"


def _spark_type(kind: IcebergType) -> DataType:
    from pyspark.sql import types

    if isinstance(kind, dict):
        if kind["type"] == "list":
            return types.ArrayType(_spark_type(kind["element"]), containsNull=not kind["element-required"])
        if kind["type"] == "struct":
            members = (
                types.StructField(field["name"], _spark_type(field["type"]), nullable=not field["required"])
                for field in kind["fields"]
            )
            return types.StructType(list(members))
        return types.MapType(
            _spark_type(kind["key"]), _spark_type(kind["value"]), valueContainsNull=not kind["value-required"]
        )
    if found := re.fullmatch(r"decimal\((\d+), ?(\d+)\)", kind):
        return types.DecimalType(int(found[1]), int(found[2]))
    simple: dict[str, DataType] = {
        "string": types.StringType(),
        "binary": types.BinaryType(),
        "int": types.IntegerType(),
        "long": types.LongType(),
        "date": types.DateType(),
        "timestamptz": types.TimestampType(),
    }
    return simple[kind]
