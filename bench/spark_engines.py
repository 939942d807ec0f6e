"""A Spark session that works off layers as it is told, for spark_layers.py: a line {"layer", "engine", "topics"} in,
its figures as a line of JSON out. Usage: spark_engines.py [options of the layers' jobs]"""

import json
import sys
import time

from k2.spark.jobs import bronze_ingestion, gold_aggregation, layers, silver_transformation
from k2.spark.utils import command_line

JOBS = {"bronze": bronze_ingestion, "silver": silver_transformation, "gold": gold_aggregation}


def main() -> None:
    options = layers.parser("spark_engines", __doc__ or "").parse_args()
    spark = command_line.session("k2 bench", options)
    stop = layers.Stop()
    print("ready", flush=True)
    for line in sys.stdin:
        turn = json.loads(line)
        options.topics = turn["topics"]
        begin = time.monotonic()
        if turn["engine"] == "native":
            step = layers.native_step(spark, turn["layer"], options)
        else:
            step = JOBS[turn["layer"]].by_dataframe(spark, options)
        totals = layers.Totals(turn["layer"], turn["engine"])
        layers.move(step, totals, options, stop, None)
        print(json.dumps(totals.row() | {"seconds": time.monotonic() - begin}), flush=True)
    spark.stop()


if __name__ == "__main__":
    main()
