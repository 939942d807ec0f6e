"""Java's exceptions as errors that a person can act on."""

from __future__ import annotations

import re

from k2.spark.utils.errors import (
    ConfigurationError,
    DataError,
    K2Error,
    RaceError,
    SparkStoppedError,
    UnavailableError,
    UnknownOutcomeError,
    one_line,
)

# In this order: what is more special comes first. {} stands for what Java says.
_KNOWN: tuple[tuple[str, type[K2Error], str], ...] = (
    (
        r"ModuleNotFoundError: No module named",
        ConfigurationError,
        "Python on the executors lacks a package: {}. Install it there (k2: the wheel of python/), or give the folder "
        "that holds it as spark.executorEnv.PYTHONPATH",
    ),
    (
        r"stopped SparkContext|SparkContext was shut down|All masters are unresponsive|Application has been killed",
        SparkStoppedError,
        "Spark has stopped: {}. Look at the master's page and log",
    ),
    (
        r"CommitStateUnknownException",
        UnknownOutcomeError,
        "the catalog did not say whether it applied the commit: {}. Nothing was deleted; look at the table's snapshots "
        "before you run this again",
    ),
    (
        r"NoClassDefFoundError|ClassNotFoundException|Cannot find catalog plugin class|Failed to find data source",
        ConfigurationError,
        "a library is missing: {}. Give spark-submit --packages, or let create_spark_session fetch them "
        "(K2_SPARK_PACKAGES)",
    ),
    (
        r"NotAuthorizedException|invalid_client|Credentials are invalid|status code:? 401|\b401\b.*[Uu]nauthorized",
        UnavailableError,
        "the catalog refuses the credentials: {}. Set K2_CATALOG_CREDENTIAL (ID:SECRET) or K2_CATALOG_TOKEN",
    ),
    (
        r"InvalidAccessKeyId|SignatureDoesNotMatch|AccessDenied|Access Denied|Status Code: 403|"
        r"Unable to load credentials",
        UnavailableError,
        "the S3 store refuses the keys: {}. Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, for the driver at least",
    ),
    (
        r"ForbiddenException",
        UnavailableError,
        "the catalog does not allow it: {}. Set K2_CATALOG_CREDENTIAL (ID:SECRET) of one that may",
    ),
    (r"NoSuchBucket", UnavailableError, "the bucket does not exist: {}. Create it, or set K2_WAREHOUSE to another"),
    (
        r"UnknownHostException|ConnectException|Connect(?:ion)? (?:to \S+ )?(?:refused|reset|timed out|failed)|"
        r"SocketTimeoutException|NoHttpResponse|ServiceUnavailableException|ServiceFailureException|"
        r"Unable to execute HTTP request|UnresolvedAddressException|\bRESTException|Status Code: 5\d\d",
        UnavailableError,
        "a service does not answer: {}. Look at K2_CATALOG and K2_S3_ENDPOINT, and whether both are up",
    ),
    (
        r"NoSuchKeyException|iceberg\.exceptions\.NotFoundException",
        RaceError,
        "a planned file no longer exists: {}. Expiry or compaction has removed it; run this again",
    ),
    (
        r"NoSuchTableException|TABLE_OR_VIEW_NOT_FOUND|NoSuchNamespaceException|SCHEMA_NOT_FOUND",
        ConfigurationError,
        "no such table: {}. Create the tables with k2.spark.jobs.create_bronze_table and its like, or `k2 tables "
        "create`",
    ),
    (
        r"CommitFailedException",
        RaceError,
        "repeated conflicts with concurrent writers: {}. Nothing was applied; run this again",
    ),
    (
        r"ValidationException",
        DataError,
        "repeated conflicts with concurrent writers: {}. Nothing was applied; run this again",
    ),
)


def explain(error: BaseException, doing: str) -> K2Error:
    """The error to raise instead of one that came out of Spark; `doing` says what was going on."""
    if isinstance(error, K2Error):
        return error
    if _lost_connection(error):
        return SparkStoppedError(f"{doing}: Spark's Java process has ended or cannot be reached: {one_line(error)}")
    text = _java_text(error)
    for pattern, kind, words in _KNOWN:
        if found := re.search(pattern, text):
            return kind(f"{doing}: {words.replace('{}', _line_with(text, found.start()))}")
    causes = [found.start() for found in re.finditer(r"^(?:Caused by: |: )", text, re.MULTILINE)]
    return DataError(f"{doing}: {_line_with(text, causes[-1] if causes else 0)}")


def _lost_connection(error: BaseException) -> bool:
    """Did Py4J lose the JVM? A call that Java itself refused has a text of Java's behind the colon."""
    kinds = {kind.__name__ for kind in type(error).__mro__}
    if isinstance(error, ConnectionError) or "Py4JNetworkError" in kinds:
        return True
    called = re.fullmatch(r"An error occurred while calling \S+", str(error).strip())
    return type(error).__name__ == "Py4JError" and called is not None


def _java_text(error: BaseException) -> str:
    """What the error says, Java's causes included."""
    texts = [str(error)]
    java = getattr(error, "java_exception", None) or getattr(error, "_origin", None)
    try:
        for _ in range(20):
            if java is None:
                break
            texts.append(str(java.toString()))
            java = java.getCause()
    except Exception:  # the JVM is gone: what it said before is all there is
        pass
    return "\n".join(texts)


def _line_with(text: str, at: int) -> str:
    begin = text.rfind("\n", 0, at) + 1
    line = re.sub(r"^(?:Caused by:|:)?\s*", "", one_line(text[begin:]))
    return re.sub(r"^(?:[a-z]\w*\.)+(?=[A-Z])", "", line)
