"""Words with lemmas: what is counted, the table of a bundle, and data without lemmas."""

from __future__ import annotations

import pytest

from tests.training.trees.tiny_trees import tree_of
from training.data.readers.treebanks.lemmas import LemmaType
from training.data.records import ParsedSentence
from training.preprocessing.parsing.lemma_types import (
    MIN_LEMMAS,
    NoLemmas,
    count_lemmas,
    has_lemmas,
    lemma_table,
    lemma_types,
    require_lemmas,
    table_lines,
    table_of,
)


def sentence(*words: tuple[str, str, str]) -> ParsedSentence:
    """Words as `(form, tag, lemma)`; the tree does not matter."""
    forms, tags, lemmas = zip(*words, strict=True)
    return tree_of(list(forms))._replace(tags=tags, lemmas=lemmas)


RECORDS = [
    sentence(
        ("Cats", "NOUN", "cat"), ("saw", "VERB", "see"), ("May", "PROPN", "May"), ("ice cream", "NOUN", "ice cream")
    ),
    sentence(
        ("saw", "VERB", "saw"), ("saw", "VERB", "see"), ("may", "AUX", "may"), ("_", "PUNCT", "_"), ("xs", "X", "_")
    ),
]


def test_the_most_frequent_lemma_of_a_word_and_tag_is_kept() -> None:
    """A word without a lemma is not one whose lemma is `_`; an underscore is."""
    types = lemma_types(count_lemmas(RECORDS))
    assert LemmaType("saw", "VERB", "see") in types
    assert LemmaType("_", "PUNCT", "_") in types
    assert not [each for each in types if each.word == "xs"]
    assert count_lemmas([records._replace(lemmas=()) for records in RECORDS]) == {}


def test_the_table_has_lower_case_where_the_lemma_has() -> None:
    """A name keeps its entry; a word with a blank has none; the tag with the most words is first."""
    table = lemma_table(count_lemmas([*RECORDS, sentence(("dogs", "NOUN", "dog"))]))
    assert table == {
        "NOUN": {"1-": "cats dogs"},
        "AUX": {"0-": "may"},
        "PROPN": {"0-": "May"},
        "PUNCT": {"0-": "_"},
        "VERB": {"2-ee": "saw"},
    }
    assert next(iter(table)) == "NOUN"


def test_lines_of_a_table_give_the_table_back() -> None:
    """Also an edit script that adds nothing, and several scripts of one tag."""
    table = lemma_table(count_lemmas([*RECORDS, sentence(("cities", "NOUN", "city"))]))
    assert len(table["NOUN"]) == 2
    assert table_of(table_lines(table)) == table


def test_too_few_lemmas_are_told() -> None:
    """What is missing, how many are needed, and where they stand; words without lemmas do not count."""
    enough = [sentence(("cats", "NOUN", "cat"), ("saw", "VERB", "see"))] * (MIN_LEMMAS // 2)
    require_lemmas(enough)
    assert has_lemmas(enough)
    with pytest.raises(
        NoLemmas, match=r"98 words of train have a lemma, at least 100 are needed; .* column 3 of CoNLL-U"
    ):
        require_lemmas(enough[1:])
    without = [sentence(("cats", "NOUN", "_"))] * MIN_LEMMAS
    with pytest.raises(NoLemmas, match="no word of train has a lemma"):
        require_lemmas(without)
    assert not has_lemmas(without)
