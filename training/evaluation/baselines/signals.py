"""Signal baseline: a linear classifier on summary statistics."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from training.data.records import LabelledSignal
from training.evaluation.baselines.classification import majority_label
from training.evaluation.baselines.result import BaselineResult
from training.evaluation.scoring import classification_scores

#: Number of equal parts of a sound, each with its own statistics, to keep some of its course.
NUM_PARTS = 4
_NUM_BANDS = 12
_FLOOR = 1e-8


def linear_on_summaries(train: Sequence[LabelledSignal], dev: Sequence[LabelledSignal]) -> BaselineResult:
    """Logistic regression on mean, deviation, minimum and maximum of features (for sound: band powers of each part)."""
    labels = [record.label for record in train]
    if len(set(labels)) == 1:
        return majority_label(train, dev)
    # Imported here, see classification.py.
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    model.fit(np.stack([summary(record) for record in train]), labels)
    predicted = [str(label) for label in model.predict(np.stack([summary(record) for record in dev]))]
    scores = classification_scores([record.label for record in dev], predicted)
    return BaselineResult("mean and deviation + logistic regression", scores)


def summary(record: LabelledSignal) -> NDArray[np.float64]:
    """A vector of fixed size for a signal of any length."""
    if record.kind == "waveform":
        return np.concatenate([_band_powers(part) for part in np.array_split(record.values, NUM_PARTS)])
    values = record.values.astype(np.float64)
    return np.concatenate([values.mean(axis=0), values.std(axis=0), values.min(axis=0), values.max(axis=0)])


def _band_powers(samples: NDArray[np.float32]) -> NDArray[np.float64]:
    """Log power in bands of equal width."""
    spectrum = np.abs(np.fft.rfft(samples, n=max(len(samples), 2 * _NUM_BANDS))) ** 2
    return np.log(np.array([band.mean() for band in np.array_split(spectrum, _NUM_BANDS)]) + _FLOOR)
