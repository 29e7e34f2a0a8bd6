"""Choosing the next token: pure functions on one row of scores `[vocab]`, in the order text-generation-inference uses.

Penalties, then temperature, then top-k, top-p and typical-p, each of which sets what it rules out to minus infinity.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from service.bundle.padding import IntArray
from service.bundle.tokenizer import EOS
from service.tasks.base import Array
from service.tasks.probabilities import DoubleArray, log_softmax

#: Penalties may blow scores up; beyond this they are all the same, and sums of them stay finite.
_LARGEST_SCORE = 1e30


@dataclass(frozen=True)
class DecodingRules:
    """What shapes the distribution of the next token; None leaves it as it is."""

    temperature: float | None = None
    repetition_penalty: float | None = None
    frequency_penalty: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    typical_p: float | None = None


def next_token_log_probabilities(
    logits: Array, rules: DecodingRules, num_read: IntArray, num_produced: IntArray
) -> DoubleArray:
    """`[vocab]`: log-probabilities that the next token is drawn from, minus infinity for what is ruled out.

    Args:
        logits: `[vocab]`, finite, as the graph computed them.
        rules: the caller's wishes.
        num_read: `[vocab]`, how often each token occurs in the prompt and the text produced so far.
        num_produced: `[vocab]`, how often each occurs in the text produced so far.
    """
    scores = logits.astype(np.float64)
    if rules.repetition_penalty is not None:
        scores = penalise_repetition(scores, num_read > 0, rules.repetition_penalty)
    if rules.frequency_penalty is not None:
        scores = penalise_frequency(scores, num_produced, rules.frequency_penalty)
    scores = forbid_special(scores)
    if rules.temperature is not None:
        scores = apply_temperature(scores, rules.temperature)
    if rules.top_k is not None:
        scores = keep_top_k(scores, rules.top_k)
    if rules.top_p is not None:
        scores = keep_top_p(scores, rules.top_p)
    if rules.typical_p is not None:
        scores = keep_typical_p(scores, rules.typical_p)
    return log_softmax(scores)


def forbid_special(scores: DoubleArray) -> DoubleArray:
    """Padding, unknown and begin are never produced; the end token may be."""
    allowed = scores.copy()
    allowed[:EOS] = -np.inf
    return allowed


def penalise_repetition(scores: DoubleArray, seen: Array, penalty: float) -> DoubleArray:
    """Positive scores of seen tokens are divided by the penalty, negative ones multiplied (Keskar et al. 2019)."""
    with np.errstate(over="ignore"):
        penalised = np.where(scores > 0, scores / penalty, scores * penalty)
    return np.where(seen, _bounded(penalised), scores)


def penalise_frequency(scores: DoubleArray, num_produced: IntArray, penalty: float) -> DoubleArray:
    """The penalty is taken off once for each time a token was produced; a negative one rewards repeating."""
    return scores - penalty * num_produced


def apply_temperature(scores: DoubleArray, temperature: float) -> DoubleArray:
    """Scores divided by the temperature; the best is at 0 first, so that no temperature overflows it."""
    with np.errstate(over="ignore"):
        cooled: DoubleArray = (scores - scores.max()) / temperature
    return cooled


def keep_top_k(scores: DoubleArray, k: int) -> DoubleArray:
    """The `k` best, and those that equal the last of them."""
    if k >= len(scores):
        return scores
    threshold = np.partition(scores, -k)[-k]
    return np.where(scores >= threshold, scores, -np.inf)


def keep_top_p(scores: DoubleArray, p: float) -> DoubleArray:
    """The smallest set of best tokens whose probabilities sum to at least `p` (Holtzman et al. 2020)."""
    return _keep_mass(scores, np.argsort(-scores, kind="stable"), p)


def keep_typical_p(scores: DoubleArray, p: float) -> DoubleArray:
    """Like top-p, but first come the tokens whose surprise is nearest to the entropy (Meister et al. 2023)."""
    log_probabilities = log_softmax(scores)
    possible = np.isfinite(log_probabilities)
    surprise = -log_probabilities[possible]
    entropy = (np.exp(-surprise) * surprise).sum()
    distance = np.full(len(scores), np.inf)
    distance[possible] = np.abs(surprise - entropy)
    return _keep_mass(scores, np.argsort(distance, kind="stable"), p)


def draw(log_probabilities: DoubleArray, uniform: float) -> int:
    """The token at which the cumulative distribution passes `uniform`, a number from 0 up to, but not including, 1."""
    cumulative = np.exp(log_probabilities).cumsum()
    token = int(np.searchsorted(cumulative, uniform * cumulative[-1], side="right"))
    # Rounding may lift the product to the total itself: then it is the last token that is possible at all.
    return min(token, int(np.flatnonzero(log_probabilities > -np.inf)[-1]))


def most_likely(log_probabilities: DoubleArray, count: int) -> list[int]:
    """At most `count` tokens that are possible, best first; of equals the lower id comes first."""
    order = np.argsort(-log_probabilities, kind="stable")[:count]
    return [int(token) for token in order if log_probabilities[token] > -np.inf]


def _keep_mass(scores: DoubleArray, order: IntArray, p: float) -> DoubleArray:
    """The first tokens in `order` up to the one with which their probabilities reach `p`; at least one."""
    mass_before = np.exp(log_softmax(scores))[order].cumsum()
    mass_before[1:] = mass_before[:-1]
    mass_before[0] = 0.0
    kept = order[mass_before < p]
    filtered = np.full(len(scores), -np.inf)
    filtered[kept] = scores[kept]
    return filtered


def _bounded(scores: DoubleArray) -> DoubleArray:
    return np.clip(scores, -_LARGEST_SCORE, _LARGEST_SCORE)
