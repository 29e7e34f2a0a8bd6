"""Shortest job first in turns with first come, first served: which of the waiting inputs leads the next run that reads.

A short input that arrives among many long ones leads the next run or the one after it, and no long one starves.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

WaitingT = TypeVar("WaitingT")

#: An input is short if it has at most this share of the tokens of the one that came first.
_SHORT_SHARE = 0.25


class ReadingOrder:
    """Remembers who led last time; the first to lead is the first who came."""

    def __init__(self) -> None:
        self._has_preferred = True

    def lead(self, waiting: Sequence[WaitingT], length: Callable[[WaitingT], int]) -> WaitingT:
        """The one that leads the next run. `waiting` is in the order in which they had their last turn."""
        shortest = min(waiting, key=length)
        is_short = length(shortest) <= _SHORT_SHARE * length(waiting[0])
        self._has_preferred = is_short and not self._has_preferred
        return shortest if self._has_preferred else waiting[0]
