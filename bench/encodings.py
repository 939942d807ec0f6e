"""What encodings that every reader has cost against delta encodings: encodings.py SCRATCH

A lake of a million trades is made; the files of each table are then written again with K2's encodings, and with delta
encodings for what steps, by the same Parquet library as K2's, in turn. Printed are bytes and CPU time as ratios.
"""

import argparse
import io
import shutil
import statistics
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from common import K2, row, run, simulate

ROUNDS = 5
STEPPING = {
    "bronze_trades": ("offset", "kafka_timestamp", "ingestion_timestamp", "ingestion_date"),
    "silver_binance_trades": ("trade_id", "timestamp", "source_sequence", "ingestion_timestamp", "exchange_date"),
    "gold_crypto_trades": ("trade_id", "timestamp", "source_sequence", "ingestion_timestamp", "exchange_date"),
}
TEXTS = ("trade_id",)  # of those, strings


def plain_columns(path: Path) -> list[str]:
    """Leaf columns that K2 has written without a dictionary."""
    group = pq.ParquetFile(path).metadata.row_group(0)
    columns = [group.column(i) for i in range(group.num_columns)]
    return [one.path_in_schema for one in columns if not any("DICTIONARY" in name for name in one.encodings)]


def written(rows: pa.Table, delta: tuple[str, ...], plain: list[str]) -> tuple[int, float]:
    """Bytes and CPU seconds of one file in memory."""
    encodings = {name: "DELTA_BYTE_ARRAY" if name in TEXTS else "DELTA_BINARY_PACKED" for name in delta}
    dictionary = [path for path in leaf_paths(rows) if path not in plain and path not in encodings]
    sink = io.BytesIO()
    started = time.process_time()
    pq.write_table(
        rows,
        sink,
        compression="zstd",
        compression_level=1,
        row_group_size=262_144,
        use_dictionary=dictionary,
        column_encoding=encodings or None,
    )
    return sink.tell(), time.process_time() - started


def leaf_paths(rows: pa.Table) -> list[str]:
    sink = io.BytesIO()
    pq.write_table(rows.slice(0, 0), sink)
    schema = pq.ParquetFile(sink).schema
    return [schema.column(i).path for i in range(len(schema))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scratch", type=Path)
    scratch = parser.parse_args().scratch
    recording = simulate("binance", 1_000_000, scratch / "encodings.txt")
    lake = scratch / "encodings-lake"
    shutil.rmtree(lake, ignore_errors=True)
    run([K2, "run", "--recording", f"binance={recording}", "--warehouse", lake])
    for table, delta in STEPPING.items():
        files = sorted((lake / "market_data" / table / "data").rglob("*.parquet"))
        own_bytes, delta_bytes, ratios = 0, 0, []
        for path in files:
            rows = pq.ParquetFile(path).read()
            plain = plain_columns(path)
            turns = [(written(rows, (), plain), written(rows, delta, plain)) for _ in range(ROUNDS)]
            own_bytes += turns[0][0][0]
            delta_bytes += turns[0][1][0]
            ratios += [own[1] / other[1] for own, other in turns]
        row(
            table,
            rows=sum(pq.read_metadata(path).num_rows for path in files),
            bytes_against_delta=f"{own_bytes / delta_bytes:.3f}",
            cpu_against_delta=f"{statistics.median(ratios):.2f}",
        )


if __name__ == "__main__":
    main()
