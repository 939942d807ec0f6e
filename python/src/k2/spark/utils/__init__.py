"""Sessions of Spark that know K2's catalog: `from k2.spark.utils import create_spark_session`."""

from k2.spark.utils.coordinates import coordinates
from k2.spark.utils.errors import (
    ConfigurationError,
    DataError,
    K2Error,
    RaceError,
    SparkStoppedError,
    UnavailableError,
    UnknownOutcomeError,
    run_main,
)
from k2.spark.utils.explain import explain
from k2.spark.utils.spark_session import (
    check_catalog,
    create_spark_session,
    create_streaming_spark_session,
    kafka_stream_options,
)

__all__ = [
    "ConfigurationError",
    "DataError",
    "K2Error",
    "RaceError",
    "SparkStoppedError",
    "UnavailableError",
    "UnknownOutcomeError",
    "check_catalog",
    "coordinates",
    "create_spark_session",
    "create_streaming_spark_session",
    "explain",
    "kafka_stream_options",
    "run_main",
]
