"""Reads `PID START-TIME` lines until its input ends, which it does when the program that started it is gone, then kills
those process groups that still run. Run by stack/process.py."""

from __future__ import annotations

import contextlib
import os
import signal
import sys


def _start_time(pid: int) -> int | None:
    try:
        with open(f"/proc/{pid}/stat") as file:
            stat = file.read()
    except OSError:
        return None
    return int(stat[stat.rindex(")") + 2 :].split()[19])


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    watched = [tuple(map(int, line.split())) for line in sys.stdin]
    for pid, started in watched:
        if _start_time(pid) == started:
            with contextlib.suppress(OSError):
                os.killpg(pid, signal.SIGKILL)


if __name__ == "__main__":
    main()
