#!/usr/bin/env python3
"""Checks that a room of src/ includes only rooms below it, in the order that CMakeLists.txt lists them."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ROOMS = re.findall(r"^k2_room\((\w+)", (ROOT / "CMakeLists.txt").read_text(), re.MULTILINE)


def main() -> int:
    rank = {room: place for place, room in enumerate(ROOMS)}
    wrong = []
    listed = subprocess.run(["git", "ls-files", "src"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    paths = [ROOT / name for name in sorted(listed.splitlines())]
    folders = {path.parent.name for path in paths if path.parent.parent == ROOT / "src"}
    for room in sorted(folders - rank.keys()):
        wrong.append(f"src/{room}: not a room of CMakeLists.txt")
    for path in paths:
        if path.suffix not in {".h", ".cc"} or path.parent == ROOT / "src":
            continue
        room = path.relative_to(ROOT / "src").parts[0]
        for number, line in enumerate(path.read_text().splitlines(), 1):
            match = re.match(r'#include "(\w+)/', line)
            if match and match[1] in rank and rank[match[1]] > rank.get(room, 99):
                wrong.append(
                    f"{path.relative_to(ROOT)}:{number}: {room} must not include {match[1]}, which is above it"
                )
    print("\n".join(wrong) if wrong else f"include order: {len(ROOMS)} rooms, ok")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
