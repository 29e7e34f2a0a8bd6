"""Training time against the number of records: `python -m tests.load.training_time [--out FOLDER]`.

Trains a small network on parts of a public data set, on one thread, and writes `training-time.svg` and
`training-time.json`. Times are CPU seconds, which other programs on the machine disturb least. Above the size of the
data set its records are repeated, which costs what new ones would.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

from training.config.recipe import find_recipe, load_recipe
from training.pipeline.run import Prepared, prepare_run, start_run, train_run

SIZES = (1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 64_000)
#: Up to this size the run goes on until dev no longer improves; above it one epoch is measured.
MOST_TO_THE_END = 8_000
NUM_DEV = 1_000
SMALL = {
    "network.hidden_size": 64,
    "network.embedding_size": 64,
    "tokenizer.vectors": "",
    "training.threads": 1,
    "training.patience": 3,
    "training.trackers": [],
}


@dataclass(frozen=True)
class Point:
    """One run: CPU seconds of reading and encoding, of an epoch with its dev score, and until the best dev score."""

    records: int
    updates: int
    epoch_s: float
    epochs: int
    best_epoch: int
    best_s: float
    dev_score: float


def measure(prepared: Prepared, records: int, epochs: int) -> Point:
    """Train on the first `records`, repeated where there are fewer."""
    recipe = prepared.recipe
    recipe = recipe.model_copy(update={"training": recipe.training.model_copy(update={"epochs": epochs})})
    train = list(itertools.islice(itertools.cycle(prepared.data.train), records))
    data = replace(prepared.data, train=train, dev=prepared.data.dev[:NUM_DEV])
    with tempfile.TemporaryDirectory() as folder:
        run = start_run(replace(prepared, recipe=recipe, data=data), Path(folder) / "run")
        started = time.process_time()
        progress = train_run(run, torch.device("cpu"))
        spent_s = time.process_time() - started
    epoch_s = spent_s / progress.epoch
    best = progress.best_score or 0.0
    return Point(
        records, progress.step, epoch_s, progress.epoch, progress.best_epoch, epoch_s * progress.best_epoch, best
    )


def draw(points: Sequence[Point], picture: Path) -> None:
    """Seconds of an epoch and until the best dev score over the number of records, on logarithmic axes."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axis = pyplot.subplots(figsize=(6, 4), layout="constrained")
    whole = [point for point in points if point.records <= MOST_TO_THE_END]
    axis.loglog([p.records for p in points], [p.epoch_s for p in points], marker="o", label="an epoch")
    axis.loglog([p.records for p in whole], [p.best_s for p in whole], marker="s", label="until the best dev score")
    axis.set_xlabel("training records")
    axis.set_ylabel("CPU seconds")
    axis.grid(alpha=0.3, which="both")
    axis.legend()
    figure.savefig(picture)
    pyplot.close(figure)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print a row for each size, and write the files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipe", default="intent-en")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--epochs", type=int, default=8, help="most epochs of the runs that go on to the end")
    parser.add_argument("--out", type=Path, default=Path("training/docs/pictures"))
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(1)
    prepared = prepare_run(load_recipe(find_recipe(chosen.recipe), dict(SMALL)))
    points = []
    for records in chosen.sizes:
        points.append(measure(prepared, records, chosen.epochs if records <= MOST_TO_THE_END else 1))
        print(json.dumps(asdict(points[-1])), flush=True)
    chosen.out.mkdir(parents=True, exist_ok=True)
    draw(points, chosen.out / "training-time.svg")
    facts = {"recipe": chosen.recipe, "load": os.getloadavg()[0], "points": [asdict(point) for point in points]}
    (chosen.out / "training-time.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
