"""RIFF wave files to mono samples: PCM of 8 to 32 bits or floats, any number of channels."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from service.bundle.padding import FloatArray
from service.errors import InvalidInput
from service.tasks.core.task import Waveform

_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE
_HEAD = struct.Struct("<4sI4s")
_CHUNK_HEAD = struct.Struct("<4sI")
#: Format, channels, samples a second, bytes a second, bytes of a sample of all channels, bits of a sample.
_FORMAT = struct.Struct("<HHIIHH")
#: Offset of the real format code in an extensible format.
_SUBFORMAT_OFFSET = 24
#: Sizes that programs write which do not know the length yet, because they write to a pipe.
_UNKNOWN_SIZES = (0, 0xFFFFFFFF)
_MAX_CHANNELS = 64


class _Format(NamedTuple):
    code: int
    num_channels: int
    sample_rate_hz: int
    bits: int


def read_wav(data: bytes) -> Waveform:
    """The sound in a wave file; several channels are averaged.

    Raises:
        InvalidInput: it is not a wave file, or it is damaged, empty, or in an unsupported format.
    """
    if len(data) < _HEAD.size or data[:4] != b"RIFF" or data[8:12] != b"WAVE":
        raise InvalidInput("this is no wave file: it does not begin with RIFF and WAVE")
    chunks = _chunks(data)
    if b"fmt " not in chunks or b"data" not in chunks:
        raise InvalidInput("the wave file is damaged: it needs a chunk 'fmt ' and a chunk 'data'")
    form = _format(chunks[b"fmt "])
    samples = _samples(chunks[b"data"], form)
    if not len(samples):
        raise InvalidInput("the wave file holds no sound")
    if not np.isfinite(samples).all():
        raise InvalidInput("the wave file holds samples that are not finite numbers")
    return Waveform(samples, form.sample_rate_hz)


def _chunks(data: bytes) -> dict[bytes, bytes]:
    """The first chunk of each name."""
    chunks: dict[bytes, bytes] = {}
    start = _HEAD.size
    while start + _CHUNK_HEAD.size <= len(data):
        name, size = _CHUNK_HEAD.unpack_from(data, start)
        start += _CHUNK_HEAD.size
        if name == b"data" and size in _UNKNOWN_SIZES:
            size = len(data) - start
        if name in (b"fmt ", b"data") and start + size > len(data):
            raise InvalidInput(f"the wave file is cut short: {len(data)} bytes, {start + size} were announced")
        chunks.setdefault(name, data[start : start + size])
        start += size + size % 2  # chunks start at even offsets
    return chunks


def _format(chunk: bytes) -> _Format:
    if len(chunk) < _FORMAT.size:
        raise InvalidInput("the wave file is damaged: its chunk 'fmt ' is too short")
    code, num_channels, sample_rate_hz, _, _, bits = _FORMAT.unpack_from(chunk)
    if code == _EXTENSIBLE and len(chunk) >= _SUBFORMAT_OFFSET + 2:
        (code,) = struct.unpack_from("<H", chunk, _SUBFORMAT_OFFSET)
    if (code, bits) not in _DECODERS:
        raise InvalidInput(
            f"the wave file has samples of format {code} with {bits} bits; "
            "read are PCM of 8, 16, 24 or 32 bits, and floats of 32 or 64"
        )
    if not 1 <= num_channels <= _MAX_CHANNELS or sample_rate_hz < 1:
        raise InvalidInput(f"the wave file is damaged: {num_channels} channels of {sample_rate_hz} samples a second")
    return _Format(code, num_channels, sample_rate_hz, bits)


def _samples(data: bytes, form: _Format) -> FloatArray:
    whole_bytes = form.num_channels * form.bits // 8
    values = _DECODERS[form.code, form.bits](data[: len(data) - len(data) % whole_bytes])
    with np.errstate(over="ignore", invalid="ignore"):  # values beyond float32 become infinite, and are refused later
        channels = values.astype(np.float32).reshape(-1, form.num_channels)
        return channels[:, 0] if form.num_channels == 1 else channels.mean(axis=1, dtype=np.float32)


def _pcm8(data: bytes) -> FloatArray:
    return (np.frombuffer(data, "u1").astype(np.float32) - 128.0) / 128.0


def _pcm16(data: bytes) -> FloatArray:
    return np.frombuffer(data, "<i2").astype(np.float32) / 2.0**15


def _pcm24(data: bytes) -> FloatArray:
    """Three bytes become the upper three of four, which keeps the sign."""
    wide = np.zeros((len(data) // 3, 4), dtype="u1")
    wide[:, 1:] = np.frombuffer(data, "u1").reshape(-1, 3)
    return _pcm32(wide.tobytes())


def _pcm32(data: bytes) -> FloatArray:
    return (np.frombuffer(data, "<i4") / 2.0**31).astype(np.float32)


_DECODERS: Mapping[tuple[int, int], Callable[[bytes], FloatArray]] = {
    (_PCM, 8): _pcm8,
    (_PCM, 16): _pcm16,
    (_PCM, 24): _pcm24,
    (_PCM, 32): _pcm32,
    (_FLOAT, 32): lambda data: np.frombuffer(data, "<f4"),
    (_FLOAT, 64): lambda data: np.frombuffer(data, "<f8"),
}
