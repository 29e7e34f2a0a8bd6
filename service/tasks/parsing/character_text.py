"""Raw text as a segmenter reads it: each run of white space as one character, and blank lines as ends of paragraphs."""

from __future__ import annotations

import re
import unicodedata
from itertools import pairwise
from typing import Final, NamedTuple

import numpy as np

from service.bundle.padding import Array
from service.bundle.tokenizer import EOS, UNK, TextTokenizer

#: The id of a blank line, and of the end of a text.
PARAGRAPH_END: Final = EOS
#: What white space is read as: within a line, and at the end of one.
BLANK, LINE_END = " ", "\n"
#: The zero-width space and the byte order mark count as white space.
_PART: Final = re.compile("(?P<blank>[\\s\u200b\ufeff]+)|[^\\s\u200b\ufeff]+")
_LINE_ENDS: Final = re.compile("\r\n|[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]")
_JOINER: Final = "\u200d"
#: Modifiers of the colour of an emoji, which are no combining marks.
_MODIFIERS: Final = range(0x1F3FB, 0x1F400)
#: Letters for flags, which come in pairs.
_REGIONAL: Final = range(0x1F1E6, 0x1F200)
#: Marks of other scripts, and those that they are like.
_LIKE: Final = {"。": ".", "।": ".", "۔": ".", "、": ",", "،": ",", "؟": "?", "؛": ";"}
#: Characters that are not in the alphabet and whose ids are remembered.
_MAX_REMEMBERED: Final = 10_000


class CharacterText(NamedTuple):
    """The characters of a text, with its paragraph ends.

    Attributes:
        ids: of each character.
        places: where it stands in the text, in code points; a run of white space where it begins.
        is_blank: whether it is white space or the end of a paragraph.
    """

    ids: list[int]
    places: list[int]
    is_blank: list[bool]


class Alphabet:
    """Ids of characters. One that training lacks counts as its base letter, or else as an `a`, an `A` or a `0`."""

    def __init__(self, tokenizer: TextTokenizer) -> None:
        self._ids = {tokenizer.token(number): number for number in range(EOS + 1, tokenizer.vocabulary_size)}
        self._others: dict[str, int] = {}

    def id_of(self, character: str) -> int:
        """The id of a character; UNK for signs and for letters without case that training lacks."""
        known = self._ids.get(character) or self._others.get(character)
        if known is None:
            known = self._like(character)
            if len(self._others) < _MAX_REMEMBERED:
                self._others[character] = known
        return known

    def _like(self, character: str) -> int:
        base = _LIKE.get(character) or unicodedata.normalize("NFKD", character)[:1]
        shape = "0" if base.isdecimal() else "a" if base.islower() else "A" if base.isupper() else ""
        return self._ids.get(base) or self._ids.get(shape) or UNK

    def blank_id(self, white_space: str) -> int:
        """The id of a run of white space; with two ends of lines or more it ends a paragraph."""
        num_ends = len(_LINE_ENDS.findall(white_space))
        return PARAGRAPH_END if num_ends > 1 else self.id_of(LINE_END if num_ends else BLANK)


def read_characters(text: str, alphabet: Alphabet) -> CharacterText:
    """The characters of a text; white space around it is left out. None at all for a text of nothing else."""
    read = CharacterText([], [], [])
    for found in _PART.finditer(text):
        part, start = found.group(), found.start()
        is_blank = found.lastgroup == "blank"
        if is_blank and (not read.ids or found.end() == len(text)):
            continue
        read.ids.extend([alphabet.blank_id(part)] if is_blank else map(alphabet.id_of, part))
        read.places.extend([start] if is_blank else range(start, found.end()))
        read.is_blank.extend([True] if is_blank else [False] * len(part))
    if read.ids:
        read.ids.append(PARAGRAPH_END)
        read.places.append(read.places[-1] + 1)
        read.is_blank.append(True)
    return read


def joins_next(text: str, read: CharacterText) -> Array:
    """`[characters]`: whether a character and the one after it are one to a reader, so that no word ends between.

    Combining marks belong to what stands before them, and parts of an emoji to each other.
    """
    joined = np.zeros(len(read.ids), dtype=bool)
    if text.isascii():
        return joined
    characters = [BLANK if blank else text[place] for place, blank in zip(read.places, read.is_blank, strict=True)]
    is_half_flag = False
    for place, (character, after) in enumerate(pairwise(characters)):
        is_half_flag = ord(character) in _REGIONAL and not is_half_flag
        is_flag = is_half_flag and ord(after) in _REGIONAL
        is_one = is_flag or character == _JOINER or _continues(after)
        joined[place] = is_one and BLANK not in (character, after)
    return joined


def _continues(character: str) -> bool:
    """Whether a character belongs to the one before it."""
    if character.isascii():
        return False
    return character == _JOINER or unicodedata.category(character)[0] == "M" or ord(character) in _MODIFIERS
