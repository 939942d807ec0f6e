"""The documents, and the image, say what is so: settings, commands, rooms, links, libraries."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest
from warehouse import k2_environment

ROOT = Path(__file__).resolve().parent.parent


def documents() -> list[Path]:
    done = subprocess.run(["git", "ls-files", "*.md"], cwd=ROOT, capture_output=True, text=True, check=True, timeout=30)
    return [ROOT / name for name in done.stdout.split()]


def section(text: str, heading: str) -> str:
    """What stands under a heading, up to the next one of its level or above."""
    level = heading.split(" ", 1)[0]
    found = re.search(rf"^{re.escape(heading)}\n(.*?)(?=^#{{1,{len(level)}}} |\Z)", text, re.M | re.S)
    assert found, f"there is no '{heading}'"
    return found.group(1)


def without_code(text: str) -> str:
    return re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)


def anchors(path: Path) -> set[str]:
    """Of the headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", without_code(path.read_text()), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def settings_of(k2: Path, tmp_path: Path) -> dict[str, str]:
    """Every setting with its default, as `k2 doctor` gives it to programs."""
    done = subprocess.run(
        [k2, "doctor", "--output", "json"],
        cwd=tmp_path,
        env=k2_environment(),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    settings = {}
    for row in json.loads(done.stdout):
        if not row["check"].startswith("setting "):
            continue
        value, origin = re.fullmatch(r"(.*) \((.*)\)", row["found"]).groups()  # type: ignore[union-attr]
        name = row["check"].removeprefix("setting ")
        assert origin == ("flag" if name == "output" else "default"), row
        settings[name] = "table" if name == "output" else value
    return settings


def test_readme_names_every_setting_with_its_default(k2: Path, tmp_path: Path) -> None:
    table = section((ROOT / "README.md").read_text(), "## Configuration")
    rows = re.findall(r"^\| `([^`]*)` \| ([^|]*) \|", table, re.M)
    documented = {name: "" if default == "none" else default.strip("`") for name, default in rows}
    assert len(documented) == len(rows), "a setting is there twice"
    assert documented == settings_of(k2, tmp_path)


def test_readme_names_every_command(k2: Path) -> None:
    def commands(*path: str) -> list[tuple[str, ...]]:
        done = subprocess.run([k2, *path, "--help"], capture_output=True, text=True, check=True, timeout=30)
        below = section_of_help(done.stdout, "Subcommands")
        return [found for name in below for found in ((*path, name), *commands(*path, name))]

    table = section((ROOT / "README.md").read_text(), "## Commands")
    missing = [" ".join(path) for path in commands() if f"`k2 {' '.join(path)}" not in table]
    # A command that only gathers others is named with them.
    missing = [path for path in missing if f"`k2 {path} " not in table]
    assert not missing


def section_of_help(text: str, name: str) -> list[str]:
    found = re.search(rf"^{name}:\n((?:  .*\n?)+)", text, re.M)
    return re.findall(r"^  (\w+)", found.group(1), re.M) if found else []


def test_documents_name_every_target_of_make() -> None:
    found = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.M)
    assert found
    targets = set(found.group(1).split()) - {"setup", "setup-tests", "setup-services", "build"}
    structure = section((ROOT / "README.md").read_text(), "## Project structure")
    listed = re.search(r"^Makefile +(.*(?:\n .*)*)", structure, re.M)
    assert listed
    assert set(re.findall(r"[\w-]+", listed.group(1))) == targets
    table = section((ROOT / "CONTRIBUTING.md").read_text(), "## Build and test")
    assert not {target for target in targets - {"all"} if not re.search(rf"`(make )?{target}`", table)}


def test_rooms_are_those_of_the_build() -> None:
    rooms = re.findall(r"^k2_room\((\w+)", (ROOT / "CMakeLists.txt").read_text(), re.M)
    table = section((ROOT / "ARCHITECTURE.md").read_text(), "## The rooms")
    assert re.findall(r"^\| `(\w+)/` \|", table, re.M) == rooms
    walked = re.findall(r"^\*\*`(\w+)/`\*\*", (ROOT / "src" / "README.md").read_text(), re.M)
    assert sorted(walked) == sorted(rooms)


def test_links_between_documents_lead_somewhere() -> None:
    broken = []
    for path in documents():
        for target in re.findall(r"\]\(([^)\s]+)\)", without_code(path.read_text())):
            if re.match(r"[a-z]+:", target):
                continue
            name, _, anchor = target.partition("#")
            linked = (path.parent / name).resolve() if name else path
            if not linked.exists() or (anchor and anchor not in anchors(linked)):
                broken.append(f"{path.relative_to(ROOT)}: {target}")
    assert not broken


def test_files_that_documents_name_are_there() -> None:
    """`src/room/file.h`, `scripts/x.sh`: paths from the root, in code type."""
    missing = []
    for path in documents():
        for name in re.findall(r"`((?:src|docs|tests|scripts|bench|stack|deploy|cmake)/[\w./-]*)`", path.read_text()):
            if not (ROOT / name).exists():
                missing.append(f"{path.relative_to(ROOT)}: {name}")
    assert not missing


def test_image_installs_the_libraries_that_the_program_loads(k2: Path) -> None:
    needed = subprocess.run(["readelf", "-d", k2], capture_output=True, text=True, check=True, timeout=30).stdout
    loaded = subprocess.run(["ldd", k2], capture_output=True, text=True, check=True, timeout=30).stdout
    paths = dict(re.findall(r"^\s*(\S+) => (/lib/\S+)", loaded, re.M))
    found = [paths[name] for name in re.findall(r"\(NEEDED\).*\[(.*)\]", needed) if name in paths]
    assert len(found) > 10
    wanted = [prefix + path for path in found for prefix in ("", "/usr")]  # /lib is a link to /usr/lib
    owners = subprocess.run(["dpkg", "-S", *wanted], capture_output=True, text=True, check=False, timeout=30).stdout
    if not owners:
        pytest.skip("the libraries are not Debian's")
    packages = {line.split(":")[0] for line in owners.splitlines()} - {"libc6"}
    image = (ROOT / "Dockerfile").read_text().split("FROM debian:12\n")[-1]
    assert not {package for package in packages if not re.search(rf"\s{re.escape(package)}\s", image)}
