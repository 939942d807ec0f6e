"""How old an attempt at a commit is, by clocks that do not stand still while its process does (src/base/age.h).

Past a limit it times out before the catalog is asked, for its files may have been removed as orphan files.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from k2.spark.schemas import COMMITS

ATTEMPT_AGE_S_MAX: float = COMMITS["attempt-age-us-max"] / 1e6
LOOK_AGAIN_AFTER_S: float = COMMITS["look-again-after-us"] / 1e6
ORPHAN_AGE_US_MIN: int = COMMITS["orphan-age-us-min"]

_BOOT_CLOCK: int = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)  # Linux has one that runs on in suspend


@dataclass(frozen=True)
class Moment:
    wall_s: float
    boot_s: float


def now() -> Moment:
    return Moment(time.time(), time.clock_gettime(_BOOT_CLOCK))


def age_s(begun: Moment, at: Moment) -> float:
    """The larger of what both clocks tell: either may be wrong."""
    return max(at.wall_s - begun.wall_s, at.boot_s - begun.boot_s)
