"""Lemmas: the table, the network for other words, what it is not asked, and bounds."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pytest
from pydantic import ValidationError

from service.bundle.task_options import LemmatizerOptions, ParsingOptions
from service.bundle.tokenizer import EOS
from service.tasks.core.task import Array
from service.tasks.parsing.lemmatizer import LEMMA_DECODER, LEMMA_ENCODER, MORE_CHARACTERS, Lemmatizer, TaggedWord
from tests.tasks.builders import FunctionRunner, parsing_bundle

Graph = Callable[[Mapping[str, Array]], dict[str, Array]]
OPTIONS = LemmatizerOptions(max_characters=12, table={"NOUN": {"1-": "cabs"}})
#: The alphabet of `parsing_bundle`: a to h have the ids from 4 on.
ALPHABET = 12


def encoder(feeds: Mapping[str, Array]) -> dict[str, Array]:
    """Keeps the characters; the state is the number of steps done."""
    batch, time = feeds["characters"].shape
    memory = np.zeros((batch, time, 1), dtype=np.float32)
    return {"memory": memory, "memory_keys": memory, "next_hidden": np.zeros((1, batch, 1), dtype=np.float32)}


def without_last(feeds: Mapping[str, Array]) -> dict[str, Array]:
    """Copies all characters of a word but the last."""
    place = feeds["hidden"][0, :, 0].astype(int)
    scores = np.zeros((len(place), ALPHABET), dtype=np.float32)
    for row, length in enumerate(feeds["lengths"]):
        scores[row, feeds["characters"][row, place[row]] if place[row] < length - 1 else EOS] = 1.0
    return {"probabilities": scores, "next_hidden": feeds["hidden"] + 1}


def endless(feeds: Mapping[str, Array]) -> dict[str, Array]:
    """Writes `a` for ever; special tokens are likelier, and are never written."""
    scores = np.full((len(feeds["letter"]), ALPHABET), 0.9, dtype=np.float32)
    scores[:, EOS:] = 0.0
    scores[:, EOS + 1] = 0.1
    return {"probabilities": scores, "next_hidden": feeds["hidden"]}


def not_finite_for_long_words(feeds: Mapping[str, Array]) -> dict[str, Array]:
    outputs = without_last(feeds)
    outputs["probabilities"][feeds["lengths"] > 3] = np.nan
    return outputs


def lemmas_of(*words: str, decoder: Graph = without_last) -> tuple[list[str | None], FunctionRunner]:
    """The lemmas of one sentence, and the runner that was used."""
    runner = FunctionRunner(**{LEMMA_ENCODER: encoder, LEMMA_DECODER: decoder})
    bundle = parsing_bundle(("a",), ("NOUN", "VERB"), ("root",), lemmatizer=OPTIONS)
    (found,) = Lemmatizer(bundle, OPTIONS).lemmas(runner, [[TaggedWord(word, 0) for word in words]])
    return found, runner


def test_the_table_is_asked_before_the_network() -> None:
    """A word of the table costs no run; another that comes twice is decoded once, in one batch with the rest."""
    found, runner = lemmas_of("cabs", "Cabs")
    assert (found, runner.calls) == (["cab", "cab"], [])
    found, runner = lemmas_of("bead", "cabs", "bed", "bead")
    assert found == ["bea", "cab", "be", "bea"]
    encoded = [feeds["lengths"].tolist() for graph, feeds in runner.calls if graph == LEMMA_ENCODER]
    assert encoded == [[3, 4]]


@pytest.mark.parametrize(
    "word", ["3", "b3d", "bad.cab", "http://cab", "b@d", "😀", "bäd", "xyz", "-", "a" * 13, "c" * 10_000]
)
def test_what_the_network_was_not_made_for_keeps_its_form(word: str) -> None:
    """Numbers, addresses, signs, characters that training has not seen, long words: no graph is run."""
    found, runner = lemmas_of(word)
    assert (found, runner.calls) == ([word], [])


def test_a_network_that_finds_no_end_is_stopped() -> None:
    """The steps are bounded by the longest word; the lemma is then the word, whatever it is decoded with."""
    found, runner = lemmas_of("bed", "bead", decoder=endless)
    assert found == ["bed", "bead"]
    assert sum(graph == LEMMA_DECODER for graph, _ in runner.calls) == 4 + MORE_CHARACTERS + 1


def test_a_network_that_writes_nothing_leaves_the_word() -> None:
    """A word of one letter, of which this network would write none."""
    assert lemmas_of("b")[0] == ["b"]


def test_a_word_has_the_same_lemma_alone_and_with_others() -> None:
    """More words than one run takes, of all lengths."""
    words = [("abcdefgh" * 2)[start : start + size] for start in range(8) for size in range(2, 9)] * 3
    words += [first + second + third for first in "abcdefgh" for second in "abcdefgh" for third in "abc"]
    together, runner = lemmas_of(*words)
    assert together == [lemmas_of(word)[0][0] for word in words] == [word[:-1] for word in words]
    assert sum(graph == LEMMA_ENCODER for graph, _ in runner.calls) == 2


def test_a_word_without_finite_numbers_has_no_lemma() -> None:
    """The other words of the batch keep theirs."""
    assert lemmas_of("bed", "bead", decoder=not_finite_for_long_words)[0] == ["be", None]


def test_a_table_has_edit_scripts() -> None:
    """Another key is refused when a manifest is read; a parser with lemmas needs the graphs that write them."""
    with pytest.raises(ValidationError, match="String should match pattern"):
        LemmatizerOptions(table={"NOUN": {"y": "cities"}})
    options = ParsingOptions(relations=("root",), lemmatizer=OPTIONS)
    assert options.required_graphs == ("parser", "relations", LEMMA_ENCODER, LEMMA_DECODER)
