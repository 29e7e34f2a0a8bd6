"""Which waiting items form the next batch: a pure decision over lengths, tested without a clock or a queue.

onnxruntime's recurrent operators compute every row to the longest of the batch, so a batch of unlike lengths is slower
than no batch at all. The oldest item is always taken; others join it while they are near its length.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar


class Waiting(Protocol):
    """An item in the queue. `length` is in tokens, `deadline_s` on the same clock as `now_s`."""

    @property
    def length(self) -> int: ...
    @property
    def deadline_s(self) -> float: ...
    @property
    def is_cancelled(self) -> bool: ...


WaitingT = TypeVar("WaitingT", bound=Waiting)


@dataclass(frozen=True)
class BatchLimits:
    """Bounds of one batch. `max_padding_ratio` is the share of computed tokens that may be padding, 0 to 1."""

    max_items: int = 32
    max_padded_tokens: int = 4096
    max_padding_ratio: float = 0.25


def split_expired(waiting: Sequence[WaitingT], now_s: float) -> tuple[list[WaitingT], list[WaitingT]]:
    """The items still worth answering, and those whose deadline has passed. Cancelled items are in neither."""
    asked = [item for item in waiting if not item.is_cancelled]
    live = [item for item in asked if item.deadline_s > now_s]
    return live, [item for item in asked if item.deadline_s <= now_s]


def next_batch(waiting: Sequence[WaitingT], limits: BatchLimits) -> list[WaitingT]:
    """The items of the next batch, the oldest (the first) always among them; `[]` only if nothing waits.

    Candidates are tried from the nearest length to the farthest, the older first among equals.
    """
    if not waiting:
        return []
    oldest, *others = waiting
    batch = [oldest]
    for item in sorted(others, key=lambda other: abs(other.length - oldest.length)):
        if len(batch) == limits.max_items:
            break
        if _fits([*(chosen.length for chosen in batch), item.length], limits):
            batch.append(item)
    return batch


def padding_ratio(lengths: Sequence[int]) -> float:
    """The share of a padded batch's tokens that is padding: 0 for equal lengths."""
    return 1.0 - sum(lengths) / (max(lengths) * len(lengths))


def _fits(lengths: Sequence[int], limits: BatchLimits) -> bool:
    padded_tokens = max(lengths) * len(lengths)
    return padded_tokens <= limits.max_padded_tokens and padding_ratio(lengths) <= limits.max_padding_ratio
