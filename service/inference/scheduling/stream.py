"""The stream of one request to a continuous batcher, as the event loop sees it: products, and the end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from typing import Any, Generic, Literal, Protocol

from service.access.metering import meter_var
from service.errors import DeadlineExceeded, Overloaded, UnrollError
from service.inference.scheduling.fair_share import Turn
from service.tasks.core.step_batch import Outcome, RequestT

#: Why a stream ended: its answer was complete, a run failed, its reader closed it, its deadline passed, its reader was
#: too slow, or the service stopped.
EndReason = Literal["finished", "failed", "cancelled", "expired", "overrun", "stopped"]

#: The rest stays in the backlog, whose length is limited, until the reader has passed these on.
_MAX_PRODUCTS_AT_ONCE = 32


class RowClock(Protocol):
    """What a running batch has cost so far, in seconds for each row."""

    seconds_per_row: float


class Stream(Generic[RequestT]):
    """A request from the queue to its last product. Read it, then `close` it; closing it early frees its rows.

    Read `batches()` for products as they come, or `result()` for the last one alone. An error is raised after the
    products that came before it. Times are on `time.monotonic()`'s clock, and 0 as long as they have not come. Call all
    methods in the event loop.
    """

    def __init__(
        self,
        request: RequestT,
        deadline_s: float,
        max_backlog: int,
        turn: Turn,
        on_end: Callable[[Stream[RequestT]], None],
    ) -> None:
        self.request = request
        self.turn = turn
        self.length = request.length
        self.enqueued_s = time.monotonic()
        self.deadline_s = deadline_s
        self.started_s = 0.0
        self.first_product_s = 0.0
        self.ended_s = 0.0
        self.end_reason: EndReason | None = None
        self.error: UnrollError | None = None
        self.last_product: Any = None
        #: Whether products have been passed on.
        self.is_begun = False
        #: Counts for whoever sent the request.
        self.meter = meter_var.get()
        self._clock: RowClock | None = None
        self._joined_at_s = 0.0
        self._max_backlog = max_backlog
        self._on_end = on_end
        self._products: list[Any] = []
        self._reader: asyncio.Future[None] | None = None
        self._at_once: Callable[[list[Any]], bool] | None = None
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(max(0.0, deadline_s - self.enqueued_s), self._expire)

    @property
    def is_cancelled(self) -> bool:
        """Whether it has ended, so that no run should include it."""
        return self.end_reason is not None

    @property
    def compute_s(self) -> float:
        """Its part of the runs that it was in so far, in seconds: a run is shared by the rows of its batch."""
        if self._clock is None:
            return 0.0
        return (self._clock.seconds_per_row - self._joined_at_s) * self.request.num_rows

    def join(self, clock: RowClock) -> None:
        """In a lane: from now on it has a part in the runs of this batch."""
        self._joined_at_s = clock.seconds_per_row
        self._clock = clock

    def close(self) -> None:
        """End the stream unless it has ended: nobody reads it any more."""
        self.end("cancelled")

    async def batches(self, at_once: Callable[[list[Any]], bool] | None = None) -> AsyncIterator[list[Any]]:
        """Products in order; those that are ready at the same time come as one list, up to 32.

        While the reader waits, what comes is offered to `at_once`, all of it or nothing. What that takes is not listed,
        and the reader sleeps on: waking a task costs several times as much as writing a token.
        """
        self._at_once = at_once
        while self._products or self.end_reason is None:
            if self._products:
                ready = self._products[:_MAX_PRODUCTS_AT_ONCE]
                del self._products[:_MAX_PRODUCTS_AT_ONCE]
                yield ready
            else:
                await self._wait()
        if self.error is not None:
            raise self.error

    async def result(self) -> Any:
        """Wait for the end. Returns the last product, None if there was none."""
        while self.end_reason is None:
            await self._wait()
        if self.error is not None:
            raise self.error
        return self.last_product

    def take(self, outcome: Outcome[RequestT]) -> None:
        """Keep the outcome of a run until `pass_on`. A reader that lags too far behind is cut off (back-pressure)."""
        if self.end_reason is not None:
            return
        if outcome.product is not None:
            self._deliver(outcome.product)
        if outcome.error is not None:
            self.end("failed", outcome.error)
        elif outcome.finished:
            self.end("finished")

    def pass_on(self) -> None:
        """Pass what was taken to the reader, if it waits."""
        self.is_begun = True
        reader = self._reader
        if reader is None or reader.done() or not self._products:
            return
        if self._at_once is not None and self._is_taken(reader, self._at_once):
            self._products.clear()
        else:
            self._wake()

    def end(self, reason: EndReason, error: UnrollError | None = None) -> None:
        """End the stream; no more products follow. Only the first end counts."""
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

    def _is_taken(self, reader: asyncio.Future[None], at_once: Callable[[list[Any]], bool]) -> bool:
        """Whether `at_once` takes the products. What it raises is raised where the reader waits."""
        try:
            return at_once(self._products)
        except Exception as error:
            reader.set_exception(error)
            return False

    def _expire(self) -> None:
        self.end("expired", DeadlineExceeded("the answer was not ready before the request's deadline"))

    async def _wait(self) -> None:
        """Wait until there is a product, or the end."""
        self._reader = asyncio.get_running_loop().create_future()
        try:
            await self._reader
        finally:
            self._reader = None

    def _wake(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)
