"""Signals as inputs of the service: as JSON, at one sample rate, within the input limit."""

from __future__ import annotations

import base64
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np

from service.bundle.task_options import FramesSpec, WaveformSpec
from service.tasks.core.task import PredictInput
from service.tasks.inputs.resample import resampled
from training.data.records import LabelledSignal, Record, Utterance

_SAMPLE_BYTES = 2
#: Significant digits of numbers in examples: more than a sensor measures, in far fewer bytes.
_DIGITS = 5


def json_form(record: LabelledSignal | Utterance) -> dict[str, Any]:
    """The request input: rounded frames, or a 16-bit wave file in base64."""
    if record.kind == "waveform":
        return {"wav": base64.b64encode(wav_file(record)).decode("ascii")}
    return {"frames": [[float(f"{number:.{_DIGITS}g}") for number in row] for row in record.values.tolist()]}


def wav_file(record: LabelledSignal | Utterance) -> bytes:
    """A mono 16-bit RIFF wave file."""
    loudest = np.iinfo(np.int16)
    content: bytes = np.clip(np.rint(record.values * 2.0**15), loudest.min, loudest.max).astype("<i2").tobytes()
    rate_hz = record.sample_rate_hz
    head = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, rate_hz, rate_hz * _SAMPLE_BYTES, _SAMPLE_BYTES, 16)
    body = b"WAVE" + head + struct.pack("<4sI", b"data", len(content)) + content
    return b"RIFF" + struct.pack("<I", len(body)) + body


def at_rate(records: Sequence[Record], rate_hz: int) -> list[Record]:
    """Sounds resampled to one rate exactly as the service does; other records unchanged."""
    return [
        record._replace(values=resampled(record.values, record.sample_rate_hz, rate_hz), sample_rate_hz=rate_hz)
        if isinstance(record, LabelledSignal | Utterance) and record.kind == "waveform"
        else record
        for record in records
    ]


def shortened_signals(
    signal: FramesSpec | WaveformSpec, max_steps: int, records: Sequence[LabelledSignal]
) -> tuple[list[PredictInput], int]:
    """Signals cut at the end to the input limit, and the number that had to be cut."""
    limits = [max_values(signal, max_steps, record) for record in records]
    pairs = list(zip(records, limits, strict=True))
    short = [record._replace(values=record.values[:limit]).value for record, limit in pairs]
    return list(short), sum(len(record.values) > limit for record, limit in pairs)


def max_values(signal: FramesSpec | WaveformSpec, max_steps: int, record: LabelledSignal) -> int:
    """The longest input of a model that reads `max_steps`: frames, or samples of sound at the record's rate."""
    if not isinstance(signal, WaveformSpec):
        return max_steps
    return max_steps * signal.samples_per_step * record.sample_rate_hz // signal.sample_rate_hz
