"""Sounds that libsndfile decodes, a block at a time and up to a limit."""

from __future__ import annotations

import io
import struct

import numpy as np
import soundfile

from service.bundle.padding import FloatArray
from service.errors import InvalidInput
from service.tasks.core.task import Waveform
from service.tasks.inputs.mpeg_audio import says_its_length
from service.tasks.inputs.wav import require_samples

#: As many as FLAC has at most. Others allow hundreds, each of which would be decoded.
_MAX_CHANNELS = 8
_BLOCK_SAMPLES = 1 << 14
_NAMES = {"FLAC": "FLAC", "OGG": "Ogg", "MP3": "MP3", "AIFF": "AIFF", "AU": "AU"}
#: From this size on, programs that write to a pipe mean "unknown".
_UNKNOWN_FROM = 0x7F000000
#: libsndfile declares about 2 ** 63 samples where a FLAC file came from a pipe and does not say.
_UNKNOWN_LENGTH = 1 << 62


def read_encoded(data: bytes, kind: str, max_samples: int) -> Waveform | None:
    """The sound in a file of this kind, as libsndfile names it; several channels are averaged.

    None if there are more than `max_samples` of one channel.

    Raises:
        InvalidInput: it is damaged or empty.
    """
    name = _NAMES[kind]
    _require_whole(data, kind)
    try:
        with _ForwardFile(_Bytes(data)) as file:
            _require_usual(file, kind)
            samples, declared = _decoded(file, max_samples), file.frames
            rate_hz = file.samplerate
    except (soundfile.SoundFileError, RuntimeError, ValueError) as error:
        is_other = "unimplemented" in str(error)
        what = "holds sound in a form that is not read, or is damaged" if is_other else "is damaged, or cut short"
        raise InvalidInput(f"the {name} file {what}") from error
    if samples is None:
        return None
    if len(samples) < declared < _UNKNOWN_LENGTH and (kind != "MP3" or says_its_length(data)):
        message = f"{len(samples):,} samples can be decoded, {declared:,} were announced"
        raise InvalidInput(f"the {name} file is damaged, or cut short: {message}")
    if not len(samples):
        raise InvalidInput(f"the {name} file holds no sound, or is cut short")
    require_samples(samples, f"the {name} file")
    return Waveform(samples, rate_hz)


class _Bytes(io.BytesIO):
    """A file in memory that damaged ones cannot seek out of: an error in a callback would only be printed."""

    def seek(self, offset: int, whence: int = 0, /) -> int:
        base = (0, self.tell(), self.getbuffer().nbytes)[whence]
        return super().seek(max(0, base + offset))


class _ForwardFile(soundfile.SoundFile):  # type: ignore[misc]  # it carries no types
    """Read from start to end only: a seek after each block takes time, and fails where the length is not known."""

    def seekable(self) -> bool:
        return False


def _require_whole(data: bytes, kind: str) -> None:
    """Refuse a file without compression that holds less than its head says, which libsndfile would read quietly."""
    if kind == "AIFF":
        (declared,) = struct.unpack_from(">I", data, 4)
        end = 8 + declared
    elif kind == "AU" and len(data) >= 12:
        offset, declared = struct.unpack_from(">II", data, 4)
        end = offset + declared
    else:
        return
    if declared < _UNKNOWN_FROM and end > len(data) + 1:  # a pad byte at the end may be missing
        raise InvalidInput(f"the {kind} file is cut short: {len(data)} bytes, {end} were announced")


def _require_usual(file: soundfile.SoundFile, kind: str) -> None:
    if file.format != kind:
        raise InvalidInput(f"this is no {_NAMES[kind]} file, though it begins as one")
    if file.channels > _MAX_CHANNELS:
        raise InvalidInput(f"the {_NAMES[kind]} file has {file.channels} channels, at most {_MAX_CHANNELS} are read")
    if file.samplerate < 1:
        raise InvalidInput(f"the {_NAMES[kind]} file has {file.samplerate} samples a second")


def _decoded(file: soundfile.SoundFile, max_samples: int) -> FloatArray | None:
    """The samples of the file, as many as it declares or has; None if these are more than `max_samples`."""
    blocks: list[FloatArray] = []
    num_samples = 0
    # No more is asked for than is declared: FLAC files may have a tag at the end, which is no sound.
    while len(block := file.read(min(_BLOCK_SAMPLES, file.frames - num_samples), dtype="float32", always_2d=True)):
        num_samples += len(block)
        if num_samples > max_samples:
            return None
        with np.errstate(over="ignore", invalid="ignore"):
            blocks.append(block[:, 0] if file.channels == 1 else block.mean(axis=1, dtype=np.float32))
    return np.concatenate(blocks) if blocks else np.zeros(0, dtype=np.float32)
