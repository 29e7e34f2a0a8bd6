"""Strings of single recordings: words one after another with gaps, each at its place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from training.synthesis.recordings import Clip, WordRecordings
from training.synthesis.sound import Samples, at_level, with_silence

#: Words may touch, and even overlap a little.
_GAP_S = (-0.03, 0.2)
_LEVEL_DB, _LEVEL_SPREAD_DB = -24.0, 3.0
_FADE_S = 0.01


class Place(NamedTuple):
    """A word and where it is said, in samples."""

    word: str
    start: int
    end: int

    def later(self, samples: int) -> Place:
        """The same word after so many more samples."""
        return Place(self.word, self.start + samples, self.end + samples)


class Glued(NamedTuple):
    """A sound, and the words in it."""

    samples: Samples
    places: Sequence[Place]

    @property
    def text(self) -> str:
        """The words in order, divided by spaces; empty where there are none."""
        return " ".join(place.word for place in self.places)


class WordString(NamedTuple):
    """Words of one speaker."""

    speaker: str
    glued: Glued


def word_string(words: WordRecordings, lengths: tuple[int, int], rate_hz: int, rng: np.random.Generator) -> WordString:
    """Random words of a random speaker, as many as `lengths` allows (the least and the most)."""
    speaker = words.speakers[int(rng.integers(len(words.speakers)))]
    known = words.by_speaker[speaker]
    chosen = [
        sorted(known)[place] for place in rng.integers(len(known), size=int(rng.integers(*lengths, endpoint=True)))
    ]
    clips = [Clip(word, known[word][int(rng.integers(len(known[word])))]) for word in chosen]
    return WordString(speaker, glued(clips, rate_hz, rng))


def glued(clips: Sequence[Clip], rate_hz: int, rng: np.random.Generator) -> Glued:
    """The clips one after another, with random gaps and levels, faded in and out so that no border clicks."""
    shaped = [_shaped(clip.samples, rate_hz, rng) for clip in clips]
    starts, end = list[int](), 0
    for samples in shaped:
        gap = round(float(rng.uniform(*_GAP_S)) * rate_hz) if starts else 0
        starts.append(max(0, end + gap))
        end = max(end, starts[-1] + len(samples))
    whole = np.zeros(end, dtype=np.float32)
    for start, samples in zip(starts, shaped, strict=True):
        whole[start : start + len(samples)] += samples
    placed = zip(clips, starts, shaped, strict=True)
    return Glued(whole, tuple(Place(clip.word, start, start + len(samples)) for clip, start, samples in placed))


def joined(parts: Sequence[Glued]) -> Glued:
    """Sounds one after another."""
    starts = np.cumsum([0, *(len(part.samples) for part in parts)])
    places = (place.later(int(start)) for part, start in zip(parts, starts, strict=False) for place in part.places)
    return Glued(np.concatenate([part.samples for part in parts]), tuple(places))


def padded(part: Glued, before_s: float, after_s: float, rate_hz: int) -> Glued:
    """With silence before and after."""
    places = tuple(place.later(round(before_s * rate_hz)) for place in part.places)
    return Glued(with_silence(part.samples, before_s, after_s, rate_hz), places)


def _shaped(samples: Samples, rate_hz: int, rng: np.random.Generator) -> Samples:
    level_db = _LEVEL_DB + float(rng.uniform(-_LEVEL_SPREAD_DB, _LEVEL_SPREAD_DB))
    fade = max(1, min(round(_FADE_S * rate_hz), len(samples) // 4))
    ramp = np.linspace(0.0, 1.0, fade, dtype=np.float32)
    envelope = np.concatenate([ramp, np.ones(max(0, len(samples) - 2 * fade), dtype=np.float32), ramp[::-1]])
    shaped: Samples = at_level(samples, level_db) * envelope[: len(samples)]
    return shaped
