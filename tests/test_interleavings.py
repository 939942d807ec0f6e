"""k2 is stopped at each of its steps, another writer does something there, and k2 goes on as if nothing had been."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from engines import Spark
from kafka_oracle import BEGIN, Oracle
from service_warehouse import Lake, wait_until
from warehouse import BRONZE, GOLD, REJECTED, SILVER, Row

from stack.services import Services

# Each step and the tables it is about to change or has changed.
STEPS = {
    "bronze.data-file": BRONZE,
    "bronze.manifests": BRONZE,
    "bronze.done": BRONZE,
    "silver.data-file": SILVER[0],
    "silver.rejected-data-file": REJECTED,
    "rejected.manifests": REJECTED,
    "rejected.done": REJECTED,
    "silver.manifests": SILVER[0],
    "silver.done": SILVER[0],
    "gold.data-file": GOLD,
    "gold.manifests": GOLD,
    "gold.done": GOLD,
}
LAYERS = ("bronze", "silver", "gold")
FLAGS = ("--rows-per-commit", "150", "--takeover-after", "1s")


@pytest.fixture
def oracle(services: Services, seed: int) -> Iterator[Oracle]:
    """Two topics of 500 messages."""
    made = Oracle(services.kafka.brokers, seed)
    stem = f"i{uuid.uuid4().hex[:8]}.trades"
    topics = [made.create(f"{stem}.{exchange}", 2) for exchange in ("binance", "kraken")]
    for topic in topics:
        made.send(topic, 500)
    made.flush()
    yield made
    made.delete(topics)


@pytest.fixture(params=["local", pytest.param("rest", marks=pytest.mark.long)])
def lake(
    request: pytest.FixtureRequest, k2: Path, tmp_path: Path, services: Services, oracle: Oracle
) -> Iterator[Lake]:
    folder = tmp_path / "lake"
    made = Lake.rest(k2, folder, services) if request.param == "rest" else Lake.local(k2, folder, oracle.brokers)
    made.variables["K2_TOPICS"] = ",".join(oracle.partitions)
    yield made
    made.kill_all()


def interleave(lake: Lake, oracle: Oracle, step: str, passage: int, meanwhile: Callable[[], object]) -> None:
    """A run is stopped at the nth passage of the step; `meanwhile` happens; it goes on and ends well.

    The run has the step's layer alone: with the embedded catalog, another layer's thread could be stopped within its
    own commit, and hold the catalog's lock.
    """
    layer = LAYERS.index("silver" if step.startswith("rejected") else step.split(".")[0])
    for above in LAYERS[:layer]:
        lake.k2_run("run", "--until-caught-up", "--layer", above, *FLAGS)
    flags = ("--until-caught-up", "--layer", LAYERS[layer], *FLAGS)
    process = lake.begin("run", *flags, env={"K2_TEST_STOP_AT": f"{step}:{passage}"})
    wait_until(lambda: process.stopped() or process.code is not None, 40, process.said, every_s=0.02)
    assert process.code is None, f"{step}:{passage} was not passed\n{process.said()}"
    meanwhile()
    process.resume()
    assert process.wait(60) == 0, process.said()
    lake.run_kafka()
    oracle.check(lake)
    report = lake.run_kafka()
    assert [report[layer]["rows_in"] for layer in ("bronze", "silver", "gold")] == [0, 0, 0]


def in_short(*words: str) -> list[Any]:
    """All steps; those that do not end in one of these words only in the long run."""
    return [step if step.endswith(words) else pytest.param(step, marks=pytest.mark.long) for step in STEPS]


@pytest.mark.parametrize("passage", [pytest.param(1, marks=pytest.mark.long), 2])
@pytest.mark.parametrize("step", in_short("manifests", "done"))
def test_another_k2_does_all_the_work(lake: Lake, oracle: Oracle, step: str, passage: int) -> None:
    interleave(lake, oracle, step, passage, lambda: lake.run_kafka(*FLAGS))


@pytest.mark.parametrize("step", in_short("bronze.manifests", "gold.manifests"))
def test_another_k2_is_stopped_at_the_same_step(lake: Lake, oracle: Oracle, step: str) -> None:
    """Two zombies at once: the second goes on first."""

    def meanwhile() -> None:
        layer = "silver" if step.startswith("rejected") else step.split(".")[0]
        flags = ("--until-caught-up", "--layer", layer, *FLAGS)
        second = lake.begin("run", *flags, env={"K2_TEST_STOP_AT": f"{step}:1"})
        wait_until(lambda: second.stopped() or second.code is not None, 40, second.said, every_s=0.02)
        lake.run_kafka(*FLAGS)
        second.resume()
        assert second.wait(60) == 0, second.said()

    interleave(lake, oracle, step, 2, meanwhile)


def foreign_row(name: str, oracle: Oracle) -> Row:
    """A row of somebody else's."""
    stamp = BEGIN + timedelta(hours=1)
    of_theirs = {"topic": "theirs", "partition": 0, "kafka_timestamp": stamp, "ingestion_date": stamp.date()}
    of_theirs |= {"topic_id": None, "headers": None}
    if name == BRONZE:
        more = {"message_key": None, "avro_payload": b"?", "ingestion_timestamp": stamp}
        return of_theirs | more | {"offset": 1}
    if name == REJECTED:
        more = {"schema_id": None, "payload": b"?", "reason": "theirs", "detail": "", "rejected_at": stamp}
        return of_theirs | more | {"offset": 1}
    row = oracle.maker.trade("binance") | {"message_id": str(uuid.uuid4()), "source_sequence": None}
    oracle.foreign.append((name, row))
    row = row | {"exchange_date": row["timestamp"].date()}
    return row | {"exchange_hour": row["timestamp"].hour} if name == GOLD else row


def append(lake: Lake, name: str, oracle: Oracle) -> None:
    table = lake.table(name)
    columns = [field.name for field in table.schema().fields]
    row = foreign_row(name, oracle)
    table.append(pa.Table.from_pylist([{name: row[name] for name in columns}], schema=table.schema().as_arrow()))


@pytest.mark.parametrize("step", in_short("manifests"))
def test_pyiceberg_appends(lake: Lake, oracle: Oracle, step: str) -> None:
    interleave(lake, oracle, step, 2, lambda: append(lake, STEPS[step], oracle))


@pytest.mark.parametrize("exchange", ["binance", pytest.param("kraken", marks=pytest.mark.long)])
def test_pyiceberg_appends_trades_of_the_step_to_gold(lake: Lake, oracle: Oracle, exchange: str) -> None:
    """Between the plan of Gold's step and its swap: all that Silver has and Gold has not yet."""

    def meanwhile() -> None:
        gold = lake.table(GOLD)
        known = gold.scan(selected_fields=("message_id",)).to_arrow()["message_id"]
        rows = lake.table(SILVER[0 if exchange == "binance" else 1]).scan().to_arrow()
        rows = rows.filter(pc.invert(pc.is_in(rows["message_id"], known.combine_chunks())))
        chosen = {row: i for i, row in enumerate(rows["message_id"].to_pylist())}  # each once
        rows = rows.take(pa.array(sorted(chosen.values())))
        assert rows.num_rows > 0
        rows = rows.append_column("exchange_hour", pc.hour(rows["timestamp"]).cast(pa.int32()))
        gold.append(rows.select([field.name for field in gold.schema().fields]).cast(gold.schema().as_arrow()))

    interleave(lake, oracle, "gold.manifests", 2, meanwhile)


@pytest.mark.long
@pytest.mark.parametrize("step", STEPS)
def test_pyiceberg_expires_the_snapshots(lake: Lake, oracle: Oracle, step: str) -> None:
    """Of every table all but the newest; their files stay."""

    def meanwhile() -> None:
        for name in (BRONZE, REJECTED, *SILVER, GOLD):
            table = lake.table(name)
            kept = {ref.snapshot_id for ref in table.metadata.refs.values()}
            old = [one.snapshot_id for one in table.metadata.snapshots if one.snapshot_id not in kept]
            if old:
                table.maintenance.expire_snapshots().by_ids(old).commit()

    interleave(lake, oracle, step, 2, meanwhile)


@pytest.mark.long
@pytest.mark.parametrize("step", STEPS)
def test_spark_expires_the_snapshots(k2: Path, tmp_path: Path, oracle: Oracle, spark: Spark, step: str) -> None:
    """And deletes the files that only they named."""
    lake = Lake.local(k2, tmp_path / "lake", oracle.brokers)
    lake.variables["K2_TOPICS"] = ",".join(oracle.partitions)

    def meanwhile() -> None:
        for name in (BRONZE, REJECTED, *SILVER, GOLD):
            spark.sql(
                lake.folder,
                f"CALL iceberg.system.expire_snapshots(table => 'market_data.{name}', "
                "older_than => timestamp '2100-01-01 00:00:00', retain_last => 1)",
            )

    try:
        interleave(lake, oracle, step, 2, meanwhile)
    finally:
        lake.kill_all()
