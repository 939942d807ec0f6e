"""Price and volume of a recording, minute by minute, as an SVG: k2.native reads the frames, polars or DuckDB sums up.

    PYTHONPATH=python/src:build/release/python python python/examples/plot_trades.py RECORDING OUT.svg [EXCHANGE]

A recording is a file of lines `<receive time in ns> <frame>`, plain, .gz or .zst: `k2 simulate` makes one.
"""

from __future__ import annotations

import gzip
import io
import sys
from collections.abc import Sequence
from pathlib import Path

import duckdb
import polars as pl

from k2 import native

WIDTH, HEIGHT, EDGE = 900, 420, 60
INK, LINE, FILL = "#333", "#1f6feb", "#9ec1f7"


def lines_of(path: Path) -> list[bytes]:
    data = path.read_bytes()
    if path.suffix == ".gz":
        data = gzip.decompress(data)
    elif path.suffix == ".zst":
        import zstandard

        data = zstandard.ZstdDecompressor().stream_reader(io.BytesIO(data), read_across_frames=True).read()
    return [line for line in data.split(b"\n") if line]


def trades_of(exchange: str, path: Path) -> native.Normalised:
    split = [line.partition(b" ") for line in lines_of(path)]
    received = pl.DataFrame({"received": [int(stamp) // 1000 for stamp, _, _ in split]})
    return native.normalise(exchange, [frame for _, _, frame in split], received)


def path_of(values: Sequence[float], top: float, height: float, closed: bool = False) -> str:
    low, high = (0.0 if closed else min(values)), max(values)
    step = (WIDTH - 2 * EDGE) / max(1, len(values) - 1)
    scale = height / ((high - low) or 1.0)
    points = [f"{EDGE + at * step:.1f},{top + height - (value - low) * scale:.1f}" for at, value in enumerate(values)]
    if closed:
        points = [f"{EDGE},{top + height}", *points, f"{WIDTH - EDGE},{top + height}"]
    return "M" + " L".join(points) + (" Z" if closed else "")


def text(x: float, y: float, words: str, anchor: str = "start") -> str:
    return f'<text x="{x}" y="{y}" fill="{INK}" font-size="13" text-anchor="{anchor}">{words}</text>'


def draw(symbol: str, minutes: pl.DataFrame) -> str:
    close = [float(value) for value in minutes["close"]]
    volume = [float(value) for value in minutes["volume"]]
    first, last = minutes["minute"][0], minutes["minute"][-1]
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        f'<path d="{path_of(volume, 290, 80, closed=True)}" fill="{FILL}"/>',
        f'<path d="{path_of(close, 50, 220)}" fill="none" stroke="{LINE}" stroke-width="1.5"/>',
        text(EDGE, 30, f"{symbol}: {min(close):,.2f} to {max(close):,.2f}"),
        text(EDGE, 285, f"volume a minute, at most {max(volume):,.3f}"),
        text(EDGE, HEIGHT - 20, f"{first:%Y-%m-%d %H:%M} UTC"),
        text(WIDTH - EDGE, HEIGHT - 20, f"{last:%Y-%m-%d %H:%M} UTC", "end"),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def main(recording: str, out: str, exchange: str = "binance") -> None:
    done = trades_of(exchange, Path(recording))
    if len(done.trades) == 0:
        raise SystemExit(f"{recording} holds no trades of {exchange}: {len(done.rejects)} frames were rejected")
    trades = pl.DataFrame(done.trades)
    symbol = trades["symbol"].value_counts(sort=True)["symbol"][0]
    minutes = duckdb.sql(
        f"""SELECT time_bucket(INTERVAL '1 minute', timestamp) AS minute, max_by(price, timestamp) AS close,
                   sum(quantity) AS volume
            FROM trades WHERE symbol = '{symbol}' GROUP BY 1 ORDER BY 1"""
    ).pl()
    Path(out).write_text(draw(symbol, minutes), encoding="utf-8")
    print(f"{len(trades):,} trades, {len(done.rejects)} rejected; {symbol} over {len(minutes)} minutes: {out}")


if __name__ == "__main__":
    main(*sys.argv[1:])
