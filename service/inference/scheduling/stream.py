"""One caller's request to a step model, as the event loop sees it: what came of it so far, and how it ended."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from typing import Any, Generic, Literal

from service.errors import DeadlineExceeded, Overloaded, UnrollError
from service.tasks.core.step_batch import Outcome, RequestT

#: Why a stream ended: its answer was whole, a run failed, its reader left, its time was up, its reader was too slow,
#: or the service stopped.
EndReason = Literal["finished", "failed", "cancelled", "expired", "overrun", "stopped"]


class Stream(Generic[RequestT]):
    """From the queue to the last product. Read it, then `close` it; closing it early takes it out of the batch.

    What is read: `batches()` for products as they come, those that are ready at the same time together, or `result()` for
    the end alone. An error is raised after the products that came before it. Times are `time.monotonic()`; a time that
    has not come is 0. All methods belong to the event loop.
    """

    def __init__(
        self, request: RequestT, deadline_s: float, max_backlog: int, on_end: Callable[[Stream[RequestT]], None]
    ) -> None:
        self.request = request
        self.length = request.length
        self.enqueued_s = time.monotonic()
        self.deadline_s = deadline_s
        self.started_s = 0.0
        self.first_product_s = 0.0
        self.ended_s = 0.0
        self.end_reason: EndReason | None = None
        self.error: UnrollError | None = None
        self.last_product: Any = None
        self._max_backlog = max_backlog
        self._on_end = on_end
        self._products: list[Any] = []
        self._reader: asyncio.Future[None] | None = None
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(max(0.0, deadline_s - self.enqueued_s), self._expire)

    @property
    def is_cancelled(self) -> bool:
        """Nothing more is wanted."""
        return self.end_reason is not None

    def close(self) -> None:
        """Nobody reads any more."""
        self.end("cancelled")

    async def batches(self) -> AsyncIterator[list[Any]]:
        """Products in order, those that are ready at the same time together."""
        while self._products or self.end_reason is None:
            if self._products:
                ready, self._products = self._products, []
                yield ready
            else:
                await self._wait()
        if self.error is not None:
            raise self.error

    async def result(self) -> Any:
        """Wait for the end: the last product, None if there was none."""
        while self.end_reason is None:
            await self._wait()
        if self.error is not None:
            raise self.error
        return self.last_product

    def take(self, outcome: Outcome[RequestT]) -> None:
        """Hand what a run gave to the reader. A reader that lags too far behind is cut off."""
        if self.end_reason is not None:
            return
        if outcome.product is not None:
            self._deliver(outcome.product)
        if outcome.error is not None:
            self.end("failed", outcome.error)
        elif outcome.finished:
            self.end("finished")

    def end(self, reason: EndReason, error: UnrollError | None = None) -> None:
        """No more products follow. Only the first end counts."""
        if self.end_reason is None:
            self.end_reason, self.error, self.ended_s = reason, error, time.monotonic()
            self._timer.cancel()
            self._wake()
            self._on_end(self)

    def _deliver(self, product: Any) -> None:
        if len(self._products) >= self._max_backlog:
            self.end("overrun", Overloaded("the stream was cut: it was read too slowly"))
            return
        self.first_product_s = self.first_product_s or time.monotonic()
        self.last_product = product
        self._products.append(product)
        self._wake()

    def _expire(self) -> None:
        self.end("expired", DeadlineExceeded("the answer was not ready before the request's deadline"))

    async def _wait(self) -> None:
        """Until there is a product or the end."""
        self._reader = asyncio.get_running_loop().create_future()
        try:
            await self._reader
        finally:
            self._reader = None

    def _wake(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)
