"""Segments of a transcript: words that are shown together, as subtitles are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

#: A pause that begins a new segment, and how long one may be: what broadcasters show at once is two lines of 42
#: characters, for 7 seconds.
MAX_PAUSE_S, MAX_SEGMENT_S = 1.0, 7.0
MAX_LINE_CHARACTERS = 42
MAX_CHARACTERS = 2 * MAX_LINE_CHARACTERS


class TimedWord(NamedTuple):
    """A word of a transcript. Its times are in seconds, None where they are unknown."""

    word: str
    start_s: float | None
    end_s: float | None
    confidence: float = 1.0


class Segment(NamedTuple):
    """Adjacent words, at least one."""

    words: Sequence[TimedWord]

    @property
    def text(self) -> str:
        return " ".join([word.word for word in self.words])

    @property
    def start_s(self) -> float | None:
        return self.words[0].start_s

    @property
    def end_s(self) -> float | None:
        return self.words[-1].end_s


def timed_words(words: Iterable[Mapping[str, Any]]) -> list[TimedWord]:
    """The words of an answer."""
    return [TimedWord(each["word"], each["start_s"], each["end_s"], each["confidence"]) for each in words]


def segments_of(words: Sequence[TimedWord]) -> list[Segment]:
    """The words of a transcript in segments; one segment where the times are unknown."""
    segments: list[list[TimedWord]] = []
    for word in words:
        if segments and _belongs(segments[-1], word):
            segments[-1].append(word)
        else:
            segments.append([word])
    return [Segment(segment) for segment in segments]


def _belongs(segment: Sequence[TimedWord], word: TimedWord) -> bool:
    start_s, end_s = segment[0].start_s, segment[-1].end_s
    if start_s is None or end_s is None or word.start_s is None or word.end_s is None:
        return True
    is_near = word.start_s - end_s <= MAX_PAUSE_S
    is_short = word.end_s - start_s <= MAX_SEGMENT_S
    return is_near and is_short and sum([len(one.word) + 1 for one in segment]) + len(word.word) <= MAX_CHARACTERS
