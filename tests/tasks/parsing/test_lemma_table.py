"""The table of lemmas: edit scripts, and look-up by word, case and tag."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.tasks.parsing.lemma_table import KnownLemmas, edit_script, edited

TABLE = {"NOUN": {"3-y": "cities", "0-": "may wind"}, "VERB": {"4-go": "went", "0-": "may"}, "PROPN": {"0-": "May"}}


@given(st.text(max_size=8), st.text(max_size=8))
def test_a_script_leads_from_a_word_to_its_lemma(word: str, lemma: str) -> None:
    """Whatever the two are: also if they have nothing in common, or one is empty."""
    assert edited(word, edit_script(word, lemma)) == lemma


@pytest.mark.parametrize("script", ["", "y", "x-y", "5-y", "²-y"])
def test_what_is_no_script_for_a_word_is_refused(script: str) -> None:
    """A number that is none, and more characters than the word has."""
    with pytest.raises(ValueError, match="no edit script for 'city'"):
        edited("city", script)


@pytest.mark.parametrize(
    ("word", "tag", "lemma"),
    [
        ("cities", "NOUN", "city"),
        ("Cities", "NOUN", "city"),
        ("went", "VERB", "go"),
        ("May", "PROPN", "May"),
        ("May", "VERB", "may"),
        ("wind", "VERB", "wind"),
        ("Wind", "VERB", None),
        ("towns", "NOUN", None),
    ],
)
def test_words_are_found_by_tag_then_in_lower_case_then_with_any_tag(word: str, tag: str, lemma: str | None) -> None:
    """A name differs from a word by its capital; a word in another case with another tag is unknown."""
    assert KnownLemmas(TABLE).find(word, tag) == lemma
