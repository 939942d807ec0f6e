"""k2.native's rules of retention, which src/maintenance/retention_rules_test.cc has one by one."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from warehouse import k2_environment

from k2 import native
from k2.spark.jobs import maintenance

DAY_US = 86_400_000_000
NOON_US = 20_000 * DAY_US + DAY_US // 2  # of 2024-10-04
OLD: dict[str, Any] = {
    "limit_us": 7 * DAY_US,
    "now_us": NOON_US,
    "hold_us": DAY_US,
    "end_us": NOON_US - 7 * DAY_US,
    "first_days": {19_993: 1},
    "newest_commit_us": NOON_US - 7 * DAY_US,
}


@pytest.mark.parametrize(
    ("facts", "fate", "reason"),
    [
        ({}, "dropped", "expired by retention (7 days) since 2024-10-04T12:00:00.000000Z"),
        ({"limit_us": None}, "kept", "kept for ever"),
        ({"may_drop": False}, "kept", "kept: the table's property gc.enabled is false"),
        ({"end_us": None}, "kept", "neither its partition nor the bounds of its columns tell the days of its rows"),
        ({"end_us": NOON_US - 7 * DAY_US + 1}, "kept", "its date is not 7 days past"),
        (
            {"end_us": NOON_US, "first_days": {19_970: 2, 19_999: 1}},
            "kept",
            "its date is not 7 days past; 2 of its files hold rows since 2024-09-04 too, which stay as long as the "
            "newest",
        ),
        ({"newest_commit_us": None}, "kept", "when its newest file was committed is not known yet"),
        ({"newest_commit_us": NOON_US}, "kept", "committed on 2024-10-04T12:00:00.000000Z, not 7 days ago"),
        (
            {"newest_commit_us": NOON_US, "newest_commit_exact": False},
            "kept",
            "committed by 2024-10-04T12:00:00.000000Z, not 7 days ago",
        ),
        ({"unread_rows": 5}, "held", "the downstream layer has not read 5 rows; dropped in 24 hours"),
        (
            {"unread_rows": 5, "hold_us": 0},
            "dropped",
            "expired by retention (7 days) since 2024-10-04T12:00:00.000000Z; the downstream layer has not read 5 rows "
            "of it, and will be blocked",
        ),
        (
            {"unread_rows": 5, "hold_us": None},
            "held",
            "the downstream layer has not read 5 rows; `k2 maintain retention` drops them after its hold",
        ),
        (
            {"unread_rows": 5, "hold_us": 0, "blocked": True},
            "held",
            "the downstream layer is blocked and has not read 5 rows; its error names the command that resumes it",
        ),
        (
            {"unread_rows": 5, "hold_us": 0, "needed": True},
            "held",
            "Silver is behind rejected_trades and needs these rows to catch up",
        ),
    ],
)
def test_retention_decides_by_facts(facts: dict[str, Any], fate: str, reason: str) -> None:
    decision = native.retention_decision(**OLD | facts)
    assert (decision.fate, decision.reason) == (fate, reason)
    known = not {"limit_us", "may_drop", "end_us", "newest_commit_us"} & facts.keys()
    assert decision.due_us == NOON_US if known else decision.due_us != NOON_US


def test_unread_rows_and_what_a_drop_says() -> None:
    held = {"first": 10, "last": 19, "rows": 6}
    counted = {at: native.unread_rows(**held, read_to=at, end=30) for at in (0, 12, 17, 19, 20)}
    assert counted == {0: 6, 12: 6, 17: 3, 19: 1, 20: 0}
    assert native.unread_rows(**held, read_to=18, end=18) == 0, "all that the table has counted is read"
    days = [(f"2024-03-0{day}", day) for day in range(1, 7)]
    told = native.dropped_text(days, limit_us=7 * DAY_US, now_us=NOON_US)
    assert told.startswith("older than 7 days at 2024-10-04T12:00:00.000000Z: 2024-03-01 (1 rows), ")
    assert told.endswith("2024-03-04 (4 rows), and 2 more partitions")


def test_default_limits_of_retention_are_those_of_the_program_and_the_job(k2: Path) -> None:
    limits = native.RETENTION_LIMITS_US
    options = maintenance.parser().parse_args([])
    assert limits == {layer: getattr(options, f"retain_{layer}") for layer in limits}
    said = subprocess.run(
        [k2, "help", "retention"], capture_output=True, text=True, check=True, timeout=30, env=k2_environment()
    ).stdout
    for layer, limit_us in limits.items():
        days = "forever" if limit_us is None else f"{limit_us // DAY_US}d"
        assert re.search(rf"--retain-{layer} DURATION[^-]*{days}", said), said
