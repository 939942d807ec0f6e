"""Small file systems that can be full or read-only. They need root; without it the tests that use them are skipped."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest


def mount(folder: Path, size: str) -> None:
    """An empty file system in memory, of so many bytes: 64k, 2m."""
    folder.mkdir(exist_ok=True)
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    words = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"nothing can be mounted here: {done.stderr.strip()}")


def remount(folder: Path, option: str) -> None:
    """size=100m, ro, rw."""
    subprocess.run(["mount", "-o", f"remount,{option}", str(folder)], check=True)


def unmount(folder: Path) -> None:
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """A file that leaves no room."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while file.write(b"x" * 4096):
                pass
        except OSError:
            return filler
    raise AssertionError(f"{folder} takes no end of bytes")
