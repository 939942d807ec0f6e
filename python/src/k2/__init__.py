"""K2 for Python: `k2.spark` runs the pipeline on Apache Spark, `k2.native` is the C++ kernel for notebooks.

Each is imported by itself: `k2.spark` needs pyspark, `k2.native` the compiled module, and neither the other.
"""

__version__ = "0.2.0"
