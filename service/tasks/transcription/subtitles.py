"""Subtitles from the segments of a transcript: cues of SubRip (SRT) and WebVTT, long enough to be read."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

from service.tasks.transcription.segments import MAX_LINE_CHARACTERS, Segment

#: A cue is shown so long at least, unless the next one begins before. A word may have been heard in a single step.
_MIN_CUE_S = 0.7


class Cue(NamedTuple):
    """A text on the screen, with its times in seconds."""

    start_s: float
    end_s: float
    text: str


def cues_of(segments: Sequence[Segment]) -> list[Cue]:
    """A cue for each segment, in order."""
    starts = [segment.start_s or 0.0 for segment in segments]
    return [
        Cue(start, max(segment.end_s or 0.0, min(start + _MIN_CUE_S, after), start + 0.001), segment.text)
        for segment, (start, after) in zip(segments, pairwise([*starts, float("inf")]), strict=True)
    ]


def srt_of(cues: Iterable[Cue]) -> str:
    """The text of a SubRip file."""
    return "".join(
        f"{number}\n{_time(cue.start_s, ',')} --> {_time(cue.end_s, ',')}\n{_in_lines(cue.text)}\n\n"
        for number, cue in enumerate(cues, start=1)
    )


def vtt_of(cues: Iterable[Cue]) -> str:
    """The text of a WebVTT file."""
    parts = (
        f"{_time(cue.start_s, '.')} --> {_time(cue.end_s, '.')}\n{html.escape(_in_lines(cue.text), quote=False)}\n"
        for cue in cues
    )
    return "\n".join(["WEBVTT\n", *parts])


def _in_lines(text: str) -> str:
    """The text in two lines of about the same length, where one is too long."""
    if len(text) <= MAX_LINE_CHARACTERS:
        return text
    spaces = [place for place, sign in enumerate(text) if sign == " "]
    if not spaces:
        return text
    cut = min(spaces, key=lambda place: abs(place - len(text) / 2))
    return f"{text[:cut]}\n{text[cut + 1 :]}"


def _time(seconds: float, point: str) -> str:
    whole_ms = max(round(seconds * 1000), 0)
    minutes, ms = divmod(whole_ms, 60_000)
    return f"{minutes // 60:02}:{minutes % 60:02}:{ms // 1000:02}{point}{ms % 1000:03}"
