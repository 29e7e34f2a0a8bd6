"""Lemmas: look-up in the table, other words by their ends, and what keeps its form."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from service.bundle.load import read_manifest
from service.bundle.task_options import LemmatizerOptions, ParsingOptions
from service.tasks.parsing.lemmatizer import Lemmatizer

#: Verbs with doubled consonants and without, names, and words that are two parts of speech.
TABLE = {
    "NOUN": {"0-": "bomb cat may", "1-": "cats dogs maps bees", "3-y": "cities ladies"},
    "VERB": {
        "0-": "call may miss",
        "2-": "called missed walked",
        "3-": "stopped planned dropped",
        "4-go": "went",
        "4-": "stopping planning",
        "3-e": "making",
    },
    "PROPN": {"0-": "May Paris Rome", "4-aris": "PARIS"},
}


@pytest.fixture(scope="module")
def lemmatizer() -> Lemmatizer:
    return Lemmatizer(TABLE)


@pytest.mark.parametrize(
    ("word", "tag", "lemma"),
    [
        ("cities", "NOUN", "city"),
        ("Cities", "NOUN", "city"),
        ("went", "VERB", "go"),
        ("May", "PROPN", "May"),
        ("May", "VERB", "may"),
        ("went", "NOUN", "go"),
    ],
)
def test_words_are_found_by_tag_then_in_lower_case_then_with_any_tag(
    word: str, tag: str, lemma: str, lemmatizer: Lemmatizer
) -> None:
    """A name differs from a word by its capital; a word with a tag that it never had has another one's lemma."""
    assert lemmatizer.lemma(word, tag) == lemma


@pytest.mark.parametrize(
    ("word", "tag", "lemma"),
    [
        ("Babies", "NOUN", "baby"),
        ("flipped", "VERB", "flip"),
        ("talked", "VERB", "talk"),
        ("skipping", "VERB", "skip"),
        ("bombed", "VERB", "bomb"),
        ("rooms", "NOUN", "room"),
        ("rooms", "PROPN", "rooms"),
        ("ROME", "PROPN", "Rome"),
        ("mad-cats", "NOUN", "mad-cat"),
    ],
)
def test_other_words_change_as_those_that_end_alike(word: str, tag: str, lemma: str, lemmatizer: Lemmatizer) -> None:
    """A doubled consonant goes, one that belongs to a known lemma stays, and each tag has its own endings."""
    assert lemmatizer.lemma(word, tag) == lemma


@pytest.mark.parametrize(
    "word",
    [
        "3",
        "1,100.50",
        "cats3",
        "info@cats.com",
        "https://cats.com/dogs",
        "www.cats",
        "#cats",
        "a/cats",
        "😀",
        "-",
        "cats.",
    ],
)
@pytest.mark.parametrize("tag", ["NOUN", "VERB", "unheard"])
def test_what_is_not_made_of_letters_keeps_its_form(word: str, tag: str, lemmatizer: Lemmatizer) -> None:
    """Numbers, addresses, tags of networks, signs, whatever their part of speech."""
    assert lemmatizer.lemma(word, tag) == word


@pytest.mark.parametrize("word", ["кошки", "Привет", "日本語", "犬", "γάτες", "x", "Ж"])
def test_words_whose_last_letter_is_new_keep_their_form(word: str, lemmatizer: Lemmatizer) -> None:
    """Other scripts, and single letters: nothing is known of how they end."""
    assert lemmatizer.lemma(word, "VERB") == word


def test_letters_of_other_scripts_and_their_marks_are_letters() -> None:
    """Vowel signs of Devanagari, and an accent that stands by itself, are parts of words whose ends are learned."""
    lemmatizer = Lemmatizer({"NOUN": {"4-ी": "लड़कियाँ नदियाँ"}, "ADJ": {"1-": "e\u0301te\u0301s"}})
    assert lemmatizer.lemma("बेटियाँ", "NOUN") == "बेटी"
    assert lemmatizer.lemma("be\u0301te\u0301s", "ADJ") == "be\u0301te\u0301"


def test_something_of_a_word_is_always_left(lemmatizer: Lemmatizer) -> None:
    """An ending that is the whole word is not taken off; a tag without words leaves every word."""
    assert lemmatizer.lemma("ed", "VERB") == "ed"
    assert lemmatizer.lemma("s", "NOUN") == "s"
    assert lemmatizer.lemma("trees", "unheard") == "trees"


def test_long_words_are_changed_like_others(lemmatizer: Lemmatizer) -> None:
    """Only the end is looked at, so their length does not matter."""
    assert lemmatizer.lemma("q" * 200 + "ies", "NOUN") == "q" * 200 + "y"
    assert lemmatizer.lemma("ж" * 100_000, "NOUN") == "ж" * 100_000


@pytest.fixture(scope="module")
def english() -> Lemmatizer:
    """That of the published parser."""
    options = read_manifest(Path(__file__).parents[3] / "models" / "parse-en" / "1").options
    assert isinstance(options, ParsingOptions)
    assert options.lemmatizer is not None
    return Lemmatizer(options.lemmatizer.table)


@pytest.mark.parametrize(
    ("word", "tag", "lemma"),
    [
        ("went", "VERB", "go"),
        ("better", "ADJ", "good"),
        ("bombed", "VERB", "bomb"),
        ("mopping", "VERB", "mop"),
        ("hottest", "ADJ", "hot"),
        ("counter-attacks", "NOUN", "counter-attack"),
        ("Smurfs", "PROPN", "Smurfs"),
        ("jane.doe@example.com", "NOUN", "jane.doe@example.com"),
        ("http://www.example.com/mopping", "PROPN", "http://www.example.com/mopping"),
        ("2,718.28", "NUM", "2,718.28"),
        ("+41-44-555", "NUM", "+41-44-555"),
        ("кошки", "X", "кошки"),
    ],
)
def test_the_published_parser_knows_english(word: str, tag: str, lemma: str, english: Lemmatizer) -> None:
    """Irregular forms from its table, others by their ends; addresses and numbers as they are."""
    assert english.lemma(word, tag) == lemma


def test_a_table_has_edit_scripts() -> None:
    """Another key is refused when a manifest is read; a parser may have none."""
    with pytest.raises(ValidationError, match="String should match pattern"):
        LemmatizerOptions(table={"NOUN": {"y": "cities"}})
    assert Lemmatizer({}).lemma("Cities", "NOUN") == "Cities"
