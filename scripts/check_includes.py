#!/usr/bin/env python3
"""Checks the includes between the modules of src/ against what CMakeLists.txt links: a module includes only what it
links, itself or through what it links, and links directly only what it includes.

CMakeLists.txt lists the modules lowest first, and each links only modules above it: so there is no circle.
"""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def linked_modules() -> dict[str, list[str]]:
    """By module, in the order of CMakeLists.txt: the modules that it links directly."""
    text = (ROOT / "CMakeLists.txt").read_text()
    found = re.findall(r"^k2_module\((\w+)([^)]*)\)", text, re.MULTILINE)
    names = {name for name, _ in found}
    return {name: [one for one in re.findall(r"\bk2_(\w+)", rest) if one in names] for name, rest in found}


def closure(links: dict[str, list[str]]) -> dict[str, set[str]]:
    """By module: all that it links, through others too. Modules come behind those that they link."""
    reached: dict[str, set[str]] = {}
    for module, direct in links.items():
        reached[module] = set(direct).union(*(reached.get(one, set()) for one in direct))
    return reached


def includes_of(path: Path) -> list[tuple[int, str]]:
    found = []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if match := re.match(r'#include "(\w+)/', line):
            found.append((number, match[1]))
    return found


def problems() -> list[str]:
    links = linked_modules()
    reached = closure(links)
    order = list(links)
    wrong = [
        f"CMakeLists.txt: {module} links {one}, which stands behind it in the list"
        for module, direct in links.items()
        for one in direct
        if order.index(one) >= order.index(module)
    ]
    listed = subprocess.run(["git", "ls-files", "src"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    used: dict[str, set[str]] = {module: set() for module in links}
    for name in sorted(listed.splitlines()):
        path = ROOT / name
        if path.suffix not in {".h", ".cc"} or path.parent == ROOT / "src" or not path.exists():
            continue
        module = path.relative_to(ROOT / "src").parts[0]
        if module not in links:
            wrong.append(f"{name}: {module} is no module of CMakeLists.txt")
            continue
        for number, included in includes_of(path):
            if included not in links or included == module:
                continue
            used[module].add(included)
            if included not in reached[module]:
                wrong.append(f"{name}:{number}: {module} includes {included} and does not link it")
    for module, direct in links.items():
        for one in sorted(set(direct) - used[module]):
            wrong.append(f"CMakeLists.txt: {module} links {one} and includes nothing of it")
    return wrong


def main() -> int:
    wrong = problems()
    print("\n".join(wrong) if wrong else f"includes: {len(linked_modules())} modules, each links what it includes")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
