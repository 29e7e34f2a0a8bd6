"""Which waiting items form the next batch: a pure decision over lengths and ages, tested without a queue or a clock.

onnxruntime's recurrent operators compute every row to the longest of the batch, so a batch of unlike lengths is slower
than no batch at all. The items are put in order of length, and of all runs of neighbours the one is taken that gets
most done for its cost: useful tokens against padded ones. Old items count more, so that nobody is passed over for
long; one that has waited beyond a bound is always taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray


class QueuedItem(Protocol):
    """An item in the queue. `length` is in tokens; times are on the same clock as `now_s`."""

    @property
    def length(self) -> int: ...
    @property
    def enqueued_s(self) -> float: ...
    @property
    def deadline_s(self) -> float: ...
    @property
    def is_cancelled(self) -> bool: ...


WaitingT = TypeVar("WaitingT", bound=QueuedItem)

#: A step of a recurrence costs as if there were so many more rows: reading the weights is paid once for all of them.
_ROWS_PER_STEP = 1.2
#: The oldest item counts by this much more than a new one, and by the square of their age those in between.
_AGE_WEIGHT = 0.5
#: More of the queue than this is not looked at: choosing must stay cheap when thousands wait.
_MAX_CONSIDERED = 256


@dataclass(frozen=True)
class BatchLimits:
    """Bounds of one batch. An item that has waited `max_overtaken_s` is in the next batch, whatever it costs."""

    max_items: int = 32
    max_padded_tokens: int = 4096
    max_overtaken_s: float = 0.02


def split_expired(waiting: Sequence[WaitingT], now_s: float) -> tuple[list[WaitingT], list[WaitingT]]:
    """The items still worth answering, and those whose deadline has passed. Cancelled items are in neither."""
    asked = [item for item in waiting if not item.is_cancelled]
    live = [item for item in asked if item.deadline_s > now_s]
    return live, [item for item in asked if item.deadline_s <= now_s]


def next_batch(waiting: Sequence[WaitingT], limits: BatchLimits, now_s: float) -> list[WaitingT]:
    """The items of the next batch, by length; `[]` only if nothing waits.

    `waiting` is in order of arrival. One item alone may break the token budget: it must be answered too.
    """
    if len(waiting) <= 1:
        return list(waiting)
    considered = waiting[:_MAX_CONSIDERED]
    lengths = np.array([item.length for item in considered])
    by_length = lengths.argsort(kind="stable")
    ages_s = now_s - np.array([item.enqueued_s for item in considered])
    anchor = int(np.flatnonzero(by_length == 0)[0]) if ages_s[0] >= limits.max_overtaken_s else None
    start, end = _best_run(lengths[by_length], ages_s[by_length], limits, anchor)
    return [considered[index] for index in by_length[start:end].tolist()]


def padding_ratio(lengths: Sequence[int]) -> float:
    """The share of a padded batch's tokens that is padding: 0 for equal lengths."""
    return 1.0 - sum(lengths) / (max(lengths) * len(lengths))


def _best_run(lengths: NDArray[Any], ages_s: NDArray[Any], limits: BatchLimits, anchor: int | None) -> tuple[int, int]:
    """Start and end of the run of neighbours with the most weighted tokens per computed one.

    Args:
        lengths: `[items]`, ascending.
        ages_s: `[items]`, in the same order.
        limits: the run has at most so many items and padded tokens, unless it is a single item.
        anchor: the run must hold this position.
    """
    oldest_s = max(float(ages_s.max()), 1e-9)
    weights = lengths * (1.0 + _AGE_WEIGHT * (ages_s / oldest_s) ** 2)
    total = np.concatenate(([0.0], weights.cumsum()))
    best, best_start, best_size = -1.0, 0, 1
    for size in _sizes(min(len(lengths), limits.max_items)):
        first, last = (0, len(lengths) - size) if anchor is None else _starts_around(anchor, size, len(lengths))
        longest = lengths[first + size - 1 : last + size]
        gain = (total[first + size : last + size + 1] - total[first : last + 1]) / ((size + _ROWS_PER_STEP) * longest)
        if size > 1:
            gain[longest * size > limits.max_padded_tokens] = -1.0
        start = int(gain.argmax())
        if gain[start] > best:
            best, best_start, best_size = float(gain[start]), first + start, size
    return best_start, best_start + best_size


def _starts_around(anchor: int, size: int, num_items: int) -> tuple[int, int]:
    """First and last start of runs of `size` that hold the anchor."""
    return max(0, anchor - size + 1), min(anchor, num_items - size)


def _sizes(most: int) -> list[int]:
    """The batch sizes that are tried. onnxruntime multiplies matrices six rows at a time: 7 rows cost as much as 9."""
    tried = [size for size in (1, 2, 3, 4, *range(6, most, 6)) if size < most]
    return [*tried, most]
