"""Keyword spotting: what is found, when and how surely; over any division of the steps, and from bytes."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
import pytest

from service.bundle.padding import FloatArray
from service.errors import StateRefused
from service.tasks.transcription.decoder import BLANK, FoundKeyword
from service.tasks.transcription.greedy_ctc import GreedyCtc
from service.tasks.transcription.search.keyword_spotter import Keyword, KeywordSpotter
from service.tasks.transcription.search.spotting import SpottingDecoder
from tests.tasks.transcription.builders import NO_RUNNER, log_probs_of, random_log_probs
from tests.tasks.transcription.search.builders import characters, ids_of

TOKENIZER = characters("aeonst ")
SIZE = TOKENIZER.vocabulary_size
SPACE = ids_of(TOKENIZER, " ")[0]


def spotter(*keywords: str, threshold: float = 0.5) -> KeywordSpotter:
    begins_word = np.arange(SIZE) == SPACE
    listed = [Keyword(name, tuple(ids_of(TOKENIZER, name))) for name in keywords]
    return KeywordSpotter(listed, threshold, begins_word, SPACE, pause_steps=4, longest_pause_steps=12)


def spoken(text: str, probability: float = 0.9) -> FloatArray:
    """Each character for two steps and a blank after it; `_` is a longer pause."""
    ids: list[int] = []
    for character in text:
        ids += [BLANK] * 8 if character == "_" else [*ids_of(TOKENIZER, character) * 2, BLANK]
    return log_probs_of(ids, SIZE, probability)


def found_in(one: KeywordSpotter, row: FloatArray) -> list[FoundKeyword]:
    state, found = one.advance(one.start(), row)
    return [*found, *one.at_end(state)]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("one", ["one"]),
        ("_one_", ["one"]),
        ("toe one ten", ["one", "ten"]),
        ("one one", ["one", "one"]),
        ("one_one_ten", ["one", "one", "ten"]),
        ("stone", []),
        ("ones", []),
        ("on e", []),
        ("", []),
        ("____", []),
        ("see one", ["see", "one"]),
        ("ten one", ["ten", "ten one", "one"]),
    ],
)
def test_whole_words_are_found_once_for_each_occurrence(text: str, names: list[str]) -> None:
    """Neither parts of words nor silence are keywords; phrases and doubled letters are, in the order of their ends."""
    row = spoken(text) if text else log_probs_of([BLANK], SIZE)
    assert sorted(found.keyword for found in found_in(spotter("one", "ten", "see", "ten one"), row)) == sorted(names)


@pytest.mark.parametrize("size", [1, 5, 1000])
@pytest.mark.parametrize(
    ("text", "num_blanks", "names"),
    [
        ("ten {}one", 8, ["ten", "ten one", "one"]),
        ("ten {}one", 10, ["ten", "ten one", "one"]),
        ("ten {}one", 12, ["ten", "one"]),
        ("ten{} one", 100, ["ten", "one"]),
        ("ten{} {}one", 100, ["ten", "one"]),
        ("on{}e ten", 12, ["ten"]),
        ("{}ten one{}", 100, ["ten", "ten one", "one"]),
    ],
)
def test_a_keyword_goes_on_after_a_short_pause_and_not_after_a_long_one(
    text: str, num_blanks: int, names: list[str], size: int
) -> None:
    """Wherever the pause is, however the steps are divided, and through bytes."""
    parts = [spoken(part) for part in text.split("{}") if part]
    pause = log_probs_of([BLANK] * num_blanks, SIZE, 0.999)
    places = [place for part in text.split("{}") for place in ([part] if part else []) + ["pause"]][:-1]
    spoken_parts = iter(parts)
    row = np.concatenate([pause if place == "pause" else next(spoken_parts) for place in places])
    one = spotter("one", "ten", "ten one")
    state, found = one.start(), list[FoundKeyword]()
    for start in range(0, len(row), size):
        state, more = one.advance(one.from_bytes(one.to_bytes(state)), row[start : start + size])
        found += more
    assert sorted(each.keyword for each in [*found, *one.at_end(state)]) == sorted(names)


def test_what_begins_unsurely_within_a_long_pause_is_not_given_up() -> None:
    """A first letter that is less probable than the blank, after a pause that ended what came before it."""
    row = np.concatenate([spoken("te"), log_probs_of([BLANK] * 14, SIZE, 0.9), spoken("one")])
    (letter,) = ids_of(TOKENIZER, "o")
    place = len(row) - 9
    row[place : place + 2] = np.log(0.01)
    row[place : place + 2, BLANK], row[place : place + 2, letter] = np.log(0.5), np.log(0.4)
    assert [found.keyword for found in found_in(spotter("one"), row)] == ["one"]


def test_the_step_is_that_of_the_last_token_and_the_confidence_the_mean_of_the_tokens() -> None:
    """`one` ends where its `e` begins, and is as sure as its letters are."""
    (found,) = found_in(spotter("one"), spoken("ten_one_", probability=0.8))
    assert found.step == 3 * 3 + 8 + 2 * 3
    assert found.confidence == pytest.approx(0.8, abs=0.01)


def test_the_threshold_decides() -> None:
    """A word of another middle letter is as sure as the letters allow, and is told only below that."""
    row = spoken("ote", probability=0.85)
    n, t = ids_of(TOKENIZER, "nt")
    row[[3, 4], n] = np.log(0.2)
    row[[3, 4], t] = np.log(0.7)
    (found,) = found_in(spotter("one", threshold=0.3), row)
    assert 0.3 < found.confidence < 0.6
    assert not found_in(spotter("one", threshold=0.6), row)


@pytest.mark.parametrize("seed", range(5))
def test_the_score_is_that_of_the_best_alignment(seed: int) -> None:
    """Against brute force over all alignments of one keyword that begins at the first step and ends at the last."""
    generator = np.random.default_rng(seed)
    row = random_log_probs(generator, 6, SIZE).astype(np.float64)
    row[:, SPACE] = -30.0  # no word begins later
    ids = ids_of(TOKENIZER, "ee")
    one = KeywordSpotter([Keyword("ee", tuple(ids))], 0.0, np.zeros(SIZE, dtype=bool), SPACE, pause_steps=99)
    state, _ = one.advance(one.start(), row)
    score = max(state.in_token[0, 1], state.in_blank[0, 1])
    assert score == pytest.approx(max(_costs_of_alignments(row, ids)))


def _costs_of_alignments(row: FloatArray, ids: Sequence[int]) -> list[float]:
    """All ways to write the tokens, beginning after any number of steps that are blank or no space."""
    best, costs = row.max(axis=1), []
    for path in product([BLANK, ids[0]], repeat=len(row)):
        runs = [token for place, token in enumerate(path) if place == 0 or path[place - 1] != token]
        if [token for token in runs if token != BLANK] != list(ids):
            continue
        cost = 0.0
        for step, token in enumerate(path):
            is_written = token != BLANK and (step == 0 or path[step - 1] != token)
            cost += row[step, token] - (0.0 if is_written else best[step])
        costs.append(cost)
    return costs


def test_chunks_and_bytes_change_nothing() -> None:
    """Steps in pieces through bytes find what all steps at once find."""
    one = spotter("one", "ten", "see", "a", threshold=0.2)
    decoder = SpottingDecoder(GreedyCtc(SIZE), one)
    generator = np.random.default_rng(0)
    row = np.concatenate([spoken("see one ten_a_", 0.7), random_log_probs(generator, 60, SIZE), spoken("ten a", 0.6)])
    (whole,) = decoder.advance(NO_RUNNER, [decoder.start()], [row])
    pieces, place = decoder.start(), 0
    while place < len(row):
        size = int(generator.integers(1, 7))
        (pieces,) = decoder.advance(NO_RUNNER, [pieces], [row[place : place + size]])
        pieces = decoder.from_bytes(decoder.to_bytes(pieces), len(row))
        place += size
    assert decoder.best(pieces, True) == decoder.best(whole, True)
    assert {"see", "one", "ten", "a"} <= {found.keyword for found in decoder.best(whole, True).keywords}


def test_a_keyword_at_the_border_of_utterances_is_told_once() -> None:
    """What the end of an utterance tells is not told again by the next one; a word that goes on over it is found."""
    decoder = SpottingDecoder(GreedyCtc(SIZE), spotter("one"))
    (first,) = decoder.advance(NO_RUNNER, [decoder.start()], [spoken("one")])
    assert [found.keyword for found in decoder.best(first, True).keywords] == ["one"]
    (second,) = decoder.advance(NO_RUNNER, [decoder.next_utterance(first)], [spoken("_ten")])
    assert decoder.best(second, True).keywords == ()
    (first,) = decoder.advance(NO_RUNNER, [decoder.start()], [spoken("on")])
    (second,) = decoder.advance(NO_RUNNER, [decoder.next_utterance(first)], [spoken("e_")])
    assert [found.step for found in decoder.best(second, True).keywords] == [0]


def test_of_a_model_of_words_a_keyword_is_one_token() -> None:
    """A digit is told once its token has passed, each time that it was said."""
    begins = np.ones(8, dtype=bool)
    one = KeywordSpotter([Keyword("four", (4,)), Keyword("five", (5,))], 0.5, begins, pause_steps=2)
    row = log_probs_of([0, 4, 4, 0, 4, 6, 5, 5, 5], 8, 0.9)
    state, found = one.advance(one.start(), row)
    assert [(one.keyword, one.step) for one in [*found, *one.at_end(state)]] == [("four", 1), ("four", 4), ("five", 6)]


def test_bytes_of_other_keywords_are_refused() -> None:
    """Whatever the bytes, the refusal is a StateRefused."""
    decoder = SpottingDecoder(GreedyCtc(SIZE), spotter("one"))
    data = decoder.to_bytes(decoder.start())
    for changed in (b"", data[:-1], data + b"\0", b"\xff" * len(data)):
        with pytest.raises(StateRefused):
            decoder.from_bytes(changed, 10)
    with pytest.raises(StateRefused):
        SpottingDecoder(GreedyCtc(SIZE), spotter("one", "ten")).from_bytes(data, 10)
