"""The program's libraries as the loader binds them: one OpenSSL, whatever the others carry inside."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

BINDING = re.compile(r"binding file (\S+) \[0\] to (\S+) \[0\]: \w+ symbol `([^']+)'")


def bindings(words: list[str | Path], folder: Path) -> Iterator[tuple[str, str, str]]:
    """(who asks, who answers, name) for each symbol that the loader binds, by the libraries' file names."""
    variables = {"LD_DEBUG": "bindings", "LD_BIND_NOW": "1", "LD_DEBUG_OUTPUT": str(folder / "bound")}
    subprocess.run(words, env=os.environ | variables, check=True, capture_output=True, timeout=120)
    for file in folder.glob("bound.*"):
        for line in file.read_text(errors="replace").splitlines():
            if found := BINDING.search(line):
                yield Path(found[1]).name, Path(found[2]).name, found[3]


def test_there_is_one_openssl(k2: Path, tmp_path: Path) -> None:
    """Parquet's library has another version inside, and the wheel's exports it: libcurl took names from it."""
    asked: dict[str, set[str]] = {}
    for asks, answers, name in bindings([k2, "--version"], tmp_path):
        if re.match(
            r"(?:EVP|X509|SSL|CRYPTO|OPENSSL|BIO|ERR|RAND|SHA|HMAC|RSA|EC|BN|PEM|ASN1|OBJ|d2i|i2d)_?[A-Z0-9a-z]", name
        ):
            asked.setdefault(asks, set()).add(answers)
    assert {"k2", "libssl.so.3", "libcrypto.so.3", "libcurl.so.4"} <= asked.keys()
    assert {answer for answers in asked.values() for answer in answers} == {"libssl.so.3", "libcrypto.so.3"}


def test_no_library_answers_for_another(k2: Path, tmp_path: Path) -> None:
    """A C function has one home, and a copy inside a library that brings its own is called by that library alone."""
    brings_its_own = re.compile(r"lib(?:(?:k2_)?parquet|arrow\w*|duckdb)\.so")
    homes: dict[str, set[str]] = {}
    borrowed = set()
    for asks, answers, name in bindings([k2, "--version"], tmp_path):
        if name.startswith("_"):
            continue
        homes.setdefault(name, set()).add(answers)
        if brings_its_own.match(answers) and not brings_its_own.match(asks) and not name.startswith("duckdb_"):
            borrowed.add((asks, answers, name))
    assert len(homes) > 1000
    assert {name: answers for name, answers in homes.items() if len(answers) > 1} == {}
    assert borrowed == set()
