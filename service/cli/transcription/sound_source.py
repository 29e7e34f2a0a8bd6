"""Where the sound of `unroll transcribe` comes from: files of any kind that is read, or standard input as it comes."""

from __future__ import annotations

import struct
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np

from service.errors import InvalidInput, UnrollError
from service.tasks.inputs.sound_file import read_sound
from service.tasks.inputs.wav import CONTAINERS, declared_size

STANDARD_INPUT = "-"
#: Seconds of sound in one piece of a file, and of standard input at most.
PIECE_S = 0.5
LIVE_PIECE_S = 0.1
_SCALE_16_BITS = 2.0**15
_SAMPLE_BYTES = {"pcm_s16le": 2, "pcm_f32le": 4}
_RIFF_HEAD = struct.Struct("<4s4x4s")
_CHUNK_HEAD = struct.Struct("<4sI")
_FORMAT = struct.Struct("<HHIIHH")
_CODES = {(1, 16): "pcm_s16le", (3, 32): "pcm_f32le"}
_EXTENSIBLE, _SUBFORMAT_OFFSET = 0xFFFE, 24
#: Files on standard input that are read to their end first. MP3 without tags is not among them: raw samples may begin
#: with the same bytes.
_FILE_STARTS = (b"fLaC", b"OggS", b"FORM", b".snd", b"ID3\x03", b"ID3\x04")


class UnreadableSound(UnrollError):
    """There is no such file, it cannot be read, or it holds no sound; the message names it."""


@dataclass(frozen=True)
class Sound:
    """Samples of one channel, in pieces.

    Attributes:
        name: for messages and output.
        duration_s: 0 where it is not known, as of a microphone.
        sample_rate_hz: None for the rate of the model.
    """

    name: str
    pieces: Iterator[bytes]
    encoding: str
    sample_rate_hz: int | None
    duration_s: float = 0.0

    @property
    def is_live(self) -> bool:
        return self.name == STANDARD_INPUT


def open_sound(name: str, encoding: str, sample_rate_hz: int | None) -> Sound:
    """The sound in a file, or on standard input: a wave file or raw samples as they come, or another sound file.

    Raw samples are as `encoding` says.

    Raises:
        UnreadableSound: there is no such file, or it holds no sound.
    """
    return _live(sys.stdin.buffer, encoding, sample_rate_hz) if name == STANDARD_INPUT else _file(Path(name))


def require_file(path: Path) -> None:
    """Raises UnreadableSound if there is no such file."""
    if not path.is_file():
        what = "this is a folder: name its files" if path.is_dir() else "there is no such file"
        raise UnreadableSound(f"{path}: {what}")


def _file(path: Path) -> Sound:
    try:
        require_file(path)
        return _whole(str(path), path.read_bytes())
    except OSError as error:
        raise UnreadableSound(f"{path}: {error.strerror}") from error


def _whole(name: str, data: bytes) -> Sound:
    """The sound in the bytes of a file. Samples of 16 bits stay as they are. Raises UnreadableSound."""
    try:
        found = read_sound(data)
    except InvalidInput as error:
        raise UnreadableSound(f"{name}: {error}") from error
    rate = found.sample_rate_hz
    scaled = (found.samples * _SCALE_16_BITS).round()
    samples = scaled.clip(-_SCALE_16_BITS, _SCALE_16_BITS - 1).astype("<i2").tobytes()
    size = max(int(PIECE_S * rate), 1) * 2
    pieces = (samples[start : start + size] for start in range(0, len(samples), size))
    return Sound(name, pieces, "pcm_s16le", rate, len(samples) / 2 / rate)


def _live(source: IO[bytes], encoding: str, sample_rate_hz: int | None) -> Sound:
    if sys.stdin.isatty():
        raise UnreadableSound(
            "standard input is a terminal: pipe sound into it, as `arecord -q | unroll transcribe -` does"
        )
    begun = source.read(_RIFF_HEAD.size)
    if begun.startswith(_FILE_STARTS):
        return _whole(STANDARD_INPUT, begun + source.read())
    if begun[:4] not in CONTAINERS:
        return Sound(STANDARD_INPUT, _parts(source, begun, _SAMPLE_BYTES[encoding]), encoding, sample_rate_hz)
    head = _wave_head(source, begun)
    found = _CODES.get((head.code, head.bits))
    if found is None:
        samples = f"format {head.code} and {head.bits} bits"
        raise UnreadableSound(f"standard input is a wave file with {samples}: record with -f S16_LE")
    pieces = _parts(source, b"", _SAMPLE_BYTES[found] * head.channels, head.rate, head.num_bytes)
    return Sound(STANDARD_INPUT, _mixed(pieces, found, head.channels), found, head.rate)


class _WaveHead(NamedTuple):
    """What a wave file says before its first sample. `num_bytes` of samples follow; None: up to the end."""

    code: int
    channels: int
    rate: int
    bits: int
    num_bytes: int | None


def _wave_head(source: IO[bytes], begun: bytes) -> _WaveHead:
    """The head of a wave file, read up to its first sample. Raises UnreadableSound."""
    form: tuple[int, int, int, int] | None = None
    ds64: bytes | None = None
    if len(begun) == _RIFF_HEAD.size and begun[8:12] == b"WAVE":
        while len(head := source.read(_CHUNK_HEAD.size)) == _CHUNK_HEAD.size:
            name, size = _CHUNK_HEAD.unpack(head)
            if name == b"data" and form is not None:
                # 0 is what programs write that cannot go back to the head of a pipe: all that comes is sound
                return _WaveHead(*form, declared_size(size, ds64) or None)
            content = source.read(size + size % 2)
            if name == b"ds64":
                ds64 = content
            if name == b"fmt " and len(content) >= _FORMAT.size:
                code, channels, rate, _, _, bits = _FORMAT.unpack_from(content)
                if code == _EXTENSIBLE and len(content) >= _SUBFORMAT_OFFSET + 2:
                    (code,) = struct.unpack_from("<H", content, _SUBFORMAT_OFFSET)
                form = code, max(channels, 1), rate, bits
    raise UnreadableSound("standard input begins as a wave file, and is none")


def _parts(
    source: IO[bytes], begun: bytes, unit: int, rate: int = 16_000, num_bytes: int | None = None
) -> Iterator[bytes]:
    """What is there, as soon as it is there, in whole samples; at most a tenth of a second.

    Args:
        unit: bytes of a sample of all channels.
        num_bytes: to read; what follows them is no sound, such as the title of a wave file. None: up to the end.
    """
    read = source.read1 if hasattr(source, "read1") else source.read
    most = max(int(LIVE_PIECE_S * rate), 1) * unit
    left = begun
    while part := read(most if num_bytes is None else min(most, num_bytes)):
        if num_bytes is not None:
            num_bytes -= len(part)
        left += part
        whole = len(left) - len(left) % unit
        if whole:
            yield left[:whole]
        left = left[whole:]


def _mixed(pieces: Iterator[bytes], encoding: str, channels: int) -> Iterator[bytes]:
    """The average of all channels."""
    kind = "<i2" if encoding == "pcm_s16le" else "<f4"
    for piece in pieces:
        if channels == 1:
            yield piece
        else:
            yield np.frombuffer(piece, kind).reshape(-1, channels).mean(axis=1).astype(kind).tobytes()
