"""Baselines of speech recognition: the most frequent text, and that of the utterance that sounds most alike."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from training.data.records import Utterance
from training.evaluation.baselines.result import BaselineResult
from training.evaluation.speech.cepstra import Features, features
from training.evaluation.speech.error_rates import error_rates

#: Frames of 10 ms that are averaged into one.
FRAMES_TOGETHER: Final = 3
#: Averaged frames beyond which an utterance is cut, and utterances that are compared, so that it takes minutes at most.
MAX_FRAMES: Final = 400
MAX_KNOWN: Final = 2_000
MAX_ASKED: Final = 500
_AT_ONCE: Final = 256
#: An utterance this many times as long as another one does not match it.
_MAX_STRETCH: Final = 2.0


def most_frequent_text(train: Sequence[Utterance], dev: Sequence[Utterance]) -> BaselineResult:
    """The same text for every utterance, or silence, whichever has fewer word errors."""
    said = [record.text for record in dev]
    text, _ = Counter(record.text for record in train).most_common(1)[0]
    found = {name: error_rates(said, [answer] * len(dev)) for name, answer in (("empty text", ""), (repr(text), text))}
    name = min(found, key=lambda each: found[each]["wer"])
    return BaselineResult(f"always {name}", found[name])


def nearest_utterance(train: Sequence[Utterance], dev: Sequence[Utterance]) -> BaselineResult:
    """The text of the nearest utterance of train by dynamic time warping over cepstra (Sakoe and Chiba 1978).

    Of a large train or dev part an even sample is compared, and the name says so.
    """
    known, asked = _sample(train, MAX_KNOWN), _sample(dev, MAX_ASKED)
    sounds = [_features(record) for record in known]
    nearest = [int(warped_distances(_features(record), sounds).argmin()) for record in asked]
    scores = error_rates([record.text for record in asked], [known[index].text for index in nearest])
    of_train = f" among {len(known):,} of {len(train):,}" if len(known) < len(train) else ""
    of_dev = f", for {len(asked):,} of {len(dev):,}" if len(asked) < len(dev) else ""
    return BaselineResult(f"text of the nearest utterance (time warping){of_train}{of_dev}", scores)


def _sample(records: Sequence[Utterance], most: int) -> list[Utterance]:
    """Records at equal distances."""
    places = np.linspace(0, len(records) - 1, min(most, len(records)))
    return [records[round(place)] for place in places]


def _features(record: Utterance) -> Features:
    return features(record, FRAMES_TOGETHER)[:MAX_FRAMES]


def warped_distances(asked: Features, known: Sequence[Features]) -> NDArray[np.float64]:
    """The distance of one utterance `[time, features]` to each of the others along the best path of time, by length.

    A step in both directions counts twice, so that all paths weigh the same. Infinite where one is more than twice as
    long, unless that holds for all.
    """
    lengths = np.array([len(each) for each in known])
    stretch = np.maximum(lengths / len(asked), len(asked) / lengths)
    fits = np.flatnonzero((stretch <= _MAX_STRETCH) | (stretch.min() > _MAX_STRETCH))
    rows = fits[np.argsort(lengths[fits], kind="stable")]
    distances = np.full(len(known), np.inf)
    for start in range(0, len(rows), _AT_ONCE):
        part = rows[start : start + _AT_ONCE]
        distances[part] = _warp(asked, [known[row] for row in part]) / (len(asked) + lengths[part])
    return distances


def _warp(asked: Features, known: Sequence[Features]) -> NDArray[np.float64]:
    """`[known]` costs of the best paths, all at once, a frame of `asked` after the other."""
    lengths = np.array([len(each) for each in known])
    padded = np.zeros((len(known), lengths.max(), asked.shape[1]), dtype=np.float32)
    for row, each in enumerate(known):
        padded[row, : len(each)] = each
    squares = (padded**2).sum(axis=2)
    best = np.zeros(0)
    for number, frame in enumerate(asked):
        cost = np.sqrt(np.maximum(0.0, squares - 2.0 * (padded @ frame) + frame @ frame)).astype(np.float64)
        if number == 0:
            best = np.cumsum(cost, axis=1)
            continue
        reached = best + cost
        reached[:, 1:] = np.minimum(reached[:, 1:], best[:, :-1] + 2.0 * cost[:, 1:])
        # Waiting at a frame of `asked` adds the costs between two places: a running minimum beside their sum.
        so_far = np.cumsum(cost, axis=1)
        best = np.minimum.accumulate(reached - so_far, axis=1) + so_far
    costs: NDArray[np.float64] = best[np.arange(len(known)), lengths - 1]
    return costs
