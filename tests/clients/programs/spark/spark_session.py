"""A local session of Spark with two cores: a table of eight partitions, scored. Prints the rows and what was opened."""

import json
import sys
from pathlib import Path

import counted_opens
import score_with_spark
from pyspark.sql import SparkSession

if __name__ == "__main__":
    plan = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    builder = SparkSession.builder.master("local[2]")
    for name, value in {
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.host": "127.0.0.1",
        "spark.ui.enabled": "false",
        "spark.sql.execution.arrow.maxRecordsPerBatch": "3",
    }.items():
        builder = builder.config(name, value)
    spark = builder.getOrCreate()
    table = spark.createDataFrame(list(enumerate(plan["texts"])), "id long, text string").repartition(8)
    model = str(Path(plan["models"]) / "tiny-classifier")
    rows = [row.asDict(recursive=True) for row in score_with_spark.score(table, model).collect()]
    spark.stop()
    print(json.dumps({"rows": sorted(rows, key=lambda row: row["id"]), **counted_opens.counts()}))
