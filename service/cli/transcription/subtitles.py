"""Subtitles from transcripts: cues of SubRip (SRT) and WebVTT, short enough to be read."""

from __future__ import annotations

import html
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from service.client import Transcription

#: Two lines of 42 characters and 7 seconds are what broadcasters show at once.
MAX_LINE_CHARACTERS = 42
MAX_CUE_CHARACTERS = 2 * MAX_LINE_CHARACTERS
MAX_CUE_S = 7.0
#: A pause that ends a cue.
MAX_PAUSE_S = 1.0
#: A cue is shown so long at least, unless the next one begins before.
_MIN_CUE_S = 0.7


class Cue(NamedTuple):
    """A text on the screen, with its times in seconds."""

    start_s: float
    end_s: float
    text: str


def cues_of(heard: Iterable[Transcription]) -> list[Cue]:
    """Cues of finished utterances, in order: by their words where they have times, else one for each utterance."""
    found = [cue for utterance in heard if utterance.text for cue in _cues_of_one(utterance)]
    nexts = [cue.start_s for cue in found[1:]] + [float("inf")]
    return [
        cue._replace(end_s=max(cue.end_s, min(cue.start_s + _MIN_CUE_S, after), cue.start_s + 0.001))
        for cue, after in zip(found, nexts, strict=True)
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


def _cues_of_one(utterance: Transcription) -> Iterator[Cue]:
    words = [Cue(each.start_s or 0.0, each.end_s or 0.0, each.word) for each in utterance.words or []]
    if not words:
        yield Cue(utterance.start_s or 0.0, utterance.end_s or 0.0, utterance.text)
        return
    group: list[Cue] = []
    for word in words:
        if group and not _fits(group, word):
            yield _cue(group)
            group = []
        group.append(word)
    yield _cue(group)


def _fits(group: list[Cue], word: Cue) -> bool:
    length = sum(len(each.text) + 1 for each in group) + len(word.text)
    is_near = word.start_s - group[-1].end_s <= MAX_PAUSE_S
    return is_near and length <= MAX_CUE_CHARACTERS and word.end_s - group[0].start_s <= MAX_CUE_S


def _cue(words: list[Cue]) -> Cue:
    return Cue(words[0].start_s, words[-1].end_s, " ".join(each.text for each in words))


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
