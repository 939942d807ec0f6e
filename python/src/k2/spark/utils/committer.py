"""Which version, machine and process has committed: entries of a snapshot's summary (docs/audit.md)."""

from __future__ import annotations

import os
import socket
import sys
import uuid
from pathlib import Path

import k2

VERSION_KEY = "k2.version"
HOST_KEY = "k2.host"
PROCESS_KEY = "k2.process"
HOST_CHARACTERS_MAX = 64

# A process id is used again after a restart, in containers always the same: these digits tell the runs apart.
_RUN_ID = uuid.uuid4().hex[:8]


def committer() -> dict[str, str]:
    """Of this process, the driver. Iceberg itself adds Spark's name, version and application id. The command is the
    name of the script alone, never its arguments."""
    command = Path(sys.argv[0]).stem if sys.argv and sys.argv[0] else "python"
    return {
        VERSION_KEY: k2.__version__,
        HOST_KEY: socket.gethostname()[:HOST_CHARACTERS_MAX],
        PROCESS_KEY: f"{os.getpid()}/{_RUN_ID} {command}",
    }
