"""The way from the lanes back into the event loop: one call for all streams of a run, and of all runs meanwhile."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic

from service.inference.scheduling.running_batch import Handed
from service.tasks.core.step_batch import RequestT

logger = logging.getLogger(__name__)


class HandOver(Generic[RequestT]):
    """Gives streams what runs produced. Create it inside the event loop; any lane may hand over."""

    def __init__(self, model: str) -> None:
        self._model = model
        self._loop = asyncio.get_running_loop()
        self._handed: deque[Sequence[Handed[RequestT]]] = deque()
        self._is_called = False

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
        for stream, _ in handed:
            stream.pass_on()
