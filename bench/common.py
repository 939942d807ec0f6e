"""What the benchmarks share: running k2, finding its program, printing figures as rows of a table."""

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BIN = ROOT / "build" / "release" / "bin"
K2 = Path(os.environ.get("K2_PROGRAM", BIN / "k2"))


@dataclass
class Finished:
    """One finished process: wall and CPU seconds, peak resident memory in MB, standard output."""

    wall_s: float
    cpu_s: float
    peak_mb: float
    out: str


def run(arguments: Sequence[str | Path], environment: Mapping[str, str] | None = None) -> Finished:
    """Runs a program to its end and counts its CPU time and peak memory; a failure ends the benchmark."""
    started = time.monotonic()
    words = [str(argument) for argument in arguments]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        out = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    wall = time.monotonic() - started
    if process.returncode != 0:
        sys.exit(f"{' '.join(map(str, arguments))}: exit {process.returncode}")
    return Finished(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, out)


def simulate(exchange: str, trades: int, out: Path, *extra: str) -> Path:
    """A recording of the simulator, made once."""
    if not out.exists():
        part = out.with_name("part-" + out.name)
        run([K2, "simulate", "--exchange", exchange, "--trades", str(trades), "--out", part, *extra])
        part.rename(out)
    return out


def own_peak_mb() -> float:
    """Peak resident memory of this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def row(what: str, **figures: object) -> None:
    """Prints one figure line, for people and for grep."""
    print(f"{what:<58} " + "  ".join(f"{name}={value}" for name, value in figures.items()), flush=True)


def report(finished: Finished) -> dict[str, dict[str, float]]:
    """The JSON that `k2 run --output json` prints."""
    parsed: dict[str, dict[str, float]] = json.loads(finished.out)
    return parsed
