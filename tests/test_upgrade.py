"""From the version before to this one, and back: tables, documents between processes, services in turns."""

from __future__ import annotations

import itertools
import json
import re
import uuid
from collections.abc import Iterator
from pathlib import Path

import former
import pytest
from conftest import ROOT
from engines import duckdb_with_iceberg
from kafka_oracle import LiveProducer, Oracle
from older_format import make_older_tables
from service_warehouse import Lake
from warehouse import BRONZE, GOLD, REJECTED, TABLES

from stack.services import Services

SERVICE = ("run", "--rows-per-commit", "200", "--commit-interval", "50ms")
BUILDS = pytest.mark.timeout(former.BUILD_S_MAX + 600)  # the version before, once a clone
# Columns that the version before does not know.
ADDED = {BRONZE: {"headers", "topic_id"}, REJECTED: {"headers", "topic_id"}}


@pytest.fixture(scope="session")
def former_k2() -> Path:
    return former.program()


@pytest.fixture
def oracle(services: Services, seed: int) -> Oracle:
    """Its producers are of the version before."""
    made = Oracle(services.kafka.brokers, seed)
    made.maker.write_v2()
    return made


@pytest.fixture
def topics(oracle: Oracle) -> Iterator[list[str]]:
    stem = f"up{uuid.uuid4().hex[:8]}.trades"
    made = [oracle.create(f"{stem}.{exchange}", 2) for exchange in ("binance", "kraken")]
    yield made
    oracle.delete(made)


@pytest.fixture
def lake(
    request: pytest.FixtureRequest,
    k2: Path,
    tmp_path: Path,
    services: Services,
    oracle: Oracle,
    topics: list[str],
) -> Iterator[Lake]:
    rest = getattr(request, "param", "local") == "rest"
    made = Lake.rest(k2, tmp_path / "lake", services) if rest else Lake.local(k2, tmp_path / "lake", oracle.brokers)
    made.variables["K2_TOPICS"] = ",".join(topics)
    yield made
    made.kill_all()


def test_the_version_is_said_once_and_everywhere() -> None:
    texts = {
        "CMakeLists.txt": r"project\(k2 VERSION (\S+) ",
        "src/base/version.h": r'#define K2_VERSION "(.*)"',
        "python/pyproject.toml": r'^version = "(.*)"',
        "python/src/k2/__init__.py": r'^__version__ = "(.*)"',
        "deploy/kubernetes/kustomization.yaml": r"newTag: (\S+)",
    }
    found = {name: re.findall(pattern, (ROOT / name).read_text(), re.M) for name, pattern in texts.items()}
    (version,) = found["CMakeLists.txt"]
    assert found == {name: [version] for name in texts}
    assert version != former.VERSION


def test_documents_of_the_version_before(lake: Lake, oracle: Oracle, topics: list[str], tmp_path: Path) -> None:
    """Plans, tasks, results and `k2.offsets`: this version writes all that the one before reads, and takes each
    document where it has no more than the fields of that version."""
    make_older_tables(lake)
    old = former.known_documents()
    new = former.documents(lake, oracle, topics[0], tmp_path / "plan.json", old)
    assert new.keys() == old.keys()
    oracle.check(lake)
    written = former.documents(lake, oracle, topics[1], tmp_path / "plan.json")
    oracle.check(lake)
    for name, document in old.items():
        assert written[name].get("version") == document.get("version"), name
        lacks = former.missing(former.shape_of(document), former.shape_of(written[name]))
        assert not lacks, f"{name}: the version before needs {lacks}"


def added_columns(lake: Lake) -> dict[str, set[str]]:
    names = {name: {field.name for field in lake.table(name).schema().fields} for name in ADDED}
    return {name: names[name] & added for name, added in ADDED.items()}


def roll(lake: Lake, programs: list[Path], producer: LiveProducer) -> None:
    """Services in turns under load: every second one is killed, the others stop in order; the last two overlap."""
    for number, program in enumerate(programs):
        lake.k2 = program
        service = lake.begin(*SERVICE)
        lake.await_rows({BRONZE: lake.total(BRONZE) + 300, GOLD: lake.total(GOLD) + 200})
        assert service.code is None, service.said()
        if number % 2 == 0:
            service.kill()
        else:
            service.stop()
    assert producer.sent > 0


@pytest.mark.long
@BUILDS
@pytest.mark.parametrize("lake", ["local", "rest"], indirect=True)
def test_old_new_old_new_under_load(lake: Lake, k2: Path, former_k2: Path, oracle: Oracle) -> None:
    lake.k2 = former_k2
    lake.k2_run("tables", "create")
    with LiveProducer(oracle, 300) as producer:
        roll(lake, [former_k2, k2, former_k2, k2], producer)
    lake.k2 = k2
    lake.run_kafka()
    oracle.check(lake, headers=False)
    assert added_columns(lake) == {BRONZE: set(), REJECTED: set()}, "only `k2 tables migrate` adds columns"
    check_counts(lake, oracle)

    # A rolling update that overlaps: each takes over from the other, or stands by.
    with LiveProducer(oracle, 300):
        for before, after in itertools.pairwise([former_k2, k2, former_k2]):
            lake.k2 = before
            leaving = lake.begin(*SERVICE)
            lake.await_rows({BRONZE: lake.total(BRONZE) + 200})
            lake.k2 = after
            coming = lake.begin(*SERVICE)
            lake.await_rows({BRONZE: lake.total(BRONZE) + 200})
            leaving.stop()
            lake.await_rows({BRONZE: lake.total(BRONZE) + 200, GOLD: lake.total(GOLD) + 100})
            coming.stop()
    lake.k2 = k2
    lake.run_kafka()
    oracle.check(lake, headers=False)

    # After `tables migrate`, beside a service of this version, the version before stops at Silver and Gold.
    with LiveProducer(oracle, 300) as producer:
        service = lake.begin(*SERVICE)
        lake.await_rows({BRONZE: lake.total(BRONZE) + 200})
        lake.k2_run("tables", "migrate")
        lake.await_rows({BRONZE: lake.total(BRONZE) + 300, GOLD: lake.total(GOLD) + 200})
        assert service.code is None, service.said()
        service.stop()
        assert added_columns(lake) == ADDED
        roll(lake, [k2, k2], producer)
    lake.run_kafka()
    oracle.check(lake, headers=False)
    check_counts(lake, oracle)
    assert lake.json("audit") == []
    lake.k2 = former_k2
    refused = lake.k2_run("run", "--until-caught-up", expect=None)
    assert refused.returncode != 0
    assert "has the type decimal(24, 14), k2 needs decimal(18, 8)" in refused.stderr
    lake.k2 = k2
    oracle.check(lake, headers=False)


def check_counts(lake: Lake, oracle: Oracle) -> None:
    """By DuckDB, where the files are on this machine."""
    if lake.store is not None:
        return
    expected = oracle.expected_counts()
    connection = duckdb_with_iceberg()
    for name, rows in expected.items():
        location = lake.table(name).metadata_location.removeprefix("file://")
        found = connection.execute(f"SELECT count(*) FROM iceberg_scan('{location}')").fetchone()
        assert found == (rows,), name


@pytest.mark.long
@BUILDS
def test_a_step_of_both_versions(
    lake: Lake, k2: Path, former_k2: Path, oracle: Oracle, topics: list[str], tmp_path: Path
) -> None:
    """Planned by one version, run by the other, committed by either, until `tables migrate`."""
    lake.k2 = former_k2
    lake.k2_run("tables", "create")
    programs = [k2, former_k2]
    for turn, (planner, runner, committer) in enumerate([*itertools.product(programs, repeat=3), (k2, k2, k2)]):
        if turn == 8:
            lake.k2 = k2
            lake.k2_run("tables", "migrate")
        for topic in topics:
            oracle.send(topic, 100)
        oracle.flush()
        for kind in ("bronze", "silver", "gold"):
            lake.k2 = planner
            plan = former.plan_of(lake, *former.STEPS[kind])
            assert plan["tasks"], (turn, kind)
            lake.k2 = runner
            results = former.run_tasks(lake, plan)
            lake.k2 = committer
            former.commit(lake, tmp_path / "plan.json", plan, results)
    lake.k2 = k2
    oracle.check(lake, headers=False)


@pytest.mark.long
@BUILDS
def test_the_known_documents_are_those_of_the_version_before(
    lake: Lake, former_k2: Path, oracle: Oracle, topics: list[str], tmp_path: Path
) -> None:
    lake.k2 = former_k2
    assert former.VERSION in lake.k2_run("--version").stdout
    found = former.documents(lake, oracle, topics[0], tmp_path / "plan.json")
    known = former.known_documents()
    assert found.keys() == known.keys()
    for name in known:
        assert former.missing(former.shape_of(known[name]), former.shape_of(found[name])) == [], name
        assert former.missing(former.shape_of(found[name]), former.shape_of(known[name])) == [], name


@pytest.mark.long
@BUILDS
def test_the_former_version_reads_what_this_one_has_recorded(lake: Lake, former_k2: Path, k2: Path) -> None:
    """Properties and summaries that it does not know are kept, and change nothing for it."""
    lake.k2 = former_k2
    lake.k2_run("tables", "create")
    lake.k2 = k2
    recording = lake.folder / "binance.log"
    lake.k2_run("simulate", "--exchange", "binance", "--trades", "500", "--out", str(recording))
    flags = ("--kafka", "", "--recording", f"binance={recording}")
    lake.k2_run("run", *flags)
    lake.table(GOLD).delete("symbol == 'BTCUSDT'")
    lake.k2_run("rebuild", "--layer", "gold")
    events = lake.json("audit")
    assert [row["event"] for row in events] == ["overwrite", "rebuild"]
    lake.k2 = former_k2
    lake.k2_run("run", *flags)
    lake.k2_run("maintain", "expire", "--older-than", "0s")
    assert {len(lake.table(name).metadata.snapshots) for name in TABLES} == {1}
    lake.k2 = k2
    assert lake.json("audit") == events
    assert json.loads(lake.table(GOLD).properties["k2.audit"])["version"] == 1
    assert len(lake.gold()) == 500
