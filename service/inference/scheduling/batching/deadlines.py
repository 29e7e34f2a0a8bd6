"""Deadlines of many requests with one timer: nearly all of them are answered long before."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable

from service.inference.scheduling.batching.queued_request import Request


class Deadlines:
    """Requests without an answer, each of which fails at its deadline. Use it on the event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, on_expiry: Callable[[Request], None]) -> None:
        self._loop = loop
        self._on_expiry = on_expiry
        self._open: set[Request] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._next_s = math.inf
        self._is_closing = False

    def watch(self, request: Request, now_s: float) -> None:
        """Call `on_expiry` at the deadline of a request, unless it is forgotten before."""
        self._open.add(request)
        if request.deadline_s < self._next_s:
            self._wait_until(request.deadline_s, now_s)

    def forget(self, request: Request) -> None:
        """A request has its answer, or needs none any more."""
        self._open.discard(request)
        if self._is_closing and not self._open:
            self.close()

    def close(self) -> None:
        """Keep the timer and `on_expiry` no longer than there are requests: what they hold could not be freed."""
        self._is_closing = True
        if self._open:
            return
        self._on_expiry = _nothing
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _wait_until(self, deadline_s: float, now_s: float) -> None:
        self._next_s = deadline_s
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(max(0.0, deadline_s - now_s), self._look)

    def _look(self) -> None:
        """The next deadline has come, or its request has been answered."""
        self._timer, self._next_s, now_s = None, math.inf, time.monotonic()
        due = [one for one in self._open if one.deadline_s <= now_s]
        for request in sorted(due, key=lambda one: one.deadline_s):
            self._open.discard(request)
            self._on_expiry(request)
        if self._open:
            self._wait_until(min([one.deadline_s for one in self._open]), now_s)


def _nothing(request: Request) -> None:
    """There is nobody left to tell."""
