"""What a step of a layer did, whichever engine has run it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
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
    tables: Sequence[str] = ()  # that were committed to
    newest_us: int = 0  # Kafka's timestamp of the newest message in them, since 1970; 0: not known

    def plus(self, later: StepReport) -> StepReport:
        """Of both together; `behind`, `tables` and `newest_us` as the later one has them."""
        told = ("layer", "rejected", "behind", "tables", "newest_us")
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
            if name not in ("tables", "newest_us")
        }
