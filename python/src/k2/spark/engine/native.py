"""The native engine: `k2 plan` and `k2 commit` in the driver, `k2 task` on the executors. Spark spreads the tasks, runs
them again where one fails, and shows where they stand; no row goes through the JVM or Python.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from k2.spark.engine.cores import cores_now, wait_for_executors
from k2.spark.engine.lake import lake_variables
from k2.spark.engine.program import NO_SETTINGS_FILE, add_archive, find_program
from k2.spark.engine.step import StepReport
from k2.spark.engine.worker import run_task
from k2.spark.utils.command_line import say
from k2.spark.utils.errors import (
    ConfigurationError,
    DataError,
    InternalError,
    K2Error,
    RaceError,
    UnavailableError,
    UnknownOutcomeError,
    one_line,
)
from k2.spark.utils.settings import catalog_name

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

LAYERS = ("bronze", "silver", "gold")
COMPACTION_RACES_MAX = 5
NEWEST_KEY = "k2.message-time.max-us"  # in the summaries of snapshots
# Variables of the driver that are not the executors' business.
_OWN = ("K2_PROGRAM", "K2_ARCHIVE", "K2_SCHEMA_CACHE")
# Of a commit: the fence, a budget of tries that others' commits have used up, files that others have removed.
_RACES = ("conflict", "offset_mismatch")
_PLANNED_FILES = (".parquet", ".avro", ".metadata.json")
_ERRORS: Mapping[int, type[K2Error]] = {
    1: DataError,
    2: ConfigurationError,
    3: UnavailableError,
    4: UnknownOutcomeError,
    5: InternalError,
}


@dataclass(frozen=True)
class Plan:
    """A step of a layer: what `k2 plan` has printed."""

    layer: str
    text: str
    tasks: Sequence[str]
    commits: int
    behind: int  # messages above the layer
    left: int  # of them, those that the step does not take
    seconds: float
    tables: Mapping[str, bool]  # that it commits to; whether only where a task has written to it
    newest_us: int  # Kafka's timestamp of the newest message; 0: the results tell it, or nothing does

    @property
    def empty(self) -> bool:
        return not self.tasks and not self.commits


class NativeEngine:
    """Steps of K2's layers on the cluster of a session.

    The lake is that of the session's catalog (`catalog`, by default K2_SPARK_CATALOG_NAME or `iceberg`): its address,
    credentials and store are k2's. `settings`: flags of the k2 program by name, such as {"kafka": "broker:9092"}, over
    its variables K2_* and AWS_*, which are the driver's and go to the executors with the tasks; no k2.toml is read. A
    session without such a catalog works on what they name, such as a folder that all machines share: {"warehouse": …}.
    `tasks`: how many a step is cut into; by default two for each core that the executors have by then, so that one that
    is done early takes more; a session's first step waits for them, 30 s at most. `rows`: of a step at most, about.
    `archive`: the one of `make dist`, by default K2_ARCHIVE, where executors have no k2 program.
    """

    def __init__(
        self,
        spark: SparkSession,
        settings: Mapping[str, str] | None = None,
        tasks: int | None = None,
        rows: int = 4_194_304,
        archive: str | None = None,
        catalog: str | None = None,
    ) -> None:
        self._context = spark.sparkContext
        self._tasks = tasks
        self._rows = rows
        variables = lake_variables(
            catalog or catalog_name({}), lambda key: spark.conf.get(key, "") or "", settings or {}, os.environ
        )
        self._variables = {name: value for name, value in variables.items() if name not in _OWN}
        archive = archive or os.environ.get("K2_ARCHIVE")
        if archive:
            add_archive(self._context, archive)
        self._program = find_program()

    def step(self, layer: str) -> StepReport | None:
        """Plans, runs and commits one step; None where there was nothing to do."""
        plan = self.plan(layer)
        return None if plan.empty else self._do(plan)

    def rebuild(self, layer: str, first_date: str | None = None, last_date: str | None = None) -> StepReport:
        """All rows of Silver again out of Bronze, or of Gold out of Silver, in one commit a table; of Gold also some
        days alone (exchange_date, YYYY-MM-DD, both included). Raises DataError where a trade would vanish, or where
        Gold has moved on meanwhile: nothing was changed then."""
        days = [("--from", first_date), ("--to", last_date)]
        return self._do(self._plan(layer, "--rebuild", *(word for name, day in days if day for word in (name, day))))

    def compact(
        self, table: str, target_file_bytes: int = 128 << 20, min_input_files: int = 5, settled_s: int = 900
    ) -> dict[str, int]:
        """Joins small files of partitions that no row came into for `settled_s`, each group of files a task, in commits
        of about 64 million rows, until nothing is left to do. No row changes. Returns the numbers of `files` that were
        joined and of those they were joined `into`, and their `bytes`. Raises RaceError where others have removed its
        files again and again."""
        words = ["--target-file-size", str(target_file_bytes), "--min-input-files", str(min_input_files)]
        words += ["--settled", f"{settled_s}s"]
        done = {"files": 0, "into": 0, "bytes": 0}
        races = 0
        while not (plan := self._planned("compaction", "--compact", table, *words)).empty:
            removed = [file for commit in json.loads(plan.text)["commits"] for file in commit["removed"]]
            try:
                report = self.commit(plan, self.run(plan))
            except RaceError:
                races += 1
                if races == COMPACTION_RACES_MAX:
                    raise
                continue
            done["files"] += len(removed)
            done["into"] += report["files"]
            done["bytes"] += sum(file["file_size_in_bytes"] for file in removed)
        return done

    def _do(self, plan: Plan) -> StepReport:
        begin = time.monotonic()
        results = self.run(plan)
        ran = time.monotonic()
        done = self.commit(plan, results)
        return StepReport(
            layer=plan.layer,
            tasks=len(plan.tasks),
            rows_in=done["rows_in"],
            rows_out=done["rows_out"],
            rejected=done["rejected"],
            duplicates=done["duplicates"],
            identity_conflicts=done["identity_conflicts"],
            commits=done["commits"],
            behind=plan.left,
            plan_seconds=plan.seconds,
            run_seconds=ran - begin,
            commit_seconds=time.monotonic() - ran,
            tables=[
                name for name, needs_rows in plan.tables.items() if done["rows_by_table"].get(name) or not needs_rows
            ],
            newest_us=plan.newest_us or _newest_message(plan, results),
        )

    def plan(self, layer: str) -> Plan:
        """Reads the tables' offsets and cuts what is new into tasks. Writes nothing, but for Bronze's first start."""
        if layer not in LAYERS:
            raise ConfigurationError(f"there is no layer {layer!r}: {', '.join(LAYERS)}")
        return self._plan(layer)

    def _plan(self, layer: str, *more: str) -> Plan:
        if not wait_for_executors(self._context):
            say(f"{layer}: no executor yet: the cluster is busy or has no worker; the planned tasks are waiting")
        cores = cores_now(self._context)
        cut = ["--tasks", str(self._tasks or 2 * cores), "--cores", str(cores), "--rows", str(self._rows)]
        return self._planned(layer, "--layer", layer, *cut, *more)

    def _planned(self, layer: str, *words: str) -> Plan:
        begin = time.monotonic()
        text = self._k2("plan", *words)
        document = json.loads(text)
        tasks = [json.dumps(task) for task in document["tasks"]]
        return Plan(
            layer=layer,
            text=text,
            tasks=tasks,
            commits=len(document["commits"]),
            behind=document["behind"],
            left=document["left"],
            seconds=time.monotonic() - begin,
            tables={commit["table"]: commit["needs_rows"] for commit in document["commits"]},
            newest_us=max((int(commit["summary"].get(NEWEST_KEY, 0)) for commit in document["commits"]), default=0),
        )

    def run(self, plan: Plan) -> list[str]:
        """Runs the tasks on the executors; their results, in the order of the tasks."""
        if not plan.tasks:
            return []
        variables = self._variables
        self._context.setJobDescription(f"k2 {plan.layer}: {len(plan.tasks)} tasks")
        try:
            tasks = self._context.parallelize(plan.tasks, len(plan.tasks))
            answers = tasks.map(lambda task: run_task(task, variables)).collect()
        except Exception as error:
            raise _explain(error, plan.layer) from error
        finally:
            self._context.setLocalProperty("spark.job.description", "")
        for answer in answers:
            if answer.startswith('{"error"'):
                told = json.loads(answer)
                raise _error_of(told | {"error": f"{plan.layer}: {_text_of(told)}"})
        return answers

    def commit(self, plan: Plan, results: Sequence[str]) -> dict[str, Any]:
        """One commit a table, with the source offsets. Raises RaceError where another writer has moved them: nothing
        was committed then, and a new plan goes on from there. To commit the same once more changes nothing."""
        with tempfile.TemporaryDirectory(prefix="k2-plan-") as folder:
            path = Path(folder) / "plan.json"
            path.write_text(plan.text, encoding="utf-8")
            done = self._k2("commit", "--plan", str(path), given="".join(result + "\n" for result in results))
        report: dict[str, Any] = json.loads(done)
        return report

    def _k2(self, *arguments: str, given: str = "") -> str:
        process = subprocess.run(
            [self._program, *arguments, *NO_SETTINGS_FILE],
            input=given,
            capture_output=True,
            text=True,
            encoding="utf-8",
            env=os.environ | self._variables | {"K2_LOG_FORMAT": "json"},  # how it ended is told as JSON then, too
            start_new_session=True,  # Ctrl-C is the driver's, which ends after its step
            check=False,
        )
        if process.returncode == 0:
            return process.stdout
        raise failure(arguments[0], process.returncode, process.stderr)


def _newest_message(plan: Plan, results: Sequence[str]) -> int:
    """Of Bronze, whose plan knows offsets alone: by the bounds of the files that were written."""
    if plan.layer != "bronze" or not plan.tasks:
        return 0
    column = str(json.loads(plan.tasks[0])["output"]["shape"]["columns"]["kafka_timestamp"])
    outputs = (output for result in results for output in json.loads(result)["outputs"])
    bounds = (file["upper_bounds"].get(column, "") for output in outputs for file in output["files"])
    return max((int.from_bytes(bytes.fromhex(bound), "little", signed=True) for bound in bounds), default=0)


def failure(command: str, code: int, stderr: str) -> K2Error:
    """What a k2 command that did not end well has told: JSON on the last line, unless it ended before it could."""
    told = _told(stderr)
    text = _text_of(told)
    if code < 0:
        text = f"k2 {command} was killed by signal {-code}{': ' if text else ''}{text}"
        if command == "commit":
            return UnknownOutcomeError(f"{text}; unknown commit outcome. Start again: no rows will be duplicated")
        return UnavailableError(text)
    if command == "commit" and told.get("kind") in _RACES:
        return RaceError(text)
    return _error_of(told | {"exit_code": code, "error": text or f"k2 {command} ended with code {code}"})


def _told(stderr: str) -> dict[str, Any]:
    """The last line that k2 has written: {"error", "kind", "exit_code"}; where known, "table", "file" and "hint"."""
    last = next(reversed(stderr.strip().splitlines()), "")
    try:
        told = json.loads(last)
    except ValueError:
        return {"error": last.removeprefix("k2: ")}
    return told if isinstance(told, dict) and "error" in told else {"error": last}


def _text_of(told: Mapping[str, Any]) -> str:
    """What went wrong, and the hint behind it where there is one."""
    text = str(told.get("error", ""))
    return f"{text} ({told['hint']})" if told.get("hint") else text


def _error_of(told: Mapping[str, Any]) -> K2Error:
    # A planned file that is not there: others have compacted its table and expired the snapshots meanwhile. Where it is
    # lost for good, the races in a row have an end.
    if told.get("kind") == "not_found" and told.get("file", "").endswith(_PLANNED_FILES):
        return RaceError(told["error"])
    return _ERRORS.get(told["exit_code"], DataError)(told["error"])


def _explain(error: Exception, layer: str) -> K2Error:
    """The error of a task that failed as often as Spark runs one: what the last try said."""
    from k2.spark.utils.explain import explain

    for line in str(error).splitlines():
        for kind in (ConfigurationError, UnavailableError, DataError, InternalError):
            _, mark, text = line.partition(f"{kind.__name__}: ")
            if mark:
                return kind(f"{layer}: {one_line(text)}")
    return explain(error, layer)
