"""Softmax, log-softmax and argmax without overflow. The last axis is the distribution."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from service.bundle.padding import Array, IntArray
from service.errors import InferenceFailed

DoubleArray = NDArray[np.float64]


def log_softmax(logits: Array) -> DoubleArray:
    """Natural logarithms of `softmax(logits)`; entries of minus infinity remain."""
    shifted = logits - logits.max(axis=-1, keepdims=True).astype(np.float64)
    normalised: DoubleArray = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return normalised


def softmax(logits: Array) -> DoubleArray:
    """Probabilities that sum to 1 over the last axis."""
    probabilities: DoubleArray = np.exp(log_softmax(logits))
    return probabilities


def most_probable(logits: Array) -> tuple[IntArray, DoubleArray]:
    """The id with the largest logit, the lowest of equals, and its probability, over the last axis."""
    largest = logits.max(axis=-1, keepdims=True).astype(np.float64)
    probabilities: DoubleArray = 1.0 / np.exp(logits - largest).sum(axis=-1)
    return logits.argmax(axis=-1), probabilities


def require_finite(values: Array, what: str) -> Array:
    """Raises InferenceFailed if an output contains NaN or infinity, which must not reach an answer."""
    if not np.isfinite(values).all():
        raise InferenceFailed(f"the model computed {what} that are not finite numbers")
    return values
