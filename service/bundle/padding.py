"""Ragged lists to rectangular arrays. Padding is id 0, or the number 0; lengths travel beside them."""

from __future__ import annotations

import struct
from collections.abc import Sequence, Sized
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Of any type, as graphs take and give them.
Array = NDArray[Any]
IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float32]


def lengths_of(sequences: Sequence[Sized]) -> IntArray:
    """`[batch]`: the length of each sequence. An empty batch or an empty sequence never reaches a graph."""
    lengths = np.fromiter((len(sequence) for sequence in sequences), dtype=np.int64, count=len(sequences))
    if len(lengths) == 0 or lengths.min() == 0:
        raise ValueError("a batch needs at least one sequence, and each at least one element")
    return lengths


def pad_ids(sequences: Sequence[Sequence[int]]) -> IntArray:
    """`[batch, time]`: ids, zero beyond each sequence's length."""
    time = max(map(len, sequences))
    flat: list[int] = []
    for sequence in sequences:
        flat += sequence
        flat += [0] * (time - len(sequence))
    return _integers(flat).reshape(len(sequences), time)


def pad_nested_ids(sequences: Sequence[Sequence[Sequence[int]]]) -> IntArray:
    """`[batch, time, inner]`: for each word the ids of its characters, zero beyond each length."""
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
    """`[batch, time, ...]`: frames or samples, zero beyond each sequence's length."""
    shape = len(sequences), max(map(len, sequences)), *sequences[0].shape[1:]
    padded = np.zeros(shape, dtype=np.float32)
    for row, sequence in enumerate(sequences):
        padded[row, : len(sequence)] = sequence
    return padded


def _integers(values: Sequence[int]) -> IntArray:
    """int64, writable. `struct` reads a list of Python integers in half the time that numpy takes."""
    return np.frombuffer(bytearray(struct.pack(f"={len(values)}q", *values)), dtype=np.int64)
