"""A local session of Spark with two cores: a table of eight partitions, scored by a module and by a pandas UDF.

Prints the rows, how often a bundle was opened for them, and the labels of the UDF.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import counted_opens
import pandas as pd
import score_with_spark
from pyspark.sql import SparkSession
from pyspark.sql.functions import pandas_udf

from service.offline import Scorer


def label_column(model):
    """The pandas UDF of the guide."""

    @pandas_udf("string")
    def label(texts: Iterator[pd.Series]) -> Iterator[pd.Series]:
        scorer = Scorer(model)
        for batch in texts:
            yield scorer(pd.DataFrame({"text": batch}))["label"]

    return label


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
    counts = counted_opens.counts()
    labels = [row["label"] for row in table.sort("id").select(label_column(model)("text").alias("label")).collect()]
    spark.stop()
    print(json.dumps({"rows": sorted(rows, key=lambda row: row["id"]), "labels": labels, **counts}))
