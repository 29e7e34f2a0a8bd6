"""Shortest job first in turns with first come, first served: which of the waiting inputs leads the next run that reads.

A short input that arrives among many long ones leads the next run or the one after it, and no long one starves.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

WaitingT = TypeVar("WaitingT")


class ReadingOrder:
    """Remembers who led last time."""

    def __init__(self) -> None:
        self._has_preferred = False

    def lead(self, waiting: Sequence[WaitingT], length: Callable[[WaitingT], int]) -> WaitingT:
        """The one that leads the next run. `waiting` is in the order in which they had their last turn."""
        shortest = min(waiting, key=length)
        self._has_preferred = not self._has_preferred and length(shortest) < length(waiting[0])
        return shortest if self._has_preferred else waiting[0]
