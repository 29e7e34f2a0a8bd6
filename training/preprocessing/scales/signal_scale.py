"""Scale of signals: names, means and standard deviations of their features in train."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from service.errors import UnrollError
from training.config.signals import SignalConfig
from training.data.records import LabelledSignal, Utterance
from training.preprocessing.spectrogram import Spectrogram

#: A feature with a smaller relative deviation is constant but for rounding.
_LEAST_DEVIATION = 1e-6


class SignalScale(NamedTuple):
    """Mean and standard deviation of each feature."""

    features: tuple[str, ...]
    mean: tuple[float, ...]
    deviation: tuple[float, ...]

    @classmethod
    def of_json(cls, text: bytes) -> SignalScale:
        """The inverse of `json.dumps(scale._asdict())`, exact to the bit."""
        return cls(**{name: tuple(values) for name, values in json.loads(text).items()})

    @property
    def num_features(self) -> int:
        return len(self.features)


def fit_signal_scale(config: SignalConfig, records: Sequence[LabelledSignal] | Sequence[Utterance]) -> SignalScale:
    """Fit on every step of every record. A feature that never changes is not scaled.

    Raises:
        UnrollError: the records are not of the kind that the recipe names.
    """
    for record in records:
        _require_kind(config, record)
    values = np.concatenate(list(_features(config, records)))
    mean, deviation = values.mean(axis=0), values.std(axis=0)
    deviation = np.where(deviation > _LEAST_DEVIATION * (1.0 + np.abs(mean)), deviation, 1.0)
    return SignalScale(_names(config, records[0]), tuple(mean.tolist()), tuple(deviation.tolist()))


def _require_kind(config: SignalConfig, record: LabelledSignal | Utterance) -> None:
    if record.kind != config.kind:
        raise UnrollError(f"the recipe is for {config.kind} (signal.kind), the data holds {record.kind}")
    if record.kind == "waveform" and record.sample_rate_hz != config.sample_rate_hz:
        raise UnrollError(
            f"the data has {record.sample_rate_hz} samples a second, the recipe is for {config.sample_rate_hz} "
            "(signal.sample_rate_hz); convert the files, or say the other rate"
        )


def _features(
    config: SignalConfig, records: Sequence[LabelledSignal] | Sequence[Utterance]
) -> Iterator[NDArray[np.float64]]:
    """`[time, features]` of each record."""
    if config.kind == "frames":
        yield from (record.values.astype(np.float64) for record in records)
        return
    spectrogram = Spectrogram(config)
    for record in records:
        bands, _ = spectrogram(torch.from_numpy(record.values)[None], torch.tensor([len(record.values)]))
        yield bands[0].numpy().astype(np.float64)


def band_names(config: SignalConfig) -> tuple[str, ...]:
    """The features of sound."""
    return tuple(f"band {number}" for number in range(1, config.mel_bands + 1))


def _names(config: SignalConfig, record: LabelledSignal | Utterance) -> tuple[str, ...]:
    return band_names(config) if config.kind == "waveform" else record.features
