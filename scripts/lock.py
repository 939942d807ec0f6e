#!/usr/bin/env python3
"""Writes requirements.lock: every Python package that set-up installs, with its version and the hash of its archive.

    .venv/bin/python scripts/lock.py [NAME==VERSION...]

asks the index for the archives of the versions that the file names, as pip on this machine chooses them, and writes
their hashes. A version on the command line replaces that of the file, or is added to its first section.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

LOCK = Path(__file__).resolve().parent.parent / "requirements.lock"
BUILDS_ONLY = "# Only to build others, and to fetch what is not Python's.\n"
# Packages whose source archive is fetched too: K2 takes DuckDB's headers from there.
SOURCES = ("duckdb",)


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def archives(pins: list[str], *options: str) -> dict[str, str]:
    """Name of each package to the SHA-256 of the archive that pip would install for it."""
    with tempfile.NamedTemporaryFile(suffix=".json") as report:
        words = ["install", "--quiet", "--dry-run", "--ignore-installed", "--no-deps", "--report", report.name]
        subprocess.run([sys.executable, "-m", "pip", *words, *options, *pins], check=True)
        found = json.loads(Path(report.name).read_text())["install"]
    return {
        canonical(part["metadata"]["name"]): part["download_info"]["archive_info"]["hashes"]["sha256"] for part in found
    }


def main() -> None:
    text = LOCK.read_text()
    head = "".join(line for line in text[: text.index("\n\n")].splitlines(keepends=True) if line.startswith("#"))
    installed, _, builds = text[len(head) :].partition(BUILDS_ONLY)
    sections = [
        {canonical(line.split("==")[0]): line.split()[0] for line in section.splitlines() if line}
        for section in (installed, builds)
    ]
    for pin in sys.argv[1:]:
        name = canonical(pin.split("==")[0])
        sections[int(name in sections[1])][name] = pin
    pins = [pin for section in sections for pin in section.values()]
    wheels = archives(pins)
    with_source = [pin for pin in pins if canonical(pin.split("==")[0]) in SOURCES]
    sources = archives(with_source, f"--no-binary={','.join(SOURCES)}")

    def lines(section: dict[str, str]) -> str:
        return "".join(
            " ".join([section[name], *(f"--hash=sha256:{by[name]}" for by in (wheels, sources) if name in by)]) + "\n"
            for name in sorted(section)
        )

    LOCK.write_text(f"{head}\n\n{lines(sections[0])}\n{BUILDS_ONLY}{lines(sections[1])}")


if __name__ == "__main__":
    main()
