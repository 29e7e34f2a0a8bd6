"""Sampling: choosing the next token for many rows at once, by pure functions on scores `[rows, vocab]`.

Rules apply in the order that text-generation-inference uses: penalties and bias, then what a constraint excludes, then
temperature, then top-k, top-p and typical-p. Excluded tokens are set to minus infinity. The result of a row does not
depend on the other rows, down to the last bit: sums run along a row, never across rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from service.bundle.padding import IntArray
from service.bundle.tokenizer import EOS
from service.tasks.core.probabilities import DoubleArray, log_softmax
from service.tasks.core.task import Array
from service.tasks.generation.options import DecodingRules

BoolArray = NDArray[np.bool_]

#: Penalised scores are clipped to this, so that sums of them stay finite.
_LARGEST_SCORE = 1e30


class RowOptions(NamedTuple):
    """The options of one row: its rules, whether to sample or take the best, whether to return log-probabilities."""

    rules: DecodingRules
    draws: bool
    reports: bool
    is_constrained: bool = False

    @property
    def is_plain(self) -> bool:
        """Whether it takes the best token and nothing else, so that no scores have to be computed."""
        rules = self.rules
        return not (self.draws or self.reports or self.is_constrained or rules.has_penalty or rules.logit_bias)


class Choice(NamedTuple):
    """The chosen tokens `[rows]`, and log-probabilities `[reporting rows, vocab]`, if there are any."""

    token_ids: IntArray
    log_probabilities: DoubleArray | None


class _RuleRows(NamedTuple):
    """The rows that one rule applies to, and its parameter for each of them: `[rows]` and `[rows, 1]`."""

    rows: IntArray
    values: DoubleArray


class _Biases(NamedTuple):
    """The entries of all logit biases: row, token and what is added to its score."""

    rows: IntArray
    tokens: IntArray
    values: DoubleArray


class _Penalties(NamedTuple):
    """The rows with a penalty, and all penalties `[rows, 1]`; one that is not given has its neutral value."""

    rows: IntArray
    repetition: DoubleArray
    frequency: DoubleArray
    presence: DoubleArray


class RowRules:
    """The options of all rows, as arrays. A rule that no row uses costs nothing.

    Attributes:
        penalised: rows with a penalty, ascending; `choose` needs the counts of each.
        reporting: rows whose log-probabilities a choice returns, ascending.
    """

    def __init__(self, rows: Sequence[RowOptions]) -> None:
        #: Rows whose scores must be computed. The rules below use positions within these.
        self._shaped = [number for number, row in enumerate(rows) if not row.is_plain]
        shaped = [rows[number] for number in self._shaped]
        self.reporting = [number for number, row in enumerate(rows) if row.reports]
        self.penalised = [number for number, row in enumerate(rows) if row.rules.has_penalty]
        self._all_shaped = len(shaped) == len(rows)
        self._draws = _rows_where([row.draws for row in shaped])
        self._reports = _rows_where([row.reports for row in shaped])
        self._penalties = _penalties([row.rules for row in shaped])
        self._biases = _biases([row.rules for row in shaped])
        self._constrained = _rows_where([row.is_constrained for row in shaped])
        self._temperature, self._top_k, self._top_p, self._typical_p = (
            _rule_rows([getattr(row.rules, name) for row in shaped])
            for name in ("temperature", "top_k", "top_p", "typical_p")
        )

    def choose(
        self, logits: Array, numbers: Sequence[float], counts: IntArray | None, allowed: Sequence[BoolArray] = ()
    ) -> Choice:
        """The next token of each row. Rows that do not sample take the most likely, of equals the lowest id.

        Args:
            logits: `[rows, vocab]`, finite, as the graph computed them.
            numbers: for each row that draws, in order, a number from 0 up to, but not including, 1.
            counts: `[penalised, 2, vocab]`: how often each token occurs in prompt and text, and how often in the text
                produced so far; None if no row is penalised.
            allowed: for each constrained row, in order, the tokens that may follow, `[vocab]`; at least one of them.
        """
        if not self._shaped:
            return Choice(_likeliest(logits), None)
        scores = self._shape(logits if self._all_shaped else logits[self._shaped], counts, allowed)
        chosen: IntArray = scores.argmax(axis=1)
        if len(self._draws):
            chosen[self._draws] = draw(scores[self._draws], np.array(numbers))
        log_probabilities = log_softmax(scores[self._reports]) if len(self._reports) else None
        if self._all_shaped:
            return Choice(chosen, log_probabilities)
        token_ids = _likeliest(logits)
        token_ids[self._shaped] = chosen
        return Choice(token_ids, log_probabilities)

    def _shape(self, logits: Array, counts: IntArray | None, allowed: Sequence[BoolArray]) -> DoubleArray:
        """`[shaped, vocab]`: scores with all rules applied, minus infinity for excluded tokens."""
        scores = logits.astype(np.float64)
        if self._penalties is not None and counts is not None:
            rows, repetition, frequency, presence = self._penalties
            penalised = penalise_repetition(scores[rows], counts[:, 0] > 0, repetition)
            penalised = penalise_frequency(penalised, counts[:, 1], frequency)
            scores[rows] = penalise_presence(penalised, counts[:, 1], presence)
        if self._biases is not None:
            scores[self._biases.rows, self._biases.tokens] += self._biases.values
        scores[:, :EOS] = -np.inf  # padding, unknown and begin are never generated
        if len(allowed):
            scores[self._constrained] = np.where(np.stack(allowed), scores[self._constrained], -np.inf)
        for rule, apply in (
            (self._temperature, apply_temperature),
            (self._top_k, keep_top_k),
            (self._top_p, keep_top_p),
            (self._typical_p, keep_typical_p),
        ):
            if rule is not None and len(rule.rows) == len(scores):
                scores = apply(scores, rule.values)
            elif rule is not None:
                scores[rule.rows] = apply(scores[rule.rows], rule.values)
        return scores


def penalise_repetition(scores: DoubleArray, seen: Array, penalty: DoubleArray) -> DoubleArray:
    """Positive scores of seen tokens are divided by the penalty, negative ones multiplied (Keskar et al. 2019)."""
    with np.errstate(over="ignore"):
        penalised = np.where(scores > 0, scores / penalty, scores * penalty)
    return np.where(seen, _bounded(penalised), scores)


def penalise_frequency(scores: DoubleArray, num_produced: IntArray, penalty: DoubleArray) -> DoubleArray:
    """The penalty is subtracted once for each time a token was produced; a negative one favours repetition."""
    return scores - penalty * num_produced


def penalise_presence(scores: DoubleArray, num_produced: IntArray, penalty: DoubleArray) -> DoubleArray:
    """The penalty is subtracted once from the score of each token that was produced, however often."""
    return scores - penalty * (num_produced > 0)


def apply_temperature(scores: DoubleArray, temperature: DoubleArray) -> DoubleArray:
    """Scores divided by the temperature. The best is shifted to 0 first, so that no temperature overflows."""
    with np.errstate(over="ignore"):
        cooled: DoubleArray = (scores - scores.max(axis=-1, keepdims=True)) / temperature
    return cooled


def keep_top_k(scores: DoubleArray, k: DoubleArray) -> DoubleArray:
    """Top-k: the `k` best of each row, and all that equal the last of them."""
    rows, vocab = scores.shape
    places = np.maximum(vocab - k[:, 0], 0).astype(np.int64)
    in_order = np.partition(scores, sorted(set(places.tolist())), axis=-1)
    threshold = in_order[np.arange(rows), places]
    return np.where(scores >= threshold[:, None], scores, -np.inf)


def keep_top_p(scores: DoubleArray, p: DoubleArray) -> DoubleArray:
    """Top-p: the smallest set of best tokens whose probabilities sum to at least `p` (Holtzman et al. 2020)."""
    weights = _weights(scores)
    in_order = np.sort(weights, axis=-1)[:, ::-1]
    num_kept = _num_to_reach(in_order, p)
    threshold = in_order[np.arange(len(scores)), num_kept - 1]
    is_kept = weights >= threshold[:, None]
    if (is_kept.sum(axis=-1) != num_kept).any():  # several equal the last one: of those, the lower ids stay
        return _keep_first(scores, np.argsort(-scores, axis=-1, kind="stable"), num_kept)
    return np.where(is_kept, scores, -np.inf)


def keep_typical_p(scores: DoubleArray, p: DoubleArray) -> DoubleArray:
    """Typical-p: as top-p, but ordered by how near the surprise is to the entropy (Meister et al. 2023)."""
    log_probabilities = log_softmax(scores)
    possible = log_probabilities > -np.inf
    surprise = np.where(possible, -log_probabilities, 0.0)
    entropy = (np.exp(log_probabilities) * surprise).sum(axis=-1, keepdims=True)
    distance = np.where(possible, np.abs(surprise - entropy), np.inf)
    order = np.argsort(distance, axis=-1, kind="stable")
    return _keep_first(scores, order, _num_to_reach(np.take_along_axis(_weights(scores), order, axis=-1), p))


def draw(scores: DoubleArray, numbers: DoubleArray) -> IntArray:
    """`[rows]`: sampled tokens, by inverting each row's cumulative distribution at its number from [0, 1)."""
    cumulative = _weights(scores).cumsum(axis=-1)
    # A double below 1 times the total, which is at least 1, is below the total: some token passes it.
    target = numbers[:, None] * cumulative[:, -1:]
    tokens: IntArray = (cumulative <= target).sum(axis=-1)
    return tokens


def most_likely(log_probabilities: DoubleArray, count: int) -> list[int]:
    """At most `count` possible tokens of one row `[vocab]`, best first; of equals the lower id is first."""
    order = np.argsort(-log_probabilities, kind="stable")[:count]
    return [int(token) for token in order if log_probabilities[token] > -np.inf]


def _likeliest(logits: Array) -> IntArray:
    token_ids: IntArray = logits[:, EOS:].argmax(axis=1)
    token_ids += EOS
    return token_ids


def _weights(scores: DoubleArray) -> DoubleArray:
    """Unnormalised probabilities: the best of each row has 1."""
    weights: DoubleArray = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return weights


def _num_to_reach(weights: DoubleArray, p: DoubleArray) -> IntArray:
    """`[rows]`: how many weights from the left are needed to reach the share `p` of their sum; at least one."""
    mass = weights.cumsum(axis=-1)
    num_below: IntArray = (mass[:, :-1] < p * mass[:, -1:]).sum(axis=-1)
    return num_below + 1


def _keep_first(scores: DoubleArray, order: IntArray, num_kept: IntArray) -> DoubleArray:
    """Keep the first `num_kept` tokens of each row in `order`."""
    is_kept = np.empty(scores.shape, dtype=bool)
    np.put_along_axis(is_kept, order, np.arange(scores.shape[-1]) < num_kept[:, None], axis=-1)
    return np.where(is_kept, scores, -np.inf)


def _bounded(scores: DoubleArray) -> DoubleArray:
    return np.clip(scores, -_LARGEST_SCORE, _LARGEST_SCORE)


def _rows_where(flags: Sequence[bool]) -> IntArray:
    return np.flatnonzero(np.array(flags, dtype=bool))


def _rule_rows(values: Sequence[float | None]) -> _RuleRows | None:
    """The rows with a value; None if there are none."""
    given = [row for row, value in enumerate(values) if value is not None]
    if not given:
        return None
    return _RuleRows(np.array(given), np.array([values[row] for row in given], dtype=np.float64)[:, None])


def _penalties(rules: Sequence[DecodingRules]) -> _Penalties | None:
    rows = [row for row, rule in enumerate(rules) if rule.has_penalty]
    if not rows:
        return None
    repetition = [1.0 if (given := rules[row].repetition_penalty) is None else given for row in rows]
    frequency = [rules[row].frequency_penalty or 0.0 for row in rows]
    presence = [rules[row].presence_penalty or 0.0 for row in rows]
    return _Penalties(np.array(rows), *(np.array(values)[:, None] for values in (repetition, frequency, presence)))


def _biases(rules: Sequence[DecodingRules]) -> _Biases | None:
    entries = [(row, token, value) for row, rule in enumerate(rules) for token, value in rule.logit_bias.items()]
    if not entries:
        return None
    rows, tokens, values = zip(*entries, strict=True)
    return _Biases(np.array(rows), np.array(tokens), np.array(values, dtype=np.float64))


#: Numbers that Philox 4x64 (Salmon et al. 2011) generates per count of its counter.
_NUMBERS_PER_COUNT = 4


#: Numbers are generated in blocks: one call for this many tokens.
_BLOCK = 256


def uniforms(seed: int, start: int = 0) -> Iterator[float]:
    """The infinite stream of random numbers in [0, 1) for a seed below 2**64, from number `start` on.

    Number i is the i-th `random()` of numpy's `Generator(Philox(key=seed))`, whatever `start` is.
    """
    bits = np.random.Philox(key=seed)
    bits.advance(start // _NUMBERS_PER_COUNT)
    generator = np.random.Generator(bits)
    generator.random(start % _NUMBERS_PER_COUNT)
    while True:
        yield from generator.random(_BLOCK).tolist()
