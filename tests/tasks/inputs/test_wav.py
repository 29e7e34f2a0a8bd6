"""WAV decoding: all common formats give the same samples, and damaged files are refused."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from service.errors import InvalidInput
from service.tasks.inputs.wav import read_wav

SOUND = np.array([0.0, 0.5, -0.5, 0.25, -1.0, 0.75])
PCM, FLOAT, EXTENSIBLE = 1, 3, 0xFFFE


def wav(
    data: bytes, code: int = PCM, channels: int = 1, bits: int = 16, rate_hz: int = 8000, more: bytes = b""
) -> bytes:
    """A WAV file; `more` is inserted between the header and the data."""
    whole = channels * bits // 8
    form = struct.pack("<HHIIHH", code, channels, rate_hz, rate_hz * whole, whole, bits)
    if code == EXTENSIBLE:
        form += struct.pack("<HHIH", 22, bits, 0, PCM) + bytes(14)
    body = b"WAVEfmt " + struct.pack("<I", len(form)) + form + more + b"data" + struct.pack("<I", len(data)) + data
    return b"RIFF" + struct.pack("<I", len(body)) + body


def pcm(bits: int, samples: np.ndarray = SOUND) -> bytes:
    """Little-endian PCM integers of this many bits; 8-bit samples are unsigned."""
    if bits == 8:
        return bytes((samples * 128 + 128).clip(0, 255).astype("u1"))
    wide = (samples * 2.0 ** (bits - 1)).astype("<i4")
    return b"".join(int(value).to_bytes(4, "little", signed=True)[: bits // 8] for value in wide)


@pytest.mark.parametrize("bits", [8, 16, 24, 32])
def test_integers_of_every_size_are_the_same_sound(bits: int) -> None:
    sound = read_wav(wav(pcm(bits), bits=bits, rate_hz=16000))
    np.testing.assert_array_equal(sound.samples, SOUND.astype(np.float32))
    assert (sound.sample_rate_hz, sound.samples.dtype) == (16000, np.float32)


@pytest.mark.parametrize("dtype", ["<f4", "<f8"])
def test_floats_are_taken_as_they_are(dtype: str) -> None:
    sound = read_wav(wav(SOUND.astype(dtype).tobytes(), FLOAT, bits=8 * np.dtype(dtype).itemsize))
    np.testing.assert_array_equal(sound.samples, SOUND.astype(np.float32))


@pytest.mark.parametrize("code", ["ULAW", "ALAW"])
def test_the_codes_of_telephony_are_decoded_as_libsndfile_does(code: str) -> None:
    """Every byte of mu-law and of A-law (G.711) is the sample that libsndfile makes of it."""
    every = wav(bytes(range(256)), {"ALAW": 6, "ULAW": 7}[code], bits=8)
    expected, _ = soundfile.read(io.BytesIO(bytes(range(256))), dtype="float32", channels=1, samplerate=8000,
                                 format="RAW", subtype=code)  # fmt: skip
    np.testing.assert_array_equal(read_wav(every).samples, expected)


def test_channels_are_averaged() -> None:
    both = np.stack([SOUND, -SOUND / 2], axis=1).ravel()
    np.testing.assert_allclose(read_wav(wav(pcm(16, both), channels=2)).samples, SOUND / 4, atol=1e-7)


def test_an_extensible_format_and_strange_chunks_are_understood() -> None:
    """WAVE_FORMAT_EXTENSIBLE is decoded, and unknown chunks are skipped, also those of odd size."""
    notes = b"LIST" + struct.pack("<I", 5) + b"hello\0"
    np.testing.assert_array_equal(read_wav(wav(pcm(16), EXTENSIBLE, more=notes)).samples, SOUND.astype(np.float32))


def test_a_size_that_was_not_known_is_taken_from_the_file() -> None:
    """Where the data size is unknown, as from a pipe, it is derived from the file size."""
    file = wav(pcm(16))
    start = file.index(b"data") + 4
    for unknown in (0, 0x7FFFF000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFDB, 0xFFFFFFFF):
        assert len(read_wav(file[:start] + struct.pack("<I", unknown) + file[start + 4 :]).samples) == len(SOUND)


def test_a_chunk_of_odd_size_may_lack_its_pad_byte() -> None:
    """A well-known chunk right behind an odd one is found; a pad byte of any value is skipped."""
    for pad in (b"", b"\0", b" ", b"x"):
        note = b"note" + struct.pack("<I", 5) + b"hello" + pad
        np.testing.assert_array_equal(read_wav(wav(pcm(16), more=note)).samples, SOUND.astype(np.float32))


def test_chunks_after_an_empty_sound_are_no_sound() -> None:
    """A size of zero with other chunks behind it is an empty sound, not one of unknown length."""
    for size in (4, 5):
        chunk = b"LIST" + struct.pack("<I", size) + b"INFO" + bytes(size % 2 * 2)
        with pytest.raises(InvalidInput, match="no sound"):
            read_wav(wav(b"") + chunk)


def test_the_form_for_long_sounds_is_read() -> None:
    """RF64 has the size of the sound in a chunk `ds64`."""
    ds64 = b"ds64" + struct.pack("<IQQQI", 28, 0, len(pcm(16)), 0, 0)
    file = wav(pcm(16), more=ds64).replace(b"RIFF", b"RF64")
    start = file.index(b"data") + 4
    file = file[:start] + struct.pack("<I", 0xFFFFFFFF) + file[start + 4 :] + b"LIST" + struct.pack("<I", 4) + b"INFO"
    np.testing.assert_array_equal(read_wav(file).samples, SOUND.astype(np.float32))


@pytest.mark.parametrize(
    ("file", "what"),
    [
        (b"RIFF\0\0\0\0AVI " + bytes(40), "begins with RIFF, but not with WAVE"),
        (wav(pcm(8), code=17, bits=4), "format 17 .ADPCM. with 4 bits"),
        (b"ID3 is an mp3 of some length", "no wave file"),
        (wav(pcm(16))[:-3], "cut short"),
        (wav(pcm(16))[:30], "cut short"),
        (wav(pcm(16))[:36], "needs a chunk"),
        (wav(b""), "no sound"),
        (wav(pcm(16), code=2), "format 2"),
        (wav(pcm(16), bits=12), "12 bits"),
        (wav(pcm(16), channels=0), "0 channels"),
        (wav(pcm(16), rate_hz=0), "0 samples a second"),
        (wav(np.array([np.nan], "<f4").tobytes(), FLOAT, bits=32), "not finite"),
        (wav(np.array([1e300], "<f8").tobytes(), FLOAT, bits=64), "not finite"),
        (wav(np.array([0, 1e30, -1e20], "<f4").tobytes(), FLOAT, bits=32), "too large: sample 1 is 1e[+]30"),
    ],
)
def test_what_cannot_be_read_is_said(file: bytes, what: str) -> None:
    with pytest.raises(InvalidInput, match=what):
        read_wav(file)


@settings(deadline=None)
@given(st.binary(max_size=80), st.integers(0, 60))
def test_no_bytes_do_harm(noise: bytes, start: int) -> None:
    """Random bytes anywhere in a WAV file are decoded or refused, never a crash."""
    file = wav(pcm(16))
    try:
        sound = read_wav(file[:start] + noise + file[start + len(noise) :])
    except InvalidInput:
        return
    assert len(sound.samples)
    assert np.isfinite(sound.samples).all()
