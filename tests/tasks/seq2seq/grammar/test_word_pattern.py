"""Patterns of words match as those of `re` do, and never take long."""

from __future__ import annotations

import re
from itertools import product

import pytest

from service.tasks.seq2seq.grammar.word_pattern import MAX_VISITS, MAX_WORD_CHARACTERS, WordPattern

PATTERNS = [
    "a", "[ab]*", "a+b?", "(a|ab)(b|1)*", "a{2,3}", "(a*)*", "(a|b){0,2}1", "[^a]", "a*?b", "", "(?!(a|b)$)[ab1]+",
    r"\d", r"\w+", r"\D*\d", r"(\w\d)+", "(?i:A)b", "^ab$", "a(?=b)b", "(?:a{0,2}){2}", ".", "(?s:.)*", r"\.",
    "(?:(?:a?b?){3}1?)*", r"[\w.]+", r"[^\d]b", "(?=.*1)[a-b1]*", "a{3}", "(a|)b",
]  # fmt: skip


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_pattern_matches_what_re_matches(pattern: str) -> None:
    """All texts of up to five characters are matched as Python's own `fullmatch` does."""
    ours, theirs = WordPattern(pattern), re.compile(pattern)
    for length in range(5):
        for characters in product("abA1.", repeat=length):
            word = "".join(characters)
            assert ours.matches(word) == bool(theirs.fullmatch(word)), (pattern, word)


@pytest.mark.parametrize(
    "pattern", ["(a+)+b", "(a|a)*b", "(a*)*(a*)*b", "((a{0,50}){0,50}){0,50}b", "(.*,)*x", "a*" * 99]
)
def test_patterns_that_backtrack_for_ever_are_bounded(pattern: str) -> None:
    """A word costs a bounded number of visits, whatever the pattern; longer words than allowed are not read."""
    ours = WordPattern(pattern)
    assert not ours.matches("a" * 200 + "!")
    assert 0 < ours.visits <= MAX_VISITS + 1
    before = ours.visits
    assert not ours.matches("a" * (MAX_WORD_CHARACTERS + 1))
    assert ours.visits == before


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        (r"(a)\1", "groupref"),
        ("(?<=a)b", "is not supported"),
        (r"\ba", "boundary"),
        ("(?>a)", "atomic group"),
        ("(a", "not a regular expression"),
        ("a{99999999999}", "not a regular expression"),
        ("(" * 3000 + ")" * 3000, "not a regular expression"),
    ],
)
def test_what_needs_more_than_the_characters_is_refused(pattern: str, reason: str) -> None:
    """Backreferences and the like have an error that names them."""
    with pytest.raises(ValueError, match=reason):
        WordPattern(pattern)
