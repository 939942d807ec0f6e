"""What the steps of the three layers have in common: options, and what a step did."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from k2.spark.dataframe.progress import SourceKey
from k2.spark.dataframe.publish import Policy, Published
from k2.spark.dataframe.tables import Table
from k2.spark.schemas import NAMESPACE

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

ROWS_PER_STEP = 500_000


@dataclass
class LakeOptions:
    """Where the tables are, and how much a step takes at most."""

    catalog: str = "iceberg"
    namespace: str = NAMESPACE
    rows_per_step: int = ROWS_PER_STEP
    policy: Policy = field(default_factory=Policy)

    def table(self, spark: SparkSession, name: str) -> Table:
        return Table(spark, self.catalog, self.namespace, name)


@dataclass
class StepResult:
    """What a step did. `behind`: messages, or of Gold rows, that the layer has yet to take, as known at its end."""

    layer: str
    rows_in: int = 0
    rows_out: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    duplicates: int = 0
    identity_conflicts: int = 0
    commits: list[Published] = field(default_factory=list)
    behind: int = 0
    behind_by_source: dict[SourceKey, int] = field(default_factory=dict)
    plan_s: float = 0.0
    run_s: float = 0.0
    commit_s: float = 0.0

    @property
    def idle(self) -> bool:
        """Nothing was new."""
        return not self.commits and self.rows_in == 0

    @property
    def snapshot_ids(self) -> dict[str, int]:
        return {one.table: one.snapshot_id for one in self.commits}

    def took(self, published: Published) -> None:
        self.commits.append(published)
        self.run_s += published.write_s
        self.commit_s += published.commit_s


def shares(pending: Mapping[SourceKey, int], rows_max: int) -> dict[SourceKey, int]:
    """How many of each source's pending offsets a step takes."""
    total = sum(pending.values())
    if total <= rows_max:
        return dict(pending)
    return {key: min(count, max(1, count * rows_max // total)) for key, count in pending.items()}
