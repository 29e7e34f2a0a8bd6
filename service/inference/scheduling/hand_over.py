"""The way from the lanes back into the event loop: one call for all streams of a run, and of all runs meanwhile.

Where many streams are read and steps are short, what several steps produced is passed on together: writing to a
connection takes longer than computing a token, and no reader can tell a few milliseconds.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic

from service.inference.scheduling.running_batch import Handed
from service.inference.scheduling.stream import Stream
from service.tasks.core.step_batch import RequestT

logger = logging.getLogger(__name__)

#: So often products are passed on where at least so many streams get some.
PERIOD_S = 0.005
MANY_STREAMS = 8


class HandOver(Generic[RequestT]):
    """Gives streams what runs produced. Create it inside the event loop; any lane may hand over."""

    def __init__(self, model: str) -> None:
        self._model = model
        self._loop = asyncio.get_running_loop()
        self._handed: deque[Sequence[Handed[RequestT]]] = deque()
        self._is_called = False
        #: Streams that have got something since products were last passed on.
        self._resting: dict[Stream[RequestT], None] = {}
        self._passed_on_s = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def put(self, handed: Sequence[Handed[RequestT]]) -> None:
        """In a lane: the outcomes of one run."""
        self._handed.append(handed)
        if not self._is_called:
            self._is_called = True
            self.call(self._hand_out)

    def call(self, take: Callable[..., None], *arguments: object) -> None:
        """Continue in the event loop. If that has been closed, nobody waits for an answer."""
        try:
            self._loop.call_soon_threadsafe(take, *arguments)
        except RuntimeError:
            logger.debug("the event loop was closed before a run ended", extra={"model": self._model})

    def _hand_out(self) -> None:
        """Of several runs, while the event loop was busy, a stream gets all products at once."""
        self._is_called = False  # before anything is taken: a lane that comes now calls again
        handed = [one for _ in range(len(self._handed)) for one in self._handed.popleft()]
        for stream, outcome in handed:
            stream.take(outcome)
        resting = self._resting
        resting.update(dict.fromkeys([stream for stream, _ in handed]))
        wait_s = self._passed_on_s + PERIOD_S - self._loop.time()
        if len(resting) < MANY_STREAMS or wait_s <= 0:
            self._pass_on()
            return
        for stream, _ in handed:
            if not stream.is_begun:  # its reader waits for the first product
                stream.pass_on()
        if self._timer is None:
            self._timer = self._loop.call_later(wait_s, self._pass_on)

    def _pass_on(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._passed_on_s = self._loop.time()
        resting, self._resting = self._resting, {}
        for stream in resting:
            stream.pass_on()
