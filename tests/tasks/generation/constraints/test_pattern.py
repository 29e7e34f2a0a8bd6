"""Regular expressions of constraints: the language of Python's `re`, and clear refusals of what is not regular."""

from __future__ import annotations

import re
import time
import warnings
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.errors import InvalidInput
from service.tasks.generation.constraints.byte_automaton import ByteAutomaton, TooComplexError, byte_automaton
from service.tasks.generation.constraints.character_sets import ALL_CHARACTERS, category, complement, utf8_ranges
from service.tasks.generation.constraints.pattern import parse_pattern

ALPHABET = "ab-é\n3"
TEXTS = ["".join(letters) for length in range(5) for letters in product(ALPHABET, repeat=length)]


def automaton_of(pattern: str) -> ByteAutomaton:
    return byte_automaton(parse_pattern(pattern), (), (), ALL_CHARACTERS)


def accepts(automaton: ByteAutomaton, text: str) -> bool:
    return bool(automaton.accepting[automaton.after(text.encode())])


def read_otherwise(pattern: str) -> list[str]:
    """The texts of which one of the automaton and `re.fullmatch` accepts, the other not."""
    automaton, reference = automaton_of(pattern), re.compile(pattern)
    return [text for text in TEXTS if accepts(automaton, text) != bool(reference.fullmatch(text))]


@pytest.mark.parametrize(
    "pattern",
    [
        "a",
        "ab|ba",
        "a*",
        "a+?b",
        "(a|b)*3",
        "(?:a|)b",
        "(?P<n>a){2}",
        "a{,2}",
        "a{1,}b{0}",
        "a{2}{",
        "{a",
        "a{b}",
        ".",
        ".*",
        "[^a]",
        "[]a]",
        "[^]a]",
        "[a-]+",
        "[-a]",
        r"[\d-]",
        r"\d\D",
        r"\w+",
        r"\W",
        r"\s",
        r"\S{2,3}",
        r"[\w\s]+",
        r"\n",
        r"\x61\u0062",
        r"\U000000e9",
        r"[\x61-\x63]",
        r"\-\.",
        r"^ab$",
        r"^a|b$",
        r"a\$",
        "(a*)*",
        "(a*b*)*3",
        "((a?){2}b){1,2}",
        "(a|a)*b",
        "(a|ab)(b|)",
        "",
        "()",
        "[^\\s\\S]",
        "a|[^\\s\\S]",
        "(b+)+a",
        "(a+b){2,}",
        "(a{0}b)*",
    ],
)
def test_a_pattern_has_the_language_of_python(pattern: str) -> None:
    """All texts of up to four characters are accepted exactly where `re.fullmatch` matches them."""
    assert read_otherwise(pattern) == []


ATOMS = st.sampled_from(["a", "b", "é", ".", "[^a]", "[a-f]", r"\d", r"\w", "-", ""])
PATTERNS = st.recursive(
    ATOMS,
    lambda inner: st.one_of(
        st.tuples(inner, inner).map("".join),
        st.tuples(inner, inner).map(lambda two: f"(?:{two[0]}|{two[1]})"),
        st.tuples(inner, st.sampled_from(["*", "+", "?", "{2}", "{0,2}", "{1,}"])).map(
            lambda two: f"(?:{two[0]}){two[1]}"
        ),
    ),
    max_leaves=8,
)


@settings(deadline=None, max_examples=60)
@given(PATTERNS)
def test_any_pattern_has_the_language_of_python(pattern: str) -> None:
    assert read_otherwise(pattern) == []


@pytest.mark.parametrize(
    ("pattern", "problem"),
    [
        ("a(?=b)", "at character 2: lookahead"),
        ("(?!a)", "lookahead"),
        ("(?<=a)b", "lookbehind"),
        ("(?<!a)b", "lookbehind"),
        (r"(a)\1", "at character 4: a backreference"),
        ("(?P<x>a)(?P=x)", "a backreference"),
        (r"a\b", "a word boundary"),
        ("(?i)a", "no flags"),
        ("(?>a)", "an atomic group"),
        ("a++", "possessive"),
        ("(a)(?(1)b)", "a conditional"),
        ("a^b", "inside of a pattern"),
        ("a$b", "inside of a pattern"),
        ("(a", "at character 1: this [(] is never closed"),
        ("a)", r"a \) without its \("),
        ("[a", "this \\[ is never closed"),
        ("*a", "nothing before it"),
        ("a**", "in a row"),
        ("{2}", "nothing before it"),
        ("a\\", "ends with a backslash"),
        (r"\q", r"\\q is not a known escape"),
        (r"\p{L}", "a Unicode property"),
        (r"\x4", "2 hexadecimal digits"),
        (r"\ud800", "no character d800"),
        (r"\U00110000", "no character"),
        ("[b-a]", "wrong order"),
        (r"[\d-z]", "one character on each side"),
        ("a{3,2}", "wrong order"),
        ("a{1001}", "at most 1000 times"),
        ("a{99999999999}", "at most 1000 times"),
        ("(a{1000}){1000}", "1,001,001 parts, at most 5,000"),
        ("(?P<1>a)", "no valid name"),
        ("((((((((((a{9}){9}){9}){9}){9}){9}){9}){9}){9}){9})", "at most 5,000"),
        ("(" * 40 + "a" + ")" * 40, "nested more than 30 deep"),
        ("a" * 1001, "1001 characters, at most 1000"),
        ("\ud800", "surrogate"),
        ("(){1000}" * 9, "at most 5,000"),
    ],
)
def test_a_refused_pattern_says_what_and_where(pattern: str, problem: str) -> None:
    with pytest.raises(InvalidInput, match=problem) as caught:
        parse_pattern(pattern)
    assert caught.value.field == ("parameters", "regex")


@settings(deadline=None, max_examples=100)
@given(st.text(alphabet="ab()[]{}|*+?.^$\\-,0129dwsxPu<>=!é", max_size=12))
def test_any_text_is_a_pattern_or_is_refused(text: str) -> None:
    """Whatever is sent either has the language that Python gives it, or is refused; what Python refuses is refused."""
    try:
        automaton = automaton_of(text)
    except InvalidInput:
        return
    with warnings.catch_warnings(action="ignore"):  # of sets within sets, which Python may have one day
        reference = re.compile(text)
    for example in ("", "a", "b", "ab", "aab", "0", "a2", "-", "é", "{", "}", "a{", ",", "^", "$"):
        assert accepts(automaton, example) == bool(reference.fullmatch(example)), example


@pytest.mark.parametrize("ranges", [ALL_CHARACTERS, category("w"), complement(category("d")), ((0x7F, 0x10400),)])
def test_ranges_of_bytes_are_the_encodings_of_their_characters(ranges: tuple[tuple[int, int], ...]) -> None:
    """At each border of a set, and around the lengths of encodings, exactly its characters are encoded."""
    pieces = [piece for first, last in ranges for piece in utf8_ranges(first, last)]
    borders = {edge + step for pair in ranges for edge in pair for step in (-1, 0, 1)}
    for code in sorted(borders | {0x7F, 0x80, 0x7FF, 0x800, 0xFFFF, 0x10000, 0x10FFFF})[-2000:]:
        if 0 <= code < 0xD800 or 0xE000 <= code <= 0x10FFFF:
            data = chr(code).encode()
            found = sum(
                len(piece) == len(data)
                and all(low <= byte <= high for byte, (low, high) in zip(data, piece, strict=True))
                for piece in pieces
            )
            assert found == any(first <= code <= last for first, last in ranges), hex(code)


def _holds(piece: tuple[tuple[int, int], ...], data: bytes) -> bool:
    return all(low <= byte <= high for byte, (low, high) in zip(data, piece, strict=True))


def test_a_large_pattern_is_compiled_with_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other threads have the interpreter many times meanwhile; a small pattern is compiled without a pause."""
    pauses: list[float] = []
    monkeypatch.setattr(time, "sleep", pauses.append)
    automaton_of("[a-z]+")
    assert not pauses
    with pytest.raises(TooComplexError):
        automaton_of("[a-z ]*a[a-z ]{60}x")
    assert len(pauses) > 50
