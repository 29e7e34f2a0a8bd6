"""Do a run again from its folder alone, and compare."""

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
    """How far the best weights of two runs are apart."""

    largest_difference: float
    #: What is not the same around the two runs: hardware, library versions.
    changes: tuple[str, ...]

    @property
    def is_equal(self) -> bool:
        """To the bit."""
        return self.largest_difference == 0.0

    def summary(self) -> str:
        """In a sentence or two."""
        if self.is_equal:
            return "the best weights of both runs are equal to the bit"
        why = (
            "; ".join(self.changes)
            or "hardware and libraries are the same: was it trained on a GPU, or by several workers?"
        )
        return f"the best weights differ by up to {self.largest_difference:.2g}; {why}"


def begin_again(original: Path, path: Path, overwrite: bool = False) -> Run:
    """A new run in `path`, of the recipe and the data of the run in `original`.

    Raises:
        RunFolderFault: `original` is no run, its data has changed, or `path` holds a run already.
        UnrollError: `original` has not come to its end, or both are the same folder.
    """
    folder = RunFolder(original)
    recipe = folder.recipe()
    if path.resolve() == original.resolve():
        raise UnrollError(f"{path} cannot be repeated into itself; --into names another folder")
    if not read_progress(folder.checkpoint).finished:
        raise UnrollError(f"{original} has not come to its end: `unroll resume {original}` goes on with it")
    prepared = prepare_run(recipe, folder.vocabulary())
    folder.check_data(prepared.data.source)
    return start_run(prepared, path, overwrite)


def compare_runs(original: Path, again: Path) -> Comparison:
    """The best weights of two runs, and what differs around them."""
    first, second = RunFolder(original), RunFolder(again)
    left, _ = read_tensors(first.best_weights)
    right, _ = read_tensors(second.best_weights)
    if left.keys() != right.keys() or any(left[name].shape != right[name].shape for name in left):
        raise UnrollError(f"{original} and {again} hold networks of different shapes")
    # Not the difference of equal values: that of two infinities is no number.
    unequal = [name for name in left if not torch.equal(left[name], right[name])]
    largest = max((float((left[name].double() - right[name].double()).abs().max()) for name in unequal), default=0.0)
    before, after = first.environment(), second.environment()
    names = sorted(before.keys() | after.keys())
    changed = [f"{n} was {before.get(n)}, is {after.get(n)}" for n in names if before.get(n) != after.get(n)]
    return Comparison(largest, tuple(changed))
