"""Video baselines: the most frequent caption and actions, the nearest clip, and the table of what follows what."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from service.tasks.inputs.clips.clip_file import resized_frames
from service.tasks.inputs.png import PictureSize
from training.data.records import CaptionedClip
from training.evaluation.baselines.result import BaselineResult
from training.evaluation.caption_scores import caption_scores
from training.evaluation.scoring import accuracy

#: Clips are compared by their middle frame at this size.
_SIZE = PictureSize(16, 16)


def most_frequent(train: Sequence[CaptionedClip], dev: Sequence[CaptionedClip]) -> BaselineResult:
    """The same caption, action and next action for every clip."""
    action, following = _commonest([record.action for record in train]), _commonest([r.next_action for r in train])
    captions = [_commonest([record.caption for record in train])] * len(dev)
    measures = _action_scores(dev, [action] * len(dev), [following] * len(dev))
    return BaselineResult("most frequent caption and actions", {**_caption_scores(dev, captions), **measures})


def nearest_frame(train: Sequence[CaptionedClip], dev: Sequence[CaptionedClip]) -> BaselineResult:
    """All of the clip in train whose middle frame is nearest by squared pixel difference."""
    known, asked = _thumbnails(train), _thumbnails(dev)
    # |a - b|^2 without |a|^2, which is the same for all candidates.
    distances = (known**2).sum(axis=1)[None, :] - 2.0 * asked @ known.T
    nearest = [train[index] for index in distances.argmin(axis=1)]
    captions = _caption_scores(dev, [record.caption for record in nearest])
    measures = _action_scores(dev, [record.action for record in nearest], [record.next_action for record in nearest])
    return BaselineResult("clip with the nearest middle frame", {**captions, **measures})


def what_follows(train: Sequence[CaptionedClip], dev: Sequence[CaptionedClip]) -> BaselineResult:
    """What most often follows the right action in train: as good as a prediction from the first half can be."""
    pairs: dict[str, Counter[str]] = {}
    for record in train:
        pairs.setdefault(record.action, Counter())[record.next_action] += 1
    usual = _commonest([record.next_action for record in train])
    predicted = [pairs[record.action].most_common(1)[0][0] if record.action in pairs else usual for record in dev]
    return BaselineResult(
        "what most often follows the right action",
        {"next_from_half": accuracy([record.next_action for record in dev], predicted)},
    )


def _commonest(values: Sequence[str]) -> str:
    counts = Counter(values)
    return min(counts, key=lambda value: (-counts[value], value))


def _caption_scores(dev: Sequence[CaptionedClip], captions: Sequence[str]) -> dict[str, float]:
    return caption_scores([record.caption for record in dev], captions)


def _action_scores(dev: Sequence[CaptionedClip], actions: Sequence[str], following: Sequence[str]) -> dict[str, float]:
    """The same guess whether the whole clip is seen or its first half."""
    action = accuracy([record.action for record in dev], actions)
    after = accuracy([record.next_action for record in dev], following)
    return {"action": action, "next": after, "action_from_half": action, "next_from_half": after}


def _thumbnails(records: Sequence[CaptionedClip]) -> NDArray[np.float32]:
    """`[clips, numbers]`."""
    middles = [record.frames[len(record.frames) // 2][None] for record in records]
    return np.stack([resized_frames(frame, _SIZE).reshape(-1) for frame in middles]).astype(np.float32) / 255.0
