"""Sounds to stream: the waves of a data set, or noise where there is none."""

from __future__ import annotations

import io
import os
import wave
import zipfile
from pathlib import Path

import numpy as np

DATASETS = ("fsdd_strings", "asterisk_prompts_en")


def waves_of(dataset: str, rate_hz: int, limit: int) -> list[bytes]:
    """16-bit samples of the first dev waves of this rate."""
    archive = Path(os.environ.get("UNROLL_DATA_DIR", "../shared/data")) / dataset / "dev.zip"
    found: list[bytes] = []
    with zipfile.ZipFile(archive) as files:
        for name in sorted(name for name in files.namelist() if name.endswith(".wav")):
            with wave.open(io.BytesIO(files.read(name))) as file:
                if (file.getframerate(), file.getsampwidth(), file.getnchannels()) == (rate_hz, 2, 1):
                    found.append(file.readframes(file.getnframes()))
            if len(found) == limit:
                break
    return found


def noise(rate_hz: int, seconds: float, count: int) -> list[bytes]:
    """As many sounds of noise whose loudness changes."""
    chance = np.random.default_rng(2)
    size = int(rate_hz * seconds)
    loud = [np.repeat(chance.random(size // 800 + 1), 800)[:size] for _ in range(count)]
    return [(one * chance.standard_normal(size) * 6000).clip(-32768, 32767).astype("<i2").tobytes() for one in loud]
