"""The process of each worker in test_distributed.py: `python -m tests.training.worker_runs FOLDER`.

Each task has a complete run in `FOLDER/<task>`. A further run of a language model, in `FOLDER/stopped`, is stopped by a
signal to the last worker alone and then resumed.
"""

from __future__ import annotations

import shutil
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

from service.bundle.task_options import TrainedTask
from tests.training.interrupting import interrupt
from tests.training.tiny_runs import tiny_recipe
from training.config.recipe import Recipe
from training.fit import run_folder
from training.fit.distributed import Workers, joined_workers, leave
from training.fit.trainer import DevScore, Interrupted
from training.pipeline.run import Run, fit, open_run, prepare_run, start_run
from training.pipeline.shared_run import shared_run
from training.preprocessing.batching import Order

CPU = torch.device("cpu")
SHARED_TASKS: tuple[TrainedTask, ...] = ("tagging", "classification", "translation", "generation")


def shared_recipe(task: TrainedTask, folder: Path, dropout: float = 0.0) -> Recipe:
    """Three epochs without dropout, so that one process and several can be compared."""
    recipe = tiny_recipe(task, folder / f"data-{task}", epochs=3, trackers=[], ema_decay=0.5)
    still = {"dropout": dropout} | ({} if task == "generation" else {"word_dropout": 0.0})
    return recipe.model_copy(update={"network": recipe.network.model_copy(update=still)})


def train(run: Run, workers: Workers, resume: bool = False, signal_at: int = 0) -> None:
    """Train to the end with rising dev scores; before batch `signal_at` the last worker gets a SIGTERM."""

    class Data:
        """The run's batches, counted."""

        count = 0
        inner = run.task.training_set(run.recipe, run.vocabulary, run.data.train)

        def epoch(self, number: int) -> list[Order]:
            return self.inner.epoch(number)

        def batch(self, indices: Order) -> object:
            self.count += 1
            if self.count == signal_at and workers.rank == workers.count - 1:
                interrupt(signal.SIGTERM)
            return self.inner.batch(indices)

    scores = iter(range(1, 100))
    fit(run, Data(), lambda _: DevScore(float(next(scores))), CPU, resume, workers)  # type: ignore[arg-type]


def begin(recipe: Callable[[], Recipe], path: Path, workers: Workers) -> Run:
    return shared_run(lambda: start_run(prepare_run(recipe()), path), path, workers)


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    run_folder.draw_curves = lambda *_: None
    with joined_workers(CPU) as workers:
        for task in SHARED_TASKS:
            train(begin(partial(shared_recipe, task, folder), folder / task, workers), workers)
        recipe = partial(shared_recipe, "generation", folder, dropout=0.5)
        train(begin(recipe, folder / "straight", workers), workers)
        try:
            train(begin(recipe, folder / "stopped", workers), workers, signal_at=3)
        except Interrupted as error:
            (folder / f"interrupted-{workers.rank}").write_text(str(error.signal_number), encoding="utf-8")
        if workers.is_first:
            shutil.copy(folder / "stopped" / "last.safetensors", folder / "midway.safetensors")
        workers.wait()
        torch.manual_seed(99)  # a new process has a different random state
        path = folder / "stopped"
        train(shared_run(lambda: open_run(path), path, workers), workers, resume=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
    leave(0)
