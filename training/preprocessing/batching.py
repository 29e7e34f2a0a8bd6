"""Length-bucketed batches of encoded records; each task has a training set of its own in `training/tasks/`.

The order of an epoch depends on the seed and the epoch number alone, so that a resumed run meets the same batches.
"""

from __future__ import annotations

from collections.abc import Sequence, Sized
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.preprocessing.batches import Batch

#: Batches are cut from pools of this many batches, sorted by length: enough for little padding, few enough that the
#: composition of batches still changes every epoch.
POOL_BATCHES = 50

Order = NDArray[np.int64]


class TrainingSet(Protocol):
    """All records of one split, encoded."""

    def epoch(self, number: int) -> list[Order]:
        """The batches of an epoch, each as the indices that `batch` takes."""
        ...

    def batch(self, indices: Order) -> Batch:
        """The tensors of one batch."""
        ...


class Bucketed:
    """Length bucketing: shuffle, sort within pools, cut into batches, shuffle the batches."""

    def __init__(self, lengths: Sequence[int], batch_size: int, seed: int) -> None:
        self._lengths = np.asarray(lengths)
        self._batch_size = batch_size
        self._seed = seed

    def epoch(self, number: int) -> list[Order]:
        generator = np.random.default_rng((self._seed, number))
        order = generator.permutation(len(self._lengths))
        pool = self._batch_size * POOL_BATCHES
        batches: list[Order] = []
        for start in range(0, len(order), pool):
            near = order[start : start + pool]
            near = near[np.argsort(self._lengths[near], kind="stable")]
            batches += [near[i : i + self._batch_size] for i in range(0, len(near), self._batch_size)]
        return [batches[i] for i in generator.permutation(len(batches))]


def ids_tensor(array: NDArray[np.int64]) -> Tensor:
    """Padded ids as a tensor."""
    return torch.from_numpy(np.ascontiguousarray(array))


def lengths_tensor(sequences: Sequence[Sized]) -> Tensor:
    """The length of each row before padding."""
    return torch.tensor([len(sequence) for sequence in sequences])
