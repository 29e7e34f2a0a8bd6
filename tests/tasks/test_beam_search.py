"""Beam search against every possible sequence, against greedy decoding, and alone against in company."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.bundle.padding import IntArray
from service.bundle.tokenizer import BOS, EOS
from service.tasks.base import Array
from service.tasks.beam_search import Hypothesis, SearchPlan, beam_search
from service.tasks.probabilities import log_softmax

VOCAB = 6
WORDS = (4, 5)


class TableModel:
    """The next token hangs on the last two tokens and the example: a second-order Markov chain for each example.

    The state of a row is the pair of its last tokens, moved by `parents` as recurrent state is.
    """

    def __init__(self, tables: list[Array]) -> None:
        self.tables = tables
        self.previous = np.full(len(tables), BOS, dtype=np.int64)
        self.calls: list[IntArray] = []

    def step(self, tokens: IntArray, parents: IntArray, examples: IntArray) -> tuple[Array, Array]:
        self.calls.append(examples)
        before = self.previous[parents]
        self.previous = tokens
        pairs = zip(examples, before, tokens, strict=True)
        logits = np.stack([self.tables[example][first, second] for example, first, second in pairs])
        return logits, np.eye(VOCAB, dtype=np.float32)[tokens]


def table(seed: int) -> Array:
    return np.random.default_rng(seed).normal(size=(VOCAB, VOCAB, VOCAB)).astype(np.float32) * 2


def search(tables: list[Array], plans: list[SearchPlan]) -> list[Hypothesis | None]:
    return beam_search(TableModel(tables), plans)


def log_probability(sequence: tuple[int, ...], scores: Array) -> float:
    steps = zip((BOS, BOS, *sequence), (BOS, *sequence), sequence, strict=False)
    return float(sum(log_softmax(scores[first, second])[token] for first, second, token in steps))


def divided(log_p: float, length: int, penalty: float) -> float:
    return float(log_p / ((5 + length) / 6) ** penalty)


def exhaustive(scores: Array, max_steps: int, penalty: float) -> tuple[float, list[int]]:
    """The best of all sequences that end within `max_steps`."""
    ended = ((*words, EOS) for length in range(max_steps) for words in product(WORDS, repeat=length))
    return max((divided(log_probability(s, scores), len(s), penalty), list(s[:-1])) for s in ended)


def greedy(scores: Array, max_steps: int) -> list[int]:
    produced: list[int] = []
    pair = (BOS, BOS)
    while len(produced) < max_steps:
        row = scores[pair].copy()
        row[:EOS] = -np.inf
        token = int(row.argmax())
        if token == EOS:
            break
        produced.append(token)
        pair = (pair[1], token)
    return produced


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), max_steps=st.integers(1, 4), penalty=st.sampled_from([0.0, 0.6, 1.0, 2.0]))
def test_a_wide_beam_finds_the_best_of_all_sequences(seed: int, max_steps: int, penalty: float) -> None:
    """With 16 beams and at most 15 ended sequences nothing is pruned, so the search must be exact."""
    scores = table(seed)
    (found,) = search([scores], [SearchPlan(16, max_steps, penalty)])
    score, tokens = exhaustive(scores, max_steps, penalty)
    assert found is not None
    assert found.tokens == tokens
    assert found.score == pytest.approx(score)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), max_steps=st.integers(1, 12), penalty=st.sampled_from([0.0, 1.0, 4.0]))
def test_one_beam_is_greedy(seed: int, max_steps: int, penalty: float) -> None:
    scores = table(seed)
    (found,) = search([scores], [SearchPlan(1, max_steps, penalty)])
    assert found is not None
    assert found.tokens == greedy(scores, max_steps)
    ended = (*found.tokens, EOS)[:max_steps]
    assert found.score == pytest.approx(divided(log_probability(ended, scores), len(ended), penalty))


PLANS = st.tuples(
    st.integers(0, 10_000),
    st.builds(SearchPlan, st.integers(1, 16), st.integers(1, 8), st.sampled_from([0.0, 0.5, 1.0])),
)


@settings(max_examples=50, deadline=None)
@given(st.lists(PLANS, min_size=1, max_size=6))
def test_company_changes_nothing(wanted: list[tuple[int, SearchPlan]]) -> None:
    """Examples with their own beams, limits and penalties find in one batch exactly what they find alone."""
    tables, plans = [table(seed) for seed, _ in wanted], [plan for _, plan in wanted]
    together = beam_search(TableModel(tables), plans, keep_attention=True)
    for scores, plan, found in zip(tables, plans, together, strict=True):
        (alone,) = beam_search(TableModel([scores]), [plan], keep_attention=True)
        assert found is not None
        assert alone is not None
        assert (found.tokens, found.score) == (alone.tokens, alone.score)
        np.testing.assert_array_equal(found.attention, alone.attention)


def test_company_changes_nothing_when_all_scores_tie() -> None:
    """Equal scores are ordered by beam and id, not by how many beams the neighbours have."""
    flat = np.zeros((VOCAB, VOCAB, VOCAB), dtype=np.float32)
    (alone,) = search([flat], [SearchPlan(2, 5, 1.0)])
    together = search([flat, flat], [SearchPlan(2, 5, 1.0), SearchPlan(7, 5, 1.0)])[0]
    assert alone is not None
    assert together is not None
    assert (together.tokens, together.score) == (alone.tokens, alone.score)
    assert alone.tokens == [], "the end token has the lowest id, so it comes before its equals"


def small_chain(*rows: dict[int, float]) -> Array:
    """A table in which row i gives the probabilities after i tokens 4; what is not named is next to impossible."""
    scores = np.full((VOCAB, VOCAB, VOCAB), -30.0, dtype=np.float32)
    for (first, second), probabilities in zip([(BOS, BOS), (BOS, 4), (4, 4)], rows, strict=False):
        for token, probability in probabilities.items():
            scores[first, second, token] = np.log(probability)
    return scores


def test_the_search_goes_on_while_a_longer_hypothesis_may_still_win() -> None:
    """The end comes first with log p = log 0.5; one token later it has the same log p and a larger divisor."""
    scores = small_chain({EOS: 0.5, 4: 0.5}, {EOS: 1.0})
    (found,) = search([scores], [SearchPlan(2, 2, 1.0)])
    assert found is not None
    assert found.tokens == [4]
    assert found.score == pytest.approx(np.log(0.5) / (7 / 6))


def test_the_search_stops_when_no_open_hypothesis_can_win() -> None:
    """Without length penalty an open hypothesis that is already less likely than an ended one is hopeless."""
    model = TableModel([small_chain({EOS: 0.6, 4: 0.3, 5: 0.1})])
    (found,) = beam_search(model, [SearchPlan(4, 8, 0.0)])
    assert found is not None
    assert found.tokens == []
    assert len(model.calls) == 1


def test_the_beam_is_filled_up_when_a_hypothesis_ends() -> None:
    model = TableModel([small_chain({EOS: 0.4, 4: 0.35, 5: 0.25})])
    beam_search(model, [SearchPlan(2, 3, 4.0)])
    assert model.calls[1].tolist() == [0, 0]


def test_attention_follows_the_winning_beam() -> None:
    """The model looks at the token it reads, so the rows kept must be those of the tokens before each one."""
    (found,) = beam_search(TableModel([table(3)]), [SearchPlan(4, 8, 1.0)], keep_attention=True)
    assert found is not None
    assert found.tokens
    assert found.attention.argmax(axis=1).tolist() == [BOS, *found.tokens[:-1]]


def test_finished_examples_leave_the_batch() -> None:
    """An example that ends at once costs no row in later steps."""
    ends_at_once = np.full((VOCAB, VOCAB, VOCAB), -20.0, dtype=np.float32)
    ends_at_once[..., EOS] = 20.0
    never_ends = np.full((VOCAB, VOCAB, VOCAB), -20.0, dtype=np.float32)
    never_ends[..., WORDS[0]] = 20.0
    never_ends[..., EOS] = -60.0
    model = TableModel([ends_at_once, never_ends])
    found = beam_search(model, [SearchPlan(1, 6, 1.0), SearchPlan(2, 6, 1.0)])
    assert [hypothesis.tokens for hypothesis in found if hypothesis] == [[], [WORDS[0]] * 6]
    assert [sorted(set(examples.tolist())) for examples in model.calls] == [[0, 1], *[[1]] * 5]


def test_special_tokens_are_never_produced() -> None:
    scores = table(0)
    scores[..., :EOS] = 50.0
    (found,) = search([scores], [SearchPlan(3, 6, 1.0)])
    assert found is not None
    assert set(found.tokens) <= set(WORDS)


def test_numbers_that_are_not_finite_fail_that_example_alone() -> None:
    broken = table(1)
    broken[BOS, BOS] = np.nan
    plan = SearchPlan(3, 6, 1.0)
    model = TableModel([broken, table(2)])
    failed, fine = beam_search(model, [plan, plan])
    (alone,) = search([table(2)], [plan])
    assert failed is None
    assert 0 not in model.calls[1]
    assert fine is not None
    assert alone is not None
    assert fine.tokens == alone.tokens
