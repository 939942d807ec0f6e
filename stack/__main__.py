"""Starts, shows and stops the stack: python -m stack {up,down,status} [--dir FOLDER]. See docs/stack.md."""

from __future__ import annotations

import argparse
import fcntl
import shlex
import sys
import time
from pathlib import Path

from stack.pins import ROOT, StackError
from stack.services import Services, make_topics


def main() -> int:
    parser = argparse.ArgumentParser(prog="stack", description="The services that K2 runs on, as plain processes.")
    parser.add_argument("action", choices=("up", "down", "status"))
    parser.add_argument("services", nargs="*", help="of up: only these (kafka registry seaweedfs postgres catalog)")
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
                services.stop()
                print("stack: stopped")
                return 0
            return show(services)
        except StackError as error:
            print(f"stack: {error}", file=sys.stderr)
            return 1


def up(services: Services, names: list[str], seaweed_catalog: bool) -> int:
    begun = time.monotonic()
    services.start(*names)
    if not names or "kafka" in names:
        make_topics(services)
    file = services.folder / "env"
    write_environment(file, services.environment(seaweed_catalog))
    if show(services, only=names) != 0:
        return 1
    shown = file.relative_to(Path.cwd()) if file.is_relative_to(Path.cwd()) else file
    print(f"\nup in {time.monotonic() - begun:.1f} s. Let k2 and others find it:  set -a; . {shown}; set +a")
    return 0


def write_environment(file: Path, variables: dict[str, str]) -> None:
    lines = ["# Where the stack is. Written by `make stack-up`; read it with: set -a; . .stack/env; set +a"]
    for name, value in variables.items():
        if name == "K2_CATALOG_WAREHOUSE" and not value:
            lines.append("# The reference catalog has one warehouse and asks for no credential.")
        lines.append(f"{name}={shlex.quote(value) if value else ''}")
    part = file.with_suffix(".part")
    part.write_text("\n".join(lines) + "\n")
    part.chmod(0o600)
    part.replace(file)


def show(services: Services, only: list[str] | None = None) -> int:
    """Prints the table; 0 where all serve."""
    rows = [row for row in services.status() if not only or row[0] in only]
    width = max(len(row[1]) for row in rows)
    print(f"{'service':<10}  {'address':<{width}}  {'pid':>7}  state")
    for name, address, pid, state in rows:
        print(f"{name:<10}  {address:<{width}}  {pid or '-':>7}  {state}")
    return 0 if all(state == "serves" for *_, state in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
