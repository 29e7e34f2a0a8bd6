"""Ragged lists to rectangular arrays. Padding is id 0; lengths travel beside the ids."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float32]


def lengths_of(sequences: Sequence[Sequence[object]]) -> IntArray:
    """`[batch]`: the length of each sequence. An empty batch or an empty sequence never reaches a graph."""
    lengths = np.fromiter((len(sequence) for sequence in sequences), dtype=np.int64, count=len(sequences))
    if len(lengths) == 0 or lengths.min() == 0:
        raise ValueError("a batch needs at least one sequence, and each at least one element")
    return lengths


def pad_ids(sequences: Sequence[Sequence[int]]) -> IntArray:
    """`[batch, time]`: ids, zero beyond each sequence's length."""
    padded = np.zeros((len(sequences), max(map(len, sequences))), dtype=np.int64)
    for row, sequence in enumerate(sequences):
        padded[row, : len(sequence)] = sequence
    return padded


def pad_nested_ids(sequences: Sequence[Sequence[Sequence[int]]]) -> IntArray:
    """`[batch, time, inner]`: for each word the ids of its characters, zero beyond each length."""
    time = max(map(len, sequences))
    inner = max(len(ids) for sequence in sequences for ids in sequence)
    padded = np.zeros((len(sequences), time, inner), dtype=np.int64)
    for row, sequence in enumerate(sequences):
        for step, ids in enumerate(sequence):
            padded[row, step, : len(ids)] = ids
    return padded
