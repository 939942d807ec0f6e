"""From a message's Kafka timestamp to being seen in each layer by another process, which polls with PyIceberg.

A producer sends at a rate, `k2 run --kafka` runs with default settings on a REST catalog and S3, and this process asks
the catalog for new snapshots and reads the files they added. A message's latency is the time at which this process has
read its row, less its Kafka timestamp (of the first, where one trade was sent twice): Silver and Gold are joined with
Bronze by message_id afterwards. The run goes on until all is seen, so that no slow message is left out.

Usage: kafka_latency.py SCRATCH [RATE…] [--seconds 40] [--layers bronze,silver,gold] [--quick]"""

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from common import row
from kafka_feed import pool
from kafka_stack import LAYER_TABLES, NAMESPACE, Bench, Watched, bench, flags, lag
from pyiceberg.exceptions import NoSuchTableError
from pyiceberg.io.pyarrow import PyArrowFileIO
from pyiceberg.table import Table

# Left out at the begin: k2 connects, makes its tables and meets its first files.
WARM_UP_S = 5.0
# A message's id in its payload: header of five bytes, length of the string, 36 characters.
_ID_BEGIN, _ID_END = 6, 42


@dataclass
class Seen:
    """What was read of one table: rows by the time at which they were."""

    layer: str
    name: str
    table: Table | None = None
    snapshot: int | None = None
    manifests: set[str] = field(default_factory=set)
    files: set[str] = field(default_factory=set)
    batches: list[tuple[float, pa.Table]] = field(default_factory=list)
    polls: int = 0
    poll_s: float = 0


def poll(bench: Bench, seen: Seen) -> bool:
    """Looks once for new files and reads them; whether there were any."""
    started = time.monotonic()
    try:
        if seen.table is None:
            seen.table = bench.catalog().load_table(f"{NAMESPACE}.{seen.name}")
        else:
            seen.table.refresh()
    except NoSuchTableError:  # the run that has just begun makes it
        return False
    seen.polls += 1
    snapshot = seen.table.current_snapshot()
    found = False
    if snapshot is not None and snapshot.snapshot_id != seen.snapshot:
        for manifest in snapshot.manifests(seen.table.io):
            if manifest.manifest_path in seen.manifests:
                continue
            for entry in manifest.fetch_manifest_entry(seen.table.io):
                if entry.data_file.file_path not in seen.files:
                    found = True
                    seen.files.add(entry.data_file.file_path)
                    seen.batches.append(read(seen, entry.data_file.file_path))
            seen.manifests.add(manifest.manifest_path)
        seen.snapshot = snapshot.snapshot_id
    seen.poll_s += time.monotonic() - started
    return found


def read(seen: Seen, path: str) -> tuple[float, pa.Table]:
    """The rows of a file, by what says which message they are, and the time at which they were read."""
    assert seen.table is not None
    columns = ["kafka_timestamp", "avro_payload"] if seen.layer == "bronze" else ["message_id"]
    io = seen.table.io
    assert isinstance(io, PyArrowFileIO)
    with io.new_input(path).open(seekable=True) as file:
        rows = pq.read_table(pa.PythonFile(file, mode="r"), columns=columns)
    return time.time(), rows


def latencies(seen: Seen, sent: pa.Table, begin: float) -> pa.Array:
    """Milliseconds, sorted, of all messages that were sent after `begin`. `sent`: message_id, at_ms."""
    parts = []
    for at, rows in seen.batches:
        if seen.layer == "bronze":
            times = pc.cast(rows["kafka_timestamp"], pa.int64())
            part = pa.table({"at_ms": pc.divide(times, 1000)})
        else:
            part = pa.table({"message_id": rows["message_id"].cast(pa.string())}).join(
                sent, "message_id", join_type="inner"
            )
            assert part.num_rows == rows.num_rows, f"{seen.name}: rows that are not in bronze"
        times = part["at_ms"].filter(pc.greater(part["at_ms"], int(begin * 1e3)))
        parts.append(pc.subtract(pa.scalar(int(at * 1e3)), times.combine_chunks()))
    values = pa.concat_arrays(parts)
    return values.take(pc.sort_indices(values))


def sent_times(seen: Seen) -> pa.Table:
    """From Bronze: message_id, and the Kafka timestamp of its first message in milliseconds."""
    parts = []
    for _, rows in seen.batches:
        ids = pc.binary_slice(rows["avro_payload"].cast(pa.binary()), _ID_BEGIN, _ID_END).cast(pa.string())
        times = pc.divide(pc.cast(rows["kafka_timestamp"], pa.int64()), 1000)
        parts.append(pa.table({"message_id": ids, "at_ms": times}))
    once = pa.concat_tables(parts).group_by("message_id").aggregate([("at_ms", "min")])
    return once.rename_columns(["message_id", "at_ms"])


def follow(bench: Bench, all_seen: list[Seen], topics: list[str], feed: Watched, k2: Watched, limit_s: float) -> None:
    """Polls each table in a thread until the feed has ended and all of its messages are seen."""
    state = {"ended": False, "until": time.monotonic() + limit_s}

    def one(seen: Seen) -> None:
        while True:
            found = poll(bench, seen)
            if time.monotonic() > state["until"]:
                return
            if not found and state["ended"] and seen.table is not None:
                mine = [topic for topic in topics if "silver" not in seen.name or topic.split(".")[-1] in seen.name]
                if lag(seen.table, bench.watermarks(mine)) == 0:
                    return
            time.sleep(0.01 if found else 0.03)

    with ThreadPoolExecutor(len(all_seen)) as threads:
        running = [threads.submit(one, seen) for seen in all_seen]
        while not feed.ended() and time.monotonic() < state["until"]:
            time.sleep(0.1)
            k2.alive()
        state["ended"] = True
        state["until"] = min(state["until"], time.monotonic() + 20)
        for each in running:
            each.result()


def measure(bench: Bench, messages: Path, rate: float, seconds: float, layers: list[str]) -> None:
    """One live run at a rate, and its latencies by layer."""
    prefix = f"bench.live{rate:.0f}.trades"
    topics = bench.topics(prefix)
    bench.fresh_tables()
    cpu = time.process_time()
    k2 = bench.run_k2(topics)
    begin = time.time() + WARM_UP_S
    feed = bench.feed(prefix, rate, [messages], "--messages", str(int(rate * (seconds + WARM_UP_S))))
    # Bronze is read always: its rows say when each message was sent.
    wanted = [layer for layer in LAYER_TABLES if layer in layers or layer == "bronze"]
    all_seen = [Seen(layer, name) for layer in wanted for name in LAYER_TABLES[layer]]
    follow(bench, all_seen, topics, feed, k2, seconds + WARM_UP_S + 40)
    cpu = time.process_time() - cpu
    fed = feed.finish(60)
    done = k2.stop()
    sent, took = (float(word) for word in fed.out.split())
    times = sent_times(all_seen[0])
    row(
        f"live, {rate:.0f} messages a second",
        sent=int(sent),
        sent_per_second=int(sent / took),
        k2_cpu=round(done.cpu_s / done.wall_s, 2),
        k2_peak_mb=int(done.peak_mb),
        feed_cpu=round(fed.cpu_s / fed.wall_s, 2),
        poller_cpu=round(cpu / done.wall_s, 2),
        poll_ms=round(1e3 * sum(seen.poll_s for seen in all_seen) / max(sum(seen.polls for seen in all_seen), 1)),
    )
    for layer in wanted:
        mine = [seen for seen in all_seen if seen.layer == layer]
        values = pa.concat_arrays([latencies(seen, times, begin) for seen in mine])
        values = values.take(pc.sort_indices(values))
        rows = sum(batch.num_rows for seen in mine for _, batch in seen.batches)
        expected = int(sent) if layer != "gold" else times.num_rows
        count = len(values)
        row(
            f"  Kafka timestamp to seen in {layer}",
            rows=count,
            unseen=expected - rows,
            p50_ms=values[count // 2].as_py(),
            p99_ms=values[int(count * 0.99)].as_py(),
            max_ms=values[count - 1].as_py(),
        )


def main() -> None:
    parser = flags("Kafka timestamp to visible, by layer")
    parser.add_argument("rates", type=float, nargs="*", default=[20_000, 50_000])
    parser.add_argument("--seconds", type=float, default=40, help="measured, after a warm-up")
    parser.add_argument("--layers", default="bronze,silver,gold", help="to poll; fewer take less of the machine")
    given = parser.parse_args()
    if given.quick:
        given.rates, given.seconds = [min(rate, 5000) for rate in given.rates[:1]], min(given.seconds, 10)
    messages = pool(given.scratch, int(max(given.rates) * (given.seconds + WARM_UP_S)) + 1000)
    with bench(given.scratch, given.seaweed_catalog) as servers:
        for rate in given.rates:
            measure(servers, messages, rate, given.seconds, given.layers.split(","))


if __name__ == "__main__":
    main()
