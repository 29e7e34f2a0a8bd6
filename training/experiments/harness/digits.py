"""Connected digits with known places: recordings of single digits (fsdd) of one speaker, put one after the other.

They are given as log-mel frames, computed once: in networks as small as those of the experiments, the spectrogram would
cost more than everything behind it.
"""

from __future__ import annotations

from functools import cache
from typing import Final, NamedTuple

import numpy as np

from training.data.public.catalogue import NAMED_DATASETS
from training.data.public.locate import locate
from training.data.read import read_records
from training.data.records import LabelledSignal, Utterance
from training.evaluation.speech.cepstra import log_mel

DATASET: Final = "fsdd"
WORDS: Final = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
#: Silence before, between and after digits, in seconds at most; and the deviation of the noise under all of it.
_MAX_GAP_S: Final = 0.25
#: Silence at the end, for networks that write a digit only after it.
_END_S: Final = 0.4
NUM_BANDS: Final = 24
FEATURES: Final = tuple(f"band {number}" for number in range(1, NUM_BANDS + 1))
_NOISE: Final = 0.003


class DigitString(NamedTuple):
    """Log-mel frames of 10 ms and text, and where each digit begins and ends, in seconds."""

    utterance: Utterance
    places: tuple[tuple[float, float], ...]


@cache
def digit_strings(
    split: str, count: int, shortest: int, longest: int, seed: int = 1, follow: float = 0.0
) -> tuple[DigitString, ...]:
    """`count` strings of so many digits from the recordings of `train` or `dev`; equal at every call.

    A digit is one more than that before it with the probability `follow` (zero comes after nine), else any.
    """
    by_speaker: dict[str, list[LabelledSignal]] = {}
    for record in read_records("classification", locate(DATASET, split), NAMED_DATASETS[DATASET].options):
        assert isinstance(record, LabelledSignal)
        by_speaker.setdefault(record.group, []).append(record)
    generator = np.random.default_rng((seed, split == "dev"))
    return tuple(_random(by_speaker, (shortest, longest), follow, generator) for _ in range(count))


def _random(
    by_speaker: dict[str, list[LabelledSignal]], sizes: tuple[int, int], follow: float, generator: np.random.Generator
) -> DigitString:
    known = by_speaker[str(generator.choice(sorted(by_speaker)))]
    chosen = generator.integers(len(known), size=generator.integers(sizes[0], sizes[1] + 1))
    digits = [known[number] for number in chosen]
    for place in range(1, len(digits)):
        if follow and generator.random() < follow:
            wanted = str((int(digits[place - 1].label) + 1) % len(WORDS))
            spoken = [each for each in known if each.label == wanted]
            digits[place] = spoken[generator.integers(len(spoken))]
    return _joined(digits, generator)


def _joined(digits: list[LabelledSignal], generator: np.random.Generator) -> DigitString:
    rate_hz = digits[0].sample_rate_hz
    parts, places, length = [], [], 0
    for digit in (*digits, None):
        # Half of the digits touch the one before.
        gap_s = generator.uniform(0, _MAX_GAP_S) * (generator.random() < 0.5) if digit is not None else _END_S
        parts.append(np.zeros(int(gap_s * rate_hz), dtype=np.float32))
        length += len(parts[-1])
        if digit is not None:
            parts.append(digit.values / max(1e-3, float(np.abs(digit.values).max())) * generator.uniform(0.2, 0.8))
            places.append((length / rate_hz, (length + len(digit.values)) / rate_hz))
            length += len(digit.values)
    sound = np.concatenate(parts)
    sound = (sound + _NOISE * generator.standard_normal(len(sound))).astype(np.float32)
    frames = log_mel(sound, rate_hz, NUM_BANDS).astype(np.float32)
    text = " ".join(WORDS[int(digit.label)] for digit in digits)
    return DigitString(Utterance(frames, text, FEATURES, group=digits[0].group), tuple(places))
