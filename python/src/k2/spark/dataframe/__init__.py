"""The DataFrame path: K2's layers in PySpark, messages validated by k2.native on the workers (`--engine spark`).

`bronze_step`, `silver_step` and `gold_step` each move a bounded number of rows and commit them with their source
offsets as the `k2` process does (docs/source-offsets.md), so that both may take turns on the same tables.
"""

from k2.spark.dataframe.bronze import BronzeOptions, bronze_step
from k2.spark.dataframe.gold import GoldOptions, gold_settle, gold_step
from k2.spark.dataframe.overwrite import Days
from k2.spark.dataframe.progress import AnotherWriterError, OffsetsError, StandsError
from k2.spark.dataframe.publish import Policy, Published
from k2.spark.dataframe.rebuild import gold_rebuild, silver_rebuild
from k2.spark.dataframe.registry import Schemas
from k2.spark.dataframe.silver import SilverOptions, silver_settle, silver_step
from k2.spark.dataframe.step import LakeOptions, StepResult

__all__ = [
    "AnotherWriterError",
    "BronzeOptions",
    "Days",
    "GoldOptions",
    "LakeOptions",
    "OffsetsError",
    "Policy",
    "Published",
    "Schemas",
    "SilverOptions",
    "StandsError",
    "StepResult",
    "bronze_step",
    "gold_rebuild",
    "gold_settle",
    "gold_step",
    "silver_rebuild",
    "silver_settle",
    "silver_step",
]
