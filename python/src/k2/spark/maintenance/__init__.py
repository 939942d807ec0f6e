"""Maintenance of K2's tables by Iceberg's procedures: what `k2.spark.jobs.maintenance` runs."""
