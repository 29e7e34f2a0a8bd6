"""Requests to stop that arrive twice: a signal to the whole group of processes, and the supervisor's order for it."""

from __future__ import annotations

from collections import Counter
from typing import Literal


class StopRequests:
    """Tells new requests from repetitions: systemd and terminals send a signal to the workers and to the supervisor."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[int, str]] = Counter()
        self._acted: Counter[int] = Counter()

    def is_new(self, sig: int, source: Literal["signal", "order"]) -> bool:
        """Whether this is a request that has not come by the other way."""
        self._counts[sig, source] += 1
        times = max(self._counts[sig, "signal"], self._counts[sig, "order"])
        if times <= self._acted[sig]:
            return False
        self._acted[sig] = times
        return True
