"""Sound as samples: wave files in and out, another rate, level, silence cut off and put around."""

from __future__ import annotations

import io
import wave
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from service.tasks.inputs.resample import resampled

#: One channel, values from -1 to 1.
Samples = NDArray[np.float32]

_FULL_SCALE = 32768.0
#: Source rates are rounded to this, so that the filter of a change of rate stays short.
_RATE_GRID_HZ = 50


def read_wave(source: Path | bytes) -> tuple[Samples, int]:
    """Samples and rate of a 16-bit wave file; the first channel only.

    Raises:
        ValueError: not such a file, or empty.
    """
    try:
        with wave.open(io.BytesIO(source) if isinstance(source, bytes) else str(source), "rb") as file:
            channels, width, rate = file.getnchannels(), file.getsampwidth(), file.getframerate()
            data = file.readframes(file.getnframes())
    except (wave.Error, EOFError) as error:
        raise ValueError(f"no wave file: {error}") from error
    if width != 2 or not data:
        raise ValueError("empty" if width == 2 else f"{8 * width}-bit samples, not 16-bit")
    return (np.frombuffer(data, "<i2")[::channels] / _FULL_SCALE).astype(np.float32), rate


def wave_bytes(samples: Samples, rate_hz: int) -> bytes:
    """A mono 16-bit wave file. Values beyond full scale are clipped."""
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(rate_hz)
        out.writeframes(np.clip(np.rint(samples * _FULL_SCALE), -_FULL_SCALE, _FULL_SCALE - 1).astype("<i2").tobytes())
    return file.getvalue()


def stretched(samples: Samples, source_hz: float, target_hz: int) -> Samples:
    """The sound at another rate; a `source_hz` that is not quite the true one shifts pitch and speed."""
    return resampled(samples, _RATE_GRID_HZ * round(source_hz / _RATE_GRID_HZ), target_hz)


def trimmed(samples: Samples, rate_hz: int, floor: float = 0.01, keep_s: float = 0.02) -> Samples:
    """Without the silence at both ends: frames of 10 ms whose level is below `floor` of the loudest, but for `keep_s`.

    All of it, where nothing is louder than the rest.
    """
    frame = max(1, rate_hz // 100)
    levels = np.sqrt(np.add.reduceat(np.square(samples, dtype=np.float64), np.arange(0, len(samples), frame)))
    loud = np.flatnonzero(levels > floor * levels.max())
    if not len(loud):
        return samples
    kept = round(keep_s * rate_hz)
    return samples[max(0, loud[0] * frame - kept) : (loud[-1] + 1) * frame + kept]


def at_level(samples: Samples, level_db: float, peak: float = 0.95) -> Samples:
    """Scaled to an RMS of `level_db` (0 dB is full scale), or less where a peak would pass `peak`."""
    rms = float(np.sqrt(np.mean(np.square(samples, dtype=np.float64))))
    highest = float(np.abs(samples).max())
    if not rms:
        return samples
    return samples * np.float32(min(10 ** (level_db / 20) / rms, peak / highest))


def with_silence(samples: Samples, before_s: float, after_s: float, rate_hz: int) -> Samples:
    """Zeros before and after."""
    return np.pad(samples, (round(before_s * rate_hz), round(after_s * rate_hz)))
