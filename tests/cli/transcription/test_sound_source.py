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


@pytest.mark.parametrize(
    ("size", "is_declared"),
    [(None, True), (0, False), (0xFFFFFFFF, False), (0x7FFFF000, False), (0x80000000, False), (700, True)],
)
@pytest.mark.parametrize("container", ["RIFF", "RF64"])
def test_a_wave_file_on_standard_input_ends_where_it_says(
    size: int | None, is_declared: bool, container: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Chunks behind the sound are no sound; sizes that mean "unknown" go on to the end. RF64 has its size elsewhere."""
    sound, behind = SAMPLES.tobytes(), b"LIST" + struct.pack("<I", 4) + b"INFO"
    size = len(sound) if size is None else size
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, RATE_HZ, RATE_HZ * 2, 2, 16)
    ds64 = struct.pack("<4sIQQQI", b"ds64", 28, 0, size, 0, 0)
    is_long = container == "RF64"
    head = struct.pack("<4sI4s", container.encode(), 0, b"WAVE") + (ds64 if is_long else b"") + form
    data = struct.pack("<4sI", b"data", 0xFFFFFFFF if is_long else size) + sound + behind
    found = b"".join(piped(head + data, monkeypatch).pieces)
    assert found == (sound[:size] if is_declared else sound + behind)


def test_an_odd_declared_size_ends_with_the_last_whole_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    data = bytearray(encoded("WAV"))
    struct.pack_into("<I", data, 40, 701)
    np.testing.assert_array_equal(samples_of(piped(bytes(data), monkeypatch)), SAMPLES[:350])


def test_integers_of_32_bits_on_standard_input_are_not_taken_for_floats(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UnrollError, match="format 1 and 32 bits: record with -f S16_LE"):
        piped(encoded("WAVEX", "PCM_32"), monkeypatch)


def test_a_damaged_file_on_standard_input_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UnrollError, match="-: the FLAC file is damaged"):
        piped(encoded("FLAC")[:200] + struct.pack("<I", 7), monkeypatch)
