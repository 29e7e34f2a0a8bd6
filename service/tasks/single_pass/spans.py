"""Spans of BIO tags, by the rules of the CoNLL-2000 scorer, so that scores and answers use the same spans."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Span(NamedTuple):
    """Words `start` up to, but not including, `end`."""

    label: str
    start: int
    end: int


def bio_spans(tags: Sequence[str]) -> list[Span]:
    """The spans of a BIO-tagged sentence, in order.

    `B-X` starts a span. `I-X` continues a span of type X, or starts one if there is none or one of another type.
    Every other tag is outside.
    """
    spans: list[Span] = []
    start, open_label = 0, ""
    for index, tag in enumerate([*tags, "O"]):
        prefix, label = _parts(tag)
        if open_label and (prefix == "B" or label != open_label):
            spans.append(Span(open_label, start, index))
            open_label = ""
        if label and not open_label:
            start, open_label = index, label
    return spans


def _parts(tag: str) -> tuple[str, str]:
    """`B-person` is `("B", "person")`; a tag outside of spans is `("O", "")`."""
    prefix, _, label = tag.partition("-")
    return (prefix, label) if prefix in ("B", "I") and label else ("O", "")
