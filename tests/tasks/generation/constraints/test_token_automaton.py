"""Masks over tokens equal those of an exhaustive search, and no text is ever led into a dead end."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.bundle.tokenizer import EOS
from service.errors import InvalidInput
from service.tasks.generation.constraints.constraint import ConstrainedText, Constraint, ConstraintCompiler
from service.tasks.generation.constraints.token_texts import TokenTexts
from tests.tasks.builders import byte_tokenizer, character_tokenizer, word_tokenizer
from tests.tasks.generation.constraints.vocabularies import fused, spaced, with_byte_fallback

WORDS = ("a", "b", "ab", "ba", "abc", "cab", "é", "bb")
#: Finite languages, so that every text can be tried.
FINITE = [
    {"regex": "(a|b){1,3}"}, {"regex": "ab{1,2}c?"}, {"regex": "(abc|cab)(ba)?"}, {"regex": "a(9|b)"},
    {"regex": "é?a{2}"}, {"regex": "[ab]c|ab"}, {"choices": ("ab", "abc", "cab")}, {"choices": ("a",)},
    {"regex": "(a|b){1,4}", "bad_words": ("aa", "bab")}, {"choices": ("abab", "bb"), "bad_words": ("bba",)},
]  # fmt: skip


def spellings(tokens: Sequence[str], constraint: Constraint, max_tokens: int = 5) -> set[tuple[int, ...]]:
    """By trial: all sequences of ids whose text satisfies a constraint."""
    numbered = list(enumerate(tokens, start=EOS + 1))
    found, waiting = set(), [((), "")]
    while waiting:
        ids, text = waiting.pop()
        if satisfies(text, constraint):
            found.add(ids)
        if len(ids) < max_tokens:
            waiting += [((*ids, token_id), text + token) for token_id, token in numbered]
    return found


def satisfies(text: str, constraint: Constraint) -> bool:
    if any(word in text for word in constraint.bad_words):
        return False
    if constraint.choices:
        return text in constraint.choices
    return constraint.regex is None or re.fullmatch(constraint.regex, text) is not None


@pytest.mark.parametrize("wanted", FINITE, ids=str)
@pytest.mark.parametrize("left_out", ["", "b", "a", "é"])
def test_masks_are_those_of_an_exhaustive_search(wanted: dict[str, Any], left_out: str) -> None:
    """After every beginning of a valid spelling, exactly the tokens of valid spellings may follow."""
    tokens = [token for token in WORDS if token != left_out]
    constraint = Constraint(**wanted)
    valid = spellings(tokens, constraint)
    writable = {"".join(tokens[token_id - EOS - 1] for token_id in ids) for ids in valid}
    compiler = ConstraintCompiler(fused(tokens))
    if not valid or not set(constraint.choices) <= writable:
        with pytest.raises(InvalidInput, match=r"cannot write|no text that this model can write"):
            compiler.compile(constraint)
        return
    automaton = compiler.compile(constraint)
    for ids in {spelling[:length] for spelling in valid for length in range(len(spelling) + 1)}:
        place = ConstrainedText(automaton)
        for token_id in ids:
            place.append(token_id)
        expected = {other[len(ids)] for other in valid if other[: len(ids)] == ids and len(other) > len(ids)}
        expected |= {EOS} if ids in valid else set()
        assert set(np.flatnonzero(place.allowed).tolist()) == expected


def walks(automaton: Any, seeds: range, max_tokens: int = 60) -> Iterator[tuple[list[int], bool]]:
    """Random texts of allowed tokens: their ids, and whether they have ended."""
    for seed in seeds:
        random, place, ids = Random(seed), ConstrainedText(automaton), []
        for _ in range(max_tokens):
            choices = np.flatnonzero(place.allowed).tolist()
            assert choices, "there is always something to choose"
            token_id = random.choice(choices)
            if token_id == EOS:
                break
            ids.append(token_id)
            place.append(token_id)
        yield ids, bool(choices) and token_id == EOS


VOCABULARIES = {
    "characters": character_tokenizer("abcdefgh 0123"),
    "bytes": byte_tokenizer(),
    "fallback": with_byte_fallback(["a", "ab", "é", " "]),
    "subwords": spaced(["▁", "a", "b", "c", "▁a", "ab", "▁ab", "c▁", "bc", "é", "0", "12"]),
    "words": word_tokenizer(["a", "b", "abc", "12", "é"]),
}
INFINITE = ["a[^a]*", r"( ?[a-c]+)+", r"\w+|( \w+)*", "(a|ab|é)*b?", r"( (a|abc|12)){1,4}", r"[^\d]{3,9}", "(.é?)+"]


@pytest.mark.parametrize("name", VOCABULARIES)
def test_every_walk_can_be_completed_and_what_has_ended_matches(name: str) -> None:
    """Decoded by the tokenizer itself, after a token of a prompt, each text that ends is one that was asked for."""
    tokenizer = VOCABULARIES[name]
    compiler, num_ended, context = ConstraintCompiler(tokenizer), 0, EOS + 2
    before = len(tokenizer.decode([context]))
    for pattern in INFINITE:
        try:
            automaton = compiler.compile(Constraint(regex=pattern, bad_words=("bb", "ba a")))
        except InvalidInput:  # it cannot write any such text
            continue
        for ids, has_ended in walks(automaton, range(20)):
            text = tokenizer.decode([context, *ids])[before:]
            assert "bb" not in text
            if has_ended:
                num_ended += 1
                assert re.fullmatch(pattern, text), (pattern, text)
    assert num_ended > 20


def test_the_bytes_of_tokens_are_what_they_add_to_a_text() -> None:
    assert character_tokenizer("aé").bytes_of_tokens() == [b""] * 4 + [b"a", "é".encode()]
    assert spaced(["▁", "▁a", "a"]).bytes_of_tokens() == [b""] * 4 + [b" ", b" a", b"a"]
    assert word_tokenizer(["a", "b"]).bytes_of_tokens() == [b""] * 4 + [b" a", b" b"]
    fallback = with_byte_fallback(["a"]).bytes_of_tokens()
    assert fallback[4:] == [b"a", *(bytes([byte]) for byte in range(256))]
    bytes_ = byte_tokenizer().bytes_of_tokens()
    assert sorted(bytes_[4:]) == [bytes([byte]) for byte in range(256)]


def test_a_vocabulary_that_spaces_words_needs_a_token_before_the_text() -> None:
    assert TokenTexts(VOCABULARIES["words"]).needs_context
    assert TokenTexts(VOCABULARIES["subwords"]).needs_context
    assert not TokenTexts(VOCABULARIES["characters"]).needs_context
    assert not TokenTexts(VOCABULARIES["bytes"]).needs_context


@settings(deadline=None, max_examples=40)
@given(st.lists(st.text("ab", min_size=1, max_size=4), min_size=1, max_size=6), st.text("ab", max_size=12))
def test_bad_words_are_found_as_a_search_finds_them(bad_words: list[str], text: str) -> None:
    """A text is allowed letter by letter until the first letter with which a bad word is in it."""
    tokenizer = character_tokenizer("ab")
    try:
        place = ConstrainedText(ConstraintCompiler(tokenizer).compile(Constraint(bad_words=tuple(bad_words))))
    except InvalidInput:
        assert {"a", "b"} <= set(bad_words)
        return
    for length in range(1, len(text) + 1):
        (token_id,) = tokenizer.encode(text[length - 1])
        is_good = not any(word in text[:length] for word in bad_words)
        assert place.allowed[token_id] == is_good
        if not is_good:
            break
        place.append(token_id)
        assert place.allowed[EOS]


LONG_CHOICES = tuple(f"{n:010b}".replace("0", "a").replace("1", "b") * 25 for n in range(1000))


@pytest.mark.parametrize(
    ("wanted", "field", "message"),
    [
        ({"choices": ("a",), "regex": "a"}, ("choices",), "leave one out"),
        ({"choices": ("ab", "aé")}, ("choices", 1), "cannot write 'aé'"),
        ({"choices": ("ab", "ba"), "bad_words": ("ab",)}, ("choices", 0), "a bad word is in it"),
        ({"choices": ("a", "")}, ("choices", 1), "1 to 256 characters"),
        ({"choices": ("\ud800",)}, ("choices", 0), "1 to 256 characters"),
        ({"choices": tuple(map(str, range(10_000)))}, ("choices",), "10,000 were given, at most 1,000"),
        ({"choices": tuple("ab" * 100 + "a" * n for n in range(1, 57))}, (), ""),
        ({"choices": LONG_CHOICES}, ("choices",), "too long"),
        ({"bad_words": ("a", "b")}, ("bad_words",), "has a bad word in it"),
        ({"bad_words": ("a" * 65,)}, ("bad_words", 0), "1 to 64 characters"),
        ({"bad_words": ("a",) * 101}, ("bad_words",), "101 were given"),
        ({"regex": "é+"}, ("regex",), "no text that this model can write"),
        ({"regex": "()"}, ("regex",), "except perhaps the empty text"),
        ({"regex": "a*", "bad_words": ("a",)}, ("regex",), "except perhaps the empty text"),
        ({"regex": "[ab]*a[ab]{16}"}, ("regex",), "too complex"),
        ({"regex": "((a?b?){50}){50}"}, ("regex",), "too complex|parts"),
    ],
)
def test_a_refused_constraint_says_what_and_where(wanted: dict[str, Any], field: tuple[Any, ...], message: str) -> None:
    """Constraints that are too large, contradictory or impossible for the vocabulary are refused with their field."""
    compiler = ConstraintCompiler(character_tokenizer("ab"))
    if not field:
        assert compiler.compile(Constraint(**wanted)).can_begin
        return
    with pytest.raises(InvalidInput, match=message) as caught:
        compiler.compile(Constraint(**wanted))
    assert caught.value.field == ("parameters", *field)


def test_the_latest_constraints_are_kept_and_compiled_once() -> None:
    """A constraint is compiled once; only a few are kept, the latest used."""
    compiler = ConstraintCompiler(VOCABULARIES["characters"])
    first = Constraint(regex="a+")
    automaton = compiler.compile(first)
    for number in range(30):
        compiler.compile(Constraint(regex=f"a{{{1 + number}}}"))
        assert compiler.compile(first) is automaton
    assert compiler.is_kept(first)
    assert not compiler.is_kept(Constraint(regex="a{2}"))
