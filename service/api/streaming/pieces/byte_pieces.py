"""Messages of bytes: samples of sound, rows of numbers, or the parts of a file. They may be cut anywhere."""

from __future__ import annotations

import base64
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

from service.api.streaming.messages import Encoding
from service.bundle.manifest import Manifest
from service.bundle.task_options import (
    CaptioningOptions,
    ForecastingOptions,
    FramesSpec,
    TensorsOptions,
    TranscriptionOptions,
    VideoOptions,
    WaveformSpec,
    signal_of,
)
from service.errors import InvalidInput
from service.tasks.core.task import Frames, Waveform
from service.tasks.inputs.resample import HIGHEST_RATE_HZ, LOWEST_RATE_HZ
from service.tasks.inputs.wav import require_samples

#: Code of the format of samples in a wave file, and bytes of a sample.
_SAMPLES: Mapping[str, tuple[int, int]] = MappingProxyType({"pcm_s16le": (1, 2), "pcm_f32le": (3, 4)})
_FLOAT_BYTES = 4
_WAVE_HEAD = struct.Struct("<4sI4s4sIHHIIHH4sI")
_FORMAT_BYTES, _HEAD_REST_BYTES = 16, 36


@dataclass(frozen=True)
class ByteFormat:
    """How the bytes of a stream are read.

    Attributes:
        width: numbers of a row of `f32le`.
        sample_rate_hz: of `pcm_s16le` and `pcm_f32le`.
    """

    encoding: Encoding
    width: int = 1
    sample_rate_hz: int | None = None

    @property
    def unit_bytes(self) -> int:
        """Bytes of one row or sample; 1 where bytes are the parts of a file."""
        if self.encoding == "f32le":
            return _FLOAT_BYTES * self.width
        return _SAMPLES[self.encoding][1] if self.encoding in _SAMPLES else 1

    @property
    def is_numbers(self) -> bool:
        """Whether bytes are samples or rows, which can be read as they come, and not the parts of a file."""
        return self.encoding == "f32le" or self.encoding in _SAMPLES

    def value(self, data: bytes) -> Frames | Waveform:
        """Whole samples or rows. Raises InvalidInput for a number that is not finite, or too large a sample."""
        if self.encoding == "pcm_s16le":
            samples = np.frombuffer(data, "<i2").astype(np.float32)
            samples *= 2.0**-15
            return Waveform(samples, self.sample_rate_hz or 0)
        numbers = np.frombuffer(data, "<f4")
        if not np.isfinite(numbers).all():
            place = int(np.isfinite(numbers).argmin())
            raise InvalidInput(f"number {place} of this message is not finite: {numbers[place]}")
        if self.encoding == "f32le":
            return Frames(numbers.reshape(-1, self.width))
        require_samples(numbers, "this message")
        return Waveform(numbers, self.sample_rate_hz or 0)

    def rows(self, data: bytes) -> list[list[float]]:
        """Whole rows of numbers as lists."""
        rows: list[list[float]] = np.frombuffer(data, "<f4").reshape(-1, self.width).tolist()
        return rows

    def whole_input(self, data: bytes) -> dict[str, Any]:
        """All bytes of a stream as an input of `POST /predict`."""
        if self.encoding == "f32le":
            return {"frames": self.rows(data)}
        if self.encoding in _SAMPLES:
            data = self._wave_head(len(data)) + data
        name = self.encoding if self.encoding in ("png", "clip") else "wav"
        return {name: base64.b64encode(data).decode("ascii")}

    def _wave_head(self, num_bytes: int) -> bytes:
        """The head of a wave file of one channel."""
        code, size = _SAMPLES[self.encoding]
        rate = self.sample_rate_hz or 0
        return _WAVE_HEAD.pack(
            b"RIFF", num_bytes + _HEAD_REST_BYTES, b"WAVE",
            b"fmt ", _FORMAT_BYTES, code, 1, rate, rate * size, size, 8 * size,
            b"data", num_bytes,
        )  # fmt: skip


def byte_format(manifest: Manifest, encoding: Encoding | None, sample_rate_hz: int | None) -> ByteFormat | None:
    """How a model reads bytes; None if it reads text.

    Raises:
        InvalidInput: the model does not take what was asked for; the message says what it takes.
    """
    options = manifest.options
    signal = signal_of(options)
    known: tuple[Encoding, ...] = ()
    width = 1
    if isinstance(signal, WaveformSpec):
        known = ("pcm_s16le", "pcm_f32le", "wav")
    elif isinstance(signal, FramesSpec) or isinstance(options, ForecastingOptions):
        known = ("f32le",)
        width = len(signal.features if isinstance(signal, FramesSpec) else options.channels)  # type: ignore[union-attr]
    elif isinstance(options, CaptioningOptions):
        known = ("png",)
    elif isinstance(options, VideoOptions):
        known = ("clip",)
    if encoding is not None and encoding not in known:
        other = "named arrays" if isinstance(options, TensorsOptions) else "text"
        raise InvalidInput(f"{manifest.name} takes {' or '.join(known) or f'{other}, and no bytes'}", ("encoding",))
    chosen = encoding or next(iter(known), None)
    if sample_rate_hz is not None and chosen not in _SAMPLES:
        raise InvalidInput("only sound as pcm_s16le or pcm_f32le has a sample rate", ("sample_rate_hz",))
    if chosen is None:
        return None
    if isinstance(options, TranscriptionOptions) and isinstance(signal, WaveformSpec) and sample_rate_hz is not None:
        require_rate(sample_rate_hz, signal.sample_rate_hz)  # others are read, and refused, at the end
    rate = (sample_rate_hz or signal.sample_rate_hz) if isinstance(signal, WaveformSpec) and chosen != "wav" else None
    return ByteFormat(chosen, width, rate)


def require_rate(rate_hz: int, model_hz: int) -> None:
    """Raises InvalidInput for a rate that cannot be brought to that of the model."""
    if rate_hz != model_hz and not LOWEST_RATE_HZ <= rate_hz <= HIGHEST_RATE_HZ:
        message = f"is {rate_hz} Hz; sound of {LOWEST_RATE_HZ} to {HIGHEST_RATE_HZ} Hz can be brought to {model_hz} Hz"
        raise InvalidInput(message, ("sample_rate_hz",))


class BytePieces:
    """Collects bytes, and gives whole rows or samples; what is left belongs to the next one."""

    def __init__(self, unit_bytes: int) -> None:
        self._unit_bytes = unit_bytes
        self._left = b""

    def add(self, data: bytes) -> bytes:
        """The bytes of the rows or samples that are complete."""
        pending = self._left + data
        cut = len(pending) - len(pending) % self._unit_bytes
        self._left = pending[cut:]
        return pending[:cut]

    @property
    def held(self) -> str:
        """The bytes of a row or sample that is not complete, in base64."""
        return base64.b64encode(self._left).decode("ascii")

    def require_complete(self) -> None:
        """Raises InvalidInput at the end of an input in the middle of a row or sample."""
        if self._left:
            raise InvalidInput(
                f"the input ends {len(self._left)} bytes into a row or sample of {self._unit_bytes} bytes"
            )
