"""Records of numbers as the service takes them: as JSON, and no longer than a model reads."""

from __future__ import annotations

import base64
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np

from service.bundle.load import Bundle
from service.bundle.manifest import ClassificationOptions, WaveformSpec
from service.tasks.core.task import PredictInput
from service.tasks.inputs.resample import resampled
from training.data.records import LabelledSignal, Record

_SAMPLE_BYTES = 2
#: Digits after which a number of an example is cut: more than a sensor measures, and far fewer bytes.
_DIGITS = 5


def json_form(record: LabelledSignal) -> dict[str, Any]:
    """What a caller would send: rounded frames, or a wave file of 16 bits in base64."""
    if record.kind == "waveform":
        return {"wav": base64.b64encode(wav_file(record)).decode("ascii")}
    return {"frames": [[float(f"{number:.{_DIGITS}g}") for number in row] for row in record.values.tolist()]}


def wav_file(record: LabelledSignal) -> bytes:
    """A RIFF wave file of one channel and 16 bits."""
    loudest = np.iinfo(np.int16)
    content: bytes = np.clip(np.rint(record.values * 2.0**15), loudest.min, loudest.max).astype("<i2").tobytes()
    rate_hz = record.sample_rate_hz
    head = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, rate_hz, rate_hz * _SAMPLE_BYTES, _SAMPLE_BYTES, 16)
    body = b"WAVE" + head + struct.pack("<4sI", b"data", len(content)) + content
    return b"RIFF" + struct.pack("<I", len(body)) + body


def at_rate(records: Sequence[Record], rate_hz: int) -> list[Record]:
    """Sounds brought to one sample rate, just as the service does it; all else as it is."""
    return [
        record._replace(values=resampled(record.values, record.sample_rate_hz, rate_hz), sample_rate_hz=rate_hz)
        if isinstance(record, LabelledSignal) and record.kind == "waveform"
        else record
        for record in records
    ]


def shortened_signals(bundle: Bundle, records: Sequence[LabelledSignal]) -> tuple[list[PredictInput], int]:
    """Signals cut at the end to what the model reads, and how many had to be."""
    limits = [max_values(bundle, record) for record in records]
    pairs = list(zip(records, limits, strict=True))
    short = [record._replace(values=record.values[:limit]).value for record, limit in pairs]
    return list(short), sum(len(record.values) > limit for record, limit in pairs)


def max_values(bundle: Bundle, record: LabelledSignal) -> int:
    """The longest signal of the record's kind that a bundle reads: frames, or samples of sound at the record's rate."""
    options, steps = bundle.manifest.options, bundle.manifest.limits.max_input_tokens
    signal = options.signal if isinstance(options, ClassificationOptions) else None
    if not isinstance(signal, WaveformSpec):
        return steps
    return steps * signal.samples_per_step * record.sample_rate_hz // signal.sample_rate_hz
