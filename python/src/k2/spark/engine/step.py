"""What a step of a layer did, whichever engine has run it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any


@dataclass(frozen=True)
class StepReport:
    """Rows, and where the time went. `behind`: messages that the layer has yet to take after it, as far
    as was known when it was planned; by offsets, of Gold with DataFrames by rows."""

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

    def plus(self, later: StepReport) -> StepReport:
        """Of both together; `behind` as the later one has it."""
        told = ("layer", "rejected", "behind")
        sums = {
            one.name: getattr(self, one.name) + getattr(later, one.name) for one in fields(self) if one.name not in told
        }
        rejected = Counter(self.rejected)
        rejected.update(later.rejected)
        return replace(later, rejected=dict(rejected), **sums)

    def row(self) -> dict[str, Any]:
        """For people and scripts."""
        return {
            name: round(value, 3) if isinstance(value, float) else value
            for name, value in asdict(replace(self, rejected=dict(self.rejected))).items()
        }
