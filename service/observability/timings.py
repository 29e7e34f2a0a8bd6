"""Where the time of one prediction went."""

from __future__ import annotations

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
