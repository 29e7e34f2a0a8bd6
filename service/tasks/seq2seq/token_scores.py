"""Reductions of logits `[rows, vocab]` for beam search, each with as few passes over the array as possible.

The result for a row depends on that row alone.
"""

from __future__ import annotations

import numpy as np

from service.bundle.padding import IntArray
from service.tasks.core.probabilities import DoubleArray
from service.tasks.core.task import Array

#: Exponentials of logits up to this size, and sums of them, are far from the limits of float32.
_SAFE_LOGIT = 60.0

#: Block size of the first pass in the search for the largest entries.
_BLOCK = 100


def top_token(logits: Array, first: int) -> tuple[IntArray, Array]:
    """`[rows]`: the id of the largest logit among ids from `first` on, the lowest of equals; and the largest logit."""
    tokens = logits.argmax(axis=1)
    largest = logits[np.arange(len(logits)), tokens]
    for row in np.flatnonzero(tokens < first):
        tokens[row] = first + logits[row, first:].argmax()
    return tokens, largest


def log_normalisers(logits: Array, largest: Array) -> DoubleArray:
    """`[rows]`: log-sum-exp of each row's logits, which log-softmax subtracts.

    `largest` is the largest logit of each row; logits are shifted by it where exponentials could over- or underflow.
    """
    shift = np.where(np.abs(largest) < _SAFE_LOGIT, np.float32(0), largest)
    powers = np.exp(logits - shift[:, None] if shift.any() else logits)
    # einsum sums a row in one pass without pairwise summation; its error, below 1e-6, is that of the logits themselves.
    normalisers: DoubleArray = shift + np.log(np.einsum("rv->r", powers).astype(np.float64))
    return normalisers


def largest_entries(scores: Array, count: int) -> tuple[IntArray, IntArray]:
    """Rows and columns of each row's `count` largest entries, with all that equal the smallest of those, or more.

    Entries of minus infinity are never among them: a constraint has ruled them out.
    For long rows a lower bound comes first: the `count`-th largest of the maxima of all blocks.
    """
    width = scores.shape[1]
    bounds = scores
    if width >= 2 * count * _BLOCK:
        bounds = np.maximum.reduceat(scores, np.arange(0, width, _BLOCK), axis=1)
    count = min(count, bounds.shape[1])
    threshold = np.maximum(np.partition(bounds, -count, axis=1)[:, -count, None], np.finfo(scores.dtype).min)
    rows, columns = np.divmod(np.flatnonzero(scores >= threshold), width)
    return rows, columns
