"""Help: of a width that fits, in the words of the field, by --help and by `k2 help`; settings and their names."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT
from warehouse import Warehouse, k2_environment

sys.path.insert(0, str(ROOT / "scripts"))
import configuration

HEADINGS = ("Collect", "Explore", "Manage", "Set up", "For schedulers", "Subcommands")
NOT_OURS = re.compile(
    r"made anew|made again|goes? on where|taken for dead|nothing names|so long\b|at once at most|past its time|no turn|"
    r"judge|verdict|with commas|layer (?:below|above)|how far .* has come|\broom\b"
)


def help_of(k2: Path, *words: str) -> str:
    done = subprocess.run(
        [k2, *words], capture_output=True, text=True, check=True, timeout=30, env=k2_environment({"COLUMNS": "80"})
    )
    return done.stdout


def below(text: str) -> list[str]:
    """The commands that a help lists, under whatever heading."""
    found = []
    for heading in HEADINGS:
        for lines in re.findall(rf"^{heading}:\n((?:  .*\n)+)", text, re.M):
            found += re.findall(r"^  (\w+)", lines, re.M)
    return found


def commands(k2: Path, *path: str) -> list[tuple[str, ...]]:
    found: list[tuple[str, ...]] = []
    for name in below(help_of(k2, *path, "--help")):
        found += [(*path, name), *commands(k2, *path, name)]
    return found


def test_help_fits_a_screen_in_plain_words(k2: Path) -> None:
    texts = {path: help_of(k2, *path, "--help") for path in [(), *commands(k2)]}
    assert len(texts) > 25
    texts[("help", "settings")] = help_of(k2, "help", "settings")
    assert len(texts[()].splitlines()) <= 40
    for path, text in texts.items():
        # Commands that are to be pasted, and words without a space, are in one line.
        wide = [line for line in text.splitlines() if len(line) > 80 and " " in line.strip()]
        long = [line for line in wide if not line.startswith(("  k2 ", "  jq "))]
        assert not long, path
        assert not NOT_OURS.search(text), (path, NOT_OURS.search(text))
        assert " TEXT" not in text, path


def test_help_is_the_same_both_ways(k2: Path) -> None:
    for path in [(), ("run",), ("maintain", "compact"), ("tables", "relocate")]:
        assert help_of(k2, "help", *path) == help_of(k2, *path, "--help")
    wrong = subprocess.run([k2, "help", "storag"], capture_output=True, text=True, check=False, timeout=30)
    assert (wrong.returncode, "'storag'" in wrong.stderr) == (2, True)


def test_topics_of_help(k2: Path) -> None:
    everything = help_of(k2, "help", "settings")
    for topic in ("storage", "kafka", "pipeline", "retention", "output"):
        text = help_of(k2, "help", topic)
        assert text.count("\n") > 5
        assert text in everything
    assert "unknown commit outcome" in help_of(k2, "help", "exit-codes")


def test_the_document_of_settings_is_what_the_program_prints(k2: Path) -> None:
    text = configuration.DOCUMENT.read_text()
    assert configuration.generated(text, k2) == text, "run scripts/configuration.py"


@pytest.mark.parametrize(
    ("former", "now"), [("give-up-after", "retry-timeout"), ("handover-memory", "batch-cache-size")]
)
def test_former_names_are_accepted(warehouse: Warehouse, tmp_path: Path, former: str, now: str) -> None:
    def refused(*words: str, env: dict[str, str] | None = None) -> str:
        recording = tmp_path / "x.zst"
        recording.touch()
        return warehouse.k2_run(
            "run", "--recording", f"binance={recording}", *words, env=env, expect=2, cwd=tmp_path
        ).stderr

    upper = {name: "K2_" + name.upper().replace("-", "_") for name in (former, now)}
    assert f"{now} = '1x' (flag)" in refused(f"--{former}", "1x")
    assert f"{now} = '1x' (environment {upper[former]})" in refused(env={upper[former]: "1x"})
    both = {upper[former]: "1x", upper[now]: "1y"}
    assert f"{now} = '1y' (environment {upper[now]})" in refused(env=both)
    (tmp_path / "k2.toml").write_text(f'{former} = "1z"\n')
    assert f"{now} = '1z' (k2.toml)" in refused()
    assert f"{now} = '1x'" in refused(env={upper[former]: "1x"})


def test_settings_as_json(k2: Path) -> None:
    told = json.loads(help_of(k2, "help", "settings", "--output", "json"))
    names = [one["setting"] for one in told]
    assert len(set(names)) == len(names) > 60
    assert {"give-up-after", "handover-memory"}.isdisjoint(names)
    assert not [one for one in told if one["help"].endswith(".") or one["help"][:1].isspace()]
    (start,) = (one for one in told if one["setting"] == "start")
    assert start["variable"] == "K2_START"
    assert start["default"] == "earliest"


@pytest.mark.parametrize(
    ("words", "message", "hint"),
    [
        (["quer"], "unknown command 'quer'", "did you mean 'query'?"),
        (["maintain", "compct"], "unknown command 'maintain compct'", "did you mean 'maintain compact'?"),
        (["frobnicate"], "unknown command 'frobnicate'", "'k2 --help' lists the commands"),
        (["maintain"], "no known command was given", "'k2 maintain --help' lists the commands"),
        (["--verison"], "unknown option --verison", "did you mean '--version'?"),
        (["--warehouse=x"], "no known command was given", "'k2 --help' lists the commands"),
        (["run", "--layr", "gold"], "unknown option --layr", "did you mean '--layer'?"),
        (["--warehous", "x", "tables"], "unknown option --warehous", "did you mean '--warehouse'?"),
        (
            ["--warehouse", "maintain", "maintain", "x"],
            "unknown command 'maintain x'",
            "'k2 maintain --help' lists the commands",
        ),
        (["run", "-pHUSH"], "unknown option -p", "'k2 run --help' lists its options"),
        (
            ["maintain", "retention", "--table", "x"],
            "unknown option --table",
            "'k2 maintain retention --help' lists its options",
        ),
        (["rebuild", "--layer", "rejectd"], "unknown layer 'rejectd' (--layer)", "silver, gold or rejected"),
        (["query", "--xyzzy=secret", "select 1"], "unknown option --xyzzy", "'k2 query --help' lists its options"),
        (["query", "--output"], "--output: 1 required FORMAT missing", "'k2 query --help' lists its options"),
        (["tables", "foo"], "unexpected argument 'foo'", "'k2 tables --help' lists its options"),
        (["help", "storag"], "unknown command or topic 'storag'", "did you mean 'storage'?"),
        (["run"], "run needs a source", "--recording binance=FILE, --kafka HOST:PORT, or --layer silver or gold"),
        (["run", "--layer", "glod"], "unknown layer 'glod' (--layer)", "bronze, silver or gold"),
        (
            ["simulate", "--exchange", "binanc", "--out", "x"],
            "--exchange: unknown exchange 'binanc': binance, kraken or coinbase",
            "did you mean 'binance'?",
        ),
        (
            ["ohlcv", "BTCUSDT", "--from", "todai"],
            "cannot read the time 'todai' (--from)",
            "2024-08-08T23:55:00Z, or a day such as 2024-08-08; times are UTC",
        ),
        (
            ["tables"],
            "no warehouse in {folder}/warehouse",
            "choose one with --warehouse DIR, or create it with 'k2 tables create' or by running 'k2 run'",
        ),
    ],
)
def test_what_it_says_when_you_are_wrong(k2: Path, tmp_path: Path, words: list[str], message: str, hint: str) -> None:
    """What happened, in one line, and what to do, in another; the same two as JSON."""

    def said(**environment: str) -> str:
        done = subprocess.run(
            [k2, *words],
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
            cwd=tmp_path,
            env=k2_environment(environment),
        )
        assert (done.returncode, done.stdout) == (2, "")
        return done.stderr

    message = message.format(folder=tmp_path)
    assert said() == f"k2: {message}\nhint: {hint}\n"
    told = json.loads(said(K2_LOG_FORMAT="json"))
    assert (told["error"], told["hint"], told["exit_code"]) == (message, hint, 2)


def test_what_is_missing_is_named_with_examples(k2: Path) -> None:
    def said(*words: str) -> str:
        done = subprocess.run(
            [k2, *words], capture_output=True, text=True, check=False, timeout=30, env=k2_environment()
        )
        assert (done.returncode, done.stdout) == (2, "")
        return done.stderr

    assert said() == help_of(k2, "--help")
    query = said("query").splitlines()
    assert query[:2] == ["k2: query needs an argument: sql", "Usage: k2 query [OPTIONS] sql"]
    assert [line[:5] for line in query[2:]] == ["  k2 ", "  k2 "], "two examples"
    assert said("rebuild").startswith("k2: rebuild needs --layer\nUsage: k2 rebuild [OPTIONS]\n  k2 rebuild ")


def test_an_unknown_setting_is_told_with_its_line(k2: Path, tmp_path: Path) -> None:
    (tmp_path / "k2.toml").write_text('warehouse = "x"\ncommit-intervall = "1s"\n')
    done = subprocess.run(
        [k2, "tables"], capture_output=True, text=True, check=False, timeout=30, cwd=tmp_path, env=k2_environment()
    )
    assert done.stderr == "k2: k2.toml:2: unknown setting 'commit-intervall'\nhint: did you mean 'commit-interval'?\n"
