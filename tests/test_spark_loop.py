"""The loop of the layers' jobs, without Spark: what is waited out, what is tried again, what ends it, and in order."""

from __future__ import annotations

import json
import os
import signal
import socket
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from py4j.protocol import Py4JError, Py4JNetworkError
from warehouse import Warehouse

from k2.spark.dataframe import AnotherWriterError
from k2.spark.engine.native import failure
from k2.spark.engine.step import StepReport
from k2.spark.jobs import layers
from k2.spark.utils import command_line
from k2.spark.utils.errors import (
    ConfigurationError,
    DataError,
    K2Error,
    RaceError,
    SparkStoppedError,
    UnavailableError,
    UnknownOutcomeError,
)
from k2.spark.utils.explain import explain

RACE = RaceError("another writer was faster")
# As Py4J tells of S3 and of a catalog that are away, in a collect or a load of a DataFrame.
S3_AWAY = RuntimeError(
    "An error occurred while calling o1.collectToPython.\n: org.apache.spark.SparkException: Job aborted\n"
    "Caused by: software.amazon.awssdk.core.exception.SdkClientException: Unable to execute HTTP request: refused"
)
DONE = StepReport("gold", rows_in=5)


@pytest.fixture(autouse=True)
def _signals() -> Iterator[None]:
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in kept.items():
        signal.signal(number, handler)


class Steps:
    """Does what it is told, one after the other; then it is idle, and says stop."""

    def __init__(self, *told: Exception | StepReport, stop: layers.Stop) -> None:
        self.told = list(told)
        self.stop = stop

    def __call__(self) -> StepReport | None:
        if not self.told:
            self.stop.set()
            return None
        one = self.told.pop(0)
        if isinstance(one, Exception):
            raise one
        return one


def moved(monkeypatch: pytest.MonkeyPatch, *told: Exception | StepReport, words: tuple[str, ...] = ()) -> layers.Totals:
    monkeypatch.setattr(layers, "OUTAGE_PAUSE_S_MAX", 0.0)
    monkeypatch.setattr(layers, "FIRST_PAUSE_S", 0.0)
    options = layers.parser("gold", "").parse_args(["--interval", "0s", *words])
    totals, stop = layers.Totals("gold", "spark"), layers.Stop()
    layers.move(Steps(*told, stop=stop), totals, options, stop, None)
    return totals


def test_outages_are_waited_out_by_those_that_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    outages = [S3_AWAY, UnavailableError("the catalog"), UnknownOutcomeError("perhaps")] * 20
    assert moved(monkeypatch, *outages, DONE, words=("--continuous",)).done.rows_in == 5
    with pytest.raises(UnavailableError, match="a service does not answer"):
        moved(monkeypatch, S3_AWAY)
    with pytest.raises(DataError):
        moved(monkeypatch, DataError("rows are missing"), words=("--continuous",))


@pytest.mark.parametrize("words", [(), ("--continuous",)])
def test_races_in_a_row_are_counted_and_outages_are_none(
    monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    races: list[Exception | StepReport] = [AnotherWriterError("moved"), *[RACE] * (layers.RACES_MAX - 1)]
    assert moved(monkeypatch, *races, DONE, *races, DONE, words=words).steps == 2
    with pytest.raises(RaceError):
        moved(monkeypatch, *races, RACE, words=words)
    if words:
        assert moved(monkeypatch, *races, S3_AWAY, *races, DONE, words=words).steps == 1
    with pytest.raises(DataError, match="says nothing"):
        moved(monkeypatch, DataError("that another writer has moved it says nothing"), words=words)


@pytest.mark.parametrize(
    "gone",
    [
        Py4JNetworkError("Answer from Java side is empty"),
        Py4JError("An error occurred while calling o12.collectToPython"),
        ConnectionRefusedError(111, "Connection refused"),
        RuntimeError("java.lang.IllegalStateException: Cannot call methods on a stopped SparkContext."),
    ],
)
def test_a_session_that_has_ended_is_not_waited_for(monkeypatch: pytest.MonkeyPatch, gone: Exception) -> None:
    with pytest.raises(SparkStoppedError) as told:
        moved(monkeypatch, gone, words=("--continuous",))
    assert told.value.exit_code == 3
    assert type(explain(Py4JError("An error occurred while calling o1.x. Trace:\njava.lang.Error"), "")) is DataError


def test_it_waits_where_nothing_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """A step that leaves something is followed by the next at once, however many rows it had."""
    waits: list[int] = []
    steps: list[StepReport] = []
    monkeypatch.setattr(layers.Stop, "wait", lambda *_: waits.append(len(steps)))
    options, stop = layers.parser("gold", "").parse_args(["--continuous", "--interval", "1h"]), layers.Stop()

    def step() -> StepReport | None:
        if len(steps) == 3:
            stop.set()
            return None
        steps.append(StepReport("gold", rows_in=1000, behind=2 - len(steps)))
        return steps[-1]

    layers.move(step, layers.Totals("gold", "spark"), options, stop, None)
    assert waits == [3, 3], "after the last of them, and when there was nothing"


def test_totals_are_the_sums_of_steps() -> None:
    totals = layers.Totals("silver", "native")
    for behind in (9, 4):
        totals.add(StepReport("silver", 2, 10, 8, {"oversized": 1, "malformed": 1}, 1, 2, 3, behind, 0.1, 0.2, 0.30001))
    assert totals.row() == {
        "layer": "silver",
        "engine": "native",
        "steps": 2,
        "tasks": 4,
        "rows_in": 20,
        "rows_out": 16,
        "rejected": {"oversized": 2, "malformed": 2},
        "duplicates": 2,
        "identity_conflicts": 4,
        "commits": 6,
        "plan_seconds": 0.2,
        "run_seconds": 0.4,
        "commit_seconds": 0.6,
    }


class Session:
    """Of Spark as far as a job's frame goes: its constructor takes SIGINT for itself."""

    stopped = False

    def __init__(self, *_: Any) -> None:
        def cut_off(*_: object) -> None:
            raise KeyboardInterrupt

        signal.signal(signal.SIGINT, cut_off)

    def stop(self) -> None:
        self.stopped = True


def run(monkeypatch: pytest.MonkeyPatch, step: layers.Step, *words: str) -> tuple[int, Session]:
    made: list[Session] = []

    def session(*_: object) -> Session:
        made.append(Session())
        return made[0]

    monkeypatch.setattr(command_line, "session", session)
    monkeypatch.setattr(layers.Stop, "heard_by_java", lambda *_: None)
    try:
        code = layers.main("gold", "", "gold", lambda *_: step, ["--engine", "spark", "--output", "json", *words])
    except K2Error as error:
        code = error.exit_code
    return code, made[0]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_job_after_the_step_it_came_in(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], number: int
) -> None:
    def step() -> StepReport:
        os.kill(os.getpid(), number)
        return DONE

    code, session = run(monkeypatch, step, "--continuous")
    assert (code, session.stopped) == (0, True)
    assert json.loads(capsys.readouterr().out)[0]["rows_in"] == 5


def test_a_port_that_is_taken_is_told_and_the_session_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, session = run(monkeypatch, lambda: None, "--metrics-port", str(port))
    assert (code, session.stopped) == (ConfigurationError.exit_code, True)


def test_intervals_have_an_end() -> None:
    assert layers.parser("x", "").parse_args(["--interval", "5s"]).interval == 5_000_000
    with pytest.raises(SystemExit):
        layers.parser("x", "").parse_args(["--interval", "forever"])


def told(error: str, kind: str, **more: str) -> str:
    """As k2 ends with K2_LOG_FORMAT=json; a line of its log before."""
    return '{"time":"2024-01-01T00:00:00Z","level":"warning","event":"x"}\n' + json.dumps(
        {"error": error, "kind": kind} | more
    )


@pytest.mark.parametrize(
    ("command", "code", "said", "kind"),
    [
        ("commit", 1, told("concurrent writer detected", "offset_mismatch", table="gold_crypto_trades"), RaceError),
        ("commit", 1, told("cannot commit after 20 attempts: the commit was refused", "conflict"), RaceError),
        ("commit", 1, told("rows are missing: concurrent writer detected", "upstream_changed"), DataError),
        ("commit", 2, told("--plan x.parquet", "not_found"), ConfigurationError),
        ("plan", 2, told("gone", "not_found", file="s3://lake/t/metadata/snap-1.avro"), RaceError),
        ("plan", 2, told("gone", "not_found", file="/etc/k2/schemas"), ConfigurationError),
        ("plan", 2, told("no table", "not_found", table="gold_crypto_trades"), ConfigurationError),
        ("commit", 3, told("cannot commit after 4 attempts: no route", "unavailable"), UnavailableError),
        ("commit", 4, told("the outcome", "commit_unknown"), UnknownOutcomeError),
        ("commit", -9, "", UnknownOutcomeError),
        ("plan", -15, "", UnavailableError),
        ("plan", 1, told("concurrent writer detected", "offset_mismatch"), DataError),
        ("plan", 2, "k2: there is no flag --x here", ConfigurationError),
    ],
)
def test_how_k2_ended(command: str, code: int, said: str, kind: type[K2Error]) -> None:
    assert type(failure(command, code, said)) is kind


def test_k2_tells_how_it_ended(warehouse: Warehouse) -> None:
    """One object on the last line, whatever went wrong."""
    json_log = {"K2_LOG_FORMAT": "json"}

    def ended(*words: str, expect: int, variables: Mapping[str, str] = json_log) -> dict[str, Any]:
        done = warehouse.k2_run(*words, expect=expect, env=variables)
        found: dict[str, Any] = json.loads(done.stderr.splitlines()[-1])
        assert found["exit_code"] == expect
        return found

    warehouse.k2_run("tables", "create")
    warehouse.catalog().drop_table("market_data.bronze_trades")
    missing = ended("plan", "--layer", "silver", expect=2)
    assert (missing["kind"], missing["table"]) == ("not_found", "bronze_trades")
    assert "k2 tables create" in missing["hint"]
    unset = ended("plan", "--layer", "silver", expect=2, variables=json_log | {"K2_LOG_LEVEL": "loud"})
    assert unset["kind"] == "invalid_argument"
    text = warehouse.k2_run("plan", "--layer", "silver", expect=2).stderr
    assert text.startswith("k2: there is no table")
