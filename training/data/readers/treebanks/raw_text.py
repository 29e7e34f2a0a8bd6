"""The raw text of a treebank: its sentences one after the other, as the CoNLL shared tasks made it.

Sentences of a paragraph are joined by a blank, or by nothing where the treebank says so; paragraphs by a blank line.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from service.errors import UnrollError
from training.data.records import ParsedSentence, SurfaceToken

PARAGRAPH: Final = "\n\n"
#: Words of a sentence without text that a message shows.
_SHOWN: Final = 4


class NoRawText(UnrollError):
    """Sentences whose text is not known."""


class RawText(NamedTuple):
    """A text; for each of its sentences the tokens with their places in it, in code points."""

    text: str
    sentences: tuple[tuple[SurfaceToken, ...], ...]


def raw_text(sentences: Sequence[ParsedSentence], what: str) -> RawText:
    """The text of all sentences in their order; `what` names them in the error.

    Raises:
        NoRawText: some have no text.
    """
    missing = [sentence for sentence in sentences if sentence.surface is None]
    if missing or not sentences:
        first = f" (the first begins {' '.join(missing[0].words[:_SHOWN])!r})" if missing else ""
        raise NoRawText(
            f"{what}: {len(missing):,} of {len(sentences):,} sentences have no raw text{first}; write it above each as "
            "a comment, `# text = ...`, that holds the words in their order (or the multiword tokens, with lines such "
            "as 8-9)"
        )
    parts, placed, place, is_joined = list[str](), [], 0, True
    for surface in (sentence.surface for sentence in sentences if sentence.surface is not None):
        between = (PARAGRAPH if surface.starts_paragraph else "" if is_joined else " ") if parts else ""
        place += len(between)
        parts += [between, surface.text]
        placed.append(tuple(SurfaceToken(place + start, place + end, n) for start, end, n in surface.tokens))
        place += len(surface.text)
        is_joined = surface.is_joined
    return RawText("".join(parts), tuple(placed))
