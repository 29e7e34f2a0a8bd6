"""Log-mel energies and mel cepstra of speech (Davis and Mermelstein 1980) in numpy, for baselines and pictures."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from training.data.records import Utterance
from training.preprocessing.mel_scale import hertz_of, mel_of, triangles

#: Seconds of a window and between windows, filters and cepstra, as speech recognisers have long used them.
WINDOW_S: Final = 0.025
HOP_S: Final = 0.01
NUM_FILTERS: Final = 24
NUM_CEPSTRA: Final = 13
_LOWEST_HZ: Final = 100.0
_FLOOR: Final = 1e-10

Features = NDArray[np.float32]


def features(record: Utterance, frames_together: int = 1) -> Features:
    """`[time, features]` with mean 0 and deviation 1: cepstra of sound, or the frames as they are; never empty.

    `frames_together` neighbours are averaged into one.
    """
    frames = cepstra(record.values, record.sample_rate_hz) if record.kind == "waveform" else record.values
    frames = np.atleast_2d(frames.astype(np.float32))
    if not len(frames):
        return np.zeros((1, frames.shape[1]), dtype=np.float32)
    starts = np.arange(0, len(frames), frames_together)
    pooled = np.add.reduceat(frames, starts) / np.diff(np.append(starts, len(frames)))[:, None]
    return np.asarray((pooled - pooled.mean(axis=0)) / (pooled.std(axis=0) + 1e-5), dtype=np.float32)


def cepstra(samples: NDArray[np.float32], rate_hz: int) -> NDArray[np.float64]:
    """`[time, NUM_CEPSTRA]`: the cosine transform of log energies in mel bands."""
    energies = log_mel(samples, rate_hz)
    bands = np.arange(NUM_FILTERS) + 0.5
    basis = np.cos(np.pi / NUM_FILTERS * np.outer(bands, np.arange(NUM_CEPSTRA)))
    return np.asarray(energies @ basis)


def log_mel(samples: NDArray[np.float32], rate_hz: int, num_filters: int = NUM_FILTERS) -> NDArray[np.float64]:
    """`[time, num_filters]` natural log energies; a window at least, be the sound ever so short."""
    size, hop = max(2, round(WINDOW_S * rate_hz)), max(1, round(HOP_S * rate_hz))
    padded = np.pad(samples.astype(np.float64), (0, max(0, size - len(samples))))
    windows = np.lib.stride_tricks.sliding_window_view(padded, size)[::hop] * np.hamming(size)
    power = np.abs(np.fft.rfft(windows, n=_power_of_two(size))) ** 2
    return np.log(power @ mel_filters(rate_hz, _power_of_two(size), num_filters).T + _FLOOR)


def mel_filters(rate_hz: int, fft_size: int, num_filters: int) -> NDArray[np.float64]:
    """`[num_filters, fft_size // 2 + 1]` triangles, equally far apart in mel and straight in hertz."""
    low, high = mel_of(np.array([min(_LOWEST_HZ, rate_hz / 8), rate_hz / 2]))
    edges = hertz_of(np.linspace(low, high, num_filters + 2))
    places = np.fft.rfftfreq(fft_size, 1 / rate_hz).astype(np.float64)
    return np.ascontiguousarray(triangles(places, edges).T)


def _power_of_two(size: int) -> int:
    return 1 << (size - 1).bit_length()
