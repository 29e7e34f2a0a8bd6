"""The table of lemmas and its edit scripts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.tasks.parsing.lemma_table import edit_script, edited, general_script, num_removed, read_table


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
    ("word", "lemma", "script"),
    [
        ("Cities", "city", "l3-y"),
        ("PARIS", "Paris", "t0-"),
        ("McDonalds", "McDonald", "1-"),
        ("went", "go", "l4-go"),
    ],
)
def test_a_general_script_holds_for_words_in_other_cases(word: str, lemma: str, script: str) -> None:
    """Lower case where the lemma has it, else the first letter alone in upper case where that is shorter."""
    assert general_script(word, lemma) == script
    assert edited(word, script) == lemma
    assert num_removed(script) == len(word) - len(edited(word, script[: script.index("-") + 1]))


def test_a_table_is_read_by_word_and_tag() -> None:
    """A word that is another part of speech too has an entry for each; a lemma without a character is refused."""
    table = {"NOUN": {"3-y": "cities", "0-": "may wind"}, "VERB": {"0-": "may"}}
    assert read_table(table) == {
        ("cities", "NOUN"): "city",
        ("may", "NOUN"): "may",
        ("wind", "NOUN"): "wind",
        ("may", "VERB"): "may",
    }
    with pytest.raises(ValueError, match="the lemma of 'may' with the tag VERB is empty"):
        read_table({"VERB": {"3-": "may"}})
