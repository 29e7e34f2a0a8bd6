"""Padding: ragged lists to rectangular arrays, filled with id 0 or the number 0, and their lengths."""

from __future__ import annotations

import struct
from collections.abc import Sequence, Sized
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Of any dtype: inputs and outputs of graphs.
Array = NDArray[Any]
IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float32]


def lengths_of(sequences: Sequence[Sized]) -> IntArray:
    """`[batch]`: the length of each sequence. ValueError for an empty batch or sequence, which crashes some graphs."""
    lengths = np.fromiter((len(sequence) for sequence in sequences), dtype=np.int64, count=len(sequences))
    if len(lengths) == 0 or lengths.min() == 0:
        raise ValueError("a batch needs at least one sequence, and each at least one element")
    return lengths


def pad_ids(sequences: Sequence[Sequence[int]]) -> IntArray:
    """`[batch, time]`: ids, 0 beyond the length of each sequence."""
    time = max(map(len, sequences))
    flat: list[int] = []
    for sequence in sequences:
        flat += sequence
        flat += [0] * (time - len(sequence))
    return _integers(flat).reshape(len(sequences), time)


def pad_nested_ids(sequences: Sequence[Sequence[Sequence[int]]]) -> IntArray:
    """`[batch, time, inner]`: the ids of each word's characters, 0 beyond the length of each word and sequence."""
    time = max(map(len, sequences))
    inner = max(max(map(len, sequence)) for sequence in sequences)
    zeros = [[0] * size for size in range(inner + 1)]
    flat: list[int] = []
    for sequence in sequences:
        for ids in sequence:
            flat += ids
            flat += zeros[inner - len(ids)]
        flat += [0] * ((time - len(sequence)) * inner)
    return _integers(flat).reshape(len(sequences), time, inner)


def pad_floats(sequences: Sequence[FloatArray]) -> FloatArray:
    """`[batch, time, ...]`: frames or samples, 0 beyond the length of each sequence."""
    shape = len(sequences), max(map(len, sequences)), *sequences[0].shape[1:]
    padded = np.zeros(shape, dtype=np.float32)
    for row, sequence in enumerate(sequences):
        padded[row, : len(sequence)] = sequence
    return padded


def _integers(values: Sequence[int]) -> IntArray:
    """int64, writable. `struct` converts a list of Python integers in half the time that numpy needs."""
    return np.frombuffer(bytearray(struct.pack(f"={len(values)}q", *values)), dtype=np.int64)
