"""Draining of engines: each one finishes its requests before it is closed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from functools import partial

from service.inference.engines.engine import Engine

logger = logging.getLogger(__name__)

_DRAIN_POLL_S = 0.05
#: A request may have found an engine and not yet be in its queue: tokenizing comes first, and long texts take time.
_GRACE_S = 5.0


class RetiredEngines:
    """Engines that were replaced. Each is closed, by a task of its own, when its requests are done."""

    def __init__(self) -> None:
        self._closing: dict[Engine, asyncio.Task[None]] = {}

    def retire(self, engine: Engine) -> None:
        """Close an engine that gets no new requests, as soon as it is idle."""
        task = asyncio.create_task(_close_when_idle(engine), name="retire-engine")
        self._closing[engine] = task
        task.add_done_callback(partial(self._forget, engine))

    async def closed(self) -> None:
        """Wait until every retired engine is closed."""
        await asyncio.gather(*self._closing.values(), return_exceptions=True)

    def _forget(self, engine: Engine, task: asyncio.Task[None]) -> None:
        self._closing.pop(engine, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("an engine that was replaced could not be closed", exc_info=error)

    def take_back(self) -> list[Engine]:
        """Stop waiting, and return the engines that are still open for the caller to close."""
        for task in self._closing.values():
            task.cancel()
        return list(self._closing)


async def close_within(engines: Iterable[Engine], timeout_s: float) -> int:
    """Give engines up to `timeout_s` seconds to finish, then close them. Returns how many requests were left."""
    engines = list(engines)
    try:
        async with asyncio.timeout(timeout_s):
            await _idle(engines)
    except TimeoutError:
        pass
    num_left = sum(engine.num_pending for engine in engines)
    for engine in engines:
        await engine.close()
    return num_left


async def _close_when_idle(engine: Engine) -> None:
    await asyncio.sleep(_GRACE_S)
    await _idle([engine])
    await engine.close()


async def _idle(engines: list[Engine]) -> None:
    while any(engine.num_pending for engine in engines):  # noqa: ASYNC110 - rare, and there is no event for it
        await asyncio.sleep(_DRAIN_POLL_S)
