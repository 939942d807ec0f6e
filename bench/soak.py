"""A long run: a live producer and `k2 run --kafka` at a steady rate. Every five seconds memory, lag, rates and file
sizes go to SCRATCH/soak.csv; at the end the chart is drawn from it.

New trades are made minute by minute beside the run, at low priority: they are part of the load on the machine.

Usage: soak.py SCRATCH [--minutes 20] [--rate 100000] [--svg bench/soak.svg] [--quick]"""

import csv
import multiprocessing
import os
import shutil
import sys
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path

from chart import Panel, Series, draw
from common import row
from kafka_feed import pool
from kafka_stack import LAYER_TABLES, NAMESPACE, Bench, Watched, bench, cpu_seconds, flags, lag, memory_mb
from pyiceberg.exceptions import NoSuchTableError
from pyiceberg.table import Table

# Disk for a message: in all three layers, and in the topics for as long as they are kept.
_TABLE_BYTES, _TOPIC_BYTES = 160, 120
_KEPT_S = 300
_FIRST_ID, _NEXT_ID = 10_000_000_000, 100_000_000
Sample = dict[str, float]


def pieces(folder: Path, rate: float, seconds: float) -> list[tuple[Path, int, int, str]]:
    """The feed's pools, a minute each: path, messages, first id, begin."""
    made = []
    begin = datetime(2024, 1, 2, tzinfo=timezone.utc)
    for index in range(int((seconds + 59) // 60)):
        messages, first_id = int(rate * min(60, seconds - 60 * index)), _FIRST_ID + index * _NEXT_ID
        start = f"{begin + timedelta(minutes=index):%Y-%m-%dT%H:%M:%SZ}"
        made.append((folder / f"pool-{first_id}-{messages}.arrow", messages, first_id, start))
    return made


def make(folder: Path, rate: float, seconds: float) -> None:
    """Makes them, two ahead of the feed, which removes them."""
    os.nice(10)
    sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    for _, messages, first_id, start in pieces(folder, rate, seconds):
        while len(list(folder.glob("pool-*.arrow"))) >= 2:
            time.sleep(0.2)
        pool(folder, messages, first_id, start)


class Tables:
    """What the samples ask of the tables."""

    def __init__(self, bench: Bench) -> None:
        self.catalog = bench.catalog()
        self.tables: dict[str, Table] = {}
        self.last: dict[str, int] = {}

    def ready(self) -> bool:
        try:
            for layer, names in LAYER_TABLES.items():
                self.tables[layer] = self.catalog.load_table(f"{NAMESPACE}.{names[0]}")
        except NoSuchTableError:
            return False
        return True

    def files(self, layer: str) -> tuple[int, float]:
        """Files that the layer's (first) table got since the last sample, and their mean size in MB."""
        table = self.tables[layer]
        count = size = 0
        snapshots = [s for s in table.metadata.snapshots if (s.sequence_number or 0) > self.last.get(layer, 0)]
        for snapshot in snapshots:
            if snapshot.summary is not None:
                count += int(snapshot.summary.additional_properties.get("added-data-files", 0))
                size += int(snapshot.summary.additional_properties.get("added-files-size", 0))
        self.last[layer] = max([self.last.get(layer, 0), *(s.sequence_number or 0 for s in snapshots)])
        return count, size / 1e6 / count if count else 0.0


def sample(bench: Bench, topics: list[str], tables: Tables, k2: Watched, before: Sample, started: float) -> Sample:
    """One row of the CSV; rates since the row before."""
    ends = bench.watermarks(topics)
    for table in tables.tables.values():
        table.refresh()
    now = time.monotonic() - started
    span = max(now - before.get("seconds", 0), 0.1)
    taken: Sample = {"seconds": round(now, 1), "rss_mb": round(memory_mb(k2.pid, "VmRSS"), 1)}
    taken["k2_cpu_s"] = round(cpu_seconds([k2.pid]), 2)
    taken["k2_cores"] = round((taken["k2_cpu_s"] - before.get("k2_cpu_s", 0)) / span, 2)
    taken["produced"] = sum(ends.values())
    taken["produced_per_second"] = round((taken["produced"] - before.get("produced", 0)) / span)
    for layer in ("bronze", "gold"):
        taken[f"{layer}_lag"] = lag(tables.tables[layer], ends)
    taken["in_gold"] = taken["produced"] - taken["gold_lag"]
    taken["gold_per_second"] = round((taken["in_gold"] - before.get("in_gold", 0)) / span)
    for layer in LAYER_TABLES:
        count, size = tables.files(layer)
        taken[f"{layer}_files"], taken[f"{layer}_file_mb"] = count, round(size, 3)
    return taken


def soak(bench: Bench, rate: float, seconds: float, every_s: float, csv_path: Path) -> tuple[list[Sample], float]:
    """The run, and its samples; peak memory in MB."""
    keep = {"retention.ms": str(_KEPT_S * 1000), "segment.bytes": str(64 << 20), "segment.ms": "60000"}
    topics = bench.topics("bench.soak.trades", **keep)
    bench.fresh_tables()
    folder = bench.scratch / "soak"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.rmtree(folder, ignore_errors=True)  # of a run that was killed
    folder.mkdir()
    maker = multiprocessing.get_context("spawn").Process(target=make, args=(folder, rate, seconds), daemon=True)
    maker.start()
    paths = [path for path, *_ in pieces(folder, rate, seconds)]
    while not paths[0].exists():
        if not maker.is_alive():
            raise SystemExit("the maker of messages has ended")
        time.sleep(0.1)
    k2 = bench.run_k2(topics)
    feed = bench.feed("bench.soak.trades", rate, paths, "--messages", str(int(rate * seconds)), "--consume")
    tables = Tables(bench)
    while not tables.ready():
        k2.alive()
        time.sleep(0.1)
    started = time.monotonic()
    samples: list[Sample] = []
    with csv_path.open("w", newline="") as out:
        writer = None
        while True:
            samples.append(sample(bench, topics, tables, k2, samples[-1] if samples else {}, started))
            if writer is None:
                writer = csv.DictWriter(out, list(samples[0]))
                writer.writeheader()
            writer.writerow(samples[-1])
            out.flush()
            k2.alive()
            if feed.ended() or time.monotonic() - started > seconds * 2 + 60:
                break
            time.sleep(max(0.0, started + len(samples) * every_s - time.monotonic()))
    fed = feed.finish(60)
    sent = int(fed.out.split()[0])
    done = settle(bench, topics, tables, k2, samples[-1])
    row(
        "sent", messages=sent, messages_per_second=int(sent / float(fed.out.split()[1])), feed_cpu_s=round(fed.cpu_s, 1)
    )
    shutil.rmtree(folder, ignore_errors=True)
    return samples, done


def settle(bench: Bench, topics: list[str], tables: Tables, k2: Watched, last: Sample) -> float:
    """After the feed: Gold reaches the end; then k2 is stopped. Its peak memory in MB."""
    began = time.monotonic()
    while lag(tables.tables["gold"].refresh(), bench.watermarks(topics)):
        k2.alive()
        if time.monotonic() - began > 120:
            raise SystemExit("gold has not reached the end within 120 s of the last message")
        time.sleep(0.1)
    done = k2.stop()
    row(
        "end", behind=int(last["gold_lag"]), settled_s=round(time.monotonic() - began, 1), k2_cpu_s=round(done.cpu_s, 1)
    )
    return done.peak_mb


def third(samples: list[Sample], name: str, number: int) -> float:
    """The mean over one third of the run, without its first samples."""
    rest = samples[min(4, len(samples) // 4) :]
    part = rest[len(rest) * number // 3 : max(len(rest) * (number + 1) // 3, len(rest) * number // 3 + 1)] or rest
    return sum(each[name] for each in part) / len(part)


def tell(samples: list[Sample], peak_mb: float) -> None:
    """Whether things are flat: means of the first, the middle and the last third."""
    for name in ("rss_mb", "bronze_lag", "gold_lag", "produced_per_second", "gold_per_second", "k2_cores"):
        thirds = [third(samples, name, number) for number in range(3)]
        text = [f"{value:.2f}" if value < 10 else f"{value:.0f}" for value in thirds]
        row(
            f"  {name}",
            first=text[0],
            middle=text[1],
            last=text[2],
            max=max(each[name] for each in samples[2:] or samples),
        )
    for layer in LAYER_TABLES:
        files = sum(each[f"{layer}_files"] for each in samples)
        mb = sum(each[f"{layer}_files"] * each[f"{layer}_file_mb"] for each in samples)
        row(f"  {layer} files", files=int(files), mean_mb=round(mb / max(files, 1), 2))
    row("  peak memory", mb=int(peak_mb))


def chart(path: Path, samples: list[Sample], rate: float) -> None:
    def line(label: str, name: str, unit: float = 1) -> Series:
        return Series(label, [each[name] / unit for each in samples[1:]])

    panels = [
        Panel("k2: resident memory, MB", [line("memory", "rss_mb")]),
        Panel("lag, seconds of the feed", [line("bronze", "bronze_lag", rate), line("gold", "gold_lag", rate)]),
        Panel(
            "thousand messages a second",
            [line("in gold", "gold_per_second", 1e3), line("produced", "produced_per_second", 1e3)],
        ),
        Panel("mean size of new files, MB", [line(layer, f"{layer}_file_mb") for layer in LAYER_TABLES]),
    ]
    title = f"k2 run --kafka at {rate:,.0f} messages a second, servers and producer on the same machine"
    draw(path, title, [each["seconds"] for each in samples[1:]], panels)


def main() -> None:
    parser = flags("A long run at a steady rate")
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--rate", type=float, default=100_000)
    parser.add_argument("--every", type=float, default=5, help="seconds between samples")
    parser.add_argument("--svg", type=Path, default=Path(__file__).with_name("soak.svg"))
    given = parser.parse_args()
    if given.quick:
        given.minutes, given.rate, given.every = min(given.minutes, 1), min(given.rate, 5000), 1
        given.svg = given.scratch / "soak.svg"
    seconds = given.minutes * 60
    bytes_needed = given.rate * (seconds * _TABLE_BYTES + min(seconds, _KEPT_S + 120) * _TOPIC_BYTES + 180 * 350)
    given.scratch.mkdir(parents=True, exist_ok=True)
    if shutil.disk_usage(given.scratch).free < bytes_needed * 1.3:
        sys.exit(f"{given.scratch}: needs {bytes_needed * 1.3 / 1e9:.0f} GB free")
    with bench(given.scratch, given.seaweed_catalog) as servers:
        samples, peak_mb = soak(servers, given.rate, seconds, given.every, given.scratch / "soak.csv")
    tell(samples, peak_mb)
    chart(given.svg, samples, given.rate)


if __name__ == "__main__":
    main()
