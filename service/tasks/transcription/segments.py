"""Segments of a transcript: words that are shown together, as subtitles are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

#: A pause that begins a new segment, and how long one may be, as is usual for subtitles.
_PAUSE_S, _MAX_S, _MAX_CHARACTERS = 0.7, 7.0, 84


class Segment(NamedTuple):
    """Adjacent words, each as in an answer: `word`, `start_s`, `end_s`, `confidence`."""

    words: Sequence[dict[str, Any]]

    @property
    def text(self) -> str:
        return " ".join([word["word"] for word in self.words])

    @property
    def start_s(self) -> float | None:
        start: float | None = self.words[0]["start_s"]
        return start

    @property
    def end_s(self) -> float | None:
        end: float | None = self.words[-1]["end_s"]
        return end


def segments_of(words: Sequence[dict[str, Any]]) -> list[Segment]:
    """The words of a transcript in segments; one segment where the times are unknown."""
    segments: list[list[dict[str, Any]]] = []
    for word in words:
        if segments and _belongs(segments[-1], word):
            segments[-1].append(word)
        else:
            segments.append([word])
    return [Segment(segment) for segment in segments]


def _belongs(segment: Sequence[dict[str, Any]], word: dict[str, Any]) -> bool:
    if word["start_s"] is None:
        return True
    is_near = word["start_s"] - segment[-1]["end_s"] < _PAUSE_S
    is_short = word["end_s"] - segment[0]["start_s"] <= _MAX_S
    return is_near and is_short and sum([len(one["word"]) + 1 for one in (*segment, word)]) <= _MAX_CHARACTERS
