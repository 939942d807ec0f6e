"""What a commit of the DataFrame path says of itself: done, certainly not, or perhaps. On a table without Spark."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, cast

import pytest
from py4j.protocol import Py4JNetworkError
from pyspark.errors import PySparkException

from k2.spark.dataframe import AnotherWriterError, Policy
from k2.spark.dataframe.progress import Metadata, Move, Position, Progress, SourceKey, find_progress
from k2.spark.dataframe.publish import STAGE_PREFIX, Published, Write, left_over_branches, publish
from k2.spark.dataframe.tables import Table, unavailable
from k2.spark.utils.age import ATTEMPT_AGE_S_MAX, LOOK_AGAIN_AFTER_S, Moment
from k2.spark.utils.errors import K2Error, RaceError, SparkStoppedError, UnavailableError, UnknownOutcomeError

KEY = SourceKey("c", "t.binance", "id", 0)


class Java:
    """An exception of Java's, as Py4J shows it."""

    def __init__(self, name: str, text: str) -> None:
        self.name = name
        self.text = text

    def getClass(self) -> Java:  # noqa: N802
        return self

    def getSimpleName(self) -> str:  # noqa: N802
        return self.name

    def getCause(self) -> None:  # noqa: N802
        return None

    def toString(self) -> str:  # noqa: N802
        return f"org.apache.iceberg.exceptions.{self.name}: {self.text}"


class JavaError(PySparkException):
    def __init__(self, name: str, text: str = "it says so") -> None:
        super().__init__(message=f"{name}: {text}")
        self.java_exception = Java(name, text)


class Change:
    """Of references, or of a branch's rows: what is asked for is done by `commit`."""

    def __init__(self, table: MemoryTable) -> None:
        self.table = table
        self.asked: list[Callable[[], None]] = []
        self.publishes = False
        self.branch = ""
        self.summary = {"operation": "append", "added-records": "0"}

    def _ask(self, what: Callable[[], None]) -> Change:
        self.asked.append(what)
        return self

    def createBranch(self, name: str, snapshot: int) -> Change:  # noqa: N802
        return self._ask(lambda: self.table.refs.update({name: snapshot}))

    createTag = replaceTag = createBranch  # noqa: N815

    def fastForwardBranch(self, name: str, other: str) -> Change:  # noqa: N802
        self.publishes = True
        return self._ask(lambda: self.table.refs.update({name: self.table.refs[other]}))

    def removeBranch(self, name: str) -> Change:  # noqa: N802
        return self._ask(lambda: cast(None, self.table.refs.pop(name)))

    def toBranch(self, name: str) -> Change:  # noqa: N802
        self.branch = name
        return self._ask(lambda: self.table.add(self.branch, self.summary))

    def set(self, name: str, value: str) -> Change:
        self.summary[name] = value
        return self

    def apply(self) -> None:
        for one in self.asked:
            one()

    def commit(self) -> None:
        if self.publishes and self.table.on_publish is not None:
            self.table.on_publish(self)
        else:
            self.apply()


class MemoryTable:
    """As much of Table as a commit asks for."""

    name = "t"
    key = "market_data.t"

    def __init__(self) -> None:
        self.snapshots: list[dict[str, Any]] = []
        self.refs: dict[str, int] = {}
        self.on_publish: Callable[[Change], None] | None = None
        self.looks_that_fail = 0
        self.java = self
        self.add("main", {"operation": "append"})

    def add(self, branch: str, summary: Mapping[str, str]) -> None:
        number = len(self.snapshots) + 1
        parent = self.refs.get(branch)
        one = {"snapshot-id": number, "parent-snapshot-id": parent, "sequence-number": number, "summary": dict(summary)}
        self.snapshots.append(one)
        self.refs[branch] = number

    def manageSnapshots(self) -> Change:  # noqa: N802
        return Change(self)

    newAppend = manageSnapshots  # noqa: N815

    def current(self) -> Metadata:
        refs = {name: {"snapshot-id": snapshot} for name, snapshot in self.refs.items()}
        document = {"table-uuid": "u", "location": "l", "snapshots": self.snapshots, "refs": refs}
        return Metadata(document | {"current-snapshot-id": self.refs["main"]})

    def refresh(self) -> Metadata:
        if self.looks_that_fail and self.on_publish is None:
            self.looks_that_fail -= 1
            raise UnavailableError("the catalog is away")
        return self.current()

    metadata_with_head = current

    @property
    def place(self) -> int:
        positions = find_progress(self.current()).progress.positions
        return positions[KEY].next_offset if KEY in positions else 0

    @property
    def branches(self) -> list[str]:
        return [name for name in self.refs if name.startswith(STAGE_PREFIX)]

    def publish(self, write: Write | None = None, **policy: Any) -> Published:
        move = Move(Progress(), Progress({KEY: Position(7)}))
        return publish(cast(Table, self), move, write, policy=Policy(**({"duration_s_max": 0.3} | policy)))


def answers(table: MemoryTable, error: Exception, applied: bool = False, looks_that_fail: int = 0) -> None:
    """What the next request that publishes comes to; those after it are served."""

    def once(change: Change) -> None:
        table.on_publish = None
        table.looks_that_fail = looks_that_fail
        if applied:
            change.apply()
        raise error

    table.on_publish = once


def test_a_commit_and_the_next_of_the_same() -> None:
    table = MemoryTable()
    assert table.publish().snapshot_id == table.refs["main"] == table.refs["k2-offsets"]
    assert (table.place, table.branches) == (7, [])
    with pytest.raises(AnotherWriterError):
        table.publish()


@pytest.mark.parametrize("applied", [False, True])
@pytest.mark.parametrize("gone", [Py4JNetworkError("Answer from Java side is empty"), ConnectionResetError()])
def test_a_jvm_that_dies_in_the_commit_leaves_it_open(applied: bool, gone: Exception) -> None:
    table = MemoryTable()
    answers(table, gone, applied)
    with pytest.raises(UnknownOutcomeError, match="Spark's Java process has ended"):
        table.publish()
    assert len(table.branches) == (0 if applied else 1), "what may be published yet is kept from expiry"


@pytest.mark.parametrize("name", ["CommitFailedException", "NotAuthorizedException"])
@pytest.mark.parametrize("applied", [False, True])
def test_a_refusal_after_which_nobody_can_look_leaves_it_open(name: str, applied: bool) -> None:
    """A gateway that lost the answer may have sent the request again: the refusal is of the second one."""
    table = MemoryTable()
    answers(table, JavaError(name), applied, looks_that_fail=1000)
    table.manageSnapshots = away_after_publishing(table)  # type: ignore[method-assign]
    with pytest.raises(UnknownOutcomeError):
        table.publish()


def away_after_publishing(table: MemoryTable) -> Callable[[], Change]:
    def manage() -> Change:
        if table.looks_that_fail:
            raise JavaError("ServiceUnavailableException")
        return Change(table)

    return manage


@pytest.mark.parametrize(
    ("name", "applied", "looks_that_fail", "attempts"),
    [
        ("CommitFailedException", True, 0, 1),
        ("CommitFailedException", True, 1, 2),
        ("CommitFailedException", False, 0, 2),
        ("CommitFailedException", False, 2, 2),
        ("CommitStateUnknownException", True, 0, 1),
        ("CommitStateUnknownException", False, 0, 2),
        ("NotAuthorizedException", True, 0, 1),
    ],
)
def test_a_later_look_tells(name: str, applied: bool, looks_that_fail: int, attempts: int) -> None:
    table = MemoryTable()
    answers(table, JavaError(name), applied, looks_that_fail)
    assert table.publish().attempts == attempts
    assert (table.place, table.branches, len(table.snapshots)) == (7, [], 2)


def test_refusals_that_were_looked_at_have_an_end() -> None:
    """Nothing was committed, and is told so."""
    table = MemoryTable()

    def refuse(_: Change) -> None:
        raise JavaError("CommitFailedException")

    table.on_publish = refuse
    with pytest.raises(UnavailableError, match="nothing was committed"):
        table.publish(attempts_max=3, duration_s_max=60)
    assert (table.place, table.branches) == (0, [])
    answers(table, JavaError("ForbiddenException"))
    with pytest.raises(UnavailableError, match="the commit was refused"):
        table.publish()


@pytest.mark.parametrize(
    ("name", "text", "kind"),
    [
        ("SdkClientException", "Unable to execute HTTP request: Connect to 127.0.0.1:1 failed", UnavailableError),
        ("S3Exception", "Service Unavailable (Service: S3, Status Code: 503)", UnavailableError),
        ("ServiceFailureException", "Server error", UnavailableError),
        ("CommitStateUnknownException", "of the branch, which nobody reads", UnavailableError),
        ("NoSuchKeyException", "The specified key does not exist. (Service: S3, Status Code: 404)", RaceError),
        ("NotFoundException", "Location does not exist: s3://lake/t/metadata/snap-1.avro", RaceError),
    ],
)
def test_services_that_are_away_while_rows_are_written(name: str, text: str, kind: type[K2Error]) -> None:
    table = MemoryTable()

    def write(*_: object) -> None:
        raise JavaError(name, text)

    with pytest.raises(kind) as told:
        table.publish(write)
    assert type(told.value) is kind
    assert (table.place, table.branches) == (0, [])


def test_spark_that_has_ended_is_no_service_that_is_away() -> None:
    stopped = unavailable(JavaError("IllegalStateException", "Cannot call methods on a stopped SparkContext"), "Kafka")
    away = unavailable(JavaError("TimeoutException", "no answer"), "Kafka")
    assert [type(one) for one in (stopped, away)] == [SparkStoppedError, UnavailableError]
    assert str(away) == "Kafka: org.apache.iceberg.exceptions.TimeoutException: no answer"


def test_a_refusal_does_not_close_what_an_earlier_try_left_open() -> None:
    table = MemoryTable()
    told = [JavaError("CommitStateUnknownException"), JavaError("ForbiddenException")]

    def one_after_the_other(_: Change) -> None:
        raise told.pop(0)

    table.on_publish = one_after_the_other
    with pytest.raises(UnknownOutcomeError, match="CommitStateUnknown"):
        table.publish()


def test_branches_of_a_day_ago_are_left_over() -> None:
    """Their age is told by the clocks of two machines."""
    table = MemoryTable()
    table.publish()
    now_ms = int(time.time() * 1000)
    for hours in (2, 23, 25):
        table.refs[f"{STAGE_PREFIX}{now_ms - hours * 3_600_000}-x{hours}"] = 1
    assert [name[-3:] for name in left_over_branches(table.current(), Policy().left_over_after_s)] == ["x25"]


class Sleeper:
    """A driver that sleeps between the look at main and the request."""

    def __init__(self, wall_s: float = 0.0, boot_s: float = 0.0, passage: int = 1) -> None:
        self.slept = (wall_s, boot_s)
        self.passage = passage
        self.at = Moment(1e9, 5.0)

    def step(self, name: str, _: Table) -> None:
        self.passage -= name == "checked"
        if name == "checked" and self.passage == 0:
            self.at = Moment(self.at.wall_s + self.slept[0], self.at.boot_s + self.slept[1])

    def policy(self) -> dict[str, Any]:
        return {"now": lambda: self.at, "on_step": self.step}


@pytest.mark.parametrize("slept", [(2 * 86_400.0, 0.0), (0.0, 2 * 86_400.0), (-3600.0, ATTEMPT_AGE_S_MAX + 1)])
def test_a_driver_that_slept_publishes_nothing(slept: tuple[float, float]) -> None:
    table = MemoryTable()
    with pytest.raises(RaceError, match="timed out"):
        table.publish(**Sleeper(*slept).policy())
    assert (table.place, table.branches) == (0, [])
    assert table.publish().snapshot_id == table.refs["main"], "planned again it goes through"


def test_what_was_in_doubt_stays_so_after_a_sleep() -> None:
    table = MemoryTable()
    answers(table, JavaError("CommitStateUnknownException"))
    with pytest.raises(UnknownOutcomeError, match="timed out"):
        table.publish(**Sleeper(boot_s=2 * 86_400.0, passage=2).policy())
    assert len(table.branches) == 1, "what may be published yet is kept from expiry"


class StoredFile:
    """A data file, as Iceberg knows it and as it is."""

    def __init__(self, bytes_there: int | None) -> None:
        self.there = bytes_there

    def path(self) -> str:
        return "s3://lake/one.parquet"

    def fileSizeInBytes(self) -> int:  # noqa: N802
        return 10

    def newInputFile(self, _: str) -> StoredFile:  # noqa: N802
        return self

    def getLength(self) -> int:  # noqa: N802
        if self.there is None:
            raise JavaError("NotFoundException")
        return self.there


@pytest.mark.parametrize(("there", "done"), [(10, True), (9, False), (None, False)])
def test_files_written_long_ago_are_looked_at_once_more(
    there: int | None, done: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    table, file = MemoryTable(), StoredFile(there)
    monkeypatch.setattr(MemoryTable, "added_files", lambda _, snapshot: [file], raising=False)
    monkeypatch.setattr(MemoryTable, "io", lambda _: file, raising=False)
    policy = Sleeper(boot_s=2 * LOOK_AGAIN_AFTER_S).policy()
    if done:
        table.publish(**policy)
    else:
        with pytest.raises(RaceError, match=r"one\.parquet.*before a commit could reference it"):
            table.publish(**policy)
    assert (table.place, table.branches) == (7 if done else 0, [])
