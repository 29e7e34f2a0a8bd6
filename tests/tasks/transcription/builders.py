"""Log-probabilities that spell given tokens, for tests of decoding."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from service.bundle.padding import FloatArray
from service.tasks.core.task import Array


class NoRunner:
    """A runner that must not be asked."""

    def run(self, graph: str, feeds: Mapping[str, Array]) -> dict[str, Array]:
        raise AssertionError(f"{graph} was run")


NO_RUNNER = NoRunner()


def log_probs_of(ids: Sequence[int], vocabulary_size: int, probability: float = 0.9) -> FloatArray:
    """`[steps, vocabulary]`: each step gives its token that probability, and the others the rest in equal parts."""
    rest = (1 - probability) / (vocabulary_size - 1)
    probabilities = np.full((len(ids), vocabulary_size), rest)
    probabilities[np.arange(len(ids)), list(ids)] = probability
    return np.log(probabilities).astype(np.float32)


def random_log_probs(generator: np.random.Generator, num_steps: int, vocabulary_size: int) -> FloatArray:
    """`[steps, vocabulary]`, with many blanks and runs."""
    ids = np.where(generator.random(num_steps) < 0.4, 0, generator.integers(1, min(4, vocabulary_size), num_steps))
    logits = generator.normal(size=(num_steps, vocabulary_size))
    logits[np.arange(num_steps), ids] += 4.0
    return np.asarray(logits - np.log(np.exp(logits).sum(axis=1, keepdims=True)), dtype=np.float32)
