"""Whether a regular expression matches a whole word, without backtracking, so that no pattern takes long.

Each part of a pattern takes the set of places where it may begin to the set of those where it may end, as a
nondeterministic automaton goes through sets of states (Thompson 1968). A set of places is a number with a bit for each.
The parts are those that Python's own parser of `re` finds.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Final, Protocol

#: Longer words match no pattern.
MAX_WORD_CHARACTERS: Final = 256
#: Parts that are visited for one word at most, some milliseconds. Words on which a pattern takes more do not match it.
MAX_VISITS: Final = 10_000

_parser: Final = import_module("re._parser")
_CATEGORIES: Final[dict[str, Callable[[str], bool]]] = {
    "DIGIT": str.isdecimal,
    "SPACE": str.isspace,
    "WORD": lambda character: character.isalnum() or character == "_",
}
_STARTS: Final = ("AT_BEGINNING", "AT_BEGINNING_STRING")
_ENDS: Final = ("AT_END", "AT_END_STRING")


class WordPattern:
    """A regular expression for whole words."""

    def __init__(self, expression: str) -> None:
        """
        Raises:
            ValueError: it is none, or has what needs more than the characters at hand, such as a backreference.
        """
        try:
            tree = _parser.parse(expression)
        except (re.error, OverflowError, RecursionError) as error:
            raise ValueError(f"not a regular expression: {error}") from error
        self._part = _sequence(tree, int(tree.state.flags))
        #: Parts visited so far, over all words.
        self.visits = 0

    def matches(self, word: str) -> bool:
        """Whether the whole word matches; false for a word that takes too many visits."""
        if len(word) > MAX_WORD_CHARACTERS:
            return False
        walk = _Walk(word)
        try:
            return bool(self._part.ends(walk, 1) >> len(word))
        except _TooLong:
            return False
        finally:
            self.visits += walk.visits


class _TooLong(Exception):
    """A pattern takes too many visits on a word."""


class _Walk:
    """One word, the places of characters that parts have asked for, and the visits so far."""

    def __init__(self, word: str) -> None:
        self.word = word
        self.visits = 0
        self._places: dict[int, int] = {}

    def places(self, part: _Character) -> int:
        """The places of the characters that belong to `part`."""
        found = self._places.get(id(part))
        if found is None:
            found = sum(1 << place for place, character in enumerate(self.word) if part.has(character))
            self._places[id(part)] = found
        return found

    def visit(self) -> None:
        self.visits += 1
        if self.visits > MAX_VISITS:
            raise _TooLong


class _Part(Protocol):
    def ends(self, walk: _Walk, starts: int) -> int:
        """The places where this part may end, if it begins at one of `starts`."""


@dataclass(frozen=True, eq=False)
class _Character:
    has: Callable[[str], bool]

    def ends(self, walk: _Walk, starts: int) -> int:
        return (starts & walk.places(self)) << 1


@dataclass(frozen=True, eq=False)
class _Sequence:
    parts: tuple[_Part, ...]

    def ends(self, walk: _Walk, starts: int) -> int:
        for part in self.parts:
            if not starts:
                break
            walk.visit()
            starts = part.ends(walk, starts)
        return starts


@dataclass(frozen=True, eq=False)
class _Choice:
    options: tuple[_Part, ...]

    def ends(self, walk: _Walk, starts: int) -> int:
        found = 0
        for option in self.options:
            walk.visit()
            found |= option.ends(walk, starts)
        return found


@dataclass(frozen=True, eq=False)
class _Repetition:
    part: _Part
    least: int
    most: int

    def ends(self, walk: _Walk, starts: int) -> int:
        for _ in range(self.least):
            walk.visit()
            before, starts = starts, self.part.ends(walk, starts)
            if starts in (0, before):  # further rounds change nothing
                break
        found = newest = starts
        for _ in range(min(self.most - self.least, len(walk.word) + 1)):
            walk.visit()
            newest = self.part.ends(walk, newest) & ~found
            if not newest:
                break
            found |= newest
        return found


@dataclass(frozen=True, eq=False)
class _Ahead:
    """What must follow, or must not."""

    part: _Part
    is_wanted: bool

    def ends(self, walk: _Walk, starts: int) -> int:
        ones = (1 << place for place in range(len(walk.word) + 1) if starts >> place & 1)
        return sum(one for one in ones if bool(self.part.ends(walk, one)) == self.is_wanted)


@dataclass(frozen=True, eq=False)
class _Edge:
    """The start or the end of the word."""

    is_end: bool

    def ends(self, walk: _Walk, starts: int) -> int:
        return starts & (1 << len(walk.word) if self.is_end else 1)


def _sequence(tree: Iterable[tuple[Any, Any]], flags: int) -> _Part:
    parts = tuple(_part(str(kind), value, flags) for kind, value in tree)
    return parts[0] if len(parts) == 1 else _Sequence(parts)


def _part(kind: str, value: Any, flags: int) -> _Part:
    """A part by the name and the value that Python's parser gives to it."""
    if kind in ("LITERAL", "NOT_LITERAL", "ANY", "IN"):
        return _Character(_membership(kind, value, flags))
    if kind == "BRANCH":
        return _Choice(tuple(_sequence(option, flags) for option in value[1]))
    if kind == "SUBPATTERN":
        _, added, removed, inner = value
        return _sequence(inner, (flags | int(added)) & ~int(removed))
    if kind in ("MAX_REPEAT", "MIN_REPEAT"):  # of a whole word both match the same
        least, most, inner = value
        return _Repetition(_sequence(inner, flags), least, int(most))
    if kind in ("ASSERT", "ASSERT_NOT") and value[0] == 1:
        return _Ahead(_sequence(value[1], flags), kind == "ASSERT")
    if kind == "AT" and str(value) in (*_STARTS, *_ENDS):
        return _Edge(str(value) in _ENDS)
    what = str(value).removeprefix("AT_") if kind == "AT" else kind
    raise ValueError(f"{what.lower().replace('_', ' ')} is not supported in patterns of words")


def _membership(kind: str, value: Any, flags: int) -> Callable[[str], bool]:
    """Whether a character belongs to a part that reads one."""
    ignores_case = bool(flags & re.IGNORECASE)
    if kind == "ANY":
        return (lambda _: True) if flags & re.DOTALL else "\n".__ne__
    if kind == "LITERAL" and not ignores_case:
        return chr(value).__eq__
    items = value if kind == "IN" else [("LITERAL", value)]
    is_negated = kind == "NOT_LITERAL" or str(items[0][0]) == "NEGATE"
    tests = [_test(str(name), item) for name, item in items if str(name) != "NEGATE"]

    def has(character: str) -> bool:
        spellings = {character, character.lower(), character.upper()} if ignores_case else (character,)
        return any(test(one) for test in tests for one in spellings) != is_negated

    ascii_members = frozenset(filter(has, map(chr, range(128))))
    return lambda character: character in ascii_members if character < "\x80" else has(character)


def _test(name: str, value: Any) -> Callable[[str], bool]:
    if name == "LITERAL":
        return chr(value).__eq__
    if name == "RANGE":
        return lambda character: value[0] <= ord(character[0]) <= value[1]
    letter, is_negated = str(value).removeprefix("CATEGORY_"), "NOT_" in str(value)
    belongs = _CATEGORIES[letter.removeprefix("NOT_")]
    return lambda character: belongs(character) != is_negated
