"""Supervision of background tasks: one that fails is logged, counted and restarted with exponential back-off."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

logger = logging.getLogger(__name__)

#: Starts a task; called again for each restart.
Work = Callable[[], Coroutine[Any, Any, None]]

FIRST_PAUSE_S = 0.5
LAST_PAUSE_S = 60.0


async def supervise(
    name: str,
    work: Work,
    count_failure: Callable[[], None],
    first_pause_s: float = FIRST_PAUSE_S,
) -> None:
    """Run `work` until it returns. If it raises, start it again after a pause, which doubles each time up to a minute.

    A run that was longer than the longest pause makes the next pause short again. Cancellation ends both.
    """
    clock, pause_s = asyncio.get_running_loop().time, first_pause_s
    while True:
        started_s = clock()
        try:
            await work()
        except Exception as error:
            count_failure()
            if clock() - started_s > LAST_PAUSE_S:
                pause_s = first_pause_s
            fields = {"background_task": name, "restart_in_s": pause_s}
            logger.error("a background task failed and is restarted", extra=fields, exc_info=error)
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, LAST_PAUSE_S)
        else:
            return
