"""Where CI=true, a test that is skipped has failed: whatever looks at K2's work must be there. But for what is listed.

And what a user's shell has set must not reach the tests, whoever starts them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Generator

import pytest

ALLOWED_SKIPS = (
    r"there are no recorded feeds in ",  # not part of the repository
    r"this user reads every file$",
    r"mounting needs root$",
    r"nothing can be mounted here: ",
    r"there is no \S+: Debian has it in the package libfaketime$",
    r"libfaketime is missing$",
    r"rustberg is not built here: ",  # with the long tests only
    r"Trino is not here: ",
    r"the commit [0-9a-f]{40} is not in this clone: ",  # with the long tests only
    r"Trino needs a Java of ",
    r"Nessie is not here: ",  # with the long tests only
    r"Nessie needs a Java of ",
)
# What steers the tests themselves; every other setting of K2 is left outside.
KNOBS = r"K2_(BIN|SHARED_DATA|SEED|TEST_SERVICES|STORAGE_TEST|[A-Z]+_SCHEDULES)"
FOREIGN = ("K2_", "AWS_", "CATALOG_", "SPARK_", "PYSPARK_")


def scrub_environment() -> None:
    for name in list(os.environ):
        if name.startswith(FOREIGN) and not re.fullmatch(KNOBS, name):
            del os.environ[name]


def refuse_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    if os.environ.get("CI") != "true" or not report.skipped or hasattr(report, "wasxfail"):
        return
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    reason = reason.removeprefix("Skipped: ")
    if any(re.match(allowed, reason) for allowed in ALLOWED_SKIPS):
        return
    report.outcome = "failed"
    report.longrepr = f"skipped where CI=true, and tests/skips.py does not list the reason: {reason}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    refuse_skip(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    refuse_skip(report)
    return report
