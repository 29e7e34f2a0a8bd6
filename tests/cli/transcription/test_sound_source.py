"""The sound of `unroll transcribe`: what the service gets is what the file holds."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile

from service.cli.transcription.sound_source import Sound, open_sound
from service.errors import UnrollError

SAMPLES = np.array([0, 1, -1, 12345, -12345, 32767, -32768] * 900, dtype="<i2")
RATE_HZ = 8000


def encoded(kind: str, subtype: str = "PCM_16") -> bytes:
    file = io.BytesIO()
    soundfile.write(file, SAMPLES, RATE_HZ, format=kind, subtype=subtype)
    return file.getvalue()


def piped(data: bytes, monkeypatch: pytest.MonkeyPatch) -> Sound:
    """What is read from standard input."""
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data)))
    return open_sound("-", "pcm_s16le", RATE_HZ)


def samples_of(sound: Sound) -> np.ndarray:
    assert (sound.encoding, sound.sample_rate_hz) == ("pcm_s16le", RATE_HZ)
    return np.frombuffer(b"".join(sound.pieces), "<i2")


@pytest.mark.parametrize("kind", ["WAV", "FLAC"])
def test_samples_of_16_bits_are_sent_unchanged(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "sound"
    path.write_bytes(encoded(kind))
    np.testing.assert_array_equal(samples_of(open_sound(str(path), "pcm_s16le", None)), SAMPLES)


@pytest.mark.parametrize("kind", ["WAV", "WAVEX", "FLAC", "AIFF", "AU", "raw"])
def test_standard_input_may_be_a_file_or_raw_samples(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = SAMPLES.tobytes() if kind == "raw" else encoded(kind)
    np.testing.assert_array_equal(samples_of(piped(data, monkeypatch)), SAMPLES)


def test_integers_of_32_bits_on_standard_input_are_not_taken_for_floats(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UnrollError, match="format 1 and 32 bits: record with -f S16_LE"):
        piped(encoded("WAVEX", "PCM_32"), monkeypatch)


def test_a_damaged_file_on_standard_input_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UnrollError, match="-: the FLAC file is damaged"):
        piped(encoded("FLAC")[:200] + struct.pack("<I", 7), monkeypatch)
