"""Ids to text, token by token: never half a character, and never anything after a stop string."""

from __future__ import annotations

from collections.abc import Sequence

from service.bundle.tokenizer import TextTokenizer

#: How many tokens before the new ones are decoded with them: decoders look back for spaces, not further.
_CONTEXT_TOKENS = 5
#: The longest character has four bytes. Bytes that form none after this many tokens never will, and are let go.
_MAX_HELD_TOKENS = 8
_INCOMPLETE = "\ufffd"


class TextStream:
    """The text that follows a prompt. The pieces that `append` and `flush` hand back add up to `text`."""

    def __init__(self, tokenizer: TextTokenizer, prompt_ids: Sequence[int], stop: Sequence[str]) -> None:
        self.text = ""
        self.stopped = False
        self._tokenizer = tokenizer
        self._stop = stop
        self._longest_stop = max(map(len, stop), default=0)
        self._context = list(prompt_ids[-_CONTEXT_TOKENS:])
        self._held: list[int] = []

    def append(self, token_id: int) -> str:
        """The text that this token completes; empty while bytes of a character are missing."""
        self._held.append(token_id)
        piece = self._decode_held()
        if piece.endswith(_INCOMPLETE) and len(self._held) < _MAX_HELD_TOKENS:
            return ""
        return self._release(piece)

    def flush(self) -> str:
        """What is still held back, with a replacement sign for a character that never became whole."""
        return self._release(self._decode_held()) if self._held else ""

    def _decode_held(self) -> str:
        before = self._tokenizer.decode(self._context)
        return self._tokenizer.decode([*self._context, *self._held])[len(before) :]

    def _release(self, piece: str) -> str:
        self._context = [*self._context, *self._held][-_CONTEXT_TOKENS:]
        self._held = []
        end = self._end_of_stop(piece)
        self.stopped = end is not None
        piece = piece if end is None else piece[:end]
        self.text += piece
        return piece

    def _end_of_stop(self, piece: str) -> int | None:
        """Where in `piece` the first stop string to be complete ends; it may have begun in earlier pieces."""
        tail = self.text[len(self.text) - min(len(self.text), max(self._longest_stop - 1, 0)) :]
        found = (_end(tail + piece, stop, len(tail)) for stop in self._stop)
        return min((end - len(tail) for end in found if end is not None), default=None)


def _end(text: str, stop: str, after: int) -> int | None:
    """The end of the first `stop` in `text` that ends beyond `after`."""
    start = text.find(stop, max(0, after - len(stop) + 1))
    return None if start < 0 else start + len(stop)
