"""Word lists and boosted phrases as automata, against plain definitions of what they accept and pay."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from service.tasks.transcription.search.biasing import Biasing
from service.tasks.transcription.search.phrases import BoostedPhrases
from service.tasks.transcription.search.prefix_beam import PrefixBeamSearch
from service.tasks.transcription.search.word_list import REFUSED, WordList
from tests.tasks.transcription.builders import NO_RUNNER, log_probs_of
from tests.tasks.transcription.search.builders import characters, ids_of, spelling, text_of

TEXTS = ["".join(letters) for length in range(7) for letters in product("ab ", repeat=length)]


def test_a_word_list_accepts_what_its_words_begin_or_spell() -> None:
    """Of all short texts those are accepted that begin a sequence of words, and those complete that are one."""
    words = ["a", "ab", "bb"]
    automaton = WordList(words, begins_with_blank=False)
    sequences = {" ".join(chosen) for length in range(1, 5) for chosen in product(words, repeat=length)}
    for text in TEXTS:
        state = automaton.step(automaton.start, text)
        begins = not text or any(f"{sequence} ".startswith(text) for sequence in sequences)
        assert (state != REFUSED) == begins, text
        if state != REFUSED:
            assert automaton.is_complete(state) == (not text or text.removesuffix(" ") in sequences), text


def test_with_tokens_that_bring_their_blank_a_text_begins_with_one() -> None:
    """Subwords and words write a blank first."""
    automaton = WordList(["one", "only"], begins_with_blank=True)
    assert automaton.step(automaton.start, "one") == REFUSED
    assert automaton.is_complete(automaton.step(automaton.start, " one only"))
    assert not automaton.is_complete(automaton.step(automaton.start, " on"))


@pytest.mark.parametrize("phrases", [["ab"], ["a", "ab"], ["a b", "b"], ["ab", "ab a", "bb"], ["a a"], ["b", "ab b"]])
def test_phrases_pay_for_whole_words_only(phrases: list[str]) -> None:
    """In the end a text is paid for the phrases in it, whatever was lent on the way, and nothing for parts of words."""
    automaton = BoostedPhrases(phrases, 1.0, begins_with_blank=False)
    for text in TEXTS:
        state, paid = automaton.start, 0.0
        for character in text:
            state, payment = automaton.step(state, character)
            paid += payment
        paid += automaton.payment_at_end(state)
        words = text.split(" ")
        found = [phrase for phrase in phrases if _has(words, phrase.split())]
        assert (paid > 1e-9) == bool(found), (text, paid)
        assert paid > -1e-9


def _has(words: list[str], phrase: list[str]) -> bool:
    return any(words[start : start + len(phrase)] == phrase for start in range(len(words)))


@pytest.mark.parametrize(
    ("text", "paid"),
    [("ab", 4.0), ("ab ab", 8.0), ("abb", 0.0), ("a ab b", 4.0), ("ab bb", 8.0), ("ab bb ab", 12.0), ("bb", 0.0)],
)
def test_a_phrase_is_paid_by_its_characters(text: str, paid: float) -> None:
    """Each occurrence is paid; a longer phrase adds what it has more than the one that it begins with."""
    automaton = BoostedPhrases(["ab", "ab bb"], 2.0, begins_with_blank=False)
    state, total = automaton.step(automaton.start, text)
    assert total + automaton.payment_at_end(state) == pytest.approx(paid)


def test_of_words_a_phrase_is_paid_by_its_words() -> None:
    """Models whose tokens are words count words."""
    automaton = BoostedPhrases(["two one"], 1.5, begins_with_blank=True, per_word=True)
    steps = []
    state = automaton.start
    for text in (" two", " two", " one"):
        state, payment = automaton.step(state, text)
        steps.append(payment)
    assert steps == [1.5, 0.0, 1.5]
    assert automaton.payment_at_end(state) == 0.0


def test_a_boosted_phrase_is_heard_where_it_sounds_nearly_so() -> None:
    """A boost turns a close miss into the phrase; a small one does not, and other words stay as they were."""
    tokenizer = characters("abc ")
    a, b = ids_of(tokenizer, "ab")
    row = log_probs_of(ids_of(tokenizer, "c ca"), 8, 0.9)
    row[3, [a, b]] = np.log([0.7, 0.2])
    texts = {}
    for boost in (0.0, 0.1, 2.0):
        biasing = Biasing(spelling("abc "), phrases=BoostedPhrases(["cb"], boost, begins_with_blank=False))
        search = PrefixBeamSearch(8, 8, biasing=biasing)
        (found,) = search.advance(NO_RUNNER, [search.start()], [row])
        texts[boost] = text_of(tokenizer, [token.token_id for token in search.best(found, True).tokens])
    assert texts == {0.0: "c ca", 0.1: "c ca", 2.0: "c cb"}


def test_a_thousand_long_words_are_compiled_and_followed() -> None:
    """The tree has at most a node for each character."""
    generator = np.random.default_rng(0)
    words = ["".join(generator.choice(list("abc"), size=64)) for _ in range(1000)]
    automaton = WordList(words, begins_with_blank=False)
    assert automaton.num_states <= 64_000
    assert all(automaton.is_complete(automaton.step(automaton.start, word)) for word in words)
