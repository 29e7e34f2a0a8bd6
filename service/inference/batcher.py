"""Whole-sequence models: callers' inputs wait in one bounded queue, and one thread runs them in batches.

Nothing is delayed on purpose: a batch is whatever waited while the previous one ran. The queue belongs to the event
loop, the graph to the thread, so neither needs a lock.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple

from service.errors import DeadlineExceeded, InferenceFailed, NotReady, Overloaded, UnrollError
from service.inference.batch_policy import BatchLimits, next_batch, padding_ratio, split_expired
from service.metrics import Metrics

logger = logging.getLogger(__name__)

#: Weight of the newest batch in the running mean of the time per item, which Retry-After is computed from.
_NEWEST_WEIGHT = 0.2


class Output(NamedTuple):
    """What one input got out of its batch."""

    value: Any
    queue_s: float
    run_s: float
    batch_size: int


@dataclass(eq=False)
class WorkItem:
    """One input on its way. Times are `time.monotonic()`."""

    example: Any
    length: int
    deadline_s: float
    enqueued_s: float
    result: asyncio.Future[Output]

    @property
    def is_cancelled(self) -> bool:
        return self.result.done()


class Batcher:
    """The queue of one model and the loop that empties it. Create and use it inside a running event loop."""

    def __init__(
        self,
        model: str,
        run: Callable[[Sequence[Any]], Sequence[Any]],
        limits: BatchLimits,
        max_queue_items: int,
        metrics: Metrics,
    ) -> None:
        """`run` takes examples and returns one value for each, in order; it is called in this batcher's own thread."""
        self._model = model
        self._run = run
        self._limits = limits
        self._max_queue_items = max_queue_items
        self._waiting: list[WorkItem] = []
        self._num_running = 0
        self._arrival = asyncio.Event()
        self._seconds_per_item = 0.0
        self._batch_size = metrics.batch_size.labels(model)
        self._padding_ratio = metrics.batch_padding_ratio.labels(model)
        self._queue_depth = metrics.queue_depth.labels(model)
        self._lane = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"lane-{model}")
        self._loop_task = asyncio.create_task(self._serve(), name=f"batcher-{model}")
        self._loop_task.add_done_callback(self._on_loop_end)

    @property
    def is_alive(self) -> bool:
        """False once the loop has ended, which it does only when closed or through a fault of its own."""
        return not self._loop_task.done()

    @property
    def num_pending(self) -> int:
        """Inputs that wait or are being run."""
        return len(self._waiting) + self._num_running

    def submit(self, examples: Sequence[tuple[Any, int]], deadline_s: float) -> list[asyncio.Future[Output]]:
        """Queue `(example, length)` pairs, all or none; one future each, in order. Cancel a future to drop its item.

        Raises:
            Overloaded: they do not fit the queue.
            NotReady: the loop has ended.
        """
        if not self.is_alive:
            raise NotReady(f"the batcher of {self._model} has stopped")
        if len(self._waiting) + len(examples) > self._max_queue_items:
            raise Overloaded(f"{self._model} has {len(self._waiting)} inputs waiting", self._retry_after_s())
        loop, now_s = asyncio.get_running_loop(), time.monotonic()
        items = [WorkItem(example, length, deadline_s, now_s, loop.create_future()) for example, length in examples]
        self._set_waiting([*self._waiting, *items])
        self._arrival.set()
        return [item.result for item in items]

    async def close(self) -> None:
        """Stop the loop; what still waits gets NotReady."""
        self._loop_task.cancel()
        await asyncio.wait([self._loop_task])
        self._lane.shutdown(wait=False)

    async def _serve(self) -> None:
        while True:
            await self._arrival.wait()
            batch = self._take_batch()
            if batch:
                await self._run_batch(batch)

    def _take_batch(self) -> list[WorkItem]:
        live, expired = split_expired(self._waiting, time.monotonic())
        for item in expired:
            item.result.set_exception(DeadlineExceeded("the request waited in the queue beyond its deadline"))
        batch = next_batch(live, self._limits)
        chosen = {id(item) for item in batch}
        self._set_waiting([item for item in live if id(item) not in chosen])
        if not self._waiting:
            self._arrival.clear()
        return batch

    def _set_waiting(self, items: list[WorkItem]) -> None:
        self._queue_depth.inc(len(items) - len(self._waiting))  # versions of one model share the gauge
        self._waiting = items

    async def _run_batch(self, batch: list[WorkItem]) -> None:
        start_s = time.monotonic()
        self._num_running = len(batch)
        try:
            values = await asyncio.get_running_loop().run_in_executor(
                self._lane, self._run, [item.example for item in batch]
            )
            self._answer(batch, values, start_s)
        except asyncio.CancelledError:
            fail(batch, NotReady("the service is stopping"))
            raise
        except UnrollError as error:
            fail(batch, error)
        except Exception as error:
            logger.exception("a batch failed", extra={"model": self._model, "batch_size": len(batch)})
            fail(batch, InferenceFailed(f"{self._model} failed with {type(error).__name__}"))
        finally:
            self._num_running = 0

    def _answer(self, batch: list[WorkItem], values: Sequence[Any], start_s: float) -> None:
        run_s = time.monotonic() - start_s
        self._batch_size.observe(len(batch))
        self._padding_ratio.observe(padding_ratio([item.length for item in batch]))
        self._seconds_per_item += _NEWEST_WEIGHT * (run_s / len(batch) - self._seconds_per_item)
        for item, value in zip(batch, values, strict=True):
            if not item.result.done():
                item.result.set_result(Output(value, start_s - item.enqueued_s, run_s, len(batch)))

    def _retry_after_s(self) -> float:
        return min(30.0, max(1.0, math.ceil(len(self._waiting) * self._seconds_per_item)))

    def _on_loop_end(self, task: asyncio.Task[None]) -> None:
        fail(self._waiting, NotReady(f"the batcher of {self._model} has stopped"))
        if not task.cancelled() and task.exception() is not None:
            logger.error("the batcher died", extra={"model": self._model}, exc_info=task.exception())


def fail(items: Sequence[WorkItem], error: UnrollError) -> None:
    """Give the error to every caller that still waits."""
    for item in items:
        if not item.result.done():
            item.result.set_exception(error)
