"""The route that users glue together in Python, on Kafka's topics: confluent-kafka and PyIceberg for Bronze, fastavro
for Silver, DuckDB for Gold. Tables in PyIceberg's SQLite catalog on local disk.

Usage: kafka_python.py BROKERS FOLDER TOPICS; prints the seconds of each layer as JSON."""

import io
import json
import shutil
import sys
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import duckdb
import fastavro
import pyarrow as pa
import pyarrow.compute as pc
from common import own_peak_mb
from confluent_kafka import Consumer, Message, TopicPartition
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.table import Table
from python_route import TRADE_ID, arrow_schema, own_schemas

STEP = 100_000
PROPERTIES = {"write.parquet.compression-codec": "zstd", "write.parquet.compression-level": "1"}


def bronze_schema() -> pa.Schema:
    """Bronze's columns."""
    time_type = pa.timestamp("us", tz="UTC")
    return pa.schema(
        [
            ("message_key", pa.binary()),
            ("avro_payload", pa.binary()),
            ("topic", pa.string()),
            ("partition", pa.int32()),
            ("offset", pa.int64()),
            ("kafka_timestamp", time_type),
            ("ingestion_timestamp", time_type),
            ("ingestion_date", pa.date32()),
        ]
    )


def to_batch(messages: list[Message]) -> pa.Table:
    """Bronze's rows of messages."""
    rows = len(messages)
    now = datetime.now(timezone.utc)
    times = pa.array([message.timestamp()[1] for message in messages], pa.timestamp("ms", tz="UTC"))
    return pa.table(
        [
            [message.key() for message in messages],
            [message.value() for message in messages],
            [message.topic() for message in messages],
            [message.partition() for message in messages],
            [message.offset() for message in messages],
            pc.cast(times, pa.timestamp("us", tz="UTC")),
            pa.repeat(pa.scalar(now, pa.timestamp("us", tz="UTC")), rows),
            pa.repeat(pa.scalar(now.date(), pa.date32()), rows),
        ],
        schema=bronze_schema(),
    )


def bronze(brokers: str, topics: list[str], table: Table) -> int:
    """All messages that are in the topics now."""
    consumer = Consumer(
        {
            "bootstrap.servers": brokers,
            "group.id": "bench-python",
            "enable.auto.commit": False,
            "fetch.queue.backoff.ms": 5,
            "queued.max.messages.kbytes": 262_144,
        }
    )
    ends: dict[TopicPartition, int] = {}
    known = consumer.list_topics(timeout=10).topics
    for topic in topics:
        for partition in known[topic].partitions:
            at = TopicPartition(topic, partition, 0)
            ends[at] = consumer.get_watermark_offsets(at, timeout=10)[1]
    consumer.assign([at for at, end in ends.items() if end])
    left = sum(ends.values())
    total = left
    waiting: list[Message] = []
    while left:
        got = consumer.consume(10_000, timeout=0.5)
        for message in got:
            if message.error():
                raise SystemExit(f"{message.error()}")
        waiting += got
        left -= len(got)
        if len(waiting) >= STEP or not left:
            table.append(to_batch(waiting))
            waiting = []
    consumer.close()
    return total


def silver(source: Table, catalog: SqlCatalog) -> Table:
    """Decodes Bronze's messages one by one, keeps the valid trades."""
    schema = fastavro.parse_schema(own_schemas()[TRADE_ID])
    target = catalog.create_table("market_data.silver", schema=arrow_schema(), properties=PROPERTIES)
    for batch in pa.Table.from_batches(
        source.scan(selected_fields=("avro_payload",)).to_arrow_batch_reader()
    ).to_batches(max_chunksize=STEP):
        rows: list[dict[str, Any]] = []
        for message in batch["avro_payload"].to_pylist():
            if message[:5] != b"\0" + TRADE_ID.to_bytes(4, "big"):
                continue
            trade: dict[str, Any] = fastavro.schemaless_reader(io.BytesIO(message[5:]), schema, None)  # type: ignore
            if trade["price"] > 0 and trade["quantity"] > 0 and trade["side"] in ("BUY", "SELL"):
                trade["vendor_data"] = list(trade["vendor_data"].items())
                rows.append(trade)
        target.append(pa.Table.from_pylist(rows, schema=arrow_schema()))
    return target


def gold(source: Table, catalog: SqlCatalog) -> int:
    """Each message_id once. The tables begin empty, so that there is nothing older to compare with."""
    trades = source.scan().to_arrow()  # noqa: F841 (DuckDB finds it by its name)
    once = duckdb.sql(
        "SELECT *, timestamp::date AS exchange_date, hour(timestamp)::int AS exchange_hour FROM trades "
        "QUALIFY row_number() OVER (PARTITION BY message_id ORDER BY ingestion_timestamp) = 1"
    ).to_arrow_table()
    catalog.create_table("market_data.gold", schema=once.schema, properties=PROPERTIES).append(once)
    return once.num_rows


def main() -> None:
    brokers, folder, topics = sys.argv[1], Path(sys.argv[2]), sys.argv[3].split(",")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    catalog = SqlCatalog("iceberg", uri=f"sqlite:///{folder}/catalog.db", warehouse=f"file://{folder}")
    catalog.create_namespace("market_data")
    raw = catalog.create_table("market_data.bronze", schema=bronze_schema(), properties=PROPERTIES)
    took: dict[str, float] = {}
    started = time.monotonic()
    took["messages"] = bronze(brokers, topics, raw)
    took["bronze"] = time.monotonic() - started
    started = time.monotonic()
    trades = silver(raw, catalog)
    took["silver"] = time.monotonic() - started
    started = time.monotonic()
    took["gold_rows"] = gold(trades, catalog)
    took["gold"] = time.monotonic() - started
    took["peak_mb"] = own_peak_mb()
    print(json.dumps(took))


if __name__ == "__main__":
    main()
