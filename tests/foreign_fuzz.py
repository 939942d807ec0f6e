"""Random legal operations of another engine between random steps of k2, and an oracle that knows what Gold must hold.

A schedule is drawn from a seed: `Fuzz(warehouse, seed).play()`. What failed is told with the seed and the steps so far;
K2_SEED plays it again (tests/test_foreign_fuzz.py). The engines are in tests/fuzz_engines.py, the oracle in
tests/fuzz_oracle.py.
"""

from __future__ import annotations

import json
import random
import uuid
from collections.abc import Callable
from datetime import datetime, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

from engines import Spark
from fuzz_engines import Engine, PyIceberg, SparkSql
from fuzz_oracle import Oracle, Tables
from reading import TRADE_NAMESPACE
from warehouse import BRONZE, GOLD, REJECTED, SILVER, Warehouse

BEGIN_MS = 1_704_239_990_000  # 2024-01-02T23:59:50Z: a schedule's trades cross midnight
SYMBOLS = ("BTCUSDT", "ETHUSDT", "SOLUSDT")
MOVABLE = (GOLD, SILVER[0])  # tables whose columns are renamed and widened
CHANGED = (*MOVABLE, BRONZE, REJECTED)


class Fuzz:
    def __init__(self, warehouse: Warehouse, seed: int, spark: Spark | None = None) -> None:
        self.warehouse = warehouse
        self.draw = random.Random(seed)
        self.seed = seed
        self.spark = spark
        self.steps: list[str] = []
        self.recording = warehouse.folder.parent / "binance.txt"
        self.sent = 0  # trades that the exchange has numbered
        self.lines = 0
        self.added = 0
        self.halves: set[int] = set()  # snapshots within an operation
        self.tables = Tables(warehouse)
        self.oracle = Oracle(self.tables)
        self.engine: Engine = PyIceberg(warehouse, self.draw)

    # ---- what k2 does

    def receive(self) -> None:
        """New trades, some of them twice."""
        frames = []
        for _ in range(self.draw.randrange(3, 30)):
            number = self.sent
            self.sent += 1
            rejected = number % 17 == 13
            for _ in range(1 if rejected or self.draw.random() < 0.9 else 2):
                frames.append(self.frame(number, "0" if rejected else f"{100 + number}.5"))
                self.oracle.frames.append(None if rejected else self.message_id(number))
        with self.recording.open("a") as file:
            file.writelines(frames)

    def run(self) -> None:
        self.receive()
        self.run_k2()
        self.oracle.ran()

    def run_k2(self, expect: int = 0) -> str:
        rows = str(self.draw.choice([7, 1000]))
        return self.k2("run", "--recording", f"binance={self.recording}", "--rows-per-commit", rows, expect=expect)

    def compact(self) -> None:
        self.k2("maintain", "compact", "--min-input-files", "2", "--settled", "0s")

    def expire(self) -> None:
        self.k2("maintain", "expire", "--older-than", self.draw.choice(["1ms", "1h"]))

    def orphans(self) -> None:
        self.k2("maintain", "orphans", "--older-than", "1d")

    def retention(self) -> None:
        self.k2("maintain", "retention", "--retain-gold", "forever", "--retain-silver", "30d")

    def rebuild(self) -> None:
        layer = self.draw.choice(["silver", "gold"])
        code = self.oracle.rebuild_code(layer)
        self.k2("rebuild", "--layer", layer, expect=code)
        if code == 0:
            self.oracle.rebuilt(layer)

    def k2(self, *words: str, expect: int = 0) -> str:
        done = self.warehouse.k2_run(*words, expect=None)
        self.steps[-1] += f" | {' '.join(words[:3])} -> {done.returncode}"
        told = f"k2 {' '.join(words)}: exit {done.returncode}, not {expect}\n{done.stderr[-3000:]}"
        assert done.returncode == expect, told
        return done.stderr

    # ---- what the other engine does to rows

    def append_to_gold(self) -> None:
        """Trades that only it knows, and trades that k2 is still to bring."""
        rows = [self.row(f"FOREIGN-{self.draw.randrange(10**9)}", None) for _ in range(self.draw.randrange(1, 5))]
        known = self.oracle.gold | self.oracle.may_return
        for number in range(self.sent, self.sent + 3):
            if number % 17 != 13 and self.message_id(number) not in known:
                rows.append(self.row(f"BINANCE-{number}", number))
        self.append(GOLD, rows)

    def append_to_silver(self) -> None:
        self.append(
            SILVER[0],
            [self.row(f"FOREIGN-{self.draw.randrange(10**9)}", None) for _ in range(self.draw.randrange(1, 5))],
        )

    def append(self, table: str, rows: list[dict[str, Any]]) -> None:
        self.engine.append(table, [self.tables.named(table, row) for row in rows])
        self.oracle.appended(table, [row["message_id"] for row in rows])

    def add_files_to_gold(self) -> None:
        row = self.row(f"FOREIGN-{self.draw.randrange(10**9)}", None)
        path = self.warehouse.folder / f"outside-{self.draw.randrange(10**9)}"
        if self.engine.add_files(GOLD, path, [self.tables.named(GOLD, row)]):
            self.oracle.appended(GOLD, [row["message_id"]])

    def delete_from_gold(self) -> None:
        if doomed := self.some_of(GOLD):
            self.engine.delete(GOLD, self.tables.name(GOLD, "message_id"), doomed)
            self.oracle.deleted_from(GOLD, doomed)

    def delete_from_silver(self) -> None:
        """What Gold has read stays there."""
        if doomed := self.some_of(SILVER[0]):
            self.engine.delete(SILVER[0], self.tables.name(SILVER[0], "message_id"), doomed)
            self.oracle.deleted_from(SILVER[0], doomed)

    def change_gold(self) -> None:
        """The same trades with another text in a column, by copy-on-write or merge-on-read; some engines add others."""
        if chosen := self.some_of(GOLD):
            key, column = self.tables.name(GOLD, "message_id"), self.tables.name(GOLD, "currency")
            row = self.row(f"FOREIGN-{self.draw.randrange(10**9)}", None)
            if self.engine.set_text(GOLD, key, chosen, column, [self.tables.named(GOLD, row)]):
                self.oracle.appended(GOLD, [row["message_id"]])

    def change_silver(self) -> None:
        """Files that are rewritten are read again by Gold, which has their trades."""
        if chosen := self.some_of(SILVER[0]):
            key, column = self.tables.name(SILVER[0], "message_id"), self.tables.name(SILVER[0], "currency")
            row = self.row(f"FOREIGN-{self.draw.randrange(10**9)}", None)
            before = {one.snapshot_id for one in self.tables.history(SILVER[0])}
            inserted = self.engine.set_text(SILVER[0], key, chosen, column, [self.tables.named(SILVER[0], row)])
            # PyIceberg's upsert deletes in one snapshot and appends in the next: nobody rolls back to between them.
            self.halves |= {one.snapshot_id for one in self.tables.history(SILVER[0])[1:]} - before
            if inserted:
                self.oracle.appended(SILVER[0], [row["message_id"]])

    def overwrite_a_day(self) -> None:
        table = self.draw.choice(MOVABLE)
        self.spark_sql.overwrite_a_day(table, self.tables.name(table, "exchange_date"))

    # ---- what the other engine does to tables

    def rename_column(self) -> None:
        table = self.draw.choice(MOVABLE)
        column = self.draw.choice(["currency", "side", "price", "symbol", "vendor_data", "timestamp"])
        before = self.tables.name(table, column)
        after = f"{column}_{self.draw.randrange(1000)}" if before == column else column
        self.engine.rename(table, before, after)
        self.tables.names[table, column] = after

    def widen_column(self) -> None:
        table = self.draw.choice([*MOVABLE, BRONZE])
        if table == BRONZE:
            self.engine.widen(table, "partition", "bigint")
        elif table == GOLD and self.draw.random() < 0.5:
            self.engine.widen(table, "exchange_hour", "bigint")
        else:
            column, scale = self.draw.choice([("price", 14), ("quantity", 8)])
            self.engine.widen(table, self.tables.name(table, column), f"decimal(38,{scale})")

    def add_column(self) -> None:
        self.added += 1
        of = self.draw.choice(["string", "bigint"])
        self.engine.add_column(self.draw.choice(CHANGED), f"extra_{self.added}", of)

    def drop_added_column(self) -> None:
        """One that is there, or has just been added."""
        if not (added := self.added_columns()):
            self.add_column()
            added = self.added_columns()
        self.engine.drop_column(*self.draw.choice(added))

    def added_columns(self) -> list[tuple[str, str]]:
        fields = {table: self.tables.open(table).schema().fields for table in CHANGED}
        return [(table, one.name) for table, of in fields.items() for one in of if one.name.startswith("extra_")]

    def change_spec(self) -> None:
        name = self.draw.choice(CHANGED)
        table = self.tables.open(name)
        added = [field.name for field in table.spec().fields if field.name.startswith("fuzz_")]
        if added and self.draw.random() < 0.5:
            self.engine.no_more_by(name, added[0])
            return
        choices = [("offset", "bucket[3]"), ("offset", "truncate[10]")]
        if name in MOVABLE:
            choices = [
                ("symbol", "identity"),
                ("symbol", "truncate[2]"),
                ("message_id", "bucket[4]"),
                ("timestamp", "hour"),
                ("ingestion_timestamp", "day"),
            ]
        column, transform = self.draw.choice(choices)
        field = table.schema().find_field(self.tables.name(name, column))
        # PyIceberg refuses to write where two fields are of one column.
        if field.field_id not in {one.source_id for one in table.spec().fields}:
            new = f"fuzz_{len(table.specs())}_{self.draw.randrange(100)}"
            self.engine.partition_by(name, field.name, transform, new)

    def tag_or_branch(self) -> None:
        table = self.draw.choice([*MOVABLE, BRONZE])
        name = f"theirs_{self.draw.randrange(10**6)}"
        self.engine.set_ref(table, name, self.draw.choice(["tag", "branch"]))

    def write_to_a_branch(self) -> None:
        """Rows that nobody sees until the branch is published, or main is set to it."""
        table = self.draw.choice(MOVABLE)
        name = f"theirs_{self.draw.randrange(10**6)}"
        self.engine.set_ref(table, name, "branch")
        rows = [self.row(f"FOREIGN-{self.draw.randrange(10**9)}", None) for _ in range(self.draw.randrange(1, 4))]
        self.engine.append(table, [self.tables.named(table, row) for row in rows], name)
        if self.draw.random() < 0.3:
            self.steps[-1] += " with a run of k2"
            self.run()
        if self.draw.random() < 0.6 and self.engine.publish(table, name):
            self.oracle.appended(table, [row["message_id"] for row in rows])

    def expire_theirs(self) -> None:
        self.engine.expire(self.draw.choice(CHANGED))

    def set_property(self) -> None:
        self.engine.set_property(self.draw.choice(CHANGED), "their.owner", f"another {self.draw.randrange(100)}")

    def rewrite_files(self) -> None:
        self.spark_sql.rewrite_files(self.draw.choice(CHANGED))

    def rewrite_manifests(self) -> None:
        self.spark_sql.rewrite_manifests(self.draw.choice(CHANGED))

    def remove_orphans(self) -> None:
        self.spark_sql.remove_orphans(self.draw.choice(CHANGED))

    # ---- rollback

    def roll_back(self) -> None:
        """To a snapshot before, or to somebody's branch. Where K2's newest offsets are rolled away with it, the layer
        says so and commits nothing until main is rolled forward or the loss is accepted."""
        table = self.draw.choice(CHANGED)
        refs = self.tables.open(table).metadata.refs
        targets = [one.snapshot_id for one in self.tables.history(table)[1:8] if one.snapshot_id not in self.halves]
        targets += [ref.snapshot_id for name, ref in refs.items() if name.startswith("theirs")]
        if not targets:
            return
        self.steps[-1] += f" {table}"
        self.engine.set_main(table, self.draw.choice(targets))
        if self.tables.rolled_back(table):
            self.stands_rolled_back(table)
            if table == SILVER[0]:
                self.oracle.was_main()
            newest = refs["k2-offsets"].snapshot_id
            known = self.may_be_accepted(table)
            if self.draw.random() < 0.6:
                self.k2("offsets", "set", "--table", table, "--accept-loss", expect=0 if known else 1)
            else:
                known = False
            if not known:
                self.engine.set_main(table, newest)
        self.oracle.rolled_back(table)

    def may_be_accepted(self, table: str) -> bool:
        """Not where all would be read again beside the rows that are there, for main's offsets are expired; nor where
        rejected_trades would lack rows that Silver has passed."""
        if table == GOLD:
            return True
        progress = self.tables.progress(table)
        return progress is not None and (table != REJECTED or self.tables.offset(table) >= self.oracle.silver_at)

    def stands_rolled_back(self, table: str) -> None:
        """A run with an end tells of it; what does not need the table goes on meanwhile."""
        if self.draw.random() < 0.5:
            self.receive()
        before = self.tables.open(table).metadata_location
        told = self.run_k2(expect=1)
        assert "was rolled back" in told, told
        assert f"/{table} " in told, told
        assert self.tables.open(table).metadata_location == before
        self.oracle.ran(stands=table)
        for other, offset in ((BRONZE, self.oracle.bronze_at), (SILVER[0], self.oracle.silver_at)):
            if other != table and table != BRONZE:
                assert self.tables.offset(other) == offset, f"{other} has not gone on"

    # ---- helpers

    @property
    def spark_sql(self) -> SparkSql:
        assert isinstance(self.engine, SparkSql)
        return self.engine

    def message_id(self, number: int) -> str:
        return str(uuid.uuid5(TRADE_NAMESPACE, f"BINANCE|{self.symbol(number)}|BINANCE-{number}"))

    @staticmethod
    def symbol(number: int) -> str:
        return SYMBOLS[number % len(SYMBOLS)]

    def frame(self, number: int, price: str) -> str:
        time_ms = BEGIN_MS + number * 150
        symbol = self.symbol(number)
        trade = {
            "e": "trade", "E": time_ms + 2, "s": symbol, "t": number, "p": price, "q": "0.25",
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
            "source": None, "exchange_date": moment.date(), "exchange_hour": moment.hour,
        }  # fmt: skip

    def some_of(self, table: str) -> set[str]:
        """Such as are there once: Silver has what was received twice twice, which no engine updates by its id."""
        present = sorted(one for one, count in self.tables.ids(table).items() if count == 1)
        return set(self.draw.sample(present, min(len(present), self.draw.randrange(1, 4))))

    # ---- the schedule

    def play(self, length: int = 8) -> None:
        ours: list[Callable[[], None]] = [
            self.run, self.run, self.run, self.compact, self.expire, self.orphans, self.retention, self.rebuild,
        ]  # fmt: skip
        theirs: list[Callable[[], None]] = [
            self.append_to_gold, self.append_to_silver, self.add_files_to_gold, self.delete_from_gold,
            self.delete_from_silver, self.change_gold, self.change_silver, self.rename_column, self.widen_column,
            self.add_column, self.drop_added_column, self.change_spec, self.tag_or_branch, self.write_to_a_branch,
            self.expire_theirs, self.set_property, self.roll_back, self.roll_back,
        ]  # fmt: skip
        plan = [self.run]
        if self.spark is not None:
            theirs += [self.overwrite_a_day, self.rewrite_files, self.rewrite_manifests, self.remove_orphans]
        for _ in range(length):
            plan.append(self.draw.choice(theirs))
            if self.draw.random() < 0.6:
                plan.append(self.draw.choice(ours))
        plan.append(self.run)
        try:
            for step in plan:
                self.steps.append(step.__name__)
                step()
                if self.spark is not None and isinstance(self.engine, PyIceberg):  # the tables are there now
                    self.engine = SparkSql(self.warehouse, self.draw, self.spark)
            self.check()
        except Exception as error:
            steps = "\n  ".join(self.steps)
            raise AssertionError(f"K2_SEED={self.seed} plays it again; steps:\n  {steps}\n{error}") from error

    def check(self) -> None:
        self.oracle.check()
        for table in (GOLD, SILVER[0], REJECTED):
            there = str(self.tables.open(table).scan().count())
            told = self.warehouse.k2_run("query", f"SELECT count(*) AS n FROM {table}", "--output", "csv").stdout
            assert told.split() == ["n", there], f"k2 query counts {told} in {table}, PyIceberg {there}"


def warehouse_for(k2: Path, folder: Path) -> Warehouse:
    folder.mkdir(parents=True, exist_ok=True)
    return Warehouse(k2, folder / "warehouse")
