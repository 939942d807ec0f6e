"""A warehouse whose prices and quantities are decimal(18, 8), as K2 0.1 made them, without a K2 of then."""

from __future__ import annotations

import json
import re

from pyiceberg.catalog import Catalog
from pyiceberg.partitioning import PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.table.sorting import SortOrder
from warehouse import GOLD, NAMESPACE, Warehouse

from k2.spark import schemas


def make_older_tables(warehouse: Warehouse, catalog: Catalog | None = None) -> None:
    """Makes Gold by PyIceberg; the tables that K2 makes beside it are of the same format."""
    definition = schemas.DOCUMENT["tables"][GOLD]
    fields = [field for field in definition["schema"]["fields"] if field["name"] != "source"]
    text = re.sub(r"decimal\(24, ?\d+\)", "decimal(18, 8)", json.dumps(definition["schema"] | {"fields": fields}))
    if catalog is None:
        warehouse.folder.mkdir(parents=True, exist_ok=True)
        catalog = warehouse.catalog()
    catalog.create_namespace_if_not_exists(NAMESPACE)
    catalog.create_table(
        (NAMESPACE, GOLD),
        schema=Schema.model_validate_json(text),
        partition_spec=PartitionSpec.model_validate(definition["partition-spec"]),
        sort_order=SortOrder.model_validate(definition["sort-order"]),
        properties=definition["properties"],
    )
    warehouse.k2_run("tables", "create")
