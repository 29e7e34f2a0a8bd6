"""Caption baselines: the most frequent caption, and that of the nearest picture."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from service.tasks.inputs.png import PictureSize, read_png
from training.data.records import CaptionedPicture
from training.evaluation.baselines.result import BaselineResult
from training.evaluation.caption_scores import caption_scores

#: Pictures are compared at this size: small enough to be quick and to tolerate small shifts.
_SIZE = PictureSize(16, 16)


def most_frequent_caption(train: Sequence[CaptionedPicture], dev: Sequence[CaptionedPicture]) -> BaselineResult:
    """The same caption for every picture."""
    caption, _ = Counter(record.caption for record in train).most_common(1)[0]
    return BaselineResult("most frequent caption", caption_scores(_captions(dev), [caption] * len(dev)))


def nearest_picture(train: Sequence[CaptionedPicture], dev: Sequence[CaptionedPicture]) -> BaselineResult:
    """The caption of the nearest picture in train by squared pixel difference."""
    known, asked = _thumbnails(train), _thumbnails(dev)
    # |a - b|^2 without |a|^2, which is the same for all candidates.
    distances = (known**2).sum(axis=1)[None, :] - 2.0 * asked @ known.T
    predicted = [train[index].caption for index in distances.argmin(axis=1)]
    return BaselineResult("caption of the nearest picture", caption_scores(_captions(dev), predicted))


def _thumbnails(records: Sequence[CaptionedPicture]) -> NDArray[np.float32]:
    """`[pictures, numbers]`."""
    pixels = [read_png(record.png, _SIZE).reshape(-1) for record in records]
    return np.stack(pixels).astype(np.float32) / 255.0


def _captions(records: Sequence[CaptionedPicture]) -> list[str]:
    return [record.caption for record in records]
