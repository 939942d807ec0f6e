#!/usr/bin/env python3
"""Writes the tables of settings in docs/configuration.md, out of `k2 help settings --output json`.

    scripts/configuration.py [K2]           writes them; K2: the program, build/release/bin/k2 unless named
    scripts/configuration.py --check [K2]   says whether they are what the program prints

The text around the tables is written by hand; a table stands between `<!-- settings: GROUP -->` and `<!-- end -->`.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DOCUMENT = ROOT / "docs" / "configuration.md"
PLACE = re.compile(r"(<!-- settings: (\w+) -->\n).*?(<!-- end -->)", re.S)


def table(settings: list[dict[str, str]]) -> str:
    rows = ["| setting | value | default | meaning |", "|---|---|---|---|"]
    for one in settings:
        default = f"`{one['default']}`" if one["default"] else "none"
        cells = (f"`{one['setting']}`", one["value"], default, one["help"])
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(rows) + "\n"


def generated(text: str, k2: Path) -> str:
    """The document with the tables that the program gives. ValueError: a group has no place, or a place no group."""
    done = subprocess.run(
        [k2, "help", "settings", "--output", "json"], capture_output=True, text=True, check=True, timeout=30
    )
    groups: dict[str, list[dict[str, str]]] = {}
    for one in json.loads(done.stdout):
        groups.setdefault(one["group"], []).append(one)
    places = [match[1] for match in PLACE.findall(text)]
    if sorted(places) != sorted(groups):
        raise ValueError(f"{DOCUMENT}: places {sorted(places)}, groups of settings {sorted(groups)}")
    return PLACE.sub(lambda place: place[1] + table(groups[place[2]]) + place[3], text)


def main(words: list[str]) -> int:
    check = "--check" in words
    named = [word for word in words if word != "--check"]
    text = DOCUMENT.read_text()
    fresh = generated(text, Path(named[0]) if named else ROOT / "build" / "release" / "bin" / "k2")
    if check and fresh != text:
        print("docs/configuration.md is not what the program prints: run scripts/configuration.py", file=sys.stderr)
        return 1
    if not check:
        DOCUMENT.write_text(fresh)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
