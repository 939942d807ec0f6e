"""What a step of a layer did, whichever engine has run it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class StepReport:
    """Rows, and where the time went. `behind`: messages that the layer had yet to take when the step was planned."""

    layer: str
    tasks: int = 0
    rows_in: int = 0
    rows_out: int = 0
    rejected: Mapping[str, int] = field(default_factory=dict)
    duplicates: int = 0
    identity_conflicts: int = 0
    commits: int = 0
    behind: int = 0
    plan_seconds: float = 0.0
    run_seconds: float = 0.0
    commit_seconds: float = 0.0
