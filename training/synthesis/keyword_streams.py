"""Keywords among other sound: short utterances to learn from, and long streams that a detector is scored on.

Spoken digits stand among prompts of another voice that hold none, noise and silence; all over one floor of noise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from training.synthesis.gluing import Glued, joined, padded, word_string
from training.synthesis.noises import random_noise
from training.synthesis.recordings import Prompt, WordRecordings, kept_apart, read_prompts, read_words
from training.synthesis.sound import Samples, at_level, wave_bytes
from training.synthesis.sound_set import MadeSound, SoundSet, write_together

#: Shares of what is heard: words to find, prompts without them, noise, silence.
_SHARES = (0.3, 0.35, 0.2, 0.15)
_SPEECH_DB, _LEVEL_SPREAD_DB = -24.0, 4.0
_FLOOR_DB, _NOISE_DB = (-75.0, -52.0), (-55.0, -28.0)
_NOISE_S, _SILENCE_S, _PAUSE_S = (0.5, 4.0), (0.5, 4.0), (0.1, 1.0)
_STREAM_S = (300.0, 600.0)
_MOST_WORDS = 4


class StreamRequest(NamedTuple):
    """Which words are to be found among which prompts."""

    words: str
    prompts: str
    leave_out: str
    seed: int
    rate_hz: int


@dataclass(frozen=True)
class Scenery:
    """What sounds are made of."""

    words: WordRecordings
    prompts: Sequence[Prompt]
    rate_hz: int

    def stretch(self, rng: np.random.Generator) -> Glued:
        """A few words, a prompt, noise or silence, with a pause before it."""
        kind = int(rng.choice(len(_SHARES), p=_SHARES))
        if kind == 0:
            made = word_string(self.words, (1, _MOST_WORDS), self.rate_hz, rng).glued
        elif kind == 1:
            made = Glued(self._prompt(rng), ())
        else:
            made = Glued(self._noise(rng) if kind == 2 else np.zeros(self._length(_SILENCE_S, rng), np.float32), ())
        return padded(made, float(rng.uniform(*_PAUSE_S)), 0.0, self.rate_hz)

    def with_floor(self, sound: Glued, rng: np.random.Generator) -> Glued:
        """Over faint noise throughout."""
        floor = random_noise(len(sound.samples), float(rng.uniform(*_FLOOR_DB)), self.rate_hz, rng)
        return Glued(sound.samples + floor, sound.places)

    def _prompt(self, rng: np.random.Generator) -> Samples:
        level_db = _SPEECH_DB + float(rng.uniform(-_LEVEL_SPREAD_DB, _LEVEL_SPREAD_DB))
        return at_level(self.prompts[int(rng.integers(len(self.prompts)))].samples, level_db)

    def _noise(self, rng: np.random.Generator) -> Samples:
        return random_noise(self._length(_NOISE_S, rng), float(rng.uniform(*_NOISE_DB)), self.rate_hz, rng)

    def _length(self, seconds: tuple[float, float], rng: np.random.Generator) -> int:
        return round(float(rng.uniform(*seconds)) * self.rate_hz)


def synthesize_background(request: StreamRequest, count: int, longest_s: float, out: Path, jobs: int) -> Iterator[Path]:
    """Write `train.tsv` and `train.zip`: utterances whose text is the words among other sound, empty where none are.

    Raises:
        DatasetUnavailable: recordings are missing.
        UnrollError: no speaker is left, or the folder holds other sounds.
    """
    scenery = _scenery(request, is_dev=False)
    sounds = SoundSet(out, {"kind": "background", "longest_s": longest_s, **request._asdict()})
    yield from sounds.write("train", count, _maker(scenery, request.seed, longest_s), jobs)


def synthesize_keyword_streams(request: StreamRequest, hours: float, out: Path) -> Path:
    """Write streams of 5 to 10 minutes, together of `hours` or a little more, and the table of the words in them.

    Raises:
        DatasetUnavailable: recordings are missing.
        UnrollError: no speaker is left, or the folder holds something else.
    """
    scenery = _scenery(request, is_dev=True)
    rows = [("stream", "keyword", "start_s", "end_s")]
    heard_s, waves = 0.0, dict[str, bytes]()
    while heard_s < hours * 3600:
        name, rng = f"stream-{len(waves):02d}.wav", np.random.default_rng([request.seed, len(waves)])
        stream = _stream(scenery, float(rng.uniform(*_STREAM_S)), rng)
        waves[name] = wave_bytes(stream.samples, request.rate_hz)
        heard_s += len(stream.samples) / request.rate_hz
        rows += [(name, place.word, *_seconds(place.start, place.end, request.rate_hz)) for place in stream.places]
        if not stream.places:
            rows.append((name, "", "", ""))
    return write_together(out, "dev", waves, rows)


def _scenery(request: StreamRequest, *, is_dev: bool) -> Scenery:
    """Recordings for train, or others for dev: no word or prompt is in both."""
    words = read_words(request.words, "dev" if is_dev else "train", request.rate_hz, request.leave_out)
    learnt, kept = kept_apart(read_prompts(request.prompts, ["train"], request.rate_hz, words.words))
    more = read_prompts(request.prompts, ["dev"], request.rate_hz, words.words) if is_dev else []
    return Scenery(words, [*kept, *more] if is_dev else learnt, request.rate_hz)


def _maker(scenery: Scenery, seed: int, longest_s: float) -> Callable[[int], MadeSound]:
    def make(number: int) -> MadeSound:
        rng = np.random.default_rng([seed, number])
        sound = _stream(scenery, float(rng.uniform(1.0, longest_s)), rng, longest_s)
        row = {"speaker": "several", "text": sound.text}
        return MadeSound(wave_bytes(sound.samples, scenery.rate_hz), len(sound.samples) / scenery.rate_hz, row)

    return make


def _stream(scenery: Scenery, seconds: float, rng: np.random.Generator, longest_s: float = float("inf")) -> Glued:
    """Stretches until there are `seconds` of sound, but not one that would pass `longest_s`, unless it is the first."""
    parts, length = [scenery.stretch(rng)], 0
    length = len(parts[0].samples)
    while length < seconds * scenery.rate_hz:
        part = scenery.stretch(rng)
        if length + len(part.samples) > longest_s * scenery.rate_hz:
            break
        parts.append(part)
        length += len(part.samples)
    return scenery.with_floor(joined(parts), rng)


def _seconds(start: int, end: int, rate_hz: int) -> tuple[str, str]:
    return f"{start / rate_hz:.3f}", f"{end / rate_hz:.3f}"
