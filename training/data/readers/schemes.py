"""Tagging schemes for spans. Records always hold BIO: `B-X` starts a span, `I-X` continues it.

IOB1 writes `B-` only where a span follows another of its type (Ramshaw and Marcus 1995); BIOES marks ends and single
words too, and BILOU is BIOES with other letters.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

Scheme = Literal["bio", "iob1", "bioes"]

OUTSIDE = "O"
#: BIO letters of the letters of other schemes.
_BIO_LETTER = {"B": "B", "I": "I", "E": "I", "S": "B", "L": "I", "U": "B"}


def split_tag(tag: str) -> tuple[str, str]:
    """Split `B-PER` into `("B", "PER")`, and `O` into `("O", "")`."""
    letter, _, kind = tag.partition("-")
    return letter, kind


def detect_scheme(sentences: Sequence[Sequence[str]]) -> Scheme | None:
    """Detect the scheme of all tags of a file; None if they are no span tags, such as parts of speech."""
    tags = {tag for sentence in sentences for tag in sentence} - {OUTSIDE}
    letters = {_letter_of_span_tag(tag) for tag in tags}
    if not letters or None in letters:
        return None
    if letters <= {"B", "I"}:
        return "iob1" if _looks_like_iob1(sentences) else "bio"
    return "bioes" if letters <= {"B", "I", "E", "S"} or letters <= {"B", "I", "L", "U"} else None


def span_scheme(sentences: Iterable[Sequence[str]]) -> Literal["bio"] | None:
    """Scheme for the manifest: `bio` if the tags of the records form spans, else None."""
    return None if detect_scheme(list(sentences)) is None else "bio"


def to_bio(tags: Sequence[str]) -> tuple[str, ...]:
    """Convert the tags of a sentence from any scheme to BIO. A span that starts with an inside tag gets its `B-`.

    conlleval counts such a span the same way, so scores do not change.
    """
    letters_and_kinds = [split_tag(tag) for tag in tags]
    plain = [OUTSIDE if letter == OUTSIDE else f"{_BIO_LETTER[letter]}-{kind}" for letter, kind in letters_and_kinds]
    for index in illegal_inside(plain):
        plain[index] = f"B-{split_tag(plain[index])[1]}"
    return tuple(plain)


def illegal_inside(tags: Sequence[str]) -> Iterator[int]:
    """Positions of invalid `I-X` tags: the tag before is neither `B-X` nor `I-X`."""
    previous = OUTSIDE
    for index, tag in enumerate(tags):
        letter, kind = split_tag(tag)
        if letter == "I" and (previous == OUTSIDE or split_tag(previous)[1] != kind):
            yield index
        previous = tag


def _letter_of_span_tag(tag: str) -> str | None:
    letter, kind = split_tag(tag)
    return letter if letter in _BIO_LETTER and kind else None


def _looks_like_iob1(sentences: Sequence[Sequence[str]]) -> bool:
    """Whether some span starts with `I-`, and no `B-X` occurs where IOB1 would write `I-X`."""
    return any(_has_illegal_inside(tags) for tags in sentences) and not any(map(_has_free_begin, sentences))


def _has_illegal_inside(tags: Sequence[str]) -> bool:
    return next(illegal_inside(tags), None) is not None


def _has_free_begin(tags: Sequence[str]) -> bool:
    """Whether a `B-X` follows something other than a span of type X."""
    pairs = zip((OUTSIDE, *tags), tags, strict=False)
    return any(tag.startswith("B-") and split_tag(before)[1] != split_tag(tag)[1] for before, tag in pairs)
