"""Detokenizer: token ids to text, token by token, in whole characters and up to the first stop string."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from service.bundle.tokenizer import TextTokenizer

#: Tokens before the new ones that are decoded with them, because decoders look back for spaces.
_CONTEXT_TOKENS = 5
#: The context grows to this before it is cut, so that most tokens cost one call of the decoder instead of two.
_MAX_CONTEXT_TOKENS = 16
#: A character has at most four bytes. Bytes that are incomplete after this many tokens will stay so, and are released.
_MAX_HELD_TOKENS = 8
_INCOMPLETE = "\ufffd"


class TextPosition(NamedTuple):
    """The state of a detokenizer: what the text that follows depends on."""

    #: The last tokens that have been decoded.
    context_ids: tuple[int, ...]
    #: Tokens whose bytes do not form a whole character yet.
    held_ids: tuple[int, ...] = ()
    #: The end of the text, in which a stop string may begin.
    tail: str = ""

    def after_prompt(self, prompt_ids: Sequence[int]) -> TextPosition:
        """The position after a prompt was inserted: no bytes are held, and no stop string spans the prompt."""
        if not prompt_ids:
            return self
        before = (*self.context_ids, *self.held_ids)
        return TextPosition((*before, *prompt_ids[-_CONTEXT_TOKENS:])[-_CONTEXT_TOKENS:])


#: Before the first prompt.
START = TextPosition(())


class Detokenizer:
    """Decodes the text that follows a position. The pieces that `append` and `flush` return add up to `text`."""

    def __init__(self, tokenizer: TextTokenizer, position: TextPosition, stop: Sequence[str]) -> None:
        self.text = ""
        self.stopped = False
        self._tokenizer = tokenizer
        self._stop = stop
        self._max_tail = max(map(len, stop), default=1) - 1
        self._tail = position.tail
        self._held = list(position.held_ids)
        self._context = list(position.context_ids)
        self._num_context_characters: int | None = None if self._context else 0
        self._characters_before()

    def append(self, token_id: int) -> str:
        """Add a token. Returns the text that it completes, empty while bytes of a character are missing."""
        if not self._held and self._characters_before():
            added = self._tokenizer.text_after(token_id)
            if added is not None:
                return self._add_known(token_id, added)
        self._held.append(token_id)
        whole = self._decode_held()
        if whole.endswith(_INCOMPLETE) and len(self._held) < _MAX_HELD_TOKENS:
            return ""
        return self._release(whole)

    def extend(self, token_ids: Sequence[int]) -> None:
        """`append` for many tokens, with a single call of the decoder where that gives the same text."""
        ids = [*self._context, *self._held, *token_ids]
        whole = "" if self._stop else self._tokenizer.decode(ids)
        if self._stop or not token_ids or _INCOMPLETE in whole:
            for token_id in token_ids:
                self.append(token_id)
        else:
            self.text += whole[self._characters_before() :]
            self._held = []
            self._set_context(ids[-_CONTEXT_TOKENS:])

    def flush(self) -> str:
        """The text still held back, with a replacement character for incomplete bytes."""
        return self._release(self._decode_held()) if self._held else ""

    def position(self, max_tail: int = 0) -> TextPosition:
        """The position after this text, with its last `max_tail` characters, or all if it is shorter."""
        text = self._tail + self.text
        return TextPosition(tuple(self._context), tuple(self._held), text[max(0, len(text) - max_tail) :])

    def _decode_held(self) -> str:
        """The text of context and held tokens."""
        return self._tokenizer.decode([*self._context, *self._held])

    def _release(self, whole: str) -> str:
        piece = whole[self._characters_before() :]
        self._context += self._held
        self._held = []
        self._num_context_characters = len(whole)
        return self._add(piece)

    def _add_known(self, token_id: int, piece: str) -> str:
        """Add a token whose text needs no decoder."""
        self._context.append(token_id)
        self._num_context_characters = self._characters_before() + len(piece)
        return self._add(piece)

    def _add(self, piece: str) -> str:
        if len(self._context) > _MAX_CONTEXT_TOKENS:
            self._set_context(self._context[-_CONTEXT_TOKENS:])
        if self._stop:
            piece = self._until_stop(piece)
        self.text += piece
        return piece

    def _set_context(self, ids: list[int]) -> None:
        self._context = ids
        self._num_context_characters = None if ids else 0

    def _characters_before(self) -> int:
        """Characters of the context alone, counted when text follows: a text that came at once has mostly ended."""
        if self._num_context_characters is None:
            self._num_context_characters = len(self._tokenizer.decode(self._context))
        return self._num_context_characters

    def _until_stop(self, piece: str) -> str:
        """`piece` up to the end of the first complete stop string, which may begin in earlier pieces."""
        before = self.text[-self._max_tail :] if self._max_tail else ""
        if len(before) < self._max_tail:
            before = (self._tail + before)[-self._max_tail :]
        found = (_end(before + piece, stop, len(before)) for stop in self._stop)
        end = min((end - len(before) for end in found if end is not None), default=None)
        self.stopped = end is not None
        return piece if end is None else piece[:end]


def _end(text: str, stop: str, after: int) -> int | None:
    """The end of the first `stop` in `text` that ends beyond `after`."""
    start = text.find(stop, max(0, after - len(stop) + 1))
    return None if start < 0 else start + len(stop)
