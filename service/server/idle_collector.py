"""Garbage collection of the oldest generation when no request waits for it.

Its thresholds are so high that it never interrupts requests, so that reference cycles which come to be in other ways,
such as by exceptions of clients that leave, would stay for good.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable

_EVERY_S = 10.0
#: If requests are never absent. What is permanent is frozen, so that a collection takes a few milliseconds.
_AT_LEAST_EVERY_S = 60.0


class IdleCollector:
    """Collects when idle, at most every 10 s, and at least every 60 s otherwise."""

    def __init__(self, is_idle: Callable[[], bool], clock: Callable[[], float] = time.monotonic) -> None:
        self._is_idle = is_idle
        self._clock = clock
        self._collected_s = clock()

    def tick(self) -> None:
        """Collect if it is time; call it several times a second."""
        waited_s = self._clock() - self._collected_s
        if waited_s >= _AT_LEAST_EVERY_S or (waited_s >= _EVERY_S and self._is_idle()):
            gc.collect()
            self._collected_s = self._clock()
