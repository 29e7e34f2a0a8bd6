"""Connected digits: strings of single recordings of one speaker, with faint noise, and their words as text."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from training.synthesis.gluing import padded, word_string
from training.synthesis.noises import noise
from training.synthesis.recordings import WordRecordings, read_words
from training.synthesis.sound import wave_bytes
from training.synthesis.sound_set import MadeSound, SoundSet

_SILENCE_S, _NOISE_BELOW_DB, _SPEECH_DB = (0.05, 0.3), (30.0, 50.0), -24.0


@dataclass(frozen=True)
class DigitsRequest:
    """Which recordings make how many strings of how many words."""

    dataset: str
    split: str
    leave_out: str
    only: str
    shortest: int
    longest: int
    count: int
    seed: int
    rate_hz: int


def synthesize_digits(request: DigitsRequest, out: Path, jobs: int) -> Iterator[Path]:
    """Write `SPLIT.tsv` and `SPLIT.zip`.

    Raises:
        DatasetUnavailable: the recordings are missing.
        UnrollError: no speaker is left, or the folder holds other sounds.
    """
    words = read_words(request.dataset, request.split, request.rate_hz, request.leave_out, request.only)
    sounds = SoundSet(out, {"kind": "connected words", **asdict(request)})
    yield from sounds.write(request.split, request.count, _maker(request, words), jobs)


def _maker(request: DigitsRequest, words: WordRecordings) -> Callable[[int], MadeSound]:
    def make(number: int) -> MadeSound:
        rng, rate_hz = np.random.default_rng([request.seed, number]), request.rate_hz
        speaker, string = word_string(words, (request.shortest, request.longest), rate_hz, rng)
        before_s, after_s = float(rng.uniform(*_SILENCE_S)), float(rng.uniform(*_SILENCE_S))
        whole = padded(string, before_s, after_s, rate_hz)
        level_db = _SPEECH_DB - float(rng.uniform(*_NOISE_BELOW_DB))
        samples = whole.samples + noise("white", len(whole.samples), level_db, rate_hz, rng)
        row = {"speaker": speaker, "text": whole.text}
        return MadeSound(wave_bytes(samples, rate_hz), len(samples) / rate_hz, row)

    return make
