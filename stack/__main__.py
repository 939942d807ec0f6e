"""Starts, shows and stops the stack: python -m stack {up,down,status} [SERVICE...] [--dir DIR]. See docs/stack.md."""

from __future__ import annotations

import argparse
import fcntl
import shlex
import sys
import time
from pathlib import Path

from stack.pins import ROOT, StackError
from stack.services import CORE, SPARK, Services, make_topics
from stack.spark import ARCHIVE


def main() -> int:
    parser = argparse.ArgumentParser(prog="stack", description="The services that K2 runs on, as plain processes.")
    parser.add_argument("action", choices=("up", "down", "status"))
    parser.add_argument("services", nargs="*", help="only these (kafka registry seaweedfs postgres catalog; or spark)")
    parser.add_argument("--dir", type=Path, default=ROOT / ".stack", help="data, logs and process ids (.stack)")
    parser.add_argument("--free-ports", action="store_true", help="leave the usual ports to others")
    parser.add_argument("--seaweed-catalog", action="store_true", help="name SeaweedFS's own catalog in the variables")
    given = parser.parse_args()
    folder: Path = given.dir.resolve()
    if given.action != "up" and not folder.exists():
        print("stack: down")
        return 0 if given.action == "down" else 1
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        services = Services(folder, keep=True, durable=True, usual_ports=not given.free_ports)
        try:
            if given.action == "up":
                return up(services, given.services, given.seaweed_catalog)
            if given.action == "down":
                return down(services, given.services)
            return show(services, given.services)
        except StackError as error:
            print(f"stack: {error}", file=sys.stderr)
            return 1


def up(services: Services, names: list[str], seaweed_catalog: bool) -> int:
    begun = time.monotonic()
    services.start(*names)
    if not names or "kafka" in names:
        make_topics(services)
    variables: dict[str, str] = {}
    if set(names) != {"spark"}:
        variables |= services.environment(seaweed_catalog)
    if "spark" in names:
        variables |= services.spark_cluster().environment()
        if ARCHIVE.exists():
            variables["K2_ARCHIVE"] = str(ARCHIVE)
    file = services.folder / "env"
    write_environment(file, read_environment(file) | variables)
    if show(services, names) != 0:
        return 1
    shown = file.relative_to(Path.cwd()) if file.is_relative_to(Path.cwd()) else file
    print(f"\nup in {time.monotonic() - begun:.1f} s. Let k2 and others find it:  set -a; . {shown}; set +a")
    return 0


def down(services: Services, names: list[str]) -> int:
    services.stop(*names)
    file = services.folder / "env"
    variables = read_environment(file)
    if "K2_SPARK_MASTER" in variables and (not names or "spark" in names):
        gone = services.spark_cluster().environment().keys() | {"K2_ARCHIVE"}
        write_environment(file, {name: value for name, value in variables.items() if name not in gone})
    print("stack: stopped")
    return 0


def read_environment(file: Path) -> dict[str, str]:
    """What an earlier start has written; empty where none has."""
    lines = file.read_text().splitlines() if file.exists() else []
    pairs = (line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))
    return {name: "".join(shlex.split(value)) for name, value in pairs}


def write_environment(file: Path, variables: dict[str, str]) -> None:
    lines = [
        "# Where the stack is. Written by `make stack-up` and `make spark-up`; read it with:",
        f"# set -a; . {file}; set +a",
    ]
    for name, value in variables.items():
        if name == "K2_CATALOG_WAREHOUSE" and not value:
            lines.append("# The reference catalog has one warehouse and asks for no credential.")
        lines.append(f"{name}={shlex.quote(value) if value else ''}")
    part = file.with_suffix(".part")
    part.write_text("\n".join(lines) + "\n")
    part.chmod(0o600)
    part.replace(file)


def show(services: Services, only: list[str]) -> int:
    """Prints the table; 0 where all serve. Spark is in it when it is asked for, or runs."""
    names = [part for name in only or CORE for part in (SPARK if name == "spark" else (name,))]
    rows = services.status(names)
    if not only:
        rows += [row for row in services.status(SPARK) if row[2]]
    width = max(len(row[1]) for row in rows)
    name_width = max(len(row[0]) for row in rows)
    print(f"{'service':<{name_width}}  {'address':<{width}}  {'pid':>7}  state")
    for name, address, pid, state in rows:
        print(f"{name:<{name_width}}  {address:<{width}}  {pid or '-':>7}  {state}")
    return 0 if all(state == "serves" for *_, state in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
