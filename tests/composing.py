"""docker-compose.yml as Docker's own program understands it."""

from __future__ import annotations

import shutil
import subprocess
from functools import cache
from typing import Any

import pytest
import yaml

from stack.pins import ROOT


@cache
def composed_services() -> dict[str, Any]:
    """Its services, with all variables and anchors resolved."""
    if shutil.which("docker-compose") is None:
        pytest.skip("there is no docker-compose: scripts/setup.sh --services brings it")
    done = subprocess.run(
        ["docker-compose", "config"], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "not set" not in done.stderr, done.stderr
    services: dict[str, Any] = yaml.safe_load(done.stdout)["services"]
    return services
