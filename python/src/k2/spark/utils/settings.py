"""The settings of a session: names, variables, Spark's keys, defaults; and what was set already by spark-submit."""

from __future__ import annotations

import math
import os
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict
from zoneinfo import ZoneInfo, available_timezones

from k2.spark.utils.checks import place_of
from k2.spark.utils.errors import ConfigurationError

CATALOG = "spark.sql.catalog.{catalog}"
LOG_LEVELS = ("ALL", "TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL", "OFF")
DEFAULT_MASTER = "spark://spark-master:7077"


class SessionOptions(TypedDict, total=False):
    """Arguments of create_spark_session beside the name; each goes before its variable and its default."""

    master: str  # K2_SPARK_MASTER
    catalog: str  # K2_SPARK_CATALOG_NAME: the catalog's name in SQL
    catalog_impl: str  # K2_SPARK_CATALOG_IMPL
    catalog_type: str  # K2_SPARK_CATALOG_TYPE
    catalog_uri: str  # K2_CATALOG
    catalog_warehouse: str  # K2_CATALOG_WAREHOUSE
    catalog_credential: str  # K2_CATALOG_CREDENTIAL: ID:SECRET, OAuth2 client credentials
    catalog_token: str  # K2_CATALOG_TOKEN
    catalog_scope: str  # K2_CATALOG_SCOPE
    catalog_oauth2_uri: str  # K2_CATALOG_OAUTH2_URI
    catalog_auth: str  # K2_CATALOG_AUTH: sigv4, for a catalog whose requests are signed with AWS keys
    catalog_signing_name: str  # K2_CATALOG_SIGNING_NAME: glue, s3tables, …; by default what the address says
    catalog_signing_region: str  # K2_CATALOG_SIGNING_REGION: likewise
    catalog_header: str  # K2_CATALOG_HEADER: "Name: value" lines, sent with each request
    catalog_cache: bool  # K2_SPARK_CATALOG_CACHE: off, so that what other programs commit is seen at once
    io_impl: str  # K2_SPARK_IO_IMPL
    s3_endpoint: str  # K2_S3_ENDPOINT
    s3_path_style: bool | str  # K2_S3_PATH_STYLE
    s3_region: str  # K2_S3_REGION, AWS_REGION, AWS_DEFAULT_REGION
    s3_access_key_id: str  # AWS_ACCESS_KEY_ID
    s3_secret_access_key: str  # AWS_SECRET_ACCESS_KEY
    s3_session_token: str  # AWS_SESSION_TOKEN
    extensions: str  # K2_SPARK_EXTENSIONS
    adaptive: bool  # K2_SPARK_ADAPTIVE
    coalesce_partitions: bool  # K2_SPARK_COALESCE_PARTITIONS
    time_zone: str  # K2_SPARK_TIME_ZONE
    log_level: str  # K2_SPARK_LOG_LEVEL
    packages: Sequence[str] | str  # K2_SPARK_PACKAGES: instead of K2's coordinates; "none": no jars are fetched
    connect_timeout_s: float  # K2_SPARK_CONNECT_TIMEOUT_S: how long a master is waited for
    config: Mapping[str, str]  # any other settings of Spark, over all the others


class StreamingOptions(SessionOptions, total=False):
    """Arguments of create_streaming_spark_session beside the name."""

    checkpoint_location: str  # K2_SPARK_CHECKPOINTS
    state_store: str  # K2_SPARK_STATE_STORE
    batches_kept: int  # K2_SPARK_BATCHES_KEPT: of checkpoint and state
    stop_timeout_s: float  # K2_SPARK_STOP_TIMEOUT_S: how long a query that is stopped may take to end its batch
    rate_per_partition: int  # K2_SPARK_RATE_PER_PARTITION: messages a second and Kafka partition at most


@dataclass(frozen=True)
class Setting:
    """One value; `key` is Spark's name for it, with {catalog} for the catalog's."""

    name: str
    variables: tuple[str, ...]
    key: str
    default: str | None = None
    secret: bool = False  # it may be the text of the file that the variable with _FILE behind it names


SETTINGS = (
    Setting("catalog_impl", ("K2_SPARK_CATALOG_IMPL",), CATALOG, "org.apache.iceberg.spark.SparkCatalog"),
    Setting("catalog_type", ("K2_SPARK_CATALOG_TYPE",), CATALOG + ".type", "rest"),
    Setting("catalog_uri", ("K2_CATALOG",), CATALOG + ".uri", "http://iceberg-rest:8181"),
    Setting("catalog_warehouse", ("K2_CATALOG_WAREHOUSE",), CATALOG + ".warehouse"),
    Setting("catalog_credential", ("K2_CATALOG_CREDENTIAL",), CATALOG + ".credential", secret=True),
    Setting("catalog_token", ("K2_CATALOG_TOKEN",), CATALOG + ".token", secret=True),
    Setting("catalog_scope", ("K2_CATALOG_SCOPE",), CATALOG + ".scope"),
    Setting("catalog_oauth2_uri", ("K2_CATALOG_OAUTH2_URI",), CATALOG + ".oauth2-server-uri"),
    Setting("catalog_signing_name", ("K2_CATALOG_SIGNING_NAME",), CATALOG + ".rest.signing-name"),
    Setting("catalog_signing_region", ("K2_CATALOG_SIGNING_REGION",), CATALOG + ".rest.signing-region"),
    Setting("catalog_cache", ("K2_SPARK_CATALOG_CACHE",), CATALOG + ".cache-enabled", "false"),
    Setting("io_impl", ("K2_SPARK_IO_IMPL",), CATALOG + ".io-impl", "org.apache.iceberg.aws.s3.S3FileIO"),
    Setting("s3_endpoint", ("K2_S3_ENDPOINT",), CATALOG + ".s3.endpoint", "http://minio:9000"),
    Setting("s3_path_style", ("K2_S3_PATH_STYLE",), CATALOG + ".s3.path-style-access", "true"),
    Setting("s3_region", ("K2_S3_REGION", "AWS_REGION", "AWS_DEFAULT_REGION"), CATALOG + ".client.region", "us-east-1"),
    Setting("s3_access_key_id", ("AWS_ACCESS_KEY_ID",), CATALOG + ".s3.access-key-id"),
    Setting("s3_secret_access_key", ("AWS_SECRET_ACCESS_KEY",), CATALOG + ".s3.secret-access-key"),
    Setting("s3_session_token", ("AWS_SESSION_TOKEN",), CATALOG + ".s3.session-token"),
    Setting(
        "extensions",
        ("K2_SPARK_EXTENSIONS",),
        "spark.sql.extensions",
        "org.apache.iceberg.spark.extensions.IcebergSparkSessionExtensions",
    ),
    Setting("adaptive", ("K2_SPARK_ADAPTIVE",), "spark.sql.adaptive.enabled", "true"),
    Setting(
        "coalesce_partitions",
        ("K2_SPARK_COALESCE_PARTITIONS",),
        "spark.sql.adaptive.coalescePartitions.enabled",
        "true",
    ),
    # Dates and hours of K2's tables are UTC.
    Setting("time_zone", ("K2_SPARK_TIME_ZONE",), "spark.sql.session.timeZone", "UTC"),
)

# Their values are not those that Spark's keys have.
AUTH = Setting("catalog_auth", ("K2_CATALOG_AUTH",), CATALOG + ".rest.sigv4-enabled")
HEADER = Setting("catalog_header", ("K2_CATALOG_HEADER",), CATALOG + ".header.", secret=True)

# Those of the stack, of which nothing holds on AWS.
_DEFAULTS_OF_THE_STACK = ("catalog_uri", "s3_endpoint", "s3_path_style", "s3_region")

# Beside those of every session, not to be changed by a name of their own.
FIXED = {
    # Spark's default does not know Iceberg's `credential` and what gateways are sent; what matches is starred on
    # Spark's pages and in its logs.
    "spark.redaction.regex": r"(?i)secret|password|token|credential|access[.-]?key|\.header\.",
    # A catalog that is down is to be told soon.
    CATALOG + ".rest.client.connection-timeout-ms": "10000",
    CATALOG + ".rest.client.socket-timeout-ms": "60000",
}

STREAMING_SETTINGS = (
    Setting("checkpoint_location", ("K2_SPARK_CHECKPOINTS",), "spark.sql.streaming.checkpointLocation", "/checkpoints"),
    Setting(
        "state_store",
        ("K2_SPARK_STATE_STORE",),
        "spark.sql.streaming.stateStore.providerClass",
        "org.apache.spark.sql.execution.streaming.state.RocksDBStateStoreProvider",
    ),
    Setting("batches_kept", ("K2_SPARK_BATCHES_KEPT",), "spark.sql.streaming.minBatchesToRetain", "20"),
    Setting("stop_timeout_s", ("K2_SPARK_STOP_TIMEOUT_S",), "spark.sql.streaming.stopTimeout", "60s"),
    Setting(
        "rate_per_partition", ("K2_SPARK_RATE_PER_PARTITION",), "spark.streaming.kafka.maxRatePerPartition", "50000"
    ),
)

STREAMING_FIXED = {
    # Only the changes of the state are written with each batch, whole snapshots behind it.
    "spark.sql.streaming.stateStore.rocksdb.changelogCheckpointing.enabled": "true",
    "spark.sql.streaming.metricsEnabled": "true",
    # Streams of the older kind (DStreams) take their rate from how fast batches end. Structured streams have theirs
    # from kafka_stream_options.
    "spark.streaming.backpressure.enabled": "true",
    "spark.streaming.stopGracefullyOnShutdown": "true",
    # A consumer for each partition that an executor may read, kept between two batches.
    "spark.kafka.consumer.cache.capacity": "128",
    "spark.kafka.consumer.cache.timeout": "10m",
}


def given(name: str, variables: Iterable[str], options: Mapping[str, object]) -> str | None:
    """The value of an option by argument, else by environment; an empty variable counts as none."""
    value = options.get(name)
    if value is not None:
        return _text(value)
    return next((os.environ[variable] for variable in variables if os.environ.get(variable)), None)


def _given(setting: Setting, options: Mapping[str, object]) -> str | None:
    value = given(setting.name, setting.variables, options)
    return value if value is not None or not setting.secret else secret_file(setting.variables[0])


def secret(variable: str) -> str | None:
    """The value of an environment variable, or the text of the file that the variable with _FILE behind it names."""
    return os.environ.get(variable) or secret_file(variable)


def secret_file(variable: str) -> str | None:
    variable += "_FILE"
    path = os.environ.get(variable)
    if not path:
        return None
    try:
        text = Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{variable} is {path}, which cannot be read: {error}") from None
    if not text:
        raise ConfigurationError(f"{variable} is {path}, which is empty")
    return text


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def resolve(options: Mapping[str, object], submitted: Mapping[str, str], streaming: bool = False) -> dict[str, str]:
    """Spark's settings that are to be set: argument, else environment; else the default, where `submitted` has none."""
    known = StreamingOptions.__annotations__ | SessionOptions.__annotations__
    if unknown := options.keys() - (known.keys() if streaming else SessionOptions.__annotations__.keys()):
        raise ConfigurationError(f"there is no option {', '.join(sorted(unknown))}; options: {', '.join(known)}")
    catalog = catalog_name(options)
    settings: dict[str, str] = {}
    auth = _auth(_given(AUTH, options), catalog)
    settings |= auth
    signed = (dict(submitted) | auth).get(AUTH.key.replace("{catalog}", catalog)) == "true"
    for setting in SETTINGS + (STREAMING_SETTINGS if streaming else ()):
        key = setting.key.replace("{catalog}", catalog)
        value = _given(setting, options)
        if value is None and key not in submitted and not (signed and setting.name in _DEFAULTS_OF_THE_STACK):
            value = setting.default
        if value:
            settings[key] = _checked(setting, value)
    settings |= _headers(_given(HEADER, options), catalog)
    if signed:
        _sign(settings, submitted, f"spark.sql.catalog.{catalog}")
    for key, value in (FIXED | (STREAMING_FIXED if streaming else {})).items():
        key = key.replace("{catalog}", catalog)
        if key not in submitted:
            settings[key] = value
    config = options.get("config") or {}
    assert isinstance(config, Mapping)
    return settings | {str(key): _text(value) for key, value in config.items()}


def _auth(value: str | None, catalog: str) -> dict[str, str]:
    if value not in (None, "sigv4"):
        raise ConfigurationError(f"catalog_auth (K2_CATALOG_AUTH) is {value!r}: sigv4, or none for a token or nothing")
    return {AUTH.key.replace("{catalog}", catalog): "true"} if value else {}


def _headers(lines: str | None, catalog: str) -> dict[str, str]:
    found = {}
    for number, line in enumerate((lines or "").splitlines(), start=1):
        name, colon, value = line.partition(":")
        if not colon or not re.fullmatch(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", name):
            raise ConfigurationError(f"catalog_header (K2_CATALOG_HEADER): line {number} is not Name: value")
        found[HEADER.key.replace("{catalog}", catalog) + name] = value.strip()
    return found


def _sign(settings: dict[str, str], submitted: Mapping[str, str], prefix: str) -> None:
    """What a signature needs, and the address of the catalog tells: its service and region. Keys are found by AWS's own
    library in the driver and the executors, for the catalog and for S3."""
    if variable := next((name for name in ("K2_AWS_PROFILE", "K2_AWS_ROLE_ARN") if os.environ.get(name)), None):
        raise ConfigurationError(
            f"{variable} is the k2 program's: a session of Spark finds its keys as AWS's library does. Name a profile "
            "with AWS_PROFILE, which may assume a role (role_arn), and leave the variable out"
        )
    both = dict(submitted) | settings
    if not both.get(f"{prefix}.uri"):
        raise ConfigurationError("catalog_auth (K2_CATALOG_AUTH) is sigv4, and no catalog is named: set K2_CATALOG")
    for other in ("credential", "token"):
        if both.get(f"{prefix}.{other}"):
            raise ConfigurationError(
                f"catalog_auth (K2_CATALOG_AUTH) is sigv4 and there is a catalog_{other}: a request has one "
                "signature; leave one out"
            )
    # glue-fips is signed for as glue.
    labels = (place_of(both[f"{prefix}.uri"]) or ("", 0))[0].split(".")
    services = [label.removesuffix("-fips") for label in labels]
    region = next((label for label in labels if re.fullmatch(r"[a-z]{2}(-[a-z]+)+-\d+", label)), "")
    region = region or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or ""
    told = {
        "rest.signing-name": next((one for one in services if one in ("glue", "s3tables")), ""),
        "rest.signing-region": region,
        "client.region": both.get(f"{prefix}.rest.signing-region") or region,
    }
    for key, value in told.items():
        if value and not both.get(f"{prefix}.{key}"):
            settings[f"{prefix}.{key}"] = value


def _checked(setting: Setting, value: str) -> str:
    where = f"{setting.name} ({setting.variables[0]})"
    if setting.name == "s3_path_style" and value.lower() == "auto":
        return "true"  # there is an endpoint
    if setting.name in ("s3_path_style", "adaptive", "coalesce_partitions", "catalog_cache"):
        if value.lower() not in ("true", "false"):
            raise ConfigurationError(f"{where} is {value!r}: true or false")
        return value.lower()
    is_database = setting.name == "catalog_uri" and "jdbc:" in value
    if setting.name in ("catalog_uri", "s3_endpoint", "catalog_oauth2_uri") and not (is_database or place_of(value)):
        raise ConfigurationError(f"{where} is {value!r}: an address such as {setting.default or 'http://host:80'}")
    if setting.name == "catalog_credential" and ":" not in value:
        raise ConfigurationError(f"{where} is not of the form ID:SECRET")
    if setting.name == "time_zone" and not _is_time_zone(value):
        raise ConfigurationError(f"{where} is {value!r}: a time zone such as UTC, Europe/Berlin, +01:00")
    if setting.name == "stop_timeout_s":
        if re.fullmatch(r"\d+(\.\d+)?", value, re.ASCII):
            return f"{round(float(value) * 1000)}ms"
        if not re.fullmatch(r"\d+(us|ms|s|m|min|h|d)", value, re.ASCII):
            raise ConfigurationError(f"{where} is {value!r}: a number of seconds, or a time such as 90s, 2m")
    if setting.name in ("batches_kept", "rate_per_partition"):
        return str(whole_number(where, value, 1 if setting.name == "batches_kept" else 0))
    return value


def whole_number(where: str, text: str, least: int) -> int:
    if not re.fullmatch(r"\d{1,18}", text, re.ASCII) or int(text) < least:
        raise ConfigurationError(f"{where} is {text!r}: a whole number, at least {least}")
    return int(text)


def _is_time_zone(text: str) -> bool:
    """As Spark takes them. Where this machine has no names of zones, all that look like one may be right."""
    if re.fullmatch(r"Z|(?:UTC|GMT|UT)|(?:UTC|GMT|UT)?[+-](?:\d{1,2}|\d{1,2}:\d{2}(?::\d{2})?)", text, re.ASCII):
        return True
    if not re.fullmatch(r"[A-Za-z][\w+/-]*", text, re.ASCII):
        return False
    try:
        return bool(ZoneInfo(text))
    except (KeyError, ValueError, OSError):
        return not available_timezones()


def catalog_name(options: Mapping[str, object]) -> str:
    name = given("catalog", ("K2_SPARK_CATALOG_NAME",), options) or "iceberg"
    if not re.fullmatch(r"[A-Za-z_]\w*", name):
        raise ConfigurationError(f"catalog (K2_SPARK_CATALOG_NAME) is {name!r}: a name of letters, digits and _")
    return name


def log_level(options: Mapping[str, object]) -> str:
    level = (given("log_level", ("K2_SPARK_LOG_LEVEL",), options) or "WARN").upper()
    if level not in LOG_LEVELS:
        raise ConfigurationError(f"log_level (K2_SPARK_LOG_LEVEL) is {level!r}: one of {', '.join(LOG_LEVELS)}")
    return level


def master(options: Mapping[str, object], submitted: Mapping[str, str]) -> str:
    """By argument, else what spark-submit or spark-defaults says, else by environment, else K2's cluster."""
    if value := given("master", (), options):
        return value
    return submitted.get("spark.master") or os.environ.get("K2_SPARK_MASTER") or DEFAULT_MASTER


def seconds(name: str, variable: str, options: Mapping[str, object], default: float) -> float:
    text = given(name, (variable,), options)
    try:
        value = default if text is None else float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise ConfigurationError(f"{name} ({variable}) is {text!r}: a number of seconds")
    return value


# What stands already before this program sets anything.


def defaults_file(spark_home: Path) -> Path:
    return Path(os.environ.get("SPARK_CONF_DIR") or spark_home / "conf") / "spark-defaults.conf"


def read_defaults(path: Path) -> dict[str, str]:
    """A file in the form of spark-defaults.conf; nothing where there is none."""
    if not path.is_file():
        return {}
    found = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        if match := re.match(r"\s*([^#!\s=:][^\s=]*)(?:\s*=\s*|\s+)(\S.*?)\s*$", line):
            found[match[1]] = match[2]
    return found


def read_submit_args(text: str) -> dict[str, str]:
    """What PYSPARK_SUBMIT_ARGS sets: --master, --packages, --jars, --conf, --properties-file."""
    flags = {"--master": "spark.master", "--packages": "spark.jars.packages", "--jars": "spark.jars"}
    found: dict[str, str] = {}
    words = shlex.split(text)
    for at, word in enumerate(words):
        flag, has_value, value = word.partition("=") if word.startswith("--") else (word, "", "")
        if not has_value:
            value = words[at + 1] if at + 1 < len(words) else ""
        if flag in flags:
            found[flags[flag]] = value
        elif flag in ("--conf", "-c") and "=" in value:
            key, _, set_to = value.partition("=")
            found[key] = set_to
        elif flag == "--properties-file":
            found = read_defaults(Path(value)) | found
    return found


def submitted_settings(spark_home: Path) -> dict[str, str]:
    """Before there is a JVM: spark-defaults.conf, and PYSPARK_SUBMIT_ARGS over it."""
    arguments = os.environ.get("PYSPARK_SUBMIT_ARGS", "")
    return read_defaults(defaults_file(spark_home)) | read_submit_args(arguments)
