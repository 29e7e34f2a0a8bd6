"""Decoding of a linear-chain conditional random field (Lafferty et al. 2001): Viterbi path and marginals.

`emissions` is `[batch, time, labels]` with `lengths` `[batch]`, `transitions` is `[labels + 1, labels + 1]`, indexed
`[from, to]`: the last row scores the first tag, the last column the end after a tag. A path's score is the sum of its
emissions and transitions. Each step is computed for all rows at once; emissions beyond a row's length must be finite
but are ignored, and results there are undefined.
"""

from __future__ import annotations

import numpy as np

from service.bundle.padding import IntArray
from service.tasks.core.probabilities import DoubleArray, softmax
from service.tasks.core.task import Array


def viterbi(emissions: Array, lengths: IntArray, transitions: Array) -> IntArray:
    """`[batch, time]`: the tags of the path with the highest score; of equals, the one with lower ids at its end."""
    between, first, last = _split(transitions)
    into = np.ascontiguousarray(between.T)
    best = emissions[:, 0] + first
    came_from = np.zeros(emissions.shape, dtype=np.int64)
    for time in range(1, emissions.shape[1]):
        scores = best[:, None, :] + into
        came_from[:, time] = scores.argmax(axis=2)
        inside = (time < lengths)[:, None]
        best = np.where(inside, scores.max(axis=2) + emissions[:, time], best)
    return _walk_back(came_from, lengths, (best + last).argmax(axis=1))


def _walk_back(came_from: IntArray, lengths: IntArray, tags: IntArray) -> IntArray:
    rows = np.arange(len(lengths))
    path = np.empty(came_from.shape[:2], dtype=np.int64)
    for time in range(came_from.shape[1] - 1, -1, -1):
        path[:, time] = tags
        tags = np.where(time < lengths, came_from[rows, time, tags], tags)
    return path


def marginals(emissions: Array, lengths: IntArray, transitions: Array) -> DoubleArray:
    """`[batch, time, labels]`: the probability of each tag at each word over all paths (forward-backward algorithm)."""
    between, first, last = _split(transitions)
    shift = between.max()
    forth = np.exp(between - shift)
    num_steps = emissions.shape[1]
    forward = np.empty(emissions.shape, dtype=np.float64)
    backward = np.empty(emissions.shape, dtype=np.float64)
    forward[:, 0] = emissions[:, 0] + first
    backward[:, -1] = last
    for time in range(1, num_steps):
        forward[:, time] = emissions[:, time] + _log_product(forward[:, time - 1], forth)
    for time in range(num_steps - 2, -1, -1):
        following = _log_product(backward[:, time + 1] + emissions[:, time + 1], forth.T)
        backward[:, time] = np.where((time + 1 < lengths)[:, None], following, last)
    # Each row is shifted by a constant (the shifts of the transitions), which normalisation removes.
    return softmax(forward + backward)


def _log_product(log_vectors: DoubleArray, matrix: DoubleArray) -> DoubleArray:
    """`log(exp(log_vectors) @ matrix)` for each row, shifted so that nothing overflows."""
    shift = log_vectors.max(axis=1, keepdims=True)
    with np.errstate(divide="ignore"):  # a tag that cannot be reached has probability 0
        product: DoubleArray = np.log(np.exp(log_vectors - shift) @ matrix) + shift
    return product


def _split(transitions: Array) -> tuple[DoubleArray, DoubleArray, DoubleArray]:
    """Scores between tags `[labels, labels]`, of the first tag `[labels]` and of the end `[labels]`."""
    scores = transitions.astype(np.float64)
    return scores[:-1, :-1], scores[-1, :-1], scores[:-1, -1]
