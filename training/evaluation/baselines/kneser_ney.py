"""Interpolated Kneser-Ney smoothing (Kneser and Ney 1995, Chen and Goodman 1999), counted with numpy."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int64]


class _Counts(NamedTuple):
    """`times` of each gram; for each history their sum and the number of different grams."""

    times: NDArray[np.float64]
    total: NDArray[np.float64]
    types: NDArray[np.float64]


def kneser_ney(train: Ids, dev: Ids, order: int) -> NDArray[np.float64]:
    """`[len(dev)]`: the probability of each token of `dev` after the `order - 1` tokens before it.

    `p_k = max(c(h, w) - d, 0) / c(h) + d t(h) / c(h) p_{k-1}`, where `h` is the history of k - 1 tokens, `t(h)` the
    number of different tokens after it and `d` the discount. The longest grams are counted in `train`; of a shorter
    one it counts how many different tokens occurred before it. `p_0` is uniform over the tokens of `train` and one
    for all others. Near the start of `dev` the history is shorter.
    """
    grams = _numbered_grams(np.concatenate([train, dev]), order)
    probabilities = np.full(len(dev), 1.0 / (len(np.unique(train)) + 1))
    for length in range(1, order + 1):
        longer = grams[length + 1] if length < order else None
        counts = _counts(grams[length], grams[length - 1], longer, length, len(train))
        here = grams[length][len(train) + length - 1 :]
        history = grams[length - 1][len(train) + length - 2 : -1]
        total = counts.total[history]
        found = np.maximum(total, 1)
        discount = _discount(counts.times)
        lower = probabilities[length - 1 :]
        mixed = (np.maximum(counts.times[here] - discount, 0) + discount * counts.types[history] * lower) / found
        probabilities[length - 1 :] = np.where(total > 0, mixed, lower)
    return probabilities


def _numbered_grams(tokens: Ids, order: int) -> list[Ids]:
    """For each length from 0 to `order`: the number of the gram that ends at each token, equal grams alike."""
    words = np.unique(tokens, return_inverse=True)[1]
    grams = [np.zeros(len(tokens), dtype=np.int64)]
    for _ in range(order):
        before = np.concatenate([[0], grams[-1][:-1]])
        grams.append(np.unique(before * (words.max() + 1) + words, return_inverse=True)[1])
    return grams


def _counts(grams: Ids, histories: Ids, longer: Ids | None, length: int, num_train: int) -> _Counts:
    """Counts of the grams of one length in `train`: occurrences, or the number of different tokens before them."""
    if longer is None:
        counted = grams[length - 1 : num_train]
    else:
        counted = grams[_first_places(longer, length, num_train)]
    times = np.bincount(counted, minlength=grams.max() + 1).astype(np.float64)
    first = _first_places(grams, length - 1, num_train)
    first = first[times[grams[first]] > 0]
    history = histories[first - 1] if length > 1 else np.zeros(len(first), dtype=np.int64)
    size = histories.max() + 1
    total = np.bincount(history, weights=times[grams[first]], minlength=size)
    types = np.bincount(history, minlength=size)
    return _Counts(times, total.astype(np.float64), types.astype(np.float64))


def _first_places(grams: Ids, start: int, num_train: int) -> Ids:
    """First position of each different gram in `train`, from the first complete one on."""
    return np.unique(grams[start:num_train], return_index=True)[1] + start


def _discount(times: NDArray[np.float64]) -> float:
    """Estimated from the grams that were counted once and twice (Ney et al. 1994); a small text may have neither."""
    once, twice = float((times == 1).sum()), float((times == 2).sum())
    return once / (once + 2 * twice) if once else 0.5
