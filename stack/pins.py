"""Where the servers are, and at which versions."""

from __future__ import annotations

from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
STACK = ROOT / "stack"
DEPS = ROOT / ".deps"
VERSIONS = STACK / "versions.env"


class StackError(Exception):
    """A service that cannot be started, reached or stopped; the text says which, why, and what to do."""


@cache
def versions() -> dict[str, str]:
    """The pins of versions.env by name."""
    lines = (line.strip() for line in VERSIONS.read_text().splitlines())
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def fetched(path: str) -> Path:
    """A path in .deps that stack/fetch.sh has made."""
    found = DEPS / path
    if not found.exists():
        raise StackError(f"there is no {found}: run scripts/setup.sh --services")
    return found
