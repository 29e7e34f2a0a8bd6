r"""Regular expressions, parsed to a tree: those of Python's `re` that describe a regular language.

A pattern describes the whole text. It may hold characters, `.`, classes such as `[^a-z\d]`, the escapes `\d \w \s` and
their negations, `\n \t \r \f \v \a \0 \xhh \uhhhh \Uhhhhhhhh`, groups `(...)`, `(?:...)` and `(?P<name>...)`,
alternatives, and the quantifiers `* + ? {n} {n,} {,m} {n,m}`, greedy or lazy, which is the same for a whole text. `^`
at its start and `$` at its end change nothing. What depends on more than the characters at hand is refused by name:
lookaround, backreferences, word boundaries, anchors inside, flags, conditionals, atomic groups.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, NoReturn

from service.errors import InvalidInput
from service.tasks.generation.constraints.character_sets import (
    ALL_CHARACTERS,
    Ranges,
    category,
    complement,
    intersection,
    union,
)

MAX_PATTERN_CHARACTERS = 1000
_MAX_REPEATS = 1000
#: Nodes of the tree once all repetitions are written out. It is counted before anything is written out.
_MAX_PATTERN_SIZE = 5000
_MAX_NESTED_GROUPS = 30

_ANY_BUT_NEWLINE = complement(((10, 10),))
_CONTROLS = {"n": "\n", "t": "\t", "r": "\r", "f": "\f", "v": "\v", "a": "\a", "0": "\0"}
_HEX_DIGITS = {"x": 2, "u": 4, "U": 8}
_REFUSED_GROUPS = {
    "=": "lookahead", "!": "lookahead", "<=": "lookbehind", "<!": "lookbehind", "P=": "a backreference",
    ">": "an atomic group", "(": "a conditional", "#": "a comment",
}  # fmt: skip
_REFUSED_ESCAPES = {
    "b": "a word boundary", "B": "a word boundary", "A": "an anchor", "Z": "an anchor", "z": "an anchor",
    "G": "an anchor", "k": "a backreference", "p": "a Unicode property", "P": "a Unicode property",
}  # fmt: skip


class CharacterSet(NamedTuple):
    """One character of a set."""

    ranges: Ranges
    size: int = 1


@dataclass(frozen=True)
class Concatenation:
    """One part after the other."""

    parts: tuple[Pattern, ...]

    @property
    def size(self) -> int:
        return 1 + sum(part.size for part in self.parts)


@dataclass(frozen=True)
class Alternation:
    """One of the options."""

    options: tuple[Pattern, ...]

    @property
    def size(self) -> int:
        return 1 + sum(option.size for option in self.options)


@dataclass(frozen=True)
class Repetition:
    """The part from `least` to `most` times; None for any number. `size` counts each time, and the part only once."""

    part: Pattern
    least: int
    most: int | None
    size: int


Pattern = CharacterSet | Concatenation | Alternation | Repetition


def parse_pattern(text: str) -> Pattern:
    """Parse a regular expression.

    Raises:
        InvalidInput: with the field `parameters.regex`; the message has the place, and names what is not supported.
    """
    if len(text) > MAX_PATTERN_CHARACTERS:
        _refuse(f"it has {len(text)} characters, at most {MAX_PATTERN_CHARACTERS} are allowed")
    if any(0xD800 <= ord(character) < 0xE000 for character in text):
        _refuse("it holds half of a surrogate pair, which is no text")
    return _Parser(text).parse()


def _refuse(problem: str, place: int | None = None) -> NoReturn:
    where = "" if place is None else f" at character {place + 1}"
    raise InvalidInput(f"this regular expression cannot be used{where}: {problem}", ("parameters", "regex"))


class _Parser:
    """Recursive descent over the characters of one pattern."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._place = 1 if text.startswith("^") else 0
        self._end = len(text) - 1 if _ends_with_anchor(text) else len(text)
        self._num_open = 0

    def parse(self) -> Pattern:
        pattern = self._alternation()
        if self._next:
            _refuse("a ) without its (", self._place)
        return pattern

    @property
    def _next(self) -> str:
        """The next character; empty at the end."""
        return self._text[self._place] if self._place < self._end else ""

    def _take(self) -> str:
        character = self._next
        self._place += 1
        return character

    def _takes(self, prefix: str) -> bool:
        """Whether the rest begins with `prefix`, which is then passed."""
        if not self._text.startswith(prefix, self._place, self._end):
            return False
        self._place += len(prefix)
        return True

    def _alternation(self) -> Pattern:
        options = [self._concatenation()]
        while self._takes("|"):
            options.append(self._concatenation())
        return options[0] if len(options) == 1 else self._bounded(Alternation(tuple(options)))

    def _concatenation(self) -> Pattern:
        parts: list[Pattern] = []
        while self._next and self._next not in "|)":
            parts.append(self._repeated(self._atom()))
        return parts[0] if len(parts) == 1 else self._bounded(Concatenation(tuple(parts)))

    def _bounded(self, pattern: Pattern) -> Pattern:
        if pattern.size > _MAX_PATTERN_SIZE:
            advice = f"with all repetitions written out it has {pattern.size:,} parts, at most {_MAX_PATTERN_SIZE:,}"
            _refuse(f"{advice} are allowed", self._place - 1)
        return pattern

    def _repeated(self, part: Pattern) -> Pattern:
        bounds = self._quantifier()
        if bounds is None:
            return part
        least, most = bounds
        if self._next == "+":
            _refuse("possessive quantifiers are not supported", self._place)
        self._takes("?")  # lazy or greedy: of a whole text both match the same
        if self._next and self._quantifier() is not None:
            _refuse("two quantifiers in a row: put the first into a group", self._place - 1)
        num_times = least + 1 if most is None else most
        return self._bounded(Repetition(part, least, most, 1 + part.size * max(1, num_times)))

    def _quantifier(self) -> tuple[int, int | None] | None:
        for sign, bounds in (("*", (0, None)), ("+", (1, None)), ("?", (0, 1))):
            if self._takes(sign):
                return bounds
        return self._counted() if self._next == "{" else None

    def _counted(self) -> tuple[int, int | None] | None:
        """`{n}`, `{n,}`, `{,m}` or `{n,m}`; None for a brace that is none of them, which stands for itself."""
        start, close = self._place, self._text.find("}", self._place, self._end)
        inner = self._text[start + 1 : max(start, close)]
        low, comma, high = inner.partition(",")
        if not (low or high) or not all(part == "" or (part.isascii() and part.isdigit()) for part in (low, high)):
            return None
        if max(len(low), len(high)) > len(str(_MAX_REPEATS)) or max(int(low or 0), int(high or 0)) > _MAX_REPEATS:
            _refuse(f"a quantifier repeats at most {_MAX_REPEATS} times", start)
        self._place = close + 1
        least = int(low or 0)
        most = least if not comma else int(high) if high else None
        if most is not None and most < least:
            _refuse(f"{{{inner}}} has its numbers in the wrong order", start)
        return least, most

    def _atom(self) -> Pattern:
        place = self._place
        character = self._take()
        if character == "(":
            return self._group(place)
        if character == "[":
            return CharacterSet(self._class(place))
        if character == "\\":
            return CharacterSet(self._escape())
        if character == ".":
            return CharacterSet(_ANY_BUT_NEWLINE)
        if character in "*+?":
            _refuse(f"{character} has nothing before it to repeat", place)
        if character in "^$":
            _refuse(f"{character} inside of a pattern is not supported; the whole text is matched anyway", place)
        self._place = place
        if character == "{" and self._counted() is not None:
            _refuse("a quantifier has nothing before it to repeat", place)
        self._place = place + 1
        return CharacterSet(_one(character))

    def _group(self, place: int) -> Pattern:
        self._num_open += 1
        if self._num_open > _MAX_NESTED_GROUPS:
            _refuse(f"groups are nested more than {_MAX_NESTED_GROUPS} deep", place)
        if self._takes("?"):
            self._group_kind(place)
        inner = self._alternation()
        if not self._takes(")"):
            _refuse("this ( is never closed", place)
        self._num_open -= 1
        return inner

    def _group_kind(self, place: int) -> None:
        """Pass what follows `(?`."""
        if self._takes(":"):
            return
        for sign, name in _REFUSED_GROUPS.items():
            if self._takes(sign):
                _refuse(f"{name} is not supported", place)
        if not (self._takes("P<") or self._takes("<")):
            _refuse(
                "of the groups that begin with (? only (?:...) and (?P<name>...) are supported, and no flags", place
            )
        close = self._text.find(">", self._place, self._end)
        if close < 0 or not self._text[self._place : close].isidentifier():
            _refuse("this group has no valid name", place)
        self._place = close + 1

    def _class(self, place: int) -> Ranges:
        """The rest of `[...]`."""
        is_negated = self._takes("^")
        ranges: list[tuple[int, int]] = []
        while not ranges or self._next != "]":
            if not self._next:
                _refuse("this [ is never closed", place)
            ranges += self._class_item()
        self._place += 1
        return complement(union(ranges)) if is_negated else intersection(union(ranges), ALL_CHARACTERS)

    def _class_item(self) -> Ranges:
        start = self._place
        first = self._class_character()
        if self._next != "-" or self._text[self._place + 1 : self._end][:1] in ("]", ""):
            return first
        self._place += 1
        last = self._class_character()
        if not (_is_one(first) and _is_one(last)):
            _refuse("a range has one character on each side", start)
        if first[0][0] > last[0][0]:
            _refuse("a range has its ends in the wrong order", start)
        return ((first[0][0], last[0][0]),)

    def _class_character(self) -> Ranges:
        character = self._take()
        if character == "\\":
            return _one("\b") if self._takes("b") else self._escape()
        return _one(character)

    def _escape(self) -> Ranges:
        """What follows a backslash."""
        place = self._place - 1
        letter = self._take()
        if letter == "":
            _refuse("it ends with a backslash", place)
        if letter in "dDwWsS":
            return category(letter)
        if letter in _CONTROLS:
            return _one(_CONTROLS[letter])
        if letter in _HEX_DIGITS:
            return self._hexadecimal(place, _HEX_DIGITS[letter])
        if letter in "123456789":
            _refuse("a backreference is not supported", place)
        if letter in _REFUSED_ESCAPES:
            _refuse(f"{_REFUSED_ESCAPES[letter]} is not supported", place)
        if letter.isascii() and letter.isalnum():
            _refuse(f"\\{letter} is not a known escape", place)
        return _one(letter)

    def _hexadecimal(self, place: int, num_digits: int) -> Ranges:
        digits = self._text[self._place : min(self._place + num_digits, self._end)]
        self._place += num_digits
        if len(digits) < num_digits or not all(digit in "0123456789abcdefABCDEF" for digit in digits):
            _refuse(f"an escape has {num_digits} hexadecimal digits here", place)
        code = int(digits, 16)
        if code > 0x10FFFF or 0xD800 <= code < 0xE000:
            _refuse(f"there is no character {digits}", place)
        return ((code, code),)


def _one(character: str) -> Ranges:
    return ((ord(character), ord(character)),)


def _is_one(ranges: Ranges) -> bool:
    return len(ranges) == 1 and ranges[0][0] == ranges[0][1]


def _ends_with_anchor(text: str) -> bool:
    """Whether the last character is an anchor, and not an escaped dollar sign."""
    before = text[:-1]
    return text.endswith("$") and (len(before) - len(before.rstrip("\\"))) % 2 == 0
