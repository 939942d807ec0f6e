"""What the DataFrame path makes of what other engines do to the tables it reads, and to Gold within its step."""

from __future__ import annotations

import re
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from conftest import Simulate
from engines import Spark
from service_warehouse import Lake
from spark_frames import Frames, Slip, bare_lake, session_of
from warehouse import BRONZE, GOLD, REJECTED, SILVER

from k2.spark.dataframe import AnotherWriterError, StandsError, gold_step, silver_step
from stack.services import Services

pytestmark = pytest.mark.timeout(900)


@pytest.fixture
def frames(spark: Spark, k2: Path, services: Services, tmp_path: Path, simulate: Simulate) -> Frames:
    """A lake whose Bronze and Silver hold a recording."""
    lake = bare_lake(k2, tmp_path / "lake", services)
    lake.variables["K2_KAFKA"] = ""
    lake.run([("binance", simulate("binance", 300, 3))], "--layer", "bronze")
    return Frames(session_of(spark, lake), lake, [])


def accept(lake: Lake, error: StandsError) -> None:
    found = re.search(r"`k2 (offsets accept \w+ \d+) --dry-run`", str(error))
    assert found, error
    lake.k2_run(*found[1].split())


def test_gold_reads_rewritten_files_and_stands_at_moved_trades(frames: Frames) -> None:
    lake = frames.lake
    lake.run((), "--layer", "silver")
    frames.gold()
    before = lake.gold()
    lake.table(SILVER[0]).delete(f"message_id = '{min(before)}'")
    assert lake.table(SILVER[0]).current_snapshot().summary["operation"].value == "overwrite"  # type: ignore
    results = frames.gold()
    assert sum(one.duplicates for one in results) == sum(one.rows_in for one in results) > 0
    frames.spark.sql(
        f"UPDATE iceberg.market_data.{SILVER[0]} SET timestamp = timestamp + INTERVAL 1 HOUR "
        "WHERE source_sequence % 50 = 0"
    )
    with pytest.raises(StandsError, match=r"moved \d+ trades to another hour") as stands:
        frames.gold()
    assert "k2-stands-gold" in lake.table(SILVER[0]).metadata.refs
    assert lake.gold() == before
    accept(lake, stands.value)
    moved = sum(one.rows_out for one in frames.gold())
    assert 0 < moved < 20
    assert lake.total(GOLD) == len(before) + moved


def test_trades_that_others_add_within_a_step_are_not_doubled(frames: Frames) -> None:
    lake = frames.lake
    lake.run((), "--layer", "silver")

    def theirs() -> None:
        gold = lake.table(GOLD)
        rows = lake.table(SILVER[0]).scan().to_arrow()
        rows = rows.take(pa.array(sorted({row: i for i, row in enumerate(rows["message_id"].to_pylist())}.values())))
        rows = rows.append_column("exchange_hour", pc.hour(rows["timestamp"]).cast(pa.int32()))
        gold.append(rows.select([one.name for one in gold.schema().fields]).cast(gold.schema().as_arrow()))

    frames.policy.on_step = slip = Slip(GOLD, theirs)
    with pytest.raises(AnotherWriterError, match="has added trades of this step since it was planned"):
        gold_step(frames.spark, frames.of_gold)
    assert slip.done == 1
    assert sum(one.rows_out for one in frames.gold()) == 0
    assert len(lake.gold()) > 0
    frames.assert_no_branches()


def test_silver_takes_each_offset_once_and_stands_where_rows_are_gone(frames: Frames) -> None:
    lake = frames.lake
    bronze = lake.table(BRONZE)
    again = bronze.scan(row_filter="offset < 50").to_arrow()
    bronze.append(again.cast(bronze.schema().as_arrow()))
    bronze.delete("offset >= 100 and offset < 120")
    with pytest.raises(StandsError, match=r"silver_binance_trades is blocked: bronze_trades holds") as stands:
        silver_step(frames.spark, frames.of_silver)
    assert "k2-stands-silver-binance" in bronze.refresh().metadata.refs
    accept(lake, stands.value)
    frames.silver()
    offsets = bronze.refresh().scan(selected_fields=("offset",)).to_arrow()["offset"]
    assert lake.total(SILVER[0]) + lake.total(REJECTED) == pc.count_distinct(offsets).as_py()
    assert lake.run((), "--layer", "silver")["silver"]["rows_in"] == 0
