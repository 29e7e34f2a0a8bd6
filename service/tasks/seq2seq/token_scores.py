"""The few numbers of a step's logits `[rows, vocab]` that a search needs, each with as few passes as possible.

What is found for a row depends on that row alone.
"""

from __future__ import annotations

import numpy as np

from service.bundle.padding import IntArray
from service.tasks.core.probabilities import DoubleArray
from service.tasks.core.task import Array

#: Powers of logits up to here, and sums over them, are far from the ends of float32.
_SAFE_LOGIT = 60.0

#: Entries that are summed up by their largest when the largest of all are looked for.
_BLOCK = 100


def top_token(logits: Array, first: int) -> tuple[IntArray, Array]:
    """`[rows]`: the id of the largest logit from id `first` on, the lowest of equals; and the largest logit of all."""
    tokens = logits.argmax(axis=1)
    largest = logits[np.arange(len(logits)), tokens]
    for row in np.flatnonzero(tokens < first):
        tokens[row] = first + logits[row, first:].argmax()
    return tokens, largest


def log_normalisers(logits: Array, largest: Array) -> DoubleArray:
    """`[rows]`: the log of the sum of the powers of each row's logits, which log-softmax takes off them.

    `largest` is the largest logit of each row; powers are taken relative to it where they could overflow or vanish.
    """
    shift = np.where(np.abs(largest) < _SAFE_LOGIT, np.float32(0), largest)
    powers = np.exp(logits - shift[:, None] if shift.any() else logits)
    # einsum adds up a row in one pass without pairing; its error, below 1e-6, is that of the logits themselves.
    normalisers: DoubleArray = shift + np.log(np.einsum("rv->r", powers).astype(np.float64))
    return normalisers


def largest_entries(scores: Array, count: int) -> tuple[IntArray, IntArray]:
    """Rows and columns of at least each row's `count` largest entries, and of all that equal the least of those.

    In long rows a lower bound is found first: the `count`-th largest of the largest of each block is one.
    """
    width = scores.shape[1]
    bounds = scores
    if width >= 2 * count * _BLOCK:
        bounds = np.maximum.reduceat(scores, np.arange(0, width, _BLOCK), axis=1)
    count = min(count, bounds.shape[1])
    threshold = np.partition(bounds, -count, axis=1)[:, -count, None]
    rows, columns = np.divmod(np.flatnonzero(scores >= threshold), width)
    return rows, columns
