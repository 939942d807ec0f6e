"""Messages of real shape for Kafka: made once by the simulator and K2's own encoder, kept as an Arrow file, and sent as
fast as the broker takes them or at a rate. A program of its own when the feed is live.

Usage: kafka_feed.py BROKERS PREFIX RATE POOL… [--messages N] [--skip N] [--consume]   (RATE 0: as fast as possible)
With --consume, pools that are not there yet are waited for, and each is removed when it is sent."""

import argparse
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from common import K2, run
from confluent_kafka import Producer
from pyiceberg.catalog.sql import SqlCatalog

EXCHANGES = ("binance", "kraken")
KRAKEN_SHARE = 0.25
_SLICE = 1000  # messages that go out side by side from both exchanges
_SCHEMA = pa.schema([("exchange", pa.string()), ("key", pa.binary()), ("payload", pa.binary())])


def plain_environment() -> dict[str, str]:
    """This process's variables without those that point k2 at services."""
    return {name: value for name, value in os.environ.items() if not name.startswith("K2_")}


def pool(scratch: Path, messages: int, first_id: int = 1_000_000, start: str = "2024-01-02T00:00:00Z") -> Path:
    """An Arrow file of at least that many V3 messages: three of Binance for one of Kraken, in order of time, 0.2 % of
    them sent again. Other first ids give other trades. It is made once: a larger one that is there serves too."""
    scratch.mkdir(parents=True, exist_ok=True)
    for path in sorted(scratch.glob(f"pool-{first_id}-*.arrow")):
        if int(path.stem.split("-")[2]) >= messages:
            return path
    path = scratch / f"pool-{first_id}-{messages}.arrow"
    folder = scratch / f"making-{path.stem}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    counts = {"kraken": int(messages * KRAKEN_SHARE)}
    counts["binance"] = messages - counts["kraken"]
    streams = {}
    for exchange in EXCHANGES:
        recording = folder / f"{exchange}.txt"
        flags = {
            "trades": counts[exchange],
            "first-id": first_id,
            "start": start,
            "trades-per-second": max(20_000 * counts[exchange] // messages, 1),
            "malformed-ppm": 0,
            "other-ppm": 0,
        }
        words = [word for name, value in flags.items() for word in (f"--{name}", str(value))]
        run([K2, "simulate", "--exchange", exchange, "--out", recording, *words], plain_environment())
        bronze = ["--layer", "bronze", "--recording", f"{exchange}={recording}"]
        run([K2, "run", "--warehouse", folder / exchange, *bronze], plain_environment())
        recording.unlink()
        take = int(_SLICE * (KRAKEN_SHARE if exchange == "kraken" else 1 - KRAKEN_SHARE))
        streams[exchange] = _slices(folder / exchange, exchange, take)
    part = path.with_suffix(".part")
    with pa.ipc.new_file(part, _SCHEMA) as out:
        while streams:
            for exchange in list(streams):
                batch = next(streams[exchange], None)
                if batch is None:
                    del streams[exchange]
                else:
                    out.write_batch(batch)
    shutil.rmtree(folder)
    part.rename(path)
    return path


def _slices(warehouse: Path, exchange: str, rows: int) -> Iterator[pa.RecordBatch]:
    """Keys and payloads of a local Bronze table of one recording, in its order."""
    table = SqlCatalog("iceberg", uri=f"sqlite:///{warehouse}/catalog.db").load_table("market_data.bronze_trades")
    paths = [str(path) for path in table.inspect.files()["file_path"].to_pylist()]
    columns = ["offset", "message_key", "avro_payload"]
    files = [pq.ParquetFile(path.removeprefix("file://"), memory_map=True) for path in paths]
    files.sort(key=lambda file: next(file.iter_batches(1, columns=["offset"]))["offset"][0].as_py())
    for file in files:
        for batch in file.iter_batches(rows, columns=columns):
            names = pa.repeat(exchange, batch.num_rows)
            keys, payloads = batch["message_key"].cast(pa.binary()), batch["avro_payload"].cast(pa.binary())
            yield pa.RecordBatch.from_arrays([names, keys, payloads], schema=_SCHEMA)


def send(
    brokers: str,
    prefix: str,
    pools: Sequence[Path],
    rate: float = 0,
    messages: int = 1 << 62,
    skip: int = 0,
    consume: bool = False,
) -> tuple[int, float]:
    """Sends messages of the pools to PREFIX.binance and PREFIX.kraken: how many were acknowledged, in how many
    seconds. The producer is idempotent and waits for all replicas. Each message's timestamp is when it is sent."""
    failures: list[str] = []

    def delivered(error: object, _: object) -> None:
        failures.append(str(error))

    producer = Producer(
        {
            "bootstrap.servers": brokers,
            "enable.idempotence": True,
            "acks": "all",
            "compression.type": "lz4",
            "linger.ms": 5,
            "partitioner": "murmur2_random",
            "queue.buffering.max.messages": 500_000,
            "delivery.report.only.error": True,
            "error_cb": lambda _: None,
            "log_level": 0,
        }
    )
    sent = 0
    started = time.monotonic()
    for path in pools:
        while consume and not path.exists():
            time.sleep(0.01)
        with pa.memory_map(str(path)) as source:
            reader = pa.ipc.open_file(source)
            for index in range(reader.num_record_batches):
                batch = reader.get_batch(index)
                if skip >= batch.num_rows:
                    skip -= batch.num_rows
                    continue
                batch = batch.slice(skip, messages - sent)
                skip = 0
                topic = f"{prefix}.{batch['exchange'][0].as_py()}"
                for key, payload in zip(batch["key"].to_pylist(), batch["payload"].to_pylist(), strict=True):
                    _produce(producer, topic, payload, key, delivered)
                    sent += 1
                    if rate and sent % 100 == 0:
                        wait = started + sent / rate - time.monotonic()
                        if wait > 0.002:
                            time.sleep(wait)
                producer.poll(0)
                if sent >= messages:
                    break
        if consume:
            path.unlink()
        if sent >= messages:
            break
    left = producer.flush(60)
    if left or failures:
        raise SystemExit(f"{left + len(failures)} of {sent} messages were not acknowledged: {failures[:1]}")
    return sent, time.monotonic() - started


def _produce(producer: Producer, topic: str, payload: bytes, key: bytes, delivered: object) -> None:
    while True:
        try:
            producer.produce(topic, payload, key, on_delivery=delivered)
            return
        except BufferError:
            producer.poll(0.05)


def main() -> None:
    parser = argparse.ArgumentParser(description="Sends messages of pools to Kafka at a rate.")
    parser.add_argument("brokers")
    parser.add_argument("prefix")
    parser.add_argument("rate", type=float)
    parser.add_argument("pools", type=Path, nargs="+")
    parser.add_argument("--messages", type=int, default=1 << 62)
    parser.add_argument("--skip", type=int, default=0)
    parser.add_argument("--consume", action="store_true")
    flags = parser.parse_args()
    sent, seconds = send(
        flags.brokers, flags.prefix, flags.pools, flags.rate, flags.messages, flags.skip, flags.consume
    )
    print(f"{sent} {seconds:.3f}")


if __name__ == "__main__":
    main()
