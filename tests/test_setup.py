"""What a clone was set up with, what lies in it, and what a shell has set change nothing of what `make test` finds."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import tomllib
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from skips import KNOBS

ROOT = Path(__file__).resolve().parent.parent


def lines(name: str) -> list[Requirement]:
    text = (ROOT / name).read_text()
    return [Requirement(line.split(" --hash=")[0]) for line in text.splitlines() if line and not line.startswith("#")]


def exact(requirement: Requirement) -> str:
    found = re.fullmatch(r"==([^*,]+)", str(requirement.specifier))
    assert found, f"{requirement} names no version"
    return found[1]


def pins() -> dict[str, str]:
    return {canonicalize_name(line.name): exact(line) for line in lines("requirements.lock")}


def needed_by(requirements: list[Requirement]) -> set[str]:
    """The names of the packages that these bring along, as they are installed here; themselves included."""
    seen: set[tuple[str, str]] = set()
    todo = list(requirements)
    while todo:
        asked = todo.pop()
        for extra in ("", *asked.extras):
            if (name := canonicalize_name(asked.name), extra) in seen:
                continue
            seen.add((name, extra))
            for text in importlib.metadata.distribution(name).requires or ():
                further = Requirement(text)
                if further.marker is None or further.marker.evaluate({"extra": extra}):
                    todo.append(further)
    return {name for name, _ in seen}


def test_every_python_package_is_pinned() -> None:
    pinned = pins()
    asked = [*lines("requirements.txt"), *lines("requirements-tests.txt")]
    for requirement in asked:
        assert pinned[canonicalize_name(requirement.name)] == exact(requirement), requirement
    build = tomllib.loads((ROOT / "python" / "pyproject.toml").read_text())["build-system"]["requires"]
    for requirement in map(Requirement, build):
        assert requirement.specifier.contains(pinned[canonicalize_name(requirement.name)]), requirement
    needed = needed_by(asked)
    assert "numpy" in needed, "what pyiceberg and others ask for"
    assert not needed - pinned.keys()
    installed = {name: importlib.metadata.version(name) for name in needed}
    assert installed == {name: pinned[name] for name in needed}


def test_every_archive_is_pinned_by_its_hash() -> None:
    """What pip, npm and Maven bring: set-up has no way to any of them that does not check."""
    for line in (ROOT / "requirements.lock").read_text().splitlines():
        assert not line or line.startswith("#") or re.fullmatch(r"\S+==\S+( --hash=sha256:[0-9a-f]{64})+", line), line
    for script in ("scripts/setup.sh", "stack/fetch.sh"):
        text = (ROOT / script).read_text().replace("\\\n", " ")
        for words in re.findall(r"/pip (.*)", text):
            assert {"--no-deps", "--require-hashes"} <= set(words.split()), f"{script}: pip {words}"
        for words in re.findall(r"^\s*fetch_npm (.*)", text, re.M):
            assert re.search(r" [0-9a-f]{64} ", words), words
    fetch = (ROOT / "stack" / "fetch.sh").read_text()
    parts = re.findall(r"^(\w+)\(\) \{\n((?:  .*\n)*?)\}", fetch, re.M)
    brought = [name for name, body in parts if re.search(r"^  (?:jars|maven) ", body, re.M) and name != "jars"]
    assert brought == ["kafka", "rest_catalog", "registry", "nessie", "trino"]
    for name, body in parts:
        if name in brought:
            part = name.replace("_", "-")
            assert f"  checked {part}\n" in body
            assert f"  {part}/" in (ROOT / "stack" / "archives.sha256").read_text()


def test_an_archive_that_is_another_one_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "thing-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("thing.py", "")
        wheel.writestr("thing-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: thing\nVersion: 1.0\n")
        wheel.writestr("thing-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr("thing-1.0.dist-info/RECORD", "")
    lock = tmp_path / "requirements.lock"
    found = re.search(
        r"^  \.venv/bin/pip \"\$1\" (.*) \"\$\{@:2\}\" -r ", (ROOT / "scripts" / "setup.sh").read_text(), re.M
    )
    assert found
    pip = [sys.executable, "-m", "pip", "install", *found[1].split(), "--no-index", "--find-links", str(tmp_path)]
    right = hashlib.sha256((tmp_path / "thing-1.0-py3-none-any.whl").read_bytes()).hexdigest()
    for digest, taken in ((right, True), ("0" * 64, False)):
        lock.write_text(f"thing==1.0 --hash=sha256:{digest}\n")
        words = [*pip, "--target", tmp_path / digest, "-r", lock]
        done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
        assert (done.returncode == 0) == taken, done.stderr
        assert taken or "DO NOT MATCH THE HASHES" in done.stderr
    # stack/fetch.sh's own check, on a folder like the one it fills.
    jar = tmp_path / ".deps" / "kafka" / "lib" / "kafka.jar"
    jar.parent.mkdir(parents=True)
    jar.write_bytes(b"right")
    (tmp_path / "stack").mkdir()
    for name in ("fetch.sh", "versions.env"):
        shutil.copy2(ROOT / "stack" / name, tmp_path / "stack" / name)
    script = tmp_path / "stack" / "fetch.sh"
    sums = subprocess.run([script, "--sums", "kafka"], capture_output=True, text=True, timeout=60, check=True).stdout
    (tmp_path / "stack" / "archives.sha256").write_text(sums)
    script.write_text(script.read_text() + "checked kafka && echo taken\n")
    words = [script, "prometheus"]
    version = re.search(r"^PROMETHEUS_VERSION=(.*)$", (ROOT / "stack" / "versions.env").read_text(), re.M)
    (tmp_path / ".deps" / "prometheus").mkdir()
    (tmp_path / ".deps" / "prometheus" / "version").write_text(version[1])  # type: ignore[index]
    assert subprocess.run(words, capture_output=True, text=True, timeout=60, check=True).stdout == "taken\n"
    for wrong in (b"wrong", None):
        if wrong:
            jar.write_bytes(wrong)
        else:
            jar.parent.mkdir(parents=True)
            jar.write_bytes(b"right")
            (jar.parent / "another.jar").write_bytes(b"more")
        done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode != 0
        assert "an archive of kafka is not the one that stack/archives.sha256 names" in done.stderr
        assert not jar.exists(), "nothing of it is kept"


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """The tracked files as they are, in a repository of their own."""
    folder = tmp_path / "clone"
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in listed.split("\0"):
        if name and (source := ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, folder / name)
    for words in (["init", "-q"], ["add", "-A", "-f"]):
        subprocess.run(["git", *words], cwd=folder, check=True, timeout=60)
    (folder / ".venv").symlink_to(ROOT / ".venv")
    return folder


def test_what_a_user_leaves_in_the_clone_is_not_looked_at(clone: Path, tmp_path: Path) -> None:
    """`make demo` leaves a folder `warehouse`, and tests have a module of that name."""
    for name in ("warehouse", "k2", "stack2", "engines", "pytest", "build", "src/mine", "tests/mine"):
        folder = clone / name
        folder.mkdir(parents=True)
        (folder / "notes.py").write_text("import os,sys\nx=1\n")
        (folder / "mine.cc").write_text('#include "cli/commands.h"\nint   x;\n')
    (clone / "k2.toml").write_text("is no toml\n")
    programs = tmp_path / "bin"
    programs.mkdir()
    stub = programs / "clang-format-19"  # it takes long, and gets the names from the same place
    stub.write_text('#!/bin/sh\nfor file; do case $file in *mine*) echo "$file"; exit 1 ;; esac; done\n')
    stub.chmod(0o755)
    variables = os.environ | {"PATH": f"{programs}:{os.environ['PATH']}"}

    def lint() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [clone / "scripts" / "lint.sh"], env=variables, capture_output=True, text=True, timeout=120, check=False
        )

    done = lint()
    assert done.returncode == 0, done.stdout + done.stderr
    (clone / "tests" / "composing.py").write_text("import os,sys\n")
    assert lint().returncode != 0, "what is tracked is looked at"


def test_the_c_plus_plus_tests_get_the_same_variables() -> None:
    found = re.search(r"^knobs='(.*)'$", (ROOT / "scripts" / "test.sh").read_text(), re.M)
    assert found
    assert found[1] == KNOBS


PROBE = """
import os
from pathlib import Path
import pytest
from skips import scrub_environment
scrub_environment()

def test_variables():
    found = [name for name in os.environ if name.startswith(("K2_", "AWS_", "SPARK_"))]
    assert found == ["K2_SEED"]

@pytest.mark.parametrize("reason", ["mounting needs root", "there is no judge"])
def test_skipped(reason):
    pytest.skip(reason)
"""


def probe(folder: Path, **variables: str) -> tuple[int, str]:
    (folder / "test_probe.py").write_text(PROBE)
    words = ["-m", "pytest", "-p", "skips", "-p", "no:cacheprovider", "--rootdir", folder, folder]
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT / "tests"), "K2_SEED": "1"} | variables
    done = subprocess.run(
        [sys.executable, *words], cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    return done.returncode, done.stdout


def test_the_shells_settings_do_not_reach_the_tests(tmp_path: Path) -> None:
    code, said = probe(tmp_path, K2_WAREHOUSE="mine", K2_CATALOG="http://127.0.0.1:1", AWS_PROFILE="me", SPARK_HOME="x")
    assert code == 0, said
    assert "1 passed, 2 skipped" in said


def test_a_skip_that_is_not_listed_fails_in_ci(tmp_path: Path) -> None:
    code, said = probe(tmp_path, CI="true")
    assert code == 1
    assert "1 failed, 1 passed, 1 skipped" in said
    assert "there is no judge" in said


def test_tests_run_in_a_folder_of_their_own() -> None:
    assert not (Path.cwd() / "k2.toml").exists()
    assert ROOT not in (Path.cwd(), *Path.cwd().parents)
