"""What `spark-submit …/jobs/NAME.py` and `python -m k2.spark.jobs.NAME` run."""
