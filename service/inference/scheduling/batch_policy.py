"""Length-aware batching: which waiting items form the next batch. A pure function of lengths and ages.

onnxruntime's recurrent operators compute every row up to the longest of the batch, so a batch of very different lengths
is slower than no batch at all. The items are sorted by length, and the contiguous run with the highest gain is taken:
useful tokens per computed token, padding included. A run has a cost of its own too, so that a fast graph has larger
batches than a slow one. Older items weigh more, and the first in the order of turns is taken once it has waited
beyond a bound, so that no item starves.
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

#: Fixed cost of a recurrent step, in rows: the weights are read once for all rows.
_ROWS_PER_STEP = 1.2
#: Additional weight of the oldest item over a new one; in between, the weight grows with the square of the age.
_AGE_WEIGHT = 0.5
#: An item that is due shares a batch with others of at most this length, or this many times its own.
_NEAR_TOKENS = 64
_NEAR_FACTOR = 2
#: Only this much of the queue is considered: choosing must stay cheap when thousands of items wait.
_MAX_CONSIDERED = 256


@dataclass(frozen=True)
class BatchLimits:
    """Bounds of one batch. An item that has waited `max_overtaken_s` is part of the next batch at any cost.

    With `equal_lengths` a batch has no padding at all, because the graph would read it.
    """

    max_items: int = 32
    max_padded_tokens: int = 2048
    max_overtaken_s: float = 0.02
    equal_lengths: bool = False


def split_expired(waiting: Sequence[WaitingT], now_s: float) -> tuple[list[WaitingT], list[WaitingT]]:
    """The live items, and those whose deadline has passed. Cancelled items are in neither."""
    asked = [item for item in waiting if not item.is_cancelled]
    live = [item for item in asked if item.deadline_s > now_s]
    return live, [item for item in asked if item.deadline_s <= now_s]


def next_batch(
    waiting: Sequence[WaitingT], limits: BatchLimits, now_s: float, is_first_due: bool = False, run_tokens: float = 0.0
) -> list[WaitingT]:
    """The items of the next batch, sorted by length; `[]` only if nothing waits.

    `run_tokens` is what a run costs beside its tokens, in computed tokens: see `tokens_computed`.

    `waiting` is in the order in which its items have their turns. The first is part of the batch if it has waited
    `max_overtaken_s`, or if it is due: a request must not be passed over for the second run of another one, nor made to
    last as long as one. A single item may exceed the token budget: it must be answered too.
    """
    if len(waiting) <= 1:
        return list(waiting)
    considered = waiting[:_MAX_CONSIDERED]
    if is_first_due:
        longest = max(_NEAR_TOKENS, _NEAR_FACTOR * waiting[0].length)
        considered = [item for item in considered if item.length <= longest]
    lengths = np.array([item.length for item in considered])
    by_length = lengths.argsort(kind="stable")
    ages_s = now_s - np.array([item.enqueued_s for item in considered])
    is_first_due = is_first_due or bool(ages_s[0] >= limits.max_overtaken_s)
    anchor = int(np.flatnonzero(by_length == 0)[0]) if is_first_due else None
    start, end = _best_run(lengths[by_length], ages_s[by_length], limits, anchor, run_tokens)
    return [considered[index] for index in by_length[start:end].tolist()]


def tokens_computed(num_rows: int, num_steps: int) -> float:
    """The cost of a batch in tokens: its rows, padding included, and what each step costs beside them."""
    return (num_rows + _ROWS_PER_STEP) * num_steps


def padding_ratio(lengths: Sequence[int]) -> float:
    """The fraction of a batch's tokens that is padding: 0 for equal lengths."""
    return 1.0 - sum(lengths) / (max(lengths) * len(lengths))


def _best_run(
    lengths: NDArray[Any], ages_s: NDArray[Any], limits: BatchLimits, anchor: int | None, run_tokens: float
) -> tuple[int, int]:
    """Start and end of the contiguous run with the most weighted tokens per computed token.

    Args:
        lengths: `[items]`, ascending.
        ages_s: `[items]`, in the same order.
        limits: maximum items and padded tokens of the run; a single item is always allowed.
        anchor: the run must contain this position.
        run_tokens: the cost of any run, beside its tokens.
    """
    oldest_s = max(float(ages_s.max()), 1e-9)
    weights = lengths * (1.0 + _AGE_WEIGHT * (ages_s / oldest_s) ** 2)
    total = np.concatenate(([0.0], weights.cumsum()))
    best, best_start, best_size = -1.0, 0, 1
    for size in _sizes(min(len(lengths), limits.max_items)):
        first, last = (0, len(lengths) - size) if anchor is None else _starts_around(anchor, size, len(lengths))
        longest = lengths[first + size - 1 : last + size]
        cost = (size + _ROWS_PER_STEP) * longest + run_tokens
        gain = (total[first + size : last + size + 1] - total[first : last + 1]) / cost
        if size > 1:
            gain[longest * size > limits.max_padded_tokens] = -1.0
            if limits.equal_lengths:
                gain[lengths[first : last + 1] != longest] = -1.0
        start = int(gain.argmax())
        if gain[start] > best:
            best, best_start, best_size = float(gain[start]), first + start, size
    return best_start, best_start + best_size


def _starts_around(anchor: int, size: int, num_items: int) -> tuple[int, int]:
    """First and last start of runs of `size` that contain the anchor."""
    return max(0, anchor - size + 1), min(anchor, num_items - size)


def _sizes(most: int) -> list[int]:
    """Candidate batch sizes. onnxruntime multiplies matrices in blocks of six rows: 7 rows take as long as 9."""
    tried = [size for size in (1, 2, 3, 4, *range(6, most, 6)) if size < most]
    return [*tried, most]
