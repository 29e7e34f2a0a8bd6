"""Garbage collection when no request waits for it: of what opening bundles left, and later of the oldest generation.

Its thresholds are so high that it never interrupts requests, so that reference cycles which come to be in other ways,
such as by exceptions of clients that leave, would stay for good.
"""

from __future__ import annotations

import ctypes
import gc
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

_STATM = Path("/proc/self/statm")
_EVERY_S = 10.0
#: If requests are never absent. What is permanent is frozen, so that a collection takes a few milliseconds.
_AT_LEAST_EVERY_S = 60.0


#: Growth since memory was returned last, after which it is returned again: what a very long input took.
_GROWTH_BYTES = 32 * 1024 * 1024


class IdleCollector:
    """Collects when idle, at most every 10 s, and at least every 60 s otherwise; returns memory when idle."""

    def __init__(self, is_idle: Callable[[], bool], clock: Callable[[], float] = time.monotonic) -> None:
        self._is_idle = is_idle
        self._clock = clock
        self._collected_s = clock()
        self._resident_bytes = resident_bytes()

    def tick(self) -> None:
        """Collect if it is time; call it several times a second."""
        waited_s = self._clock() - self._collected_s
        if waited_s >= _AT_LEAST_EVERY_S or (waited_s >= _EVERY_S and self._is_idle()):
            gc.collect()
            self._collected_s = self._clock()
            if self._is_idle() and resident_bytes() - self._resident_bytes > _GROWTH_BYTES:
                return_free_memory()
                self._resident_bytes = resident_bytes()


def settle_memory(*, is_reload: bool = False) -> None:
    """Free what opening bundles has left behind, and exclude what stays from garbage collection.

    Every full collection would traverse permanent objects, which takes tens of milliseconds in the middle of requests,
    and would write to their pages, which a worker process then shares with no other.

    Args:
        is_reload: what was excluded before may be garbage now, and is looked at again.
    """
    if is_reload:
        gc.unfreeze()
    gc.collect()
    gc.freeze()
    return_free_memory()


def return_free_memory() -> None:
    """Give memory that the C library keeps for later allocations back to the system; without effect but on glibc.

    To open a bundle takes twice the memory of the open bundle, most of which stays with the process otherwise.
    """
    with suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)


def resident_bytes() -> int:
    """Resident memory of this process; 0 where there is no /proc."""
    try:
        return int(_STATM.read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0
