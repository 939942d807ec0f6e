"""What the jobs of the three layers have in common: options, the loop, and its report."""

from __future__ import annotations

import argparse
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from k2.spark.engine.lake import variable
from k2.spark.engine.metrics import JobMetrics
from k2.spark.engine.step import StepReport
from k2.spark.schemas import DEFAULT_TOPICS
from k2.spark.utils import command_line
from k2.spark.utils.command_line import duration_us, say
from k2.spark.utils.errors import (
    ConfigurationError,
    K2Error,
    RaceError,
    SparkStoppedError,
    UnavailableError,
    UnknownOutcomeError,
)
from k2.spark.utils.explain import explain
from k2.spark.utils.settings import catalog_name, secret, secret_file

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from k2.spark.dataframe import Schemas
    from k2.spark.engine.native import NativeEngine

Step = Callable[[], StepReport | None]

RACES_MAX = 20
FIRST_PAUSE_S, OUTAGE_PAUSE_S_MAX = 0.1, 5.0


# Where deploy/prometheus looks for jobs: beside the k2 process's own 9464.
METRICS_PORTS = {"bronze": 9465, "silver": 9466, "gold": 9467}
# Options that are settings of the k2 program by the same name, each with a variable K2_*.
SETTINGS = ("kafka", "topics", "partitions", "start", "kafka-set", "kafka-group", "registry", "schemas")


def parser(program: str, what: str, layer: str | None = None) -> argparse.ArgumentParser:
    """With the options of a layer, or of all of them."""
    made = command_line.parser(program, what)
    engine_choice(made)
    engine_options(made)
    made.add_argument("--continuous", action="store_true", help="run until SIGTERM; otherwise exit when up to date")
    made.add_argument(
        "--interval", type=_interval, default="10s", metavar="TIME", help="continuous: time between two polls"
    )
    port = METRICS_PORTS.get(layer or "", 0)
    made.add_argument(
        "--metrics-port",
        type=int,
        nargs="?",
        const=port,
        metavar="PORT",
        help=f"serve lag, rows, commits and times to Prometheus there; {port or 'a free one'} where none is given",
    )
    made.add_argument(
        "--metrics-host", default="127.0.0.1", metavar="HOST", help="the address of it; 0.0.0.0 for other machines"
    )
    made.add_argument("--kafka", metavar="BROKERS", help="host:port with commas (K2_KAFKA)")
    made.add_argument("--topics", metavar="NAMES", help="names, or patterns that begin with ^ (K2_TOPICS)")
    if layer != "gold":
        made.add_argument(
            "--partitions", metavar="RANGE", help="of each topic only these: 3 or 0-5; all unless set (K2_PARTITIONS)"
        )
    if layer in ("bronze", None):
        _bronze_options(made)
    if layer in ("silver", None):
        schemas_option(made)
    return made


def _bronze_options(made: argparse.ArgumentParser) -> None:
    made.add_argument(
        "--start",
        metavar="PLACE",
        help="where to start in topics with no committed offset: earliest (unless set), latest, or a time such as "
        "2024-01-02T03:00:00Z (K2_START)",
    )
    made.add_argument(
        "--kafka-set",
        metavar="SETTINGS",
        help="of librdkafka, name=value, comma-separated: security.protocol=SASL_SSL,sasl.mechanism=PLAIN "
        "(K2_KAFKA_SET). With a password in it use the variable, for other users of the machine see the command line. "
        "--engine spark gives them to Kafka's Java client, and refuses those that it does not support",
    )
    made.add_argument(
        "--kafka-group",
        metavar="NAME",
        help="to publish committed offsets to, for lag monitoring; k2 unless set (K2_KAFKA_GROUP)",
    )


def schemas_option(made: argparse.ArgumentParser) -> None:
    made.add_argument(
        "--schemas",
        metavar="FOLDER",
        help="of writer schemas, <id>.avsc, on all machines: for messages without a registry (K2_SCHEMAS)",
    )


def engine_choice(made: argparse.ArgumentParser) -> None:
    made.add_argument(
        "--engine",
        choices=("native", "spark"),
        default="native",
        help="native: the C++ engine on the executors (see --archive); spark: DataFrames, and k2.native on the workers",
    )


def archive_option(made: argparse.ArgumentParser) -> None:
    made.add_argument(
        "--archive",
        metavar="FILE",
        help="the C++ engine for executors, of `make dist` (K2_ARCHIVE); spark-submit --archives FILE#k2 does the same",
    )


def engine_options(made: argparse.ArgumentParser) -> None:
    """Those of everything that the C++ engine makes out of messages."""
    archive_option(made)
    made.add_argument("--rows", type=_at_least_one, metavar="N", help="of a step at most, about")
    made.add_argument(
        "--tasks", type=_at_least_one, metavar="N", help="native: of a step; two for each core unless set"
    )
    made.add_argument(
        "--registry",
        metavar="URL",
        help="schema registry (K2_REGISTRY; K2_REGISTRY_CREDENTIAL, user:password, and K2_REGISTRY_TOKEN are variables "
        "only)",
    )


def check(options: argparse.Namespace) -> None:
    """Options that mean nothing to the engine."""
    for name in ("tasks", "archive"):
        if options.engine == "spark" and getattr(options, name):
            raise ConfigurationError(
                f"--{name} is of --engine native: --engine spark cuts no tasks and runs no program"
            )


def _interval(text: str) -> int:
    found = duration_us(text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time such as 10s, 5m")
    return found


def _at_least_one(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text}: a number, at least 1")
    return int(text)


class Totals:
    """Of a run."""

    def __init__(self, layer: str, engine: str) -> None:
        self.layer = layer
        self.engine = engine
        self.steps = 0
        self.done = StepReport(layer)

    def add(self, step: StepReport) -> None:
        self.steps += 1
        self.done = self.done.plus(step)

    def row(self) -> dict[str, Any]:
        told = self.done.row()
        del told["behind"]
        return {"layer": self.layer, "engine": self.engine, "steps": self.steps} | told


class Stop:
    """Set by SIGTERM and SIGINT: what has begun is brought to its end."""

    def __init__(self) -> None:
        self._event = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self.set())

    def set(self) -> None:
        self._event.set()

    def heard_by_java(self, spark: SparkSession) -> None:
        """Signals to the session's Java process count, too. Under spark-submit it is the one that is sent SIGTERM, and
        by itself it would end at once, in the middle of a step."""
        from pyspark.java_gateway import ensure_callback_server_started

        gateway: Any = spark.sparkContext._gateway
        ensure_callback_server_started(gateway)
        signals = gateway.jvm.sun.misc.Signal
        for name in ("TERM", "INT"):
            signals.handle(signals(name), _JavaHandler(self))

    def __bool__(self) -> bool:
        return self._event.is_set()

    def wait(self, seconds: float) -> None:
        self._event.wait(seconds)


class _JavaHandler:
    """A sun.misc.SignalHandler."""

    class Java:
        implements = ("sun.misc.SignalHandler",)

    def __init__(self, stop: Stop) -> None:
        self._stop = stop

    def handle(self, _: Any) -> None:
        self._stop.set()


def move(step: Step, totals: Totals, options: argparse.Namespace, stop: Stop, metrics: JobMetrics | None) -> None:
    """Steps until there is nothing left to do; `--continuous` until stopped.

    A step that meets another writer is planned again from what the tables hold, 20 times in a row at most. A continuous
    run waits out services that do not answer too, and plans again after a commit of unknown outcome, which is safe
    whatever became of it. Raises K2Error.
    """
    races = 0
    pause_s = FIRST_PAUSE_S
    while not stop:
        began = time.monotonic()
        try:
            done = step()
        except Exception as raised:
            error = explain(raised, totals.layer)
            races = races + 1 if isinstance(error, RaceError) else 0
            if not (0 < races <= RACES_MAX or (options.continuous and _passes(error))):
                if error is raised:
                    raise
                raise error from raised
            say(f"{totals.layer}: {error}; retrying")
            if metrics is not None:
                metrics.failed(totals.layer, error)
            stop.wait(random.uniform(0, pause_s))
            pause_s = min(2 * pause_s, OUTAGE_PAUSE_S_MAX)
            continue
        races, pause_s = 0, FIRST_PAUSE_S
        if done is not None:
            totals.add(done)
            say(line(done))
        if metrics is not None:
            metrics.took(totals.layer, done)
        if done is None and not options.continuous:
            return
        if options.continuous and (done is None or done.behind == 0):
            stop.wait(max(0.0, options.interval / 1e6 - (time.monotonic() - began)))


def _passes(error: K2Error) -> bool:
    """Is it worth waiting for? A session whose Spark has ended never works again."""
    return isinstance(error, (UnavailableError, UnknownOutcomeError)) and not isinstance(error, SparkStoppedError)


def line(step: StepReport) -> str:
    seconds = step.plan_seconds + step.run_seconds + step.commit_seconds
    return (
        f"{step.layer}: {step.rows_in:,} rows in, {step.rows_out:,} out, {step.tasks} tasks, "
        f"{step.rows_in / max(seconds, 1e-6):,.0f} rows/s; plan {step.plan_seconds:.2f} s, run "
        f"{step.run_seconds:.2f} s, commit {step.commit_seconds:.2f} s, {step.behind:,} behind"
    )


def engine_settings(options: argparse.Namespace) -> dict[str, str]:
    """Flags of the k2 program that the job was given by its own; those of the lake are in the session."""
    named = {name: getattr(options, name.replace("-", "_"), None) for name in SETTINGS}
    return {name: value for name, value in named.items() if value}


def setting(options: argparse.Namespace, name: str) -> str:
    """Of SETTINGS: as the option says, else the variable."""
    return engine_settings(options).get(name) or os.environ.get(variable(name)) or ""


def kafka_settings(options: argparse.Namespace) -> str:
    """Those of --kafka-set, and those of the file that K2_KAFKA_SET_FILE names."""
    return "\n".join(filter(None, (setting(options, "kafka-set"), secret_file("K2_KAFKA_SET"))))


def native_step(spark: SparkSession, layer: str, options: argparse.Namespace) -> Step:
    engine = native_engine(spark, options)
    return lambda: engine.step(layer)


def native_engine(spark: SparkSession, options: argparse.Namespace) -> NativeEngine:
    from k2.spark.engine.native import NativeEngine

    wanted: dict[str, Any] = {"tasks": options.tasks, "archive": options.archive}
    if options.rows:
        wanted["rows"] = options.rows
    return NativeEngine(spark, engine_settings(options), **wanted)


DataFrameStep = Callable[["SparkSession", argparse.Namespace], Step]


def lake_options(options: argparse.Namespace) -> dict[str, Any]:
    """Arguments of LakeOptions."""
    found: dict[str, Any] = {"catalog": catalog_name({})}
    if options.rows:
        found["rows_per_step"] = options.rows
    return found


def schemas_of(options: argparse.Namespace) -> Schemas:
    """Of topics, and of recordings."""
    from k2.spark.dataframe import Schemas

    return Schemas(
        url=setting(options, "registry"),
        credential=secret("K2_REGISTRY_CREDENTIAL") or "",
        token=secret("K2_REGISTRY_TOKEN") or "",
        folder=setting(options, "schemas"),
    )


def reported(result: Any) -> StepReport | None:
    """A DataFrame step's result in the words of all engines."""
    if result.idle:
        return None
    return StepReport(
        layer=result.layer,
        rows_in=result.rows_in,
        rows_out=result.rows_out,
        rejected=dict(result.rejected),
        duplicates=result.duplicates,
        identity_conflicts=result.identity_conflicts,
        commits=len(result.commits),
        behind=result.behind,
        plan_seconds=result.plan_s,
        run_seconds=result.run_s,
        commit_seconds=result.commit_s,
        tables=[one.table for one in result.commits],
        newest_us=max((one.newest_us for one in result.commits), default=0),
    )


def main(
    program: str, what: str, layer: str, by_dataframe: DataFrameStep, arguments: Sequence[str] | None = None
) -> int:
    options = parser(program, what, layer).parse_args(arguments)
    check(options)
    spark = command_line.session(f"k2 {layer}", options)
    stop = Stop()  # after the session, which takes SIGINT for itself
    stop.heard_by_java(spark)
    totals = Totals(layer, options.engine)
    metrics: JobMetrics | None = None
    try:
        if options.metrics_port is not None:
            metrics = JobMetrics(options.metrics_port, options.metrics_host)
            metrics.begin(layer)
        step = native_step(spark, layer, options) if options.engine == "native" else by_dataframe(spark, options)
        move(step, totals, options, stop, metrics)
    except Exception as error:
        raise explain(error, layer) from error
    finally:
        if metrics is not None:
            metrics.close()
        spark.stop()
    command_line.print_rows([totals.row()], options.output)
    return 0


def brokers_of(options: argparse.Namespace) -> str:
    return setting(options, "kafka")


def topics_of(options: argparse.Namespace) -> list[str]:
    named = setting(options, "topics")
    topics = named.split(",") if named else list(DEFAULT_TOPICS)
    if not any(topics):
        raise ConfigurationError("--topics (K2_TOPICS) is empty")
    return [topic for topic in topics if topic]
