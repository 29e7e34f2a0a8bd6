"""Resampling keeps tones and duration, and does not alias."""

from __future__ import annotations

import numpy as np
import pytest

from service.errors import InvalidInput
from service.tasks.inputs.resample import resampled

RATES = [
    (16000, 8000),
    (8000, 16000),
    (44100, 8000),
    (48000, 8000),
    (11025, 8000),
    (22050, 16000),
    (4000, 8000),
]


def tone(hertz: float, rate_hz: int, seconds: float = 0.5) -> np.ndarray:
    return np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate_hz)) / rate_hz).astype(np.float32)


@pytest.mark.parametrize(("from_hz", "to_hz"), RATES)
@pytest.mark.parametrize("hertz", [0.0, 200.0, 1500.0])
def test_a_tone_stays_what_it_is(from_hz: int, to_hz: int, hertz: float) -> None:
    """A resampled tone equals the tone generated at the new rate, except near both ends."""
    old = tone(hertz, from_hz) if hertz else np.ones(from_hz // 2, dtype=np.float32)
    new = resampled(old, from_hz, to_hz)
    wanted = tone(hertz, to_hz) if hertz else np.ones(to_hz // 2, dtype=np.float32)
    assert new.dtype == np.float32
    assert abs(len(new) - len(wanted)) <= 1
    inside = slice(200, min(len(new), len(wanted)) - 200)
    np.testing.assert_allclose(new[inside], wanted[inside], atol=1e-3)


@pytest.mark.parametrize(("from_hz", "to_hz"), [(47999, 8000), (44099, 16000), (12345, 48000)])
def test_rates_without_a_simple_ratio_are_resampled_too(from_hz: int, to_hz: int) -> None:
    """The nearest simple ratio is off by so little that a tone keeps its phase for half a second."""
    new, wanted = resampled(tone(200, from_hz), from_hz, to_hz), tone(200, to_hz)
    assert abs(len(new) - len(wanted)) <= 1
    inside = slice(200, min(len(new), len(wanted)) - 200)
    np.testing.assert_allclose(new[inside], wanted[inside], atol=2e-2)


def test_what_the_new_rate_cannot_hold_is_silent() -> None:
    """A tone of 5,000 Hz is filtered out at 8,000 samples per second instead of aliasing to 3,000 Hz."""
    assert np.abs(resampled(tone(5000, 16000), 16000, 8000)[100:-100]).max() < 1e-3


def test_the_same_rate_is_left_alone() -> None:
    sound = tone(300, 8000)
    assert resampled(sound, 8000, 8000) is sound


@pytest.mark.parametrize("length", [1, 2, 7, 441])
def test_the_shortest_sounds_are_resampled(length: int) -> None:
    """The shortest sounds keep their duration and have at least one sample."""
    assert len(resampled(np.ones(length, dtype=np.float32), 44100, 8000)) == max(1, -(-length * 80 // 441))


@pytest.mark.parametrize(("rate_hz", "what"), [(1000, "4000 to 192000 Hz"), (300_000, "4000 to 192000 Hz")])
def test_rates_out_of_range_are_refused(rate_hz: int, what: str) -> None:
    with pytest.raises(InvalidInput, match=what):
        resampled(np.ones(100, dtype=np.float32), rate_hz, 8000)
