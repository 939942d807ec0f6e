"""Where the k2 program is: in the driver, and on an executor."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from k2.spark.utils.errors import ConfigurationError

if TYPE_CHECKING:
    from pyspark import SparkContext

# Under this name the archive of `make dist` is unpacked on every executor.
ARCHIVE_NAME = "k2"
# k2 would read the k2.toml of the folder that it happens to run in.
NO_SETTINGS_FILE = ("--config", os.devnull)


def find_program() -> str:
    """K2_PROGRAM, else the unpacked archive, else PATH: in the driver as on an executor, each on its own machine."""
    looked = []
    for path in _places():
        if path.is_file() and os.access(path, os.X_OK):
            return str(path)
        looked.append(str(path))
    found = shutil.which("k2")
    if found is not None:
        return found
    raise ConfigurationError(
        f"k2 program not found (searched {', '.join(looked)}, and on PATH). Give the archive of `make dist`: "
        f"K2_ARCHIVE=k2-linux-x86_64.tar.gz, or spark-submit --archives k2-linux-x86_64.tar.gz#{ARCHIVE_NAME}; or set "
        "K2_PROGRAM where it is installed; or use --engine spark, which needs the Python module k2.native instead"
    )


def _places() -> Iterator[Path]:
    if named := os.environ.get("K2_PROGRAM"):
        yield Path(named)
    yield Path(ARCHIVE_NAME) / "bin" / "k2"  # an executor's own folder
    from pyspark import SparkFiles

    try:
        yield Path(SparkFiles.getRootDirectory()) / ARCHIVE_NAME / "bin" / "k2"
    except Exception:  # no session here
        return


def add_archive(context: SparkContext, archive: str) -> None:
    """Has the archive unpacked by the driver and by every executor, now and later."""
    if not Path(archive).is_file():
        raise ConfigurationError(f"there is no archive {archive} (K2_ARCHIVE): `make dist` builds it")
    context.addArchive(f"{Path(archive).absolute()}#{ARCHIVE_NAME}")
