"""Where the time of one prediction went."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Timings(NamedTuple):
    """Durations of the stages of one request, in milliseconds.

    The inputs of a request may run in several batches: queue and inference are those of the last to finish, and
    `batch_size` is that of the largest.
    """

    preprocess_ms: float
    queue_ms: float
    inference_ms: float
    postprocess_ms: float
    total_ms: float
    batch_size: int


def in_succession(parts: Sequence[Timings]) -> Timings:
    """The timings of a request that was taken in parts, one after the other."""
    return Timings(
        sum(part.preprocess_ms for part in parts),
        sum(part.queue_ms for part in parts),
        sum(part.inference_ms for part in parts),
        sum(part.postprocess_ms for part in parts),
        sum(part.total_ms for part in parts),
        max(part.batch_size for part in parts),
    )
