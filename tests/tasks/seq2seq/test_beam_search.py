"""Beam search against exhaustive search and greedy decoding, and its batch invariance."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.bundle.padding import IntArray
from service.bundle.tokenizer import BOS, EOS
from service.tasks.core.probabilities import log_softmax
from service.tasks.core.task import Array
from service.tasks.seq2seq.beam_search import BeamSearch, RowReordering
from service.tasks.seq2seq.hypotheses import Hypothesis, HypothesisSearch, SearchOptions

VOCAB = 6
WORDS = (4, 5)


class TableModel:
    """A second-order Markov chain per sentence: the next token depends on the last two tokens.

    The state of a row is its sentence and its last token but one, reordered like recurrent state. Attention points at
    the input token.
    """

    def __init__(self) -> None:
        self.search = BeamSearch()
        self.tables: list[Array] = []
        self.before = np.empty(0, dtype=np.int64)
        self.calls: list[IntArray] = []

    def join(self, tables: Sequence[Array], searches: Sequence[HypothesisSearch]) -> None:
        self.search.join(searches)
        self.tables += tables
        self.before = np.concatenate([self.before, np.full(len(tables), BOS)])

    def advance(self) -> list[HypothesisSearch]:
        tokens = self.search.tokens
        assert len(tokens) == len(self.tables) == len(self.before)
        triples = zip(self.tables, self.before, tokens, strict=True)
        logits = np.stack([scores[first, second] for scores, first, second in triples])
        self.calls.append(tokens)
        self.before = tokens
        finished, rearrangement = self.search.advance(logits, np.eye(VOCAB, dtype=np.float32)[tokens])
        self.rearrange(rearrangement)
        return finished

    def rearrange(self, rearrangement: RowReordering | None) -> None:
        """Reorder the rows' state, and check that rows reported as unmoved keep their sentence."""
        if rearrangement is None:
            return
        parents, moved = rearrangement
        tables = [self.tables[parent] for parent in parents]
        stayed = set(range(len(tables))) - set(moved.tolist())
        assert all(tables[row] is self.tables[row] for row in stayed)
        self.tables, self.before = tables, self.before[parents]


def beam_search(tables: Sequence[Array], plans: Sequence[SearchOptions]) -> tuple[list[Hypothesis | None], TableModel]:
    """Run the search to the end on all sentences at once."""
    model = TableModel()
    searches = [HypothesisSearch(plan, VOCAB) for plan in plans]
    model.join(tables, searches)
    while len(model.search.tokens):
        model.advance()
    assert all(search.is_done for search in searches)
    return [search.best for search in searches], model


def table(seed: int) -> Array:
    return np.random.default_rng(seed).normal(size=(VOCAB, VOCAB, VOCAB)).astype(np.float32) * 2


def search(tables: list[Array], plans: list[SearchOptions]) -> list[Hypothesis | None]:
    return beam_search(tables, plans)[0]


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
    """With 16 beams and at most 15 ended sequences nothing is pruned, so beam search is exact."""
    scores = table(seed)
    (found,) = search([scores], [SearchOptions(16, max_steps, penalty)])
    score, tokens = exhaustive(scores, max_steps, penalty)
    assert found is not None
    assert found.tokens == tokens
    assert found.score == pytest.approx(score, abs=1e-6)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), max_steps=st.integers(1, 12), penalty=st.sampled_from([0.0, 1.0, 4.0]))
def test_one_beam_is_greedy(seed: int, max_steps: int, penalty: float) -> None:
    scores = table(seed)
    (found,) = search([scores], [SearchOptions(1, max_steps, penalty)])
    assert found is not None
    assert found.tokens == greedy(scores, max_steps)
    ended = (*found.tokens, EOS)[:max_steps]
    assert found.score == pytest.approx(divided(log_probability(ended, scores), len(ended), penalty), abs=1e-5)


PLANS = st.tuples(
    st.integers(0, 10_000),
    st.builds(
        SearchOptions,
        num_beams=st.integers(1, 16),
        max_steps=st.integers(1, 8),
        length_penalty=st.sampled_from([0.0, 0.5, 1.0]),
        wants_score=st.booleans(),
        keeps_attention=st.booleans(),
        constraint=st.none(),
    ),
)


@settings(max_examples=100, deadline=None)
@given(st.lists(PLANS, min_size=1, max_size=7), st.integers(0, 10_000))
def test_company_changes_nothing(wanted: list[tuple[int, SearchOptions]], seed: int) -> None:
    """Sentences that join and leave a running batch at random steps get the same hypotheses as alone."""
    model, random = TableModel(), Random(seed)
    searches = [HypothesisSearch(plan, VOCAB) for _, plan in wanted]
    waiting = [(table(number), search) for (number, _), search in zip(wanted, searches, strict=True)]
    given_up: set[HypothesisSearch] = set()
    while waiting or len(model.search.tokens):
        joining = [waiting.pop() for _ in range(random.randint(0, len(waiting)))]
        model.join([scores for scores, _ in joining], [search for _, search in joining])
        live = [search for search in searches if not search.is_done and search not in {s for _, s in waiting}]
        leaving = [search for search in live if random.random() < 0.05]
        given_up |= set(leaving)
        model.rearrange(model.search.leave(leaving))
        if len(model.search.tokens):
            assert all(search.is_done for search in model.advance())
    for (number, plan), search in zip(wanted, searches, strict=True):
        if search not in given_up:
            assert_same(search.best, beam_search([table(number)], [plan])[0][0])


def assert_same(found: Hypothesis | None, alone: Hypothesis | None) -> None:
    assert found is not None
    assert alone is not None
    assert (found.tokens, found.score) == (alone.tokens, alone.score)
    np.testing.assert_array_equal(found.attention, alone.attention)


def test_a_score_that_is_not_wanted_changes_no_token() -> None:
    """Disabling the score changes no token, with one beam or several."""
    for num_beams in (1, 3):
        (scored,) = search([table(4)], [SearchOptions(num_beams, 8, 1.0)])
        (unscored,) = search([table(4)], [SearchOptions(num_beams, 8, 1.0, wants_score=False)])
        assert scored is not None
        assert unscored is not None
        assert scored.tokens == unscored.tokens
        assert unscored.score is None


def test_company_changes_nothing_when_all_scores_tie() -> None:
    """Ties are broken by beam and token id, independently of the other sentences' beams."""
    flat = np.zeros((VOCAB, VOCAB, VOCAB), dtype=np.float32)
    (alone,) = search([flat], [SearchOptions(2, 5, 1.0)])
    together = search([flat, flat], [SearchOptions(2, 5, 1.0), SearchOptions(7, 5, 1.0)])[0]
    assert alone is not None
    assert together is not None
    assert (together.tokens, together.score) == (alone.tokens, alone.score)
    assert alone.tokens == [], "the end token has the lowest id, so it comes before its equals"


def small_chain(*rows: dict[int, float]) -> Array:
    """A table in which row i gives the probabilities after i tokens 4; all other tokens are nearly impossible."""
    scores = np.full((VOCAB, VOCAB, VOCAB), -30.0, dtype=np.float32)
    for (first, second), probabilities in zip([(BOS, BOS), (BOS, 4), (4, 4)], rows, strict=False):
        for token, probability in probabilities.items():
            scores[first, second, token] = np.log(probability)
    return scores


def test_the_search_goes_on_while_a_longer_hypothesis_may_still_win() -> None:
    """The search continues after a hypothesis ends while the length penalty may still favour a longer one."""
    scores = small_chain({EOS: 0.5, 4: 0.5}, {EOS: 1.0})
    (found,) = search([scores], [SearchOptions(2, 2, 1.0)])
    assert found is not None
    assert found.tokens == [4]
    assert found.score == pytest.approx(np.log(0.5) / (7 / 6))


def test_the_search_stops_when_no_open_hypothesis_can_win() -> None:
    """Without length penalty the search stops once every open hypothesis is less likely than an ended one."""
    (found,), model = beam_search([small_chain({EOS: 0.6, 4: 0.3, 5: 0.1})], [SearchOptions(4, 8, 0.0)])
    assert found is not None
    assert found.tokens == []
    assert len(model.calls) == 1


def test_unlikely_ends_do_not_stop_a_search_that_a_likelier_hypothesis_still_leads() -> None:
    """Two beams see two unlikely ends, at the first and the second token, before the likely sentence of two ends."""
    (found,) = search([small_chain({EOS: 0.1, 4: 0.9}, {EOS: 0.1, 4: 0.9}, {EOS: 1.0})], [SearchOptions(2, 8, 0.0)])
    assert found is not None
    assert found.tokens == [4, 4]
    assert found.score == pytest.approx(np.log(0.81))


def test_enough_ends_stop_a_search_that_only_a_larger_divisor_could_still_turn() -> None:
    """After as many ends as beams, an open hypothesis that is behind now does not go on in the hope of its length."""
    chain = small_chain({EOS: 0.5, 4: 0.25, 5: 0.25}, {EOS: 0.5, 4: 0.5})
    (found,), model = beam_search([chain], [SearchOptions(2, 8, 4.0)])
    assert found is not None
    assert len(model.calls) == 2


def test_the_beam_is_filled_up_when_a_hypothesis_ends() -> None:
    _, model = beam_search([small_chain({EOS: 0.4, 4: 0.35, 5: 0.25})], [SearchOptions(2, 3, 4.0)])
    assert [tokens.tolist() for tokens in model.calls[:2]] == [[BOS], [4, 5]]


def test_attention_follows_the_winning_beam() -> None:
    """Each token's attention comes from the beams that lead to the winning hypothesis."""
    (found,) = search([table(3)], [SearchOptions(4, 8, 1.0, keeps_attention=True)])
    assert found is not None
    assert found.tokens
    assert found.attention.argmax(axis=1).tolist() == [BOS, *found.tokens[:-1]]


def test_finished_examples_leave_the_batch() -> None:
    """A finished sentence uses no row in later steps."""
    ends_at_once = np.full((VOCAB, VOCAB, VOCAB), -20.0, dtype=np.float32)
    ends_at_once[..., EOS] = 20.0
    never_ends = np.full((VOCAB, VOCAB, VOCAB), -20.0, dtype=np.float32)
    never_ends[..., WORDS[0]] = 20.0
    never_ends[..., EOS] = -60.0
    found, model = beam_search([ends_at_once, never_ends], [SearchOptions(1, 6, 1.0), SearchOptions(2, 6, 1.0)])
    assert [hypothesis.tokens for hypothesis in found if hypothesis] == [[], [WORDS[0]] * 6]
    assert [len(tokens) for tokens in model.calls] == [2] * 6, "the second one's beams take the first one's row"
    assert all(WORDS[0] in tokens and EOS not in tokens for tokens in model.calls[1:])


def test_special_tokens_are_never_produced() -> None:
    scores = table(0)
    scores[..., :EOS] = 50.0
    (found,) = search([scores], [SearchOptions(3, 6, 1.0)])
    assert found is not None
    assert set(found.tokens) <= set(WORDS)


def test_numbers_that_are_not_finite_fail_that_example_alone() -> None:
    broken = table(1)
    broken[BOS, BOS] = np.nan
    plan = SearchOptions(3, 6, 1.0)
    (failed, fine), model = beam_search([broken, table(2)], [plan, plan])
    (alone,) = search([table(2)], [plan])
    assert failed is None
    assert len(model.calls[1]) <= plan.num_beams
    assert_same(fine, alone)


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [0, EOS, 5])
def test_every_number_that_is_not_finite_is_noticed(number: float, place: int) -> None:
    broken = table(1)
    broken[BOS, BOS, place] = number
    assert search([broken], [SearchOptions(1, 4, 1.0)]) == [None]


def test_a_sentence_fails_though_one_of_its_hypotheses_has_ended() -> None:
    """Non-finite scores fail a sentence even if one of its hypotheses has ended."""
    broken = small_chain({EOS: 0.5, 4: 0.5}, {EOS: 1.0})
    broken[BOS, 4] = np.nan
    assert search([broken], [SearchOptions(2, 5, 1.0)]) == [None]


def test_the_last_sentences_fill_the_gaps_of_those_that_leave() -> None:
    """When one of four sentences leaves, only one row is moved to fill its place."""
    model = TableModel()
    searches = [HypothesisSearch(SearchOptions(1, 4, 1.0), VOCAB) for _ in range(4)]
    model.join([table(seed) for seed in range(4)], searches)
    rearrangement = model.search.leave(searches[:1])
    assert rearrangement is not None
    assert rearrangement.parents.tolist() == [3, 1, 2]
    assert rearrangement.moved.tolist() == [0]


def test_a_long_hypothesis_is_remembered_whole() -> None:
    """Token history grows beyond its initial capacity without loss."""
    never_ends = table(0)
    never_ends[..., EOS] = -60.0
    (found,) = search([never_ends], [SearchOptions(2, 300, 1.0)])
    assert found is not None
    assert len(found.tokens) == 300
    assert found.score == pytest.approx(divided(log_probability(tuple(found.tokens), never_ends), 300, 1.0))
