"""Units in which the places of words are counted: every language counts the characters of a string its own way."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Literal

#: Code points are what Python counts; UTF-16 units are what JavaScript, Java and C# count; bytes are those of UTF-8,
#: which Go and Rust count.
OffsetUnit = Literal["codepoints", "utf16", "bytes"]

Offsets = tuple[tuple[int, int], ...]

_LAST_OF_ONE_UTF16_UNIT = "\uffff"


def in_unit(text: str, offsets: Offsets, unit: OffsetUnit) -> Offsets:
    """Offsets `(start, end)` in code points of `text`, in another unit."""
    if unit == "codepoints" or text.isascii():
        return offsets
    before = [0, *accumulate(_sizes(text, unit))]
    return tuple((before[start], before[end]) for start, end in offsets)


def _sizes(text: str, unit: OffsetUnit) -> Sequence[int]:
    """The size of each code point."""
    if unit == "utf16":
        return [1 + (character > _LAST_OF_ONE_UTF16_UNIT) for character in text]
    return [len(character.encode("utf-8")) for character in text]
