"""What the tests of the DataFrame path share: lakes, the path on one of them, its rows beside those of k2."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from engines import Spark
from kafka_oracle import Oracle
from pyiceberg.table import Table as IcebergTable
from pyspark.sql import SparkSession
from service_warehouse import Lake
from warehouse import BRONZE, GOLD, NAMESPACE, REJECTED, SILVER, TABLES

from k2.spark.dataframe import (
    BronzeOptions,
    GoldOptions,
    LakeOptions,
    Policy,
    Schemas,
    SilverOptions,
    StepResult,
    bronze_step,
    gold_settle,
    gold_step,
    silver_settle,
    silver_step,
)
from k2.spark.dataframe.progress import (
    Metadata,
    Move,
    Position,
    Progress,
    SourceKey,
    UpstreamHint,
    find_progress,
    parse_progress,
)
from k2.spark.dataframe.tables import Table
from k2.spark.schemas import OFFSETS_KEY
from stack.services import Services

SILVER_COLUMNS = [
    *("message_id", "trade_id", "symbol", "exchange", "asset_class", "timestamp", "price", "quantity", "currency"),
    *("side", "trade_conditions", "source_sequence", "ingestion_timestamp", "platform_sequence", "vendor_data"),
    *("source", "exchange_date"),
]
REJECTED_COLUMNS = [
    "topic",
    "partition",
    "offset",
    "kafka_timestamp",
    "schema_id",
    "payload",
    "reason",
    "detail",
    "topic_id",
    "headers",
]
BRONZE_COLUMNS = ["topic", "partition", "offset", "message_key", "avro_payload", "headers", "topic_id"]


class Frames:
    """The DataFrame path on a lake; `on_step` hooks are asked between the steps of a commit."""

    def __init__(self, spark: SparkSession, lake: Lake, topics: list[str], rows_per_step: int = 500_000) -> None:
        self.spark = spark
        self.lake = lake
        self.policy = Policy()
        common: dict[str, Any] = {"rows_per_step": rows_per_step, "policy": self.policy}
        brokers = lake.variables["K2_KAFKA"]
        self.schemas = Schemas(url=lake.variables.get("K2_REGISTRY", ""))
        self.of_bronze = BronzeOptions(**common, brokers=brokers, topics=topics)
        self.of_silver = SilverOptions(**common, schemas=self.schemas)
        self.of_gold = GoldOptions(**common)

    def bronze(self) -> list[StepResult]:
        return until_idle(lambda: bronze_step(self.spark, self.of_bronze))

    def silver(self) -> list[StepResult]:
        done = until_idle(lambda: silver_step(self.spark, self.of_silver))
        silver_settle(self.spark, self.of_silver)
        return done

    def gold(self) -> list[StepResult]:
        done = until_idle(lambda: gold_step(self.spark, self.of_gold))
        gold_settle(self.spark, self.of_gold)
        return done

    def all(self) -> dict[str, list[StepResult]]:
        return {"bronze": self.bronze(), "silver": self.silver(), "gold": self.gold()}

    def table(self, name: str) -> Table:
        return LakeOptions().table(self.spark, name)

    def hint(self, upstream: str) -> UpstreamHint:
        """What Gold has read wholly of a Silver table."""
        return find_progress(self.table(GOLD).refresh()).progress.upstream[f"{NAMESPACE}.{upstream}"]

    def assert_no_branches(self) -> None:
        for name in TABLES:
            refs = set(self.lake.table(name).metadata.refs)
            assert refs <= {"main", "k2-offsets"}, f"{name}: {refs}"


def until_idle(step: Callable[[], StepResult]) -> list[StepResult]:
    done: list[StepResult] = []
    while True:
        result = step()
        if result.rows_in == 0:
            return done
        done.append(result)
        assert len(done) < 50


def new_topics(oracle: Oracle) -> list[str]:
    stem = f"t{uuid.uuid4().hex[:8]}.trades"
    return [oracle.create(f"{stem}.{exchange}", partitions=2) for exchange in ("binance", "kraken")]


def new_lake(k2: Path, folder: Path, services: Services, topics: list[str]) -> Lake:
    made = Lake.rest(k2, folder, services)
    made.variables["K2_TOPICS"] = ",".join(topics)
    made.k2_run("tables", "create")
    return made


def bare_lake(k2: Path, folder: Path, services: Services) -> Lake:
    """Of tables alone, without topics."""
    lake = Lake.rest(k2, folder, services)
    lake.k2_run("tables", "create")
    return lake


def session_of(spark: Spark, lake: Lake) -> SparkSession:
    """To compile code for a few hundred rows would take longer than all else."""
    session = spark.on_rest(lake.variables)
    session.conf.set("spark.sql.codegen.wholeStage", "false")
    session.conf.set("spark.sql.codegen.factoryMode", "NO_CODEGEN")
    return session


def rows_of(lake: Lake, name: str, columns: list[str]) -> Counter[tuple[Any, ...]]:
    table = lake.arrow(name, columns)
    cells = []
    for column in columns:
        values = table[column]
        if pa.types.is_timestamp(values.type):
            values = values.cast(pa.int64())
        cells.append([frozen(value) for value in values.to_pylist()])
    return Counter(zip(*cells, strict=True))


def frozen(value: Any) -> Any:
    if isinstance(value, list) and value and isinstance(value[0], dict):  # headers
        return tuple(tuple(one.items()) for one in value)
    if isinstance(value, list):
        pairs = value and isinstance(value[0], tuple)
        return tuple(sorted(value)) if pairs else tuple(value)
    return value


def assert_same(frames: Lake, k2: Lake) -> None:
    """Row by row: Bronze, Silver, rejects with their reasons and details, and which trades Gold holds."""
    for name in SILVER:
        of_frames, of_k2 = rows_of(frames, name, SILVER_COLUMNS), rows_of(k2, name, SILVER_COLUMNS)
        assert of_frames == of_k2, f"{name}: {list(of_frames - of_k2)[:2]} instead of {list(of_k2 - of_frames)[:2]}"
    of_frames, of_k2 = rows_of(frames, REJECTED, REJECTED_COLUMNS), rows_of(k2, REJECTED, REJECTED_COLUMNS)
    assert of_frames == of_k2, f"{list(of_frames - of_k2)[:3]} instead of {list(of_k2 - of_frames)[:3]}"
    of_frames, of_k2 = rows_of(frames, BRONZE, BRONZE_COLUMNS), rows_of(k2, BRONZE, BRONZE_COLUMNS)
    assert of_frames == of_k2, f"{list(of_frames - of_k2)[:3]} instead of {list(of_k2 - of_frames)[:3]}"
    assert any(row[-2] for row in of_k2), "some messages have headers"
    assert all(row[-1] for row in of_k2), "each has its topic's id"
    trade = [name for name in SILVER_COLUMNS if name not in ("ingestion_timestamp", "vendor_data")]
    once = [*trade, "exchange_hour"]
    of_frames, of_k2 = rows_of(frames, GOLD, once), rows_of(k2, GOLD, once)
    assert of_frames == of_k2, f"{list(of_frames - of_k2)[:2]} instead of {list(of_k2 - of_frames)[:2]}"


def places(progress: Progress) -> dict[SourceKey, tuple[int, int]]:
    """Next offset and count of messages by source. The leader epoch is that of the end here, and of the last message
    there."""
    return {key: (at.next_offset, at.messages) for key, at in progress.positions.items()}


def progress_of(table: IcebergTable) -> Progress:
    """As PyIceberg shows the newest snapshot; and what Python writes again is what stands there."""
    snapshot = table.current_snapshot()
    assert snapshot is not None
    assert snapshot.summary is not None
    text = snapshot.summary.additional_properties[OFFSETS_KEY]
    progress = parse_progress(text, str(table.metadata.table_uuid))
    assert progress is not None
    assert progress.to_json(str(table.metadata.table_uuid)) == text
    assert table.metadata.refs["k2-offsets"].snapshot_id == snapshot.snapshot_id
    return progress


class Slip:
    """Does something once, between the check of main and the commit of one table."""

    def __init__(self, table: str, what: Callable[[], object], step: str = "checked") -> None:
        self.table = table
        self.what = what
        self.step = step
        self.done = 0

    def __call__(self, step: str, table: Table) -> None:
        if step == self.step and table.name == self.table and not self.done:
            self.done += 1
            self.what()


def move_of(table: Table) -> Move:
    """Another message of a source of nobody's."""
    key = SourceKey("c", "theirs.binance", "id", 0)
    found = find_progress(table.refresh()).progress
    before = found.positions.get(key)
    after = Position((before.next_offset if before else 0) + 1, messages=1)
    return Move(Progress({key: before} if before else {}), Progress({key: after}))


def metadata_of(
    snapshots: Sequence[tuple[int, int | None, Progress | None]], tag: int | None = None, head: int | None = None
) -> Metadata:
    """Snapshots as (id, parent, progress)."""
    made = []
    for number, parent, progress in snapshots:
        summary = {"operation": "append"}
        if progress is not None:
            summary[OFFSETS_KEY] = progress.to_json("u")
        made.append(
            {"snapshot-id": number, "parent-snapshot-id": parent, "sequence-number": number, "summary": summary}
        )
    refs = {} if tag is None else {"k2-offsets": {"snapshot-id": tag, "type": "tag"}}
    current = head if head is not None else (snapshots[-1][0] if snapshots else -1)
    return Metadata(
        {"table-uuid": "u", "location": "s3://t", "snapshots": made, "refs": refs, "current-snapshot-id": current}
    )


def at(offset: int) -> Progress:
    return Progress({SourceKey("c", "t.binance", "x", 0): Position(offset)})
