"""Small sounds for tests of speech, and what a file of them is read as."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from training.data.formats.faults import Report
from training.data.formats.options import ReadOptions
from training.data.read import read_located
from training.data.records import LabelledSignal, Utterance
from training.preprocessing.signal_values import wav_file


def put(path: Path, seconds: float = 1.0, rate_hz: int = 1000) -> None:
    """Write a wave file of noise, which is the same for equal names."""
    path.parent.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(sum(path.name.encode()))
    samples = (0.1 * random.normal(size=round(seconds * rate_hz))).astype(np.float32)
    path.write_bytes(wav_file(LabelledSignal(samples, "", (), rate_hz)))


def read(path: Path, **options: str) -> tuple[list[Utterance], Report]:
    """All utterances of a file or folder; faults are collected."""
    report = Report(strict=False)
    found = read_located("transcription", path, ReadOptions.model_validate(options), report)
    return [located.record for located in found if isinstance(located.record, Utterance)], report


def texts(path: Path, **options: str) -> list[str]:
    """The texts of a file without faults."""
    records, report = read(path, **options)
    assert report.faults == []
    return [record.text for record in records]
