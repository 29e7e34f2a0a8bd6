"""Score a table with Spark: a module for `--py-files`, whose `score` adds the answers of a model to a data frame.

The bundle is at the same path on each node: in the image, or on a shared disk.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql.pandas.types import from_arrow_schema, to_arrow_schema

from service.offline import Scorer


@cache
def open_scorer(model: str, options: tuple[tuple[str, Any], ...]) -> Scorer:
    """One scorer for each Python worker of Spark, which outlives the tasks that it runs."""
    return Scorer(model, **dict(options))


def score(rows: DataFrame, model: str, **options: Any) -> DataFrame:
    """The rows with the answers of a model; `options` are those of `Scorer`, and hashable."""
    chosen = tuple(sorted(options.items()))

    def answers(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        return map(open_scorer(model, chosen), batches)

    schema = Scorer(model, **options).arrow_schema(to_arrow_schema(rows.schema))
    return rows.mapInArrow(answers, from_arrow_schema(schema))
