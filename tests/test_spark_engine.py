"""The native engine without Spark: which lake its commands work on, how it cuts steps, how it asks the k2 program."""

from __future__ import annotations

import itertools
import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from pyspark import SparkContext
from pyspark.sql import SparkSession
from warehouse import Warehouse

from k2.spark import dataframe, schemas
from k2.spark.dataframe import BronzeOptions
from k2.spark.dataframe.step import StepResult
from k2.spark.engine import NativeEngine, Plan, cores, native
from k2.spark.engine.lake import lake_variables
from k2.spark.jobs import bronze_ingestion, layers, rebuild
from k2.spark.utils.errors import ConfigurationError
from k2.spark.utils.settings import resolve

CATALOG = "spark.sql.catalog.iceberg"
REST = {CATALOG: "org.apache.iceberg.spark.SparkCatalog", f"{CATALOG}.type": "rest", f"{CATALOG}.uri": "http://a:81/"}


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("K2_", "AWS_")):
            monkeypatch.delenv(name)


class Clock:
    """Time that passes while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


_numbers = itertools.count()


class Session:
    """Of Spark as much as the engine asks for. `executors`: when each of them comes, which has two cores."""

    def __init__(
        self,
        conf: Mapping[str, str],
        master: str = "local[3]",
        executors: Sequence[float] = (),
        clock: Clock | None = None,
    ) -> None:
        self.conf = self.sparkContext = self._jsc = self
        self.master = master
        self.applicationId = f"app-{next(_numbers)}"
        self.executors = executors
        self.clock = clock or Clock()
        self._conf = conf

    def get(self, key: str, default: str | None = None) -> str | None:
        return self._conf.get(key, default)

    def __getattr__(self, name: str) -> Any:
        """The words of Java and Spark that lead on: getConf(), _jsc.sc().getExecutorMemoryStatus()."""
        if name in ("getConf", "sc", "getExecutorMemoryStatus"):
            return lambda: self
        raise AttributeError(name)

    def _there(self) -> int:
        return sum(at <= self.clock.now for at in self.executors)

    def size(self) -> int:
        return 1 + self._there()

    @property
    def defaultParallelism(self) -> int:  # noqa: N802
        return 3 if self.master.startswith("local[") else max(2, 2 * self._there())


def engine(conf: Mapping[str, str], settings: Mapping[str, str] | None = None, **options: Any) -> NativeEngine:
    return NativeEngine(cast(SparkSession, Session(conf)), settings, **options)


def variables(
    conf: Mapping[str, str], settings: Mapping[str, str] | None = None, environment: Mapping[str, str] | None = None
) -> dict[str, str]:
    return lake_variables("iceberg", lambda key: conf.get(key, ""), settings or {}, environment or {})


# Which lake.


def test_the_lake_is_that_of_the_session() -> None:
    """All that the factory knows of a catalog and its store comes to k2, whatever the variables say."""
    made = resolve(
        {
            "catalog_uri": "http://catalog:1",
            "catalog_warehouse": "w",
            "catalog_credential": "id:secret",
            "catalog_token": "token",
            "catalog_scope": "scope",
            "catalog_oauth2_uri": "http://tokens:2",
            "s3_endpoint": "http://store:3",
            "s3_region": "eu-west-9",
            "s3_path_style": False,
            "s3_access_key_id": "key",
            "s3_secret_access_key": "keeps",
            "s3_session_token": "for now",
        },
        {},
    )
    wanted = {
        "K2_CATALOG": "http://catalog:1",
        "K2_CATALOG_WAREHOUSE": "w",
        "K2_CATALOG_CREDENTIAL": "id:secret",
        "K2_CATALOG_TOKEN": "token",
        "K2_CATALOG_SCOPE": "scope",
        "K2_CATALOG_OAUTH2_URI": "http://tokens:2",
        # The session signs nothing: no variable of the driver's makes the program sign.
        "K2_CATALOG_AUTH": "",
        "K2_CATALOG_SIGNING_NAME": "",
        "K2_CATALOG_SIGNING_REGION": "",
        "K2_S3_ENDPOINT": "http://store:3",
        "K2_S3_REGION": "eu-west-9",
        "K2_S3_PATH_STYLE": "false",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "keeps",
        "AWS_SESSION_TOKEN": "for now",
    }
    assert variables(made) == wanted
    other = dict.fromkeys(wanted, "http://other:1")
    assert variables(made, environment=other | {"K2_KAFKA": "b:1", "HOME": "/"}) == wanted | {"K2_KAFKA": "b:1"}


def test_what_the_session_does_without_k2_does_without() -> None:
    environment = {
        "K2_CATALOG": "http://other:1",
        "K2_CATALOG_CREDENTIAL": "id:secret",
        "K2_CATALOG_WAREHOUSE": "w",
        "K2_S3_ENDPOINT": "http://store:3",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SESSION_TOKEN": "for now",
    }
    found = variables(REST, environment=environment)
    assert found["K2_CATALOG"] == "http://a:81/"
    assert found["K2_CATALOG_CREDENTIAL"] == found["K2_CATALOG_WAREHOUSE"] == ""
    assert found["K2_S3_ENDPOINT"] == "http://store:3", "as the session's client has it of AWS's variables"
    assert (found["AWS_ACCESS_KEY_ID"], found["AWS_SESSION_TOKEN"]) == ("key", "for now")
    keys = {f"{CATALOG}.s3.access-key-id": "mine", f"{CATALOG}.s3.secret-access-key": "too"}
    found = variables(REST | keys, environment=environment)
    assert (found["AWS_ACCESS_KEY_ID"], found["AWS_SECRET_ACCESS_KEY"]) == ("mine", "too")
    assert found["AWS_SESSION_TOKEN"] == "", "it belongs to the other key"


def test_settings_and_session_must_agree() -> None:
    assert variables(REST, {"catalog": "http://a:81"})["K2_CATALOG"] == "http://a:81/"
    with pytest.raises(ConfigurationError, match=r"catalog is 'http://b:1', and .*iceberg\.uri is 'http://a:81/'"):
        variables(REST, {"catalog": "http://b:1"})
    with pytest.raises(ConfigurationError, match=r"catalog-warehouse is 'w', and .*warehouse is not set"):
        variables(REST, {"catalog-warehouse": "w"})
    with pytest.raises(ConfigurationError, match="catalog-credential") as told:
        variables(REST | {f"{CATALOG}.credential": "id:secret"}, {"catalog-credential": "di:terces"})
    assert "secret" not in str(told.value)
    assert "terces" not in str(told.value)


def test_catalogs_that_k2_has_not() -> None:
    with pytest.raises(ConfigurationError, match="is of type hadoop: use --engine spark"):
        variables({CATALOG: "x", f"{CATALOG}.type": "hadoop", f"{CATALOG}.warehouse": "/w"})
    with pytest.raises(ConfigurationError, match=r"is of type jdbc \(jdbc:postgresql:x\)"):
        variables({CATALOG: "x", f"{CATALOG}.type": "jdbc", f"{CATALOG}.uri": "jdbc:postgresql:x"})
    by_class = {CATALOG: "x", f"{CATALOG}.catalog-impl": "org.apache.iceberg.rest.RESTCatalog"}
    assert variables(by_class | {f"{CATALOG}.uri": "http://c"})["K2_CATALOG"] == "http://c"


def test_a_laptop_lake_in_a_session() -> None:
    """README's session over a folder that k2 keeps, and a session without any catalog."""
    session = {CATALOG: "x", f"{CATALOG}.type": "jdbc", f"{CATALOG}.uri": "jdbc:sqlite:/lake/catalog.db"}
    found = variables(session, environment={"K2_CATALOG": "http://other:1", "K2_WAREHOUSE": "/other"})
    assert (found["K2_CATALOG"], found["K2_WAREHOUSE"]) == ("", "/lake")
    with pytest.raises(ConfigurationError, match="warehouse is '/other'"):
        variables(session, {"warehouse": "/other"})
    assert variables({}, {"warehouse": "lake"}) == {"K2_WAREHOUSE": str(Path("lake").absolute())}
    assert variables({}, environment={"K2_CATALOG": "http://c"}) == {"K2_CATALOG": "http://c"}
    with pytest.raises(ConfigurationError, match="this session has no catalog iceberg"):
        variables({})


def test_jobs_leave_the_lake_to_the_session() -> None:
    words = ["--catalog", "http://a:1", "--s3-endpoint", "http://b:2", "--kafka", "c:3"]
    assert layers.engine_settings(layers.parser("x", "").parse_args(words)) == {"kafka": "c:3"}


# Options.

OPTIONS = {
    "--kafka": "broker:9092",
    "--topics": "t.binance",
    "--partitions": "0-5",
    "--start": "latest",
    "--kafka-set": "client.id=me",
    "--kafka-group": "mine",
    "--registry": "http://registry:8080",
    "--schemas": "/schemas",
}
OF_LAYER = {
    "bronze": OPTIONS.keys() - {"--schemas"},
    "silver": OPTIONS.keys() - {"--start", "--kafka-set", "--kafka-group"},
    "gold": {"--kafka", "--topics", "--registry"},
}


@pytest.mark.parametrize("layer", OF_LAYER)
def test_options_come_to_either_engine_and_go_before_variables(layer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    given = [word for name in OF_LAYER[layer] for word in (name, OPTIONS[name])]
    parser = layers.parser("x", "", layer)
    options = parser.parse_args(given)
    wanted = {name.strip("-"): OPTIONS[name] for name in OF_LAYER[layer]}
    assert layers.engine_settings(options) == wanted
    for name in OF_LAYER[layer]:
        monkeypatch.setenv(f"K2_{name.strip('-').replace('-', '_').upper()}", "of the variable")
    for name, value in wanted.items():
        assert layers.setting(options, name) == value
        assert layers.setting(parser.parse_args([]), name) == "of the variable"
    for name in OPTIONS.keys() - OF_LAYER[layer]:
        with pytest.raises(SystemExit):
            parser.parse_args([name, OPTIONS[name]])


def test_help_names_the_secrets_variables() -> None:
    said = " ".join(layers.parser("x", "", "bronze").format_help().split())
    for name in (
        "K2_CATALOG_CREDENTIAL",
        "K2_CATALOG_TOKEN",
        "AWS_SECRET_ACCESS_KEY",
        "K2_KAFKA_SET",
        "K2_REGISTRY_CREDENTIAL",
    ):
        assert name in said


def test_bronze_of_dataframes_takes_the_options(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[BronzeOptions] = []

    def step(_: object, options: BronzeOptions) -> StepResult:
        taken.append(options)
        return StepResult("bronze")

    monkeypatch.setattr(dataframe, "bronze_step", step)
    options = layers.parser("x", "", "bronze").parse_args(
        [word for name in OF_LAYER["bronze"] for word in (name, OPTIONS[name])]
    )
    assert bronze_ingestion.by_dataframe(cast(SparkSession, None), options)() is None
    made = taken[0]
    assert (made.brokers, made.topics, made.start, made.group) == ("broker:9092", ["t.binance"], "latest", "mine")
    assert (made.first_partition, made.last_partition, dict(made.kafka_settings)) == (0, 5, {"client.id": "me"})
    options.kafka_set = "queued.max.messages.kbytes=1"
    with pytest.raises(ConfigurationError, match="use --engine native"):
        bronze_ingestion.by_dataframe(cast(SparkSession, None), options)


@pytest.mark.parametrize("words", [("--tasks", "4"), ("--archive", "k2.tar.gz")])
def test_dataframes_refuse_what_is_the_native_engine_s(words: tuple[str, str]) -> None:
    for main in (bronze_ingestion.main, lambda given: rebuild.main(["gold", *given])):
        with pytest.raises(ConfigurationError, match=f"{words[0]} is of --engine native"):
            main(["--engine", "spark", *words])


# How many cores.

CLUSTER = "spark://m:7077"


def waited(
    monkeypatch: pytest.MonkeyPatch, executors: Sequence[float], master: str = CLUSTER, **conf: str
) -> tuple[bool, float, int]:
    """Whether there are any, how long it took, and the cores then."""
    session = Session({f"spark.{key.replace('_', '.')}": value for key, value in conf.items()}, master, executors)
    monkeypatch.setattr(cores, "time", session.clock)
    came = cores.wait_for_executors(cast(SparkContext, session))
    return came, round(session.clock.now), cores.cores_now(cast(SparkContext, session))


def test_executors_are_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    assert waited(monkeypatch, [], "local[3]") == (True, 0, 3)
    assert waited(monkeypatch, [3.0, 3.8, 4.5]) == (True, 6, 6), "a second after the last"
    assert waited(monkeypatch, [3.0, 9.0]) == (True, 4, 2), "but not for ever"
    assert waited(monkeypatch, [3.0, 3.8, 9.0], cores_max="4") == (True, 4, 4), "those that were asked for"
    assert waited(monkeypatch, [3.0], cores_max="100") == (True, 4, 2), "the cluster has no more"
    assert waited(monkeypatch, [70.0]) == (False, 30, 2), "another job holds the cluster"
    assert waited(monkeypatch, [1.0, 2.5], "k8s://x", executor_instances="2", executor_cores="2") == (True, 2, 2)
    assert waited(monkeypatch, [1.0, 1.5], "k8s://x", executor_instances="2", executor_cores="2") == (True, 2, 4)
    assert waited(monkeypatch, [], "yarn", dynamicAllocation_enabled="true") == (True, 0, 2)


def test_each_plan_asks_for_the_cores_of_its_time(
    told: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first one may be made while another job holds the cluster, and executors come and go."""
    session = Session(REST, CLUSTER, [40.0, 41.0])
    monkeypatch.setattr(cores, "time", session.clock)
    made = NativeEngine(cast(SparkSession, session))
    cuts = []
    for _ in range(2):
        made.plan("gold")
        assert session.clock.now in (pytest.approx(30, abs=0.2), 50.0), "waited for once"
        words = json.loads(told.read_text())[0]
        cuts.append({words[at].strip("-"): words[at + 1] for at in range(1, 7, 2)})
        session.clock.now = 50.0
    session.executors = [40.0]
    made.plan("gold")
    assert [(cut["tasks"], cut["cores"]) for cut in cuts] == [("4", "2"), ("8", "4")]
    assert json.loads(told.read_text())[0][4] == "4"
    assert "no executor yet" in capsys.readouterr().err


# How the program is asked.

ASKED = """#!{python}
import json, os, sys
from pathlib import Path
json.dump([sys.argv[1:], dict(os.environ), os.getpgrp() == os.getpid()], open({told!r}, "w"))
print(Path({told!r}).with_name(sys.argv[1] + ".json").read_text())
"""
NOTHING = {"tasks": [], "commits": [], "behind": 0, "left": 0}


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a k2 program tells how it was asked; it answers with plan.json beside it, which plans nothing."""
    program, file = tmp_path / "k2", tmp_path / "told.json"
    program.write_text(ASKED.format(python=sys.executable, told=str(file)))
    program.chmod(0o755)
    (tmp_path / "plan.json").write_text(json.dumps(NOTHING))
    monkeypatch.setenv("K2_PROGRAM", str(program))
    return file


def test_k2_is_asked_with_the_session_s_lake(told: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("K2_CATALOG", "http://elsewhere:1")
    assert engine(REST | {f"{CATALOG}.credential": "a:b"}, {"kafka": "k:9"}).plan("silver").empty
    words, environment, _ = json.loads(told.read_text())
    assert words[:3] == ["plan", "--layer", "silver"]
    asked = {name: environment[name] for name in ("K2_CATALOG", "K2_CATALOG_CREDENTIAL", "K2_KAFKA")}
    assert asked == {"K2_CATALOG": "http://a:81/", "K2_CATALOG_CREDENTIAL": "a:b", "K2_KAFKA": "k:9"}


def test_a_session_of_another_catalog(told: Path) -> None:
    lake = {key.replace("iceberg", "lake"): value for key, value in REST.items()}
    assert engine(lake, catalog="lake").step("gold") is None
    with pytest.raises(ConfigurationError, match="no catalog iceberg"):
        engine(lake)


def test_no_settings_file_is_read(k2: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The driver's folder may be one in which somebody works with k2, too."""
    lake = Warehouse(k2, tmp_path / "lake")
    lake.k2_run("tables", "create")
    (tmp_path / "k2.toml").write_text('warehouse = "another"\n')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("K2_PROGRAM", str(k2))
    assert engine({}, {"warehouse": "lake"}).plan("silver").empty
    monkeypatch.setenv("K2_WAREHOUSE", "lake")
    assert engine({}).plan("gold").empty
    (tmp_path / "k2.toml").write_text("is no toml\n")
    assert engine({}).plan("gold").empty


def test_signals_of_the_terminal_do_not_reach_it(told: Path) -> None:
    """Ctrl-C goes to the driver's process group; the driver ends after its step."""
    engine(REST).plan("silver")
    assert json.loads(told.read_text())[2], "a group of its own"


# How far a layer is behind.

COMMIT = {"table": schemas.SILVER[0], "needs_rows": False, "summary": {}}
COMMITTED = {
    "rows_in": 100,
    "rows_out": 90,
    "rejected": {"truncated": 10},
    "duplicates": 0,
    "identity_conflicts": 0,
    "rows_by_table": {},
    "commits": 2,
}


def test_behind_is_what_a_step_leaves(told: Path) -> None:
    """Offsets are not rows: of 500 that the step takes 100 hold a message."""
    plan = NOTHING | {"commits": [COMMIT], "behind": 700, "left": 200}
    told.with_name("plan.json").write_text(json.dumps(plan))
    told.with_name("commit.json").write_text(json.dumps(COMMITTED))
    made = engine(REST)
    done = made.step("silver")
    assert done is not None
    assert (made.plan("silver").behind, done.rows_in, done.behind) == (700, 100, 200)
    assert layers.line(done).endswith(" 200 behind")
    assert (done.plus(replace(done, behind=0)).behind, done.plus(done).rows_in) == (0, 200)


def test_a_step_of_dataframes_says_what_it_leaves() -> None:
    done = layers.reported(StepResult("bronze", rows_in=100, behind=30))
    assert done is not None
    assert (done.rows_in, done.behind) == (100, 30)
    assert layers.reported(StepResult("bronze", behind=30)) is None


def test_what_a_step_has_committed(told: Path) -> None:
    """Tables without rows of the step are left out; a message's time is in the plan, of Bronze in the results."""
    commits = [
        {"table": name, "needs_rows": name == schemas.REJECTED, "summary": {"k2.message-time.max-us": time_us}}
        for name, time_us in ((schemas.REJECTED, "5"), (schemas.SILVER[0], "7"))
    ]
    told.with_name("plan.json").write_text(json.dumps(NOTHING | {"commits": commits}))
    for rows, tables in (({}, schemas.SILVER[:1]), ({schemas.REJECTED: 1}, (schemas.REJECTED, schemas.SILVER[0]))):
        told.with_name("commit.json").write_text(json.dumps(COMMITTED | {"rows_by_table": rows}))
        done = engine(REST).step("silver")
        assert done is not None
        assert (tuple(done.tables), done.newest_us) == (tables, 7)
        assert not {"tables", "newest_us"} & done.row().keys()
    task = {"output": {"shape": {"columns": {"offset": 4, "kafka_timestamp": 6}}}}
    files = [{"upper_bounds": {"4": "ff00000000000000", "6": f"{second:02x}01000000000000"}} for second in (3, 2)]
    result = json.dumps({"outputs": [{"table": schemas.BRONZE, "files": files}]})
    plan = Plan("bronze", "", [json.dumps(task)], 1, 0, 0, 0.0, {schemas.BRONZE: False}, 0)
    assert native._newest_message(plan, [result]) == 0x103
