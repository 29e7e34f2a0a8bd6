"""Score Parquet files with Ray Data: `python score_with_ray.py MODEL SOURCE TARGET`, on all nodes of the cluster.

The bundle is at the same path on each node: in the image, or on a shared disk.
"""

from __future__ import annotations

import sys
from typing import Any

import ray.data

from service.offline import Scorer


def score(rows: ray.data.Dataset, model: str, processes: int = 2, **options: Any) -> ray.data.Dataset:
    """The rows with the answers of a model; `options` are those of `Scorer`. Each process opens the bundle once."""
    return rows.map_batches(
        Scorer,
        fn_constructor_args=(model,),
        fn_constructor_kwargs=options,
        compute=ray.data.ActorPoolStrategy(size=processes),
        batch_size=4096,
        batch_format="pyarrow",
    )


if __name__ == "__main__":
    bundle, source, target = sys.argv[1:]
    score(ray.data.read_parquet(source), bundle).write_parquet(target)
