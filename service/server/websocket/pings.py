"""Pings of a WebSocket: a client from which nothing comes, not even the answer to a ping, is gone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Pings:
    """Sends a ping after each interval.

    Attributes:
        has_heard: whether anything came since the last ping; set it when data arrives.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, interval_s: float) -> None:
        """With an interval of 0 there are no pings."""
        self.has_heard = True
        self._loop = loop
        self._interval_s = interval_s
        self._timer: asyncio.TimerHandle | None = None

    def start(self, ping: Callable[[], None], on_silence: Callable[[], None]) -> None:
        """Call `ping` after each interval, or `on_silence` if nothing came since the last one."""
        if self._interval_s:
            self._timer = self._loop.call_later(self._interval_s, self._after_interval, ping, on_silence)

    def stop(self) -> None:
        """Send no more."""
        if self._timer is not None:
            self._timer.cancel()

    def _after_interval(self, ping: Callable[[], None], on_silence: Callable[[], None]) -> None:
        if not self.has_heard:
            on_silence()
            return
        self.has_heard = False
        self.start(ping, on_silence)
        ping()
