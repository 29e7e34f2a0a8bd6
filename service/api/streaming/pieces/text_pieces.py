"""Text that arrives in pieces, cut where words end: what the words so far are does not depend on what follows."""

from __future__ import annotations

from typing import NamedTuple

from service.bundle.load import Bundle
from service.bundle.tokenizer import TextTokenizer
from service.errors import InvalidInput
from service.tasks.core.offsets import OffsetUnit, in_unit
from service.tasks.core.task import MAX_CHARACTERS_PER_TOKEN, require_at_most

#: A word is at most that long: it is split anew with each piece.
_MAX_HELD_CHARACTERS = 2_000


class TextPart(NamedTuple):
    """A part of a text, and its place in the whole: `[start, end)` in the unit of the offsets."""

    text: str
    start: int
    end: int


class TextPieces:
    """Collects pieces of one text, and gives the words that are complete.

    A word is complete when white space follows at which the bundle's tokenizer splits: then the tokens of the part are
    those that the same words have in the whole text. White space stays with what follows.

    Attributes:
        held: the text of a word that may not be complete.
    """

    def __init__(self, bundle: Bundle, unit: OffsetUnit) -> None:
        self.held = ""
        self._tokenizer = words_of(bundle)
        self._unit = unit
        self._max_characters = bundle.manifest.limits.max_input_tokens * MAX_CHARACTERS_PER_TOKEN
        self._num_read = 0

    def add(self, text: str, flush: bool = False) -> TextPart | None:
        """The words that are complete with this piece; None if there are none.

        Raises:
            InvalidInput: a word, or the piece, is too long.
        """
        pending = self.held + text
        require_at_most(len(pending), self._max_characters, "characters", ("text",))
        cut = len(pending) if flush else self._complete(pending)
        if len(pending) - cut > _MAX_HELD_CHARACTERS:
            raise InvalidInput(
                f"{len(pending) - cut} characters without an end of a word, at most {_MAX_HELD_CHARACTERS} are held: "
                'send white space between words, or "flush": true where one ends',
                ("text",),
            )
        return self._part(pending, cut)

    def rest(self) -> TextPart | None:
        """What is held, at the end of the text; None if it is blank."""
        return self._part(self.held, len(self.held))

    def _part(self, pending: str, cut: int) -> TextPart | None:
        if not pending[:cut].strip():
            self.held = pending
            return None
        part, self.held = pending[:cut], pending[cut:]
        start = self._num_read
        self._num_read += in_unit(part, ((0, len(part)),), self._unit)[0][1]
        return TextPart(part, start, self._num_read)

    def _complete(self, text: str) -> int:
        """The number of characters before the last white space at which the tokenizer splits."""
        pieces = self._tokenizer.pieces(text)
        if not pieces:
            return 0
        last = pieces[-1].end
        if text[last : last + 1].isspace():  # nothing but white space has come since
            return last
        for before, after in zip(reversed(pieces[:-1]), reversed(pieces), strict=False):
            if any(map(str.isspace, text[before.end : after.start + 1])):
                return before.end
        return 0


def words_of(bundle: Bundle) -> TextTokenizer:
    """The tokenizer that splits the texts of a tagger or classifier."""
    return bundle.tokenizers["words" if "words" in bundle.tokenizers else "text"]
