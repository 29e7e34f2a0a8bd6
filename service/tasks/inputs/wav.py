"""RIFF wave files to mono samples: PCM of 8 to 32 bits, floats, or mu-law and A-law of telephony; any channels."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from service.bundle.padding import FloatArray
from service.errors import InvalidInput
from service.tasks.core.task import Waveform

_PCM, _FLOAT, _A_LAW, _MU_LAW, _EXTENSIBLE = 1, 3, 6, 7, 0xFFFE
_HEAD = struct.Struct("<4sI4s")
_CHUNK_HEAD = struct.Struct("<4sI")
#: Format, channels, samples a second, bytes a second, bytes of a sample of all channels, bits of a sample.
_FORMAT = struct.Struct("<HHIIHH")
#: Offset of the real format code in an extensible format.
_SUBFORMAT_OFFSET = 24
#: RF64 and BW64 are RIFF for more than 4 GB, with the size of the sound in a chunk of their own.
CONTAINERS = (b"RIFF", b"RF64", b"BW64")
_DS64 = struct.Struct("<8xQ")
_ALL_ONES = 0xFFFFFFFF
#: From this size on, programs that write to a pipe mean "unknown": sox 0x7FFFF000, arecord 0x80000000, ffmpeg all ones.
#: A zero means it too, unless other chunks follow: then there is no sound.
_UNKNOWN_FROM = 0x7FFF0000
_MAX_CHANNELS = 64
#: Beyond what programs write that forget to scale integers of 32 bits; the power of larger ones overflows in a model.
LARGEST_SAMPLE = 2.0**32
_USUAL_NAMES = frozenset(
    (
        b"fmt ",
        b"data",
        b"LIST",
        b"fact",
        b"JUNK",
        b"junk",
        b"PEAK",
        b"bext",
        b"cue ",
        b"smpl",
        b"inst",
        b"iXML",
        b"id3 ",
    )
)
#: Names of formats of samples that are not read.
_OTHER_FORMATS = {2: "ADPCM", 17: "ADPCM", 49: "GSM", 80: "MPEG", 85: "MP3"}


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
    if len(data) < _HEAD.size or data[:4] not in CONTAINERS or data[8:12] != b"WAVE":
        begins = f": it begins with {data[:4].decode()}, but not with WAVE" if data[:4] in CONTAINERS else ""
        raise InvalidInput(f"this is no wave file{begins}")
    chunks = _chunks(data)
    if b"fmt " not in chunks or b"data" not in chunks:
        raise InvalidInput("the wave file is damaged: it needs a chunk 'fmt ' and a chunk 'data'")
    form = _format(chunks[b"fmt "])
    samples = _samples(chunks[b"data"], form)
    if not len(samples):
        raise InvalidInput("the wave file holds no sound")
    require_samples(samples, "the wave file")
    return Waveform(samples, form.sample_rate_hz)


def require_samples(samples: FloatArray, what: str) -> None:
    """Raises InvalidInput for samples that are no numbers, or so large that their power would be infinite.

    Args:
        samples: any number of them, from -1 to 1 as a rule; float formats may hold others.
        what: holds them, for the message.
    """
    if not len(samples) or (samples.min() >= -LARGEST_SAMPLE and samples.max() <= LARGEST_SAMPLE):
        return
    if not np.isfinite(samples).all():
        raise InvalidInput(f"{what} holds samples that are not finite numbers")
    place = int(np.abs(samples).argmax())
    message = f"sample {place} is {samples[place]:.4g}; floats are from -1 to 1, read are up to {LARGEST_SAMPLE:.0f}"
    raise InvalidInput(f"{what} holds samples that are too large: {message}")


def _chunks(data: bytes) -> dict[bytes, bytes]:
    """The first chunk of each name."""
    chunks: dict[bytes, bytes] = {}
    start = _HEAD.size
    while start + _CHUNK_HEAD.size <= len(data):
        name, size = _CHUNK_HEAD.unpack_from(data, start)
        start += _CHUNK_HEAD.size
        if name == b"data":
            size = _data_size(data, start, size, chunks.get(b"ds64"))
        if name in (b"fmt ", b"data") and start + size > len(data):
            raise InvalidInput(f"the wave file is cut short: {len(data)} bytes, {start + size} were announced")
        chunks.setdefault(name, data[start : start + size])
        start += size + _padding(data, start + size, size)
    return chunks


def declared_size(size: int, ds64: bytes | None) -> int | None:
    """Bytes of sound as the chunk 'data' has them, or the chunk 'ds64' of RF64; None if the writer did not know.

    0 is returned as it is: it means no sound, or unknown too, which only what follows can tell.
    """
    if size == _ALL_ONES and ds64 is not None and len(ds64) >= _DS64.size:
        (size,) = _DS64.unpack_from(ds64)
    return None if size >= _UNKNOWN_FROM else size


def _data_size(data: bytes, start: int, size: int, ds64: bytes | None) -> int:
    """Bytes of sound: as declared, or all that follows if the writer did not know."""
    declared = declared_size(size, ds64)
    is_unknown = declared is None or (declared == 0 and not _are_chunks(data, start))
    return len(data) - start if declared is None or is_unknown else declared


def _are_chunks(data: bytes, start: int) -> bool:
    """Whether well-formed chunks fill the rest of the file; nothing at all counts too."""
    while start + _CHUNK_HEAD.size <= len(data):
        name, size = _CHUNK_HEAD.unpack_from(data, start)
        if not _is_name(name):
            return False
        start += _CHUNK_HEAD.size + size
        start += _padding(data, start, size)
    return start in (len(data), len(data) + 1)


def _padding(data: bytes, end: int, size: int) -> int:
    """The pad byte after a chunk of odd size. Some writers leave it out: then a well-known name stands in its place."""
    return 0 if data[end : end + 4] in _USUAL_NAMES else size % 2


def _is_name(name: bytes) -> bool:
    """Whether four bytes can be the name of a chunk: printable ASCII, and not only blanks."""
    return len(name) == 4 and all(32 <= byte < 127 for byte in name) and name.strip() != b""


def _format(chunk: bytes) -> _Format:
    if len(chunk) < _FORMAT.size:
        raise InvalidInput("the wave file is damaged: its chunk 'fmt ' is too short")
    code, num_channels, sample_rate_hz, _, _, bits = _FORMAT.unpack_from(chunk)
    if code == _EXTENSIBLE and len(chunk) >= _SUBFORMAT_OFFSET + 2:
        (code,) = struct.unpack_from("<H", chunk, _SUBFORMAT_OFFSET)
    if (code, bits) not in _DECODERS:
        name = f" ({_OTHER_FORMATS[code]})" if code in _OTHER_FORMATS else ""
        raise InvalidInput(
            f"the wave file has samples of format {code}{name} with {bits} bits; "
            "read are PCM of 8, 16, 24 or 32 bits, floats of 32 or 64, mu-law and A-law"
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


def _mu_law(data: bytes) -> FloatArray:
    """G.711: all bits inverted; a sign, an exponent of 3 bits and 4 of the mantissa."""
    codes = ~np.frombuffer(data, "u1")
    exponent, mantissa = codes >> 4 & 7, (codes & 15).astype(np.int32)
    size = (((mantissa << 3) + 132) << exponent) - 132
    return np.where(codes & 128, -size, size).astype(np.float32) / 2.0**15


def _a_law(data: bytes) -> FloatArray:
    """G.711: every second bit inverted; the smallest exponent is linear."""
    codes = np.frombuffer(data, "u1") ^ 0x55
    exponent, mantissa = (codes >> 4 & 7).astype(np.int32), (codes & 15).astype(np.int32)
    size = np.where(exponent == 0, (mantissa << 4) + 8, ((mantissa << 4) + 264) << np.maximum(exponent - 1, 0))
    return np.where(codes & 128, size, -size).astype(np.float32) / 2.0**15


_DECODERS: Mapping[tuple[int, int], Callable[[bytes], FloatArray]] = {
    (_PCM, 8): _pcm8,
    (_PCM, 16): _pcm16,
    (_PCM, 24): _pcm24,
    (_PCM, 32): _pcm32,
    (_MU_LAW, 8): _mu_law,
    (_A_LAW, 8): _a_law,
    (_FLOAT, 32): lambda data: np.frombuffer(data, "<f4"),
    (_FLOAT, 64): lambda data: np.frombuffer(data, "<f8"),
}
