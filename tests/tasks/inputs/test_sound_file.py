"""Sound files of every kind that is read: the sound, the limit on what is decoded, and refusals that say what it is."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from service.errors import InvalidInput
from service.tasks.inputs.json_input import effort_of
from service.tasks.inputs.mpeg_audio import mpeg_start
from service.tasks.inputs.request_limits import RequestLimits, SampleCount
from service.tasks.inputs.sound_file import SOUND_STARTS, SoundTooLong, read_sound

RATE_HZ = 16_000
TONE = (0.3 * np.sin(2 * np.pi * 440 * np.arange(RATE_HZ // 2) / RATE_HZ)).astype(np.float32)
#: Format, subtype, and how far a sample may be from the original: half a step, or what a lossy code leaves.
KINDS = [
    ("FLAC", "PCM_16", 2e-5),
    ("FLAC", "PCM_24", 1e-6),
    ("AIFF", "PCM_16", 4e-5),
    ("AIFF", "FLOAT", 0.0),
    ("AU", "PCM_16", 4e-5),
    ("AU", "ULAW", 0.02),
    ("OGG", "VORBIS", 0.05),
    ("MP3", "MPEG_LAYER_III", 0.1),
]
BYTES_BEFORE_FLAC_LENGTH = 21


def encoded(kind: str, subtype: str | None = None, samples: np.ndarray = TONE, rate_hz: int = RATE_HZ) -> bytes:
    """A sound file of this kind."""
    file = io.BytesIO()
    channels = 1 if samples.ndim == 1 else samples.shape[1]
    with soundfile.SoundFile(file, "w", rate_hz, channels, subtype, format=kind) as out:
        for start in range(0, max(1, len(samples)), 4000):
            out.write(samples[start : start + 4000])
    return file.getvalue()


def base64_of(data: bytes) -> str:
    return base64.b64encode(data).decode()


@pytest.mark.parametrize(("kind", "subtype", "most"), KINDS)
def test_every_kind_is_the_same_sound(kind: str, subtype: str, most: float) -> None:
    """Its rate and its length are kept, and its samples as far as the code keeps them."""
    sound = read_sound(encoded(kind, subtype))
    assert (sound.sample_rate_hz, len(sound.samples), sound.samples.dtype) == (RATE_HZ, len(TONE), np.float32)
    assert np.abs(sound.samples - TONE).max() <= most


@pytest.mark.parametrize(("kind", "subtype", "most"), KINDS)
def test_a_file_that_is_cut_short_is_refused(kind: str, subtype: str, most: float) -> None:
    """Wherever it is cut, it is never taken for a shorter sound."""
    file = encoded(kind, subtype)
    for kept in (8, 40, len(file) // 2, int(0.97 * len(file))):
        with pytest.raises(InvalidInput):
            read_sound(file[:kept])


def test_channels_are_averaged() -> None:
    both = np.stack([TONE, -TONE / 2], axis=1)
    np.testing.assert_allclose(read_sound(encoded("FLAC", "PCM_24", both)).samples, TONE / 4, atol=1e-6)


def test_more_channels_than_usual_are_refused() -> None:
    """Each would be decoded, so that a small file would take long."""
    with pytest.raises(InvalidInput, match="16 channels, at most 8"):
        read_sound(encoded("OGG", None, np.tile(TONE[:, None], 16)))


@pytest.mark.parametrize("kind", ["FLAC", "OGG", "MP3"])
def test_no_more_than_the_limit_is_decoded(kind: str) -> None:
    """Silence of ten seconds in a few kilobytes is refused, whatever length the file declares."""
    silence = encoded(kind, None, np.zeros(10 * RATE_HZ, dtype=np.float32))
    assert len(read_sound(silence, 10 * RATE_HZ).samples) == 10 * RATE_HZ
    with pytest.raises(SoundTooLong, match="more than 100,000 samples"):
        read_sound(silence, 100_000)


def test_the_limit_is_on_all_sounds_of_a_request_together() -> None:
    """A file with compression has what those before it left, and the refusal names the setting and the field."""
    count = SampleCount(RequestLimits(max_samples=len(TONE) + 10))
    count.plain({"audio": base64_of(encoded("FLAC"))})
    with pytest.raises(InvalidInput, match="UNROLL_MAX_SAMPLES_PER_REQUEST") as refused:
        count.plain({"audio": base64_of(encoded("FLAC", None, TONE[:11]))})
    assert refused.value.field == ("audio",)


def test_a_small_file_with_compression_is_never_decoded_on_the_event_loop() -> None:
    """Its size does not tell how long it takes."""
    assert effort_of({"wav": base64_of(encoded("FLAC", None, TONE[:10]))}) > 2000


def test_a_length_that_was_not_known_is_no_fault() -> None:
    """As FLAC has it that was written to a pipe."""
    file = bytearray(encoded("FLAC"))
    file[BYTES_BEFORE_FLAC_LENGTH] &= 0xF0
    file[BYTES_BEFORE_FLAC_LENGTH + 1 : BYTES_BEFORE_FLAC_LENGTH + 5] = bytes(4)
    assert len(read_sound(bytes(file)).samples) == len(TONE)


@pytest.mark.parametrize("kind", ["FLAC", "MP3", "AIFF", "AU", "OGG"])
def test_a_tag_at_the_end_is_no_sound(kind: str) -> None:
    assert len(read_sound(encoded(kind) + b"TAG" + bytes(125)).samples) == len(TONE)


@pytest.mark.parametrize(
    "before",
    [bytes(100), b"x" * 2000, b"ID3\x03\0\0\0\0\x0f\x76" + bytes(2038), b"ID3\x04\0\x10\0\0\0\x01" + bytes(11)],
)
def test_an_mp3_file_may_have_something_ahead(before: bytes) -> None:
    """Padding, the rest of a stream, and tags with and without a footer are passed over."""
    file = encoded("MP3")
    assert mpeg_start(before + file) == len(before)
    assert len(read_sound(before + file).samples) == len(TONE)


def test_a_hole_in_an_mp3_file_is_noticed() -> None:
    file = bytearray(encoded("MP3"))
    file[600:800] = bytes(200)
    with pytest.raises(InvalidInput, match="were announced"):
        read_sound(bytes(file))


@pytest.mark.parametrize("kind", ["AIFF", "AU"])
@pytest.mark.parametrize("rate_hz", [1, 8, 1_000_000])
def test_the_rate_is_as_the_file_says(kind: str, rate_hz: int) -> None:
    """Whether a model can resample it is said by its input."""
    assert read_sound(encoded(kind, "PCM_16", TONE, rate_hz)).sample_rate_hz == rate_hz


def refused() -> Iterator[tuple[bytes, str]]:
    """Files, and how they are refused."""
    odd = TONE.copy()
    odd[5] = np.nan
    yield encoded("AIFF", "FLOAT", odd), "not finite"
    yield encoded("AU", "FLOAT", odd), "not finite"
    yield encoded("OGG", None, TONE[:0]), "holds no sound"
    yield b"", "the file is empty"
    yield b"fLaC", "the FLAC file is damaged"
    yield b"OggS" + bytes(60), "the Ogg file is damaged|not read"
    yield b"FORM\0\0\0\x10ILBM" + bytes(16), "no sound file"
    yield b"hello, this is a text of some length", "no sound file, by its first bytes: send WAV, FLAC"
    yield b"\xff\xfb\x90\x64" + bytes(500), "no sound file"
    yield b"\0\0\0\x20ftypM4A " + bytes(60), "an MP4 or M4A file, which is not read"
    yield b"\x00\x05\x16\x07" + bytes(60), "AppleDouble"
    yield b"version https://git-lfs.github.com", "a Git LFS pointer"
    yield b"<!DOCTYPE html>", "a web page"
    yield b'{"wav": "UklGR"}', "this is JSON"
    yield b"\xff\xf1" + bytes(60), "an AAC file"
    yield b"\x1a\x45\xdf\xa3" + bytes(60), "a WebM"


@pytest.mark.parametrize(("file", "what"), list(refused()))
def test_what_cannot_be_read_is_said(file: bytes, what: str) -> None:
    with pytest.raises(InvalidInput, match=what):
        read_sound(file)


@settings(deadline=None, max_examples=30)
@given(st.sampled_from([kind for kind, _, _ in KINDS]), st.binary(min_size=1, max_size=40), st.floats(0, 1))
def test_no_bytes_do_harm(kind: str, noise: bytes, place: float) -> None:
    """Random bytes anywhere in a file are decoded or refused, never a crash."""
    file = encoded(kind, None, TONE[:1000])
    start = int(place * len(file))
    try:
        sound = read_sound(file[:start] + noise + file[start + len(noise) :])
    except InvalidInput:
        return
    assert len(sound.samples)
    assert np.isfinite(sound.samples).all()


def test_first_bytes_of_sounds_are_no_base64() -> None:
    """Where a protocol takes a file as it is or in base64, a file as it is is told by its start."""
    assert all(encoded(kind)[:4].startswith(SOUND_STARTS) for kind in ("FLAC", "OGG", "MP3", "AIFF", "AU"))
