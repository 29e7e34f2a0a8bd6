"""The measured window of a load: begins after the warm-up, ends after a time or a number of requests, or on demand."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable

#: Time limit for outstanding answers after the load has ended.
GRACE_S = 10.0


class Clock:
    """`time.perf_counter()`, and waiting for a time on it. Tests replace it."""

    def now(self) -> float:
        return time.perf_counter()

    async def until(self, when_s: float) -> None:
        """Timers are accurate to a millisecond, so the last part is a busy wait; replies are read meanwhile."""
        left_s = when_s - time.perf_counter()
        if left_s > _SPIN_S:
            await asyncio.sleep(left_s - _SPIN_S)
        await asyncio.sleep(0)
        while time.perf_counter() < when_s:  # noqa: ASYNC110 - it waits for a time, not for an event
            await asyncio.sleep(0)


_SPIN_S = 0.001


class Window:
    """When requests are sent, and which of them count.

    Args:
        warm_s: requests are sent from the start, and count after this time.
        seconds: duration of the measurement; None for no limit.
        requests: number of counted requests after which none is sent; None for no limit.
    """

    def __init__(
        self, warm_s: float, seconds: float | None, requests: int | None = None, clock: Clock | None = None
    ) -> None:
        self.clock = clock or Clock()
        self.start_s = self.clock.now()
        self.begin_s = self.start_s + warm_s
        self.end_s = math.inf if seconds is None else self.begin_s + seconds
        self.is_stopped = False
        self._left = math.inf if requests is None else requests
        self.is_limited = requests is not None
        self._ended = asyncio.Event()

    def take(self, start_s: float) -> bool:
        """Whether one more request may be sent, whose latency counts from `start_s`; it is counted off."""
        if start_s >= self.end_s:
            return False
        if start_s >= self.begin_s:
            if self._left < 1:
                return False
            self._left -= 1
        return True

    @property
    def is_open(self) -> bool:
        """Whether requests may still be sent."""
        return self._left >= 1 and self.clock.now() < self.end_s

    def counts(self, started_s: float) -> bool:
        """Whether the answer that arrives now counts: it was given, or asked for, within the measured time."""
        if self.is_limited:
            return started_s >= self.begin_s
        return self.begin_s <= self.clock.now() < self.end_s

    def stop(self) -> None:
        """End the load now, as when the user interrupts it."""
        self.is_stopped = True
        self.end_s = min(self.end_s, self.clock.now())
        self._ended.set()

    def finish(self) -> None:
        """End the window because every request that it allowed was answered."""
        self.end_s = min(self.end_s, self.clock.now())
        self._ended.set()

    async def wait_for_end(self) -> None:
        """Return when the time is over, or `stop` or `finish` was called."""
        left_s = None if math.isinf(self.end_s) else max(0.0, self.end_s - self.clock.now())
        try:
            await asyncio.wait_for(self._ended.wait(), left_s)
        except TimeoutError:
            return

    async def drain(self, in_flight: Callable[[], int]) -> None:
        """Wait for the last answers, at most `GRACE_S`, or until `stop` is called."""
        give_up_s = self.clock.now() + GRACE_S
        while in_flight() and self.clock.now() < give_up_s and not self.is_stopped:  # noqa: ASYNC110 - bounded by time
            await asyncio.sleep(0.01)

    @property
    def measured_s(self) -> float:
        """Length of the measured part so far."""
        return max(0.0, min(self.end_s, self.clock.now()) - self.begin_s)
