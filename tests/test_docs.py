"""The documents, and the image, say what is so: settings, commands, modules, links, tests, libraries."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from test_help import commands
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


@pytest.mark.parametrize(("name", "limit"), [("README.md", 150), ("ARCHITECTURE.md", 200), ("src/README.md", 50)])
def test_documents_to_begin_with_are_short(name: str, limit: int) -> None:
    assert len((ROOT / name).read_text().splitlines()) <= limit


def test_every_setting_has_its_default(k2: Path, tmp_path: Path) -> None:
    table = (ROOT / "docs" / "configuration.md").read_text()
    rows = re.findall(r"^\| `([^`]*)` \| [^|]* \| ([^|]*) \|", table, re.M)
    documented = {name: "" if default == "none" else default.strip("`") for name, default in rows}
    assert len(documented) == len(rows), "a setting is there twice"
    assert documented == settings_of(k2, tmp_path)


def test_every_command_is_listed(k2: Path) -> None:
    table = (ROOT / "docs" / "commands.md").read_text()
    missing = [" ".join(path) for path in commands(k2) if f"`k2 {' '.join(path)}" not in table]
    # A command that only gathers others is named with them.
    missing = [path for path in missing if f"`k2 {path} " not in table]
    assert not missing


def spelt(kind: Any) -> str:
    """A type as docs/tables.md has it."""
    if isinstance(kind, str):
        return kind
    if kind["type"] == "map":
        return f"map<{spelt(kind['key'])}, {spelt(kind['value'])}>"
    if isinstance(kind["element"], str):
        return f"list<{kind['element']}>"
    fields = ", ".join(f"{one['name']} {spelt(one['type'])}" for one in kind["element"]["fields"])
    return f"list of struct ({fields})"


def nested_ids(kind: Any) -> list[int]:
    if isinstance(kind, str):
        return []
    own = [kind[f"{part}-id"] for part in ("element", "key", "value") if f"{part}-id" in kind]
    inner = kind.get("element", {})
    return own + ([one["id"] for one in inner["fields"]] if isinstance(inner, dict) and "fields" in inner else [])


def documented_columns(part: str) -> tuple[list[tuple[int, str, str, bool]], list[int]]:
    """Id, name, type and whether it is required, of each row of a section of docs/tables.md; and the nested ids."""
    rows = re.findall(r"^\| (\d+) \| (\w+) \| ([^|]*) \| (yes|no) \|", part, re.M)
    columns = [(int(at), name, kind.replace("\\", ""), null == "no") for at, name, kind, null in rows]
    listed = re.search(r"[Nn]ested ids: ([^.|]*)", part)
    ids = re.findall(r"\d+", listed[1]) if listed else re.findall(r"(?:element|key|value) id (\d+)", part)
    return columns, [int(at) for at in ids]


def test_every_column_of_the_tables_is_listed(k2: Path) -> None:
    done = subprocess.run(
        [k2, "tables", "definitions"], env=k2_environment(), capture_output=True, text=True, check=True, timeout=60
    )
    definitions = json.loads(done.stdout)
    tables = definitions["tables"] | {definitions["finished-sources"]["name"]: definitions["finished-sources"]["table"]}
    text = (ROOT / "docs" / "tables.md").read_text()
    headings = [line for line in re.findall(r"^## .*$", text, re.M) if line[3:].split(",")[0] in tables]
    documented = {name: heading for heading in headings for name in heading[3:].split(", ")}
    assert documented.keys() == tables.keys()
    silver, _ = documented_columns(section(text, next(each for each in headings if "silver_" in each)))
    for name, heading in documented.items():
        part = section(text, heading)
        columns, nested = documented_columns(part)
        if name == "gold_crypto_trades":
            assert f"The columns of Silver with the same ids 1 to {len(silver)}, and:" in part
            columns = silver + columns
        fields = tables[name]["schema"]["fields"]
        assert columns == [(one["id"], one["name"], spelt(one["type"]), one["required"]) for one in fields], name
        assert nested == [at for one in fields for at in nested_ids(one["type"])], name


def test_the_schemas_of_messages_are_given_whole(k2: Path) -> None:
    done = subprocess.run(
        [k2, "tables", "definitions"], env=k2_environment(), capture_output=True, text=True, check=True, timeout=60
    )
    messages = json.loads(done.stdout)["messages"]
    text = (ROOT / "docs" / "messages.md").read_text()
    for name in ("TradeV3", "RejectedFrame"):
        (given,) = re.findall(r"^```json\n(.*?)^```", section(text, f"## {name}"), re.M | re.S)
        assert json.loads(given) == messages[name]["schema"]
    local = sorted((message["local-id"], name) for name, message in messages.items())
    assert ", ".join(f"{at} is {name}" for at, name in local) in text


def test_documents_name_every_target_of_make() -> None:
    found = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.M)
    assert found
    targets = set(found.group(1).split()) - {"setup", "setup-tests", "setup-services", "build"}
    contributing = (ROOT / "CONTRIBUTING.md").read_text()
    structure = section(contributing, "## Project structure")
    listed = re.search(r"^Makefile +(.*(?:\n .*)*)", structure, re.M)
    assert listed
    assert set(re.findall(r"[\w-]+", listed.group(1))) == targets
    table = section(contributing, "## Build and test")
    assert not {target for target in targets - {"all"} if not re.search(rf"`(make )?{target}`", table)}


def test_modules_are_those_of_the_build() -> None:
    modules = re.findall(r"^k2_module\((\w+)", (ROOT / "CMakeLists.txt").read_text(), re.M)
    table = section((ROOT / "ARCHITECTURE.md").read_text(), "## The modules")
    assert re.findall(r"^\| `(\w+)/` \|", table, re.M) == modules
    walked = re.findall(r"^\| `(\w+)/` \|", (ROOT / "src" / "README.md").read_text(), re.M)
    assert sorted(walked) == sorted(modules)


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
    """`src/module/file.h`, `scripts/x.sh`: paths from the root, in code type."""
    missing = []
    for path in documents():
        for name in re.findall(r"`((?:src|docs|tests|scripts|bench|stack|deploy|cmake)/[\w./-]*)`", path.read_text()):
            if not (ROOT / name).exists():
                missing.append(f"{path.relative_to(ROOT)}: {name}")
    assert not missing


def test_source_files_that_the_walk_names_are_there() -> None:
    """`file.h` in src/README.md, in the module of its row; elsewhere anywhere."""
    tracked = subprocess.run(
        ["git", "ls-files", "src"], cwd=ROOT, capture_output=True, text=True, check=True, timeout=30
    ).stdout.split()
    text = (ROOT / "src" / "README.md").read_text()
    missing = []
    for module, row in re.findall(r"^\| `(\w+)/` \|(.*)$", text, re.M):
        named = re.findall(r"`([\w/]+\.(?:h|cc))`", row)
        missing += [f"{module}/{name}" for name in named if not {f"src/{module}/{name}", f"src/{name}"} & set(tracked)]
    assert not missing


def test_tests_that_documents_name_are_there() -> None:
    """`test_x.py::test_y`: a function of a file in tests/."""
    missing = []
    for path in documents():
        for file, function in re.findall(r"`(test_\w+\.py)::(test_\w+)`", path.read_text()):
            found = ROOT / "tests" / file
            if not found.exists() or f"\ndef {function}(" not in found.read_text():
                missing.append(f"{path.relative_to(ROOT)}: {file}::{function}")
    assert not missing


def test_every_document_is_in_the_index() -> None:
    index = (ROOT / "docs" / "README.md").read_text() + (ROOT / "docs" / "decisions" / "README.md").read_text()
    linked = set(re.findall(r"\]\((?:[\w./]*/)?([\w.-]+\.md)", index))
    listed = {path.name for path in documents() if path.parent in (ROOT / "docs", ROOT / "docs" / "decisions")}
    assert listed <= linked | {"README.md"}


def test_decisions_have_their_parts() -> None:
    for path in sorted((ROOT / "docs" / "decisions").glob("[0-9]*.md")):
        text = path.read_text()
        assert re.match(rf"# {path.name[:3]}\. .+\n\nDate: \d{{4}}-\d\d-\d\d\n", text), path.name
        parts = re.findall(r"^## (.*)$", text, re.M)
        assert parts == ["Decision", "Reason", "Rejected alternatives"], path.name
        assert len(text.splitlines()) <= 40, path.name


def test_documents_stand_alone() -> None:
    """They name no folder beside the project."""
    assert not [str(path) for path in documents() if "../shared" in path.read_text()]


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
