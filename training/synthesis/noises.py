"""Noise of several colours, as it is between and behind words."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np

from training.synthesis.sound import Samples

Colour = Literal["white", "pink", "brown", "hum"]
COLOURS: tuple[Colour, ...] = get_args(Colour)

#: How the power of each falls with frequency: as 1/f to this exponent.
_EXPONENT = {"white": 0.0, "pink": 1.0, "brown": 2.0}
_LOWEST_HZ, _MAINS_HZ, _OVERTONES = 30.0, (50.0, 60.0), 8


def noise(colour: Colour, length: int, level_db: float, rate_hz: int, rng: np.random.Generator) -> Samples:
    """`length` samples whose RMS is `level_db` below or above full scale; a hum is of the mains and its overtones."""
    sound = _hum(length, rate_hz, rng) if colour == "hum" else _coloured(_EXPONENT[colour], length, rate_hz, rng)
    rms = float(np.sqrt(np.mean(np.square(sound)))) or 1.0
    return (sound * (10 ** (level_db / 20) / rms)).astype(np.float32)


def random_noise(length: int, level_db: float, rate_hz: int, rng: np.random.Generator) -> Samples:
    """Noise of a random colour."""
    return noise(COLOURS[int(rng.integers(len(COLOURS)))], length, level_db, rate_hz, rng)


def _coloured(exponent: float, length: int, rate_hz: int, rng: np.random.Generator) -> Samples:
    spectrum = np.fft.rfft(rng.standard_normal(length))
    frequencies = np.maximum(np.fft.rfftfreq(length, 1 / rate_hz), _LOWEST_HZ)
    return np.fft.irfft(spectrum * frequencies ** (-exponent / 2), length).astype(np.float32)


def _hum(length: int, rate_hz: int, rng: np.random.Generator) -> Samples:
    mains = _MAINS_HZ[int(rng.integers(len(_MAINS_HZ)))]
    time = np.arange(length) / rate_hz
    strength, phase = rng.uniform(0, 1, _OVERTONES), rng.uniform(0, 2 * np.pi, _OVERTONES)
    tones = (
        strength[number] * np.sin(2 * np.pi * mains * (number + 1) * time + phase[number])
        for number in range(_OVERTONES)
    )
    return np.asarray(sum(tones), dtype=np.float32)
