"""Repeat a run from its folder alone and compare the weights (`unroll retrain`)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from service.errors import UnrollError
from training.fit.checkpoint import read_progress
from training.fit.run_folder import RunFolder
from training.pipeline.run import Run, prepare_run, start_run
from training.preprocessing.tensor_file import read_tensors


@dataclass(frozen=True)
class Comparison:
    """Difference between the best weights of two runs."""

    largest_difference: float
    #: Differences of hardware and library versions.
    changes: tuple[str, ...]

    @property
    def is_equal(self) -> bool:
        """Whether the weights are equal to the bit."""
        return self.largest_difference == 0.0

    def summary(self) -> str:
        """The comparison in words."""
        if self.is_equal:
            return "the best weights of both runs are equal to the bit"
        why = (
            "; ".join(self.changes)
            or "hardware and libraries are the same: was it trained on a GPU, or by several workers?"
        )
        return f"the best weights differ by up to {self.largest_difference:.2g}; {why}"


def begin_again(original: Path, path: Path, overwrite: bool = False) -> Run:
    """Start a new run in `path` with the recipe and the data of the run in `original`.

    Raises:
        RunFolderFault: `original` is no run, its data has changed, or `path` already holds a run.
        UnrollError: `original` is unfinished, or both are the same folder.
    """
    folder = RunFolder(original)
    recipe = folder.recipe()
    if path.resolve() == original.resolve():
        raise UnrollError(f"{path} cannot be repeated into itself; --into names another folder")
    if not read_progress(folder.checkpoint).finished:
        raise UnrollError(f"{original} is unfinished: `unroll resume {original}` continues it")
    prepared = prepare_run(recipe, folder.vocabulary())
    folder.check_data(prepared.data.source)
    return start_run(prepared, path, overwrite)


def compare_runs(original: Path, again: Path) -> Comparison:
    """Compare the best weights and the environments of two runs."""
    first, second = RunFolder(original), RunFolder(again)
    left, _ = read_tensors(first.best_weights)
    right, _ = read_tensors(second.best_weights)
    if left.keys() != right.keys() or any(left[name].shape != right[name].shape for name in left):
        raise UnrollError(f"{original} and {again} hold networks of different shapes")
    # Equal tensors are left out: the difference of two infinities is NaN.
    unequal = [name for name in left if not torch.equal(left[name], right[name])]
    largest = max((float((left[name].double() - right[name].double()).abs().max()) for name in unequal), default=0.0)
    before, after = first.environment(), second.environment()
    names = sorted(before.keys() | after.keys())
    changed = [f"{n} was {before.get(n)}, is {after.get(n)}" for n in names if before.get(n) != after.get(n)]
    return Comparison(largest, tuple(changed))
