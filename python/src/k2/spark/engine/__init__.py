"""The C++ engine on a Spark cluster: planned and committed in the driver, its tasks run on the executors."""

from k2.spark.engine.native import NativeEngine, Plan
from k2.spark.engine.step import StepReport

__all__ = ["NativeEngine", "Plan", "StepReport"]
