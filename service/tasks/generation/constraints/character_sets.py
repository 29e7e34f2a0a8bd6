"""Sets of characters as ranges of code points: ascending, apart from each other, without surrogates."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache

#: First and last code point of each range.
Ranges = tuple[tuple[int, int], ...]

#: Every character. Halves of surrogate pairs are none.
ALL_CHARACTERS: Ranges = ((0, 0xD7FF), (0xE000, sys.maxunicode))

_CATEGORIES: dict[str, Callable[[str], bool]] = {
    "d": str.isdecimal,
    "s": str.isspace,
    "w": lambda character: character.isalnum() or character == "_",
}


def union(ranges: Iterable[tuple[int, int]]) -> Ranges:
    """The characters in any of the ranges."""
    joined: list[tuple[int, int]] = []
    for first, last in sorted(ranges):
        if joined and first <= joined[-1][1] + 1:
            joined[-1] = (joined[-1][0], max(last, joined[-1][1]))
        else:
            joined.append((first, last))
    return tuple(joined)


def complement(ranges: Ranges) -> Ranges:
    """All characters that are not in the set."""
    edges = [-1, *(edge for first, last in ranges for edge in (first, last)), sys.maxunicode + 1]
    gaps = ((before + 1, after - 1) for before, after in zip(edges[::2], edges[1::2], strict=True))
    return intersection(tuple(gap for gap in gaps if gap[0] <= gap[1]), ALL_CHARACTERS)


def intersection(left: Ranges, right: Ranges) -> Ranges:
    """The characters in both sets."""
    found, place = [], 0
    for first, last in left:
        while place < len(right) and right[place][1] < first:
            place += 1
        for other_first, other_last in right[place:]:
            if other_first > last:
                break
            found.append((max(first, other_first), min(last, other_last)))
    return tuple(found)


@lru_cache
def category(letter: str) -> Ranges:
    r"""The characters of `\d`, `\s` or `\w`, as Python's `re` matches them in Unicode; a capital letter negates."""
    if letter.isupper():
        return complement(category(letter.lower()))
    belongs = _CATEGORIES[letter]
    return union((code, code) for code in range(sys.maxunicode + 1) if belongs(chr(code)))


def utf8_ranges(first: int, last: int) -> Iterator[tuple[tuple[int, int], ...]]:
    """The UTF-8 encodings of a range of characters, as sequences of one to four ranges of bytes.

    A range is cut where encodings get longer, and where only some of the last bytes of a block belong to it: within a
    piece, each byte runs through its range independently of the others.
    """
    for limit in (0x7F, 0x7FF, 0xFFFF):
        if first <= limit < last:
            yield from utf8_ranges(first, limit)
            yield from utf8_ranges(limit + 1, last)
            return
    for block in (0x3F, 0xFFF, 0x3FFFF) if last > 0x7F else ():
        if first | block == last | block:
            continue
        start_of_last = last & ~block
        if first & block:
            yield from utf8_ranges(first, first | block)
            yield from utf8_ranges((first | block) + 1, last)
            return
        if last & block != block:
            yield from utf8_ranges(first, start_of_last - 1)
            yield from utf8_ranges(start_of_last, last)
            return
    yield tuple(zip(chr(first).encode(), chr(last).encode(), strict=True))
