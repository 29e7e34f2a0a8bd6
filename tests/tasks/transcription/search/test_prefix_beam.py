"""Prefix beam search against the sum over all alignments, over any division of the steps, and from bytes."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from service.errors import StateRefused
from service.tasks.transcription.decoder import BLANK
from service.tasks.transcription.greedy_ctc import GreedyCtc
from service.tasks.transcription.search.biasing import Biasing
from service.tasks.transcription.search.hypotheses import Hypotheses
from service.tasks.transcription.search.prefix_beam import PrefixBeamSearch, Pruning
from service.tasks.transcription.search.word_list import WordList
from tests.tasks.transcription.builders import NO_RUNNER, log_probs_of, random_log_probs
from tests.tasks.transcription.search.builders import (
    NO_PRUNING,
    BigramModel,
    characters,
    ids_of,
    some_log_probs,
    spelling,
    sums_of_all_alignments,
    text_of,
)


def texts_of(hypotheses: Hypotheses) -> dict[tuple[int, ...], float]:
    totals = [total + hypotheses.base for total in hypotheses.totals]
    return {tuple(token.token_id for token in hypotheses.tokens(index)): total for index, total in enumerate(totals)}


@pytest.mark.parametrize("seed", range(6))
def test_a_wide_beam_has_the_probability_of_every_text(seed: int) -> None:
    """With room for all texts, each has exactly the sum of all its alignments."""
    row = some_log_probs(np.random.default_rng(seed), 6, 2, sharpness=1.5)
    search = PrefixBeamSearch(10_000, 6, pruning=NO_PRUNING)
    (found,) = search.advance(NO_RUNNER, [search.start()], [row])
    expected = sums_of_all_alignments(row)
    assert texts_of(found) == pytest.approx(expected)
    assert next(iter(texts_of(found))) == max(expected, key=expected.__getitem__)


@pytest.mark.parametrize("seed", range(20))
def test_a_few_beams_find_the_most_probable_text(seed: int) -> None:
    """Eight beams find the text that brute force finds, where the best path alone misses it in some cases."""
    row = some_log_probs(np.random.default_rng(seed), 7, 2, sharpness=1.0)
    search = PrefixBeamSearch(8, 6)
    (found,) = search.advance(NO_RUNNER, [search.start()], [row])
    expected = sums_of_all_alignments(row)
    best = tuple(token.token_id for token in search.best(found, True).tokens)
    assert expected[best] == pytest.approx(max(expected.values()))


def test_beams_beat_the_best_path_where_alignments_add_up() -> None:
    """The textbook case: blank is likelier at each step, the token is likelier as a text."""
    row = np.log(np.array([[0.55, 1e-9, 1e-9, 1e-9, 0.45]] * 2)).astype(np.float32)
    search, greedy = PrefixBeamSearch(2, 5), GreedyCtc(5)
    (found,) = search.advance(NO_RUNNER, [search.start()], [row])
    (path,) = greedy.advance(NO_RUNNER, [greedy.start()], [row])
    assert not greedy.best(path, True).tokens
    assert [token.token_id for token in search.best(found, True).tokens] == [4]


@pytest.mark.parametrize("num_beams", [1, 4, 16])
def test_where_the_model_is_sure_beams_and_greedy_agree(num_beams: int) -> None:
    """Tokens, steps, probabilities and quiet steps are those of greedy decoding."""
    row = log_probs_of([0, 4, 4, 0, 0, 4, 5, 5, 0, 6, 6, 6, 0, 0], 7, probability=0.97)
    search, greedy = PrefixBeamSearch(num_beams, 7), GreedyCtc(7)
    (found,) = search.advance(NO_RUNNER, [search.start()], [row])
    (path,) = greedy.advance(NO_RUNNER, [greedy.start()], [row])
    assert search.best(found, True) == greedy.best(path, True)


@pytest.mark.parametrize("seed", range(4))
def test_chunks_beside_strangers_and_bytes_change_nothing(seed: int) -> None:
    """Steps in pieces, through bytes, beside another stream, give the bytes of all steps at once."""
    generator = np.random.default_rng(seed)
    rows = [random_log_probs(generator, 60, 9) for _ in range(2)]
    tokenizer = characters("abcde")
    runner = BigramModel(np.random.default_rng(1).normal(size=(9, 9)))
    model = runner.model(tokenizer, tokenizer)
    search = PrefixBeamSearch(4, 9, language_model=model, language_model_weight=0.4, token_bonus=0.3)
    whole = [search.advance(runner, [search.start()], [row])[0] for row in rows]
    pieces, place = [search.start(), search.start()], 0
    while place < 60:
        size = int(generator.integers(1, 9))
        pieces = search.advance(runner, pieces, [row[place : place + size] for row in rows])
        pieces = [search.from_bytes(search.to_bytes(one), 60) for one in pieces]
        place += size
    assert [search.to_bytes(one) for one in pieces] == [search.to_bytes(one) for one in whole]
    assert [search.best(one, True) for one in pieces] == [search.best(one, True) for one in whole]


def test_passing_over_blanks_changes_no_text() -> None:
    """On outputs with peaks as trained models have, the texts are those of a search that looks at every step."""
    generator, search = np.random.default_rng(3), PrefixBeamSearch(8, 9)
    careful = PrefixBeamSearch(8, 9, pruning=NO_PRUNING)
    same = 0
    for _ in range(10):
        row = _peaks(generator, 60, 9)
        decoded = [one.best(one.advance(NO_RUNNER, [one.start()], [row])[0], True) for one in (search, careful)]
        same += [token.token_id for token in decoded[0].tokens] == [token.token_id for token in decoded[1].tokens]
    assert same == 10


def _peaks(generator: np.random.Generator, num_steps: int, vocabulary_size: int) -> np.ndarray:
    logits = generator.normal(size=(num_steps, vocabulary_size))
    logits[:, BLANK] += 9.0
    for step in np.flatnonzero(generator.random(num_steps) < 0.2):
        logits[step, generator.integers(4, vocabulary_size)] += 8.0 + 3.0 * generator.random()
    logits[:, 1:4] = -30.0
    return np.asarray(logits - np.log(np.exp(logits).sum(axis=1, keepdims=True)), dtype=np.float32)


def test_a_token_over_the_border_of_utterances_is_written_once() -> None:
    """What still sounds when an utterance ends is not written again; after a blank it is a new token."""
    search = PrefixBeamSearch(4, 7)
    (first,) = search.advance(NO_RUNNER, [search.start()], [log_probs_of([0, 5, 5], 7)])
    begun = search.next_utterance(first)
    (held,) = search.advance(NO_RUNNER, [begun], [log_probs_of([5, 5, 0], 7)])
    assert not search.best(held, True).tokens
    (again,) = search.advance(NO_RUNNER, [held], [log_probs_of([5, 6], 7)])
    assert [token.token_id for token in search.best(again, True).tokens] == [5, 6]
    assert search.to_bytes(search.from_bytes(search.to_bytes(begun), 0)) == search.to_bytes(begun)


def test_a_language_model_decides_between_texts_that_sound_alike() -> None:
    """Of two tokens that sound alike the one that the language model expects is written, given enough weight."""
    tokenizer = characters("abc")
    a, b, c = ids_of(tokenizer, "abc")
    table = np.zeros((7, 7))
    table[a, c] = 5.0
    runner = BigramModel(table)
    row = log_probs_of([a, 0, b], 7, 0.9)
    row[2, [b, c]] = np.log([0.6, 0.39])
    texts = {}
    for weight in (0.0, 0.05, 0.5):
        search = PrefixBeamSearch(
            8, 7, language_model=runner.model(tokenizer, tokenizer), language_model_weight=weight, token_bonus=weight
        )
        (found,) = search.advance(runner, [search.start()], [row])
        texts[weight] = text_of(tokenizer, [token.token_id for token in search.best(found, True).tokens])
    assert texts == {0.0: "ab", 0.05: "ab", 0.5: "ac"}


def test_scores_with_a_language_model_are_those_of_the_formula() -> None:
    """Every text scores log p(sound) + weight * log p(text) + bonus for each token."""
    tokenizer = characters("ab")
    table = np.random.default_rng(5).normal(size=(6, 6))
    runner = BigramModel(table)
    row = some_log_probs(np.random.default_rng(4), 5, 2, sharpness=1.0)
    model = runner.model(tokenizer, tokenizer)
    search = PrefixBeamSearch(
        1000, 6, language_model=model, language_model_weight=0.7, token_bonus=0.2, pruning=NO_PRUNING
    )
    (found,) = search.advance(runner, [search.start()], [row])
    log_table = table - np.log(np.exp(table).sum(axis=1, keepdims=True))
    expected = {}
    for text, score in sums_of_all_alignments(row).items():
        history = [model.start_id, *text]
        language = sum(log_table[before, after] for before, after in pairwise(history))
        expected[text] = score + 0.7 * language + 0.2 * len(text)
    assert texts_of(found) == pytest.approx(expected, abs=1e-5)


def test_one_run_of_the_language_model_serves_all_streams_of_a_step() -> None:
    """The graph is run once for each step that is not blank, however many streams there are."""
    tokenizer = characters("abc")
    rows = [log_probs_of(ids, 7, 0.9) for ids in ([4, 0, 5, 0, 6], [5, 0, 6, 0, 4], [6, 0, 4, 0, 5])]
    counts = {}
    for number in (1, 3):
        runner = BigramModel(np.zeros((7, 7)))
        search = PrefixBeamSearch(4, 7, language_model=runner.model(tokenizer, tokenizer), language_model_weight=0.5)
        search.advance(runner, [search.start()] * number, rows[:number])
        counts[number] = len(runner.runs)
    assert counts[3] == counts[1] <= 6


def test_a_word_list_allows_its_words_only() -> None:
    """Whatever is said, the text is a sequence of words of the list, the likeliest one."""
    tokenizer = characters("abc ")
    words = Biasing(spelling("abc "), WordList(["ab", "cab"], begins_with_blank=False))
    search = PrefixBeamSearch(16, 8, biasing=words)
    generator = np.random.default_rng(0)
    for _ in range(10):
        row = random_log_probs(generator, 30, 8)
        (found,) = search.advance(NO_RUNNER, [search.start()], [row])
        text = text_of(tokenizer, [token.token_id for token in search.best(found, True).tokens])
        assert set(text.split()) <= {"ab", "cab"}
    (sure,) = search.advance(NO_RUNNER, [search.start()], [log_probs_of(ids_of(tokenizer, "cab ac"), 8, 0.8)])
    text = text_of(tokenizer, [token.token_id for token in search.best(sure, True).tokens])
    assert text.strip() in ("cab", "cab ab")


BROKEN = {
    "nothing": lambda data: b"",
    "cut off": lambda data: data[:-1],
    "longer": lambda data: data + b"\0",
    "many texts": lambda data: data[:4] + b"\xff" * 24 + data[28:],
    "garbage": lambda data: data[:4] + bytes(range(256)) * 4,
    "not finite": lambda data: data[:-32] + b"\xff" * 32,
}


@pytest.mark.parametrize("how", BROKEN)
def test_bytes_that_are_no_hypotheses_are_refused(how: str) -> None:
    """Whatever the bytes, the refusal is a StateRefused."""
    search = PrefixBeamSearch(4, 7)
    (found,) = search.advance(NO_RUNNER, [search.start()], [log_probs_of([4, 0, 5], 7)])
    data = search.to_bytes(found)
    with pytest.raises(StateRefused):
        search.from_bytes(BROKEN[how](data), 10)
    with pytest.raises(StateRefused):
        search.from_bytes(data, 2)


def test_a_flipped_byte_never_fails_otherwise() -> None:
    """Any byte that differs gives other hypotheses, or a StateRefused, and nothing else."""
    search = PrefixBeamSearch(4, 7)
    (found,) = search.advance(NO_RUNNER, [search.start()], [log_probs_of([4, 0, 5], 7)])
    data = search.to_bytes(found)
    refused = []
    for place in range(len(data)):
        flipped = data[:place] + bytes([data[place] ^ 0xFF]) + data[place + 1 :]
        try:
            search.advance(NO_RUNNER, [search.from_bytes(flipped, 10)], [log_probs_of([4], 7)])
        except StateRefused:
            refused.append(place)
    assert refused


def test_pruning_of_tokens_bounds_the_work_of_a_step() -> None:
    """A flat distribution over a large vocabulary grows hypotheses by a named number of tokens only."""
    search = PrefixBeamSearch(4, 5000, pruning=Pruning(max_tokens=10))
    assert len(search.growth(np.full(5000, -np.log(5000.0), dtype=np.float32)).log_probs) == 0
    row = np.full(5000, -6.0, dtype=np.float32)
    assert len(search.growth(row).log_probs) == 10
