"""The pipeline on Apache Spark: sessions (`utils`), schemas, jobs. Nothing but pyspark and the standard library."""
