"""Random legal operations of another engine between random steps of k2, and an oracle that knows what Gold must hold.

A schedule is drawn from a seed: `Fuzz(warehouse, seed).play()`. What failed is told with the seed and the steps so far;
K2_SEED plays it again (tests/test_foreign_fuzz.py).
"""

from __future__ import annotations

import json
import random
import uuid
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.expressions import In
from pyiceberg.table import Table
from pyiceberg.transforms import (
    BucketTransform,
    DayTransform,
    HourTransform,
    IdentityTransform,
    Transform,
    TruncateTransform,
)
from pyiceberg.types import DecimalType, LongType, StringType
from reading import TRADE_NAMESPACE
from warehouse import BRONZE, GOLD, REJECTED, SILVER, Warehouse

BEGIN_MS = 1_704_239_990_000  # 2024-01-02T23:59:50Z: a schedule's trades cross midnight
SYMBOLS = ("BTCUSDT", "ETHUSDT", "SOLUSDT")
MOVABLE = (GOLD, SILVER[0])  # tables whose columns are renamed and widened


class Fuzz:
    def __init__(self, warehouse: Warehouse, seed: int) -> None:
        self.warehouse = warehouse
        self.draw = random.Random(seed)
        self.seed = seed
        self.steps: list[str] = []
        self.recording = warehouse.folder.parent / "binance.txt"
        self.sent = 0  # trades that the exchange has numbered
        self.lines = 0
        self.gold: set[str] = set()  # message ids that Gold must hold once
        self.may_return: set[str] = set()  # deleted from Gold by the other engine: a replay may bring them again
        self.names: dict[tuple[str, str], str] = {}  # (table, K2's column) -> its name now
        self.extra = 0

    # ---- what k2 does

    def run(self) -> None:
        """New trades are received, some twice, and k2 moves them through all layers."""
        count = self.draw.randrange(3, 30)
        frames = []
        for _ in range(count):
            number = self.sent
            self.sent += 1
            if number % 17 == 13:
                frames.append(self.frame(number, price="0"))  # rejected
                continue
            frames.append(self.frame(number))
            self.gold.add(self.message_id(number))
            if self.draw.random() < 0.1:
                frames.append(self.frame(number))
        with self.recording.open("a") as file:
            file.writelines(frames)
        self.k2(
            "run", "--recording", f"binance={self.recording}", "--rows-per-commit", str(self.draw.choice([7, 1000]))
        )

    def compact(self) -> None:
        self.k2("maintain", "compact", "--min-input-files", "2", "--settled", "0s")

    def expire(self) -> None:
        self.k2("maintain", "expire", "--older-than", self.draw.choice(["1ms", "1h"]))

    def orphans(self) -> None:
        self.k2("maintain", "orphans", "--older-than", "1d")

    def retention(self) -> None:
        self.k2("maintain", "retention", "--retain-gold", "forever", "--retain-silver", "30d")

    def rebuild(self) -> None:
        """Refused where Gold has ids that Silver has not; else what was deleted from Gold may be back."""
        layer = self.draw.choice(["silver", "gold"])
        done = self.k2("rebuild", "--layer", layer, expect=None)
        assert done in (0, 1, 2), done

    def k2(self, *words: str, expect: int | None = 0) -> int:
        done = self.warehouse.k2_run(*words, expect=None)
        self.steps[-1] += f" -> {done.returncode}"
        if expect is not None:
            assert done.returncode == expect, f"k2 {' '.join(words)}: exit {done.returncode}\n{done.stderr[-3000:]}"
        return done.returncode

    # ---- what the other engine does

    def append_to_gold(self) -> None:
        """Trades that only it knows, and trades that k2 is still to bring."""
        rows = [self.row(f"FOREIGN-{self.draw.randrange(10**9)}", None) for _ in range(self.draw.randrange(1, 5))]
        coming = [number for number in range(self.sent, self.sent + 3) if number % 17 != 13]
        coming = [number for number in coming if self.message_id(number) not in self.gold | self.may_return]
        rows += [self.row(f"BINANCE-{number}", number) for number in coming]
        self.append(GOLD, rows)
        self.gold |= {row["message_id"] for row in rows}

    def append_to_silver(self) -> None:
        rows = [self.row(f"FOREIGN-{self.draw.randrange(10**9)}", None) for _ in range(self.draw.randrange(1, 5))]
        self.append(SILVER[0], rows)
        self.gold |= {row["message_id"] for row in rows}

    def add_files_to_gold(self) -> None:
        """A Parquet file without field ids, and a name mapping."""
        table = self.warehouse.table(GOLD)
        if any(field.name.startswith("extra") for field in table.schema().fields) or not self.default_spec(table):
            return
        # One row: PyIceberg takes a file's partition from the bounds of its columns, which must be equal.
        rows = [self.row(f"FOREIGN-{self.draw.randrange(10**9)}", None)]
        path = self.warehouse.folder / f"outside-{self.draw.randrange(10**9)}.parquet"
        schema = pa.schema([plain(field) for field in table.schema().as_arrow()])
        pq.write_table(pa.Table.from_pylist([self.named(GOLD, row) for row in rows], schema=schema), path)
        table.add_files([str(path)])
        self.gold |= {row["message_id"] for row in rows}

    def delete_from_gold(self) -> None:
        doomed = self.some_of_gold()
        if not doomed:
            return
        self.warehouse.table(GOLD).delete(In(self.name(GOLD, "message_id"), doomed))
        self.gold -= doomed
        self.may_return |= doomed

    def upsert_into_gold(self) -> None:
        """Copy-on-write: the same trades with another text in a column."""
        table = self.warehouse.table(GOLD)
        chosen = self.some_of_gold()
        head = table.current_snapshot()
        if not chosen or head is None or head.schema_id != table.schema().schema_id:
            return  # PyIceberg's upsert reads by the schema of the newest snapshot
        key, column = self.name(GOLD, "message_id"), self.name(GOLD, "currency")
        rows = table.scan(row_filter=In(key, chosen)).to_arrow()
        changed = rows.set_column(
            rows.schema.get_field_index(column),
            rows.schema.field(column),
            pa.array(["EUR"] * len(rows), pa.large_string()).cast(rows.schema.field(column).type),
        )
        table.upsert(changed, join_cols=[key])

    def delete_from_silver(self) -> None:
        """What Gold has read stays there."""
        ids = sorted(row["message_id"] for row in self.rows(SILVER[0], "message_id"))
        if ids:
            doomed = set(self.draw.sample(ids, min(3, len(ids))))
            self.warehouse.table(SILVER[0]).delete(In(self.name(SILVER[0], "message_id"), doomed))
            self.may_return |= {one for one in ids if one not in self.gold}  # rewritten files are read again

    def rename_column(self) -> None:
        table_name = self.draw.choice(MOVABLE)
        column = self.draw.choice(["currency", "side", "price", "symbol", "vendor_data", "timestamp"])
        before = self.name(table_name, column)
        after = f"{column}_{self.draw.randrange(1000)}" if before == column else column
        with self.warehouse.table(table_name).update_schema() as change:
            change.rename_column(before, after)
        self.names[table_name, column] = after

    def widen_column(self) -> None:
        table_name = self.draw.choice([*MOVABLE, BRONZE])
        with self.warehouse.table(table_name).update_schema() as change:
            if table_name == BRONZE:
                change.update_column("partition", field_type=LongType())
            elif table_name == GOLD and self.draw.random() < 0.5:
                change.update_column("exchange_hour", field_type=LongType())
            else:
                column = self.draw.choice(["price", "quantity"])
                change.update_column(self.name(table_name, column), field_type=DecimalType(38, 8))

    def add_column(self) -> None:
        self.extra += 1
        with self.warehouse.table(self.draw.choice([*MOVABLE, BRONZE, REJECTED])).update_schema() as change:
            change.add_column(f"extra_{self.extra}", self.draw.choice([StringType(), LongType()]))

    def drop_added_column(self) -> None:
        for table_name in (*MOVABLE, BRONZE, REJECTED):
            table = self.warehouse.table(table_name)
            added = [field.name for field in table.schema().fields if field.name.startswith("extra_")]
            if added:
                with table.update_schema(allow_incompatible_changes=True) as change:
                    change.delete_column(self.draw.choice(added))
                return

    def change_spec(self) -> None:
        table_name = self.draw.choice([*MOVABLE, BRONZE, REJECTED])
        table = self.warehouse.table(table_name)
        added = [field.name for field in table.spec().fields if field.name.startswith("fuzz_")]
        with table.update_spec() as change:
            if added and self.draw.random() < 0.5:
                change.remove_field(added[0])
                return
            name = f"fuzz_{len(table.specs())}_{self.draw.randrange(100)}"
            choices: list[tuple[str, Transform[Any, Any]]] = [
                ("offset", BucketTransform(3)),
                ("offset", TruncateTransform(10)),
            ]
            if table_name in MOVABLE:
                choices = [
                    ("symbol", IdentityTransform()),
                    ("symbol", TruncateTransform(2)),
                    ("message_id", BucketTransform(4)),
                    ("timestamp", HourTransform()),
                    ("ingestion_timestamp", DayTransform()),
                ]
            column, transform = self.draw.choice(choices)
            taken = {(field.source_id, str(field.transform)) for field in table.spec().fields}
            field = table.schema().find_field(self.name(table_name, column))
            if (field.field_id, str(transform)) not in taken:
                change.add_field(field.name, transform, name)

    def tag_and_branch(self) -> None:
        table = self.warehouse.table(self.draw.choice([*MOVABLE, BRONZE]))
        head = table.current_snapshot()
        assert head is not None
        with table.manage_snapshots() as change:
            name = f"theirs-{self.draw.randrange(10**6)}"
            if self.draw.random() < 0.5:
                change.create_tag(head.snapshot_id, name)
            else:
                change.create_branch(head.snapshot_id, name)

    def expire_theirs(self) -> None:
        table = self.warehouse.table(self.draw.choice([*MOVABLE, BRONZE]))
        old = [one.snapshot_id for one in table.snapshots()]
        kept = {ref.snapshot_id for ref in table.refs().values()}
        doomed = [one for one in old if one not in kept]
        if doomed:
            table.maintenance.expire_snapshots().by_ids(self.draw.sample(doomed, len(doomed) // 2 + 1)).commit()

    def set_property(self) -> None:
        table = self.warehouse.table(self.draw.choice([*MOVABLE, BRONZE, REJECTED]))
        with table.transaction() as transaction:
            transaction.set_properties({"owner": f"another {self.draw.randrange(100)}"})

    # ---- helpers

    def message_id(self, number: int) -> str:
        return str(uuid.uuid5(TRADE_NAMESPACE, f"BINANCE|{self.symbol(number)}|BINANCE-{number}"))

    @staticmethod
    def symbol(number: int) -> str:
        return SYMBOLS[number % len(SYMBOLS)]

    def frame(self, number: int, price: str = "") -> str:
        time_ms = BEGIN_MS + number * 150
        symbol = self.symbol(number)
        trade = {
            "e": "trade", "E": time_ms + 2, "s": symbol, "t": number, "p": price or f"{100 + number}.5", "q": "0.25",
            "T": time_ms, "m": number % 2 == 0, "M": True,
        }  # fmt: skip
        self.lines += 1
        received_ns = (time_ms + 5) * 1_000_000 + self.lines
        return f"{received_ns} {json.dumps({'stream': f'{symbol.lower()}@trade', 'data': trade})}\n"

    def row(self, trade_id: str, number: int | None) -> dict[str, Any]:
        """A row of Gold by K2's names; of Silver it is one without the hour."""
        known = number if number is not None else self.draw.randrange(2000)
        time_ms = BEGIN_MS + known * 150
        moment = datetime.fromtimestamp(time_ms / 1000, timezone.utc)
        symbol = self.symbol(known)
        return {
            "message_id": str(uuid.uuid5(TRADE_NAMESPACE, f"BINANCE|{symbol}|{trade_id}")),
            "trade_id": trade_id, "symbol": symbol, "exchange": "BINANCE", "asset_class": "crypto",
            "timestamp": moment, "price": Decimal(100 + known) + Decimal("0.5"), "quantity": Decimal("0.25"),
            "currency": "USDT", "side": "SELL", "trade_conditions": [], "source_sequence": number,
            "ingestion_timestamp": moment, "platform_sequence": None, "vendor_data": [("theirs", "yes")],
            "exchange_date": moment.date(), "exchange_hour": moment.hour,
        }  # fmt: skip

    def name(self, table: str, column: str) -> str:
        return self.names.get((table, column), column)

    def named(self, table: str, row: dict[str, Any]) -> dict[str, Any]:
        return {self.name(table, column): value for column, value in row.items()}

    def append(self, name: str, rows: list[dict[str, Any]]) -> None:
        table = self.warehouse.table(name)
        schema = table.schema().as_arrow()
        columns = set(schema.names)
        picked = [
            {column: value for column, value in self.named(name, row).items() if column in columns} for row in rows
        ]
        table.append(pa.Table.from_pylist(picked, schema=schema))

    def rows(self, name: str, column: str) -> list[dict[str, Any]]:
        now = self.name(name, column)
        rows = self.warehouse.table(name).scan(selected_fields=(now,)).to_arrow().to_pylist()
        return [{column: row[now]} for row in rows]

    def some_of_gold(self) -> set[str]:
        present = sorted({row["message_id"] for row in self.rows(GOLD, "message_id")} & self.gold)
        return set(self.draw.sample(present, min(len(present), self.draw.randrange(1, 4)))) if present else set()

    @staticmethod
    def default_spec(table: Table) -> bool:
        """add_files of PyIceberg takes the partition from the values of a file's columns: identity transforms alone."""
        return all(isinstance(field.transform, IdentityTransform) for field in table.spec().fields)

    # ---- the schedule

    def play(self, length: int = 8) -> None:
        ours: list[Callable[[], None]] = [
            self.run, self.run, self.run, self.compact, self.expire, self.orphans, self.retention, self.rebuild,
        ]  # fmt: skip
        theirs: list[Callable[[], None]] = [
            self.append_to_gold, self.append_to_silver, self.add_files_to_gold, self.delete_from_gold,
            self.upsert_into_gold, self.delete_from_silver, self.rename_column, self.widen_column, self.add_column,
            self.drop_added_column, self.change_spec, self.tag_and_branch, self.expire_theirs, self.set_property,
        ]  # fmt: skip
        plan = [self.run]
        for _ in range(length):
            plan.append(self.draw.choice(theirs))
            if self.draw.random() < 0.6:
                plan.append(self.draw.choice(ours))
        plan.append(self.run)
        try:
            for step in plan:
                self.steps.append(step.__name__)
                step()
            self.check()
        except Exception as error:
            steps = "\n  ".join(self.steps)
            raise AssertionError(f"K2_SEED={self.seed} plays it again; steps:\n  {steps}\n{error}") from error

    def check(self) -> None:
        found = Counter(row["message_id"] for row in self.rows(GOLD, "message_id"))
        doubled = [one for one, count in found.items() if count > 1]
        assert not doubled, f"Gold holds {len(doubled)} trades twice: {doubled[:3]}"
        lost = self.gold - found.keys()
        assert not lost, f"Gold lacks {len(lost)} trades: {sorted(lost)[:3]}"
        more = found.keys() - self.gold - self.may_return
        assert not more, f"Gold holds {len(more)} trades that nobody sent: {sorted(more)[:3]}"
        told = self.warehouse.k2_run("query", f"SELECT count(*) AS n FROM {GOLD}", "--output", "csv").stdout.split()
        assert told == ["n", str(found.total())], f"k2 query counts {told}, PyIceberg {found.total()}"


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


def warehouse_for(k2: Path, folder: Path) -> Warehouse:
    folder.mkdir(parents=True, exist_ok=True)
    return Warehouse(k2, folder / "warehouse")
