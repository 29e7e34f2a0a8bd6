"""What is known of a clip before a pixel of it is decoded, and the most that is read."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from service.errors import InvalidInput
from service.tasks.inputs.png import MAX_PIXELS

#: Frames of one file or list. Each must be composed with those before it, also where few of them are looked at.
MAX_FRAMES: Final = 1000
#: Pixels of all frames together: 256 frames of 256 x 256.
MAX_CLIP_PIXELS: Final = 1 << 24


#: How long browsers show a frame that says less than the other: files say 0 for "as usual".
_LEAST_MS, _USUAL_MS = 11, 100


class ClipFacts(NamedTuple):
    """Frames of a clip, their size in pixels, and how long each is shown, in milliseconds; none if that is equal."""

    num_frames: int
    rows: int
    columns: int
    durations_ms: tuple[int, ...] = ()

    @property
    def num_pixels(self) -> int:
        """Of all frames together."""
        return self.num_frames * self.rows * self.columns


def frames_in_time(facts: ClipFacts, most: int) -> tuple[int, ...]:
    """The numbers of at most `most` frames that are shown at equal distances in time; a frame that stays is repeated.

    Programs that write clips join frames that are equal, and show the one that is left for longer. So the distance is
    the shortest time of a frame, unless that makes more than `most`: then it is the time that `most` divide.
    """
    if not facts.durations_ms:
        return evenly(facts.num_frames, most)
    shown = np.array([each if each >= _LEAST_MS else _USUAL_MS for each in facts.durations_ms])
    ends = shown.cumsum()
    num_moments = round(float(ends[-1]) / max(float(shown.min()), float(ends[-1]) / MAX_FRAMES))
    moments = np.array(evenly(num_moments, most))
    found = np.searchsorted(ends, (moments + 0.5) * ends[-1] / num_moments, side="right")
    return tuple(found.clip(0, facts.num_frames - 1).tolist())


def evenly(num_frames: int, most: int) -> tuple[int, ...]:
    """The numbers of at most `most` frames, from the middle of equal parts of the clip."""
    if num_frames <= most:
        return tuple(range(num_frames))
    return tuple((2 * part + 1) * num_frames // (2 * most) for part in range(most))


def too_many_frames(kind: str) -> InvalidInput:
    """The error for a file with more than `MAX_FRAMES`."""
    return InvalidInput(f"the {kind} file has more than {MAX_FRAMES:,} frames, which is the most that are read")


def require_pixels(facts: ClipFacts) -> ClipFacts:
    """Raises InvalidInput for a clip with more pixels than are read, in all or in one frame."""
    if facts.rows * facts.columns > MAX_PIXELS:
        size = f"{facts.columns} x {facts.rows} pixels"
        raise InvalidInput(f"a frame of the clip has {size}, at most {MAX_PIXELS:,} in all are read")
    if facts.num_pixels > MAX_CLIP_PIXELS:
        size = f"{facts.num_frames:,} frames of {facts.columns} x {facts.rows} pixels"
        raise InvalidInput(f"the clip has {size}, at most {MAX_CLIP_PIXELS:,} pixels in all are read")
    return facts
