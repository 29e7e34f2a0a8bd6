"""The text of a sentence of a treebank, and where its tokens stand in it.

Tokens are found one after the other in the comment `# text`, which every treebank of Universal Dependencies has.
https://universaldependencies.org/format.html
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from training.data.readers.treebanks.conllu_line import FORM, MISC, NUM_COLUMNS, number_of
from training.data.records import Surface, SurfaceToken

TEXT_COMMENT: Final = "# text ="
_PARAGRAPH_COMMENTS: Final = ("# newpar", "# newdoc")
_JOINED: Final = "SpaceAfter=No"


@dataclass
class SurfaceLines:
    """What the lines of one sentence say of its text.

    Attributes:
        forms: of words by number, from 1; and of multiword tokens by the numbers of their first and last words.
        is_joined: whether the last word or token that was read has nothing after it.
        is_broken: whether a multiword token does not stand before its words, or has words of another one.
    """

    text: str | None = None
    starts_paragraph: bool = False
    is_joined: bool = False
    is_broken: bool = False
    words: list[str] = field(default_factory=list)
    ranges: dict[int, tuple[int, str]] = field(default_factory=dict)

    def read(self, line: str) -> None:
        """Note a comment, a word or a multiword token; lines that are nothing of it are left out."""
        if line.startswith(TEXT_COMMENT):
            self.text = line[len(TEXT_COMMENT) :].strip()
        elif line.startswith(_PARAGRAPH_COMMENTS):
            self.starts_paragraph = True
        elif not line.startswith("#"):
            self._read_cells(line.split("\t"))

    def _read_cells(self, cells: Sequence[str]) -> None:
        if len(cells) != NUM_COLUMNS or "." in cells[0]:
            return
        first, separator, last = cells[0].partition("-")
        number, last_of_token = number_of(first), number_of(last if separator else first)
        if number is None or last_of_token is None:
            return
        end = max((last for last, _ in self.ranges.values()), default=0)
        if separator:
            self.is_broken |= number <= end or number != len(self.words) + 1
            self.ranges[number] = last_of_token, cells[FORM].strip()
        else:
            self.words.append(cells[FORM].strip())
        # A word within a multiword token does not say what follows the token.
        if separator or last_of_token > end:
            self.is_joined = _JOINED in cells[MISC].split("|")

    def surface(self) -> Surface | None:
        """The sentence as it stands in its text; None without a text, or if its tokens are not those of the text."""
        if self.text is None or self.is_broken:
            return None
        tokens, place, word = list[SurfaceToken](), 0, 1
        while word <= len(self.words):
            last, form = self.ranges.get(word, (word, self.words[word - 1]))
            start = _next_visible(self.text, place)
            if last < word or not self.text.startswith(form, start):
                return None
            place = start + len(form)
            tokens.append(SurfaceToken(start, place, last - word + 1))
            word = last + 1
        is_whole = place == len(self.text) and word == len(self.words) + 1
        return Surface(self.text, tuple(tokens), self.starts_paragraph, self.is_joined) if is_whole else None


def _next_visible(text: str, place: int) -> int:
    while place < len(text) and text[place].isspace():
        place += 1
    return place
