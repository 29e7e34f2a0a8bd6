"""A linear-chain conditional random field, read out (Lafferty et al. 2001): the best path, and how sure each tag is.

`emissions` is `[time, labels]`, `transitions` is `[labels + 1, labels + 1]`, indexed `[from, to]`: the last row scores
the first tag, the last column the end after a tag. A path's score is the sum of its emissions and transitions.
"""

from __future__ import annotations

import numpy as np

from service.bundle.padding import IntArray
from service.tasks.base import Array
from service.tasks.probabilities import DoubleArray, softmax


def viterbi(emissions: Array, transitions: Array) -> IntArray:
    """`[time]`: the tags of the path with the highest score; of equal paths, the one with the lower ids at its end."""
    between, first, last = _split(transitions)
    best = emissions[0] + first
    came_from = np.zeros(emissions.shape, dtype=np.int64)
    for time in range(1, len(emissions)):
        scores = best[:, None] + between
        came_from[time] = scores.argmax(axis=0)
        best = scores.max(axis=0) + emissions[time]
    return _walk_back(came_from, int((best + last).argmax()))


def _walk_back(came_from: IntArray, tag: int) -> IntArray:
    path = np.empty(len(came_from), dtype=np.int64)
    for time in range(len(came_from) - 1, -1, -1):
        path[time] = tag
        tag = int(came_from[time, tag])
    return path


def marginals(emissions: Array, transitions: Array) -> DoubleArray:
    """`[time, labels]`: the probability of each tag at each word over all paths, by the forward-backward algorithm."""
    between, first, last = _split(transitions)
    shift = between.max()
    forth = np.exp(between - shift)
    forward = np.empty(emissions.shape, dtype=np.float64)
    backward = np.empty(emissions.shape, dtype=np.float64)
    forward[0] = emissions[0] + first
    backward[-1] = last
    for time in range(1, len(emissions)):
        forward[time] = emissions[time] + _log_product(forward[time - 1], forth)
    for time in range(len(emissions) - 2, -1, -1):
        backward[time] = _log_product(backward[time + 1] + emissions[time + 1], forth.T)
    # Each row is off by one constant (the shifts of the transitions), which normalising takes away.
    return softmax(forward + backward)


def _log_product(log_vector: DoubleArray, matrix: DoubleArray) -> DoubleArray:
    """`log(exp(log_vector) @ matrix)`, shifted so that nothing overflows."""
    shift = log_vector.max()
    with np.errstate(divide="ignore"):  # a tag that nothing leads to has probability zero
        product: DoubleArray = np.log(np.exp(log_vector - shift) @ matrix) + shift
    return product


def _split(transitions: Array) -> tuple[DoubleArray, DoubleArray, DoubleArray]:
    """Scores between tags `[labels, labels]`, of the first tag `[labels]` and of the end `[labels]`."""
    scores = transitions.astype(np.float64)
    return scores[:-1, :-1], scores[-1, :-1], scores[:-1, -1]
