"""Whole-sequence models: callers' inputs wait in one bounded queue, and the lanes run them in batches.

Nothing is delayed on purpose: a batch is chosen from whatever waits the moment a lane is free, and one input alone goes
at once. Handlers on the event loop only enqueue; requests are answered there too, all of a batch by one call.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from service.errors import DeadlineExceeded, InferenceFailed, NotReady, Overloaded, UnrollError
from service.inference.scheduling.batch_policy import BatchLimits, next_batch, padding_ratio, split_expired
from service.inference.scheduling.lanes import Lanes, Work
from service.observability.metrics import Metrics

logger = logging.getLogger(__name__)

#: Weight of the newest batch in the running mean of the time per item, which Retry-After is computed from.
_NEWEST_WEIGHT = 0.2
_LATE = "the answer was not ready before the request's deadline"


class Output(NamedTuple):
    """What one input got out of its batch. Times are seconds."""

    value: Any
    queue_s: float
    run_s: float
    batch_size: int


@dataclass(eq=False, slots=True)
class Request:
    """The inputs of one caller, which may ride in several batches. `outputs` fills up in the order of the inputs.

    `is_running` once a lane has taken the first of them.
    """

    result: asyncio.Future[list[Output]]
    outputs: list[Output | None]
    num_missing: int
    timer: asyncio.TimerHandle | None = None
    is_running: bool = False


@dataclass(eq=False, slots=True)
class WorkItem:
    """One input on its way. Times are `time.monotonic()`."""

    example: Any
    length: int
    enqueued_s: float
    deadline_s: float
    request: Request = field(repr=False)
    index: int = 0

    @property
    def is_cancelled(self) -> bool:
        return self.request.result.done()


class Batcher:
    """The queue of one model. Create it inside the event loop that will use it; the lanes take batches from it."""

    def __init__(
        self,
        model: str,
        run: Callable[[Sequence[Any]], Sequence[Any]],
        lanes: Lanes,
        limits: BatchLimits,
        max_queue_items: int,
        metrics: Metrics,
    ) -> None:
        """`run` takes examples and returns one value for each, in order; it is called in a lane."""
        self._model = model
        self._run = run
        self._lanes = lanes
        self._limits = limits
        self._max_queue_items = max_queue_items
        self._loop = asyncio.get_running_loop()
        # The event loop appends to the one, lanes move it over to the other when they choose.
        self._arrived: deque[WorkItem] = deque()
        self._waiting: list[WorkItem] = []
        #: Lanes add to it, the event loop takes from it.
        self._running: list[list[WorkItem]] = []
        self._closed: UnrollError | None = None
        self._seconds_per_item = 0.0
        self._batch_size = metrics.batch_size.labels(model)
        self._padding_ratio = metrics.batch_padding_ratio.labels(model)
        self._computed_tokens = metrics.computed_tokens.labels(model)
        self._padded_tokens = metrics.padded_tokens.labels(model)
        self._misses = {phase: metrics.deadline_misses.labels(model, phase) for phase in ("queue", "running")}
        self._forget = metrics.watch_queue(
            model, depth=lambda: self.num_waiting, oldest_age_s=lambda: self.oldest_age_s
        )
        lanes.add(self)

    @property
    def is_alive(self) -> bool:
        """False once it is closed, or broken by a fault of its own, or left without lanes."""
        return self._closed is None and self._lanes.is_alive

    @property
    def num_pending(self) -> int:
        """Inputs that wait or are being run."""
        return self.num_waiting + sum([len(batch) for batch in self._running])

    @property
    def num_waiting(self) -> int:
        return len(self._arrived) + len(self._waiting)

    @property
    def oldest_age_s(self) -> float:
        """How long the oldest input has waited; 0 if none does."""
        since_s = self.waiting_since_s
        return 0.0 if since_s is None else time.monotonic() - since_s

    def submit(self, examples: Sequence[Any], deadline_s: float) -> asyncio.Future[list[Output]]:
        """Queue examples, all or none; the future has one output each, in order. Cancel it to drop them.

        Raises:
            Overloaded: they do not fit the queue.
            NotReady: the batcher has stopped.
        """
        now_s = time.monotonic()
        request = Request(self._loop.create_future(), [None] * len(examples), len(examples))
        items = [
            WorkItem(example, example.length, now_s, deadline_s, request, index)
            for index, example in enumerate(examples)
        ]
        self._admit(len(items))
        self._arrived.extend(items)
        self._lanes.wake()
        request.timer = self._loop.call_later(max(0.0, deadline_s - now_s), self._expire, request)
        return request.result

    async def close(self) -> None:
        """Take no more; what still waits gets NotReady. A batch that is being run is answered."""
        self._lanes.remove(self)
        self._forget()
        self._stop(NotReady("the service is stopping", cause="draining"))

    @property
    def waiting_since_s(self) -> float | None:
        """For the lanes: when the oldest input came."""
        if self._closed is not None:
            return None
        oldest = next(iter(self._waiting), None) or next(iter(self._arrived.copy()), None)
        return None if oldest is None else oldest.enqueued_s

    def next_work(self) -> Work | None:
        """For the lanes, with their lock held: choose a batch. The gone and the expired are left out here."""
        while self._arrived:
            self._waiting.append(self._arrived.popleft())
        now_s = time.monotonic()
        live, expired = split_expired(self._waiting, now_s)
        batch = next_batch(live, self._limits, now_s)
        chosen = set(map(id, batch))
        self._waiting = [item for item in live if id(item) not in chosen]
        if expired:
            self._hand_over(self._expire_all, expired)
        if not batch:
            return None
        for item in batch:
            item.request.is_running = True
        self._running.append(batch)
        return lambda: self._run_batch(batch)

    def fail(self, error: BaseException) -> None:
        """For the lanes: choosing or running a batch broke this batcher, or ended a lane."""
        failure = NotReady(f"the batcher of {self._model} has stopped: {type(error).__name__}")
        self._closed = self._closed or failure
        self._hand_over(self._break, failure)

    def _admit(self, num_items: int) -> None:
        if self._closed is not None:
            raise self._closed
        if not self._lanes.is_alive:
            raise NotReady(f"the batcher of {self._model} has stopped")
        if self.num_waiting + num_items > self._max_queue_items:
            raise Overloaded(f"{self._model} has {self.num_waiting} inputs waiting", self._retry_after_s())

    def _run_batch(self, batch: list[WorkItem]) -> None:
        """In a lane: run, and hand the result or the error to the event loop."""
        start_s = time.monotonic()
        try:
            values = self._run([item.example for item in batch])
            if len(values) != len(batch):
                raise ValueError(f"{len(values)} results for {len(batch)} inputs")
        except UnrollError as error:
            self._hand_over(self._answer_failure, batch, error)
        except Exception as error:
            logger.exception("a batch failed", extra={"model": self._model, "batch_size": len(batch)})
            failure = InferenceFailed(f"{self._model} failed with {type(error).__name__}")
            self._hand_over(self._answer_failure, batch, failure)
        else:
            self._hand_over(self._answer, batch, values, start_s, time.monotonic())

    def _hand_over(self, answer: Callable[..., None], *arguments: Any) -> None:
        """Go on in the event loop; if that is gone, nobody waits any more."""
        try:
            self._loop.call_soon_threadsafe(answer, *arguments)
        except RuntimeError:
            logger.debug("the event loop ended before a batch did", extra={"model": self._model})

    def _answer(self, batch: list[WorkItem], values: Sequence[Any], start_s: float, end_s: float) -> None:
        size, run_s = len(batch), end_s - start_s
        self._leave(batch)
        self._observe([item.length for item in batch], run_s)
        for item, value in zip(batch, values, strict=True):
            request = item.request
            request.outputs[item.index] = Output(value, start_s - item.enqueued_s, run_s, size)
            request.num_missing -= 1
            if not request.num_missing:
                _finish(request)

    def _answer_failure(self, batch: list[WorkItem], error: UnrollError) -> None:
        self._leave(batch)
        _fail(batch, error)

    def _expire_all(self, items: list[WorkItem]) -> None:
        for item in items:
            self._expire(item.request)

    def _expire(self, request: Request) -> None:
        """In the event loop: the caller's time is over."""
        if request.timer is not None:
            request.timer.cancel()
        if not request.result.done():
            self._misses["running" if request.is_running else "queue"].inc()
            request.result.set_exception(DeadlineExceeded(_LATE))

    def _leave(self, batch: list[WorkItem]) -> None:
        if batch in self._running:  # else everyone in it was answered when the batcher broke
            self._running.remove(batch)

    def _observe(self, lengths: list[int], run_s: float) -> None:
        padded_tokens = max(lengths) * len(lengths)
        self._batch_size.observe(len(lengths))
        self._padding_ratio.observe(padding_ratio(lengths))
        self._computed_tokens.inc(padded_tokens)
        self._padded_tokens.inc(padded_tokens - sum(lengths))
        self._seconds_per_item += _NEWEST_WEIGHT * (run_s / len(lengths) - self._seconds_per_item)

    def _retry_after_s(self) -> float:
        seconds = self.num_waiting * self._seconds_per_item / self._lanes.num_lanes
        return min(30.0, max(1.0, math.ceil(seconds)))

    def _stop(self, error: UnrollError) -> None:
        with self._lanes.lock:
            self._closed = self._closed or error
            left, self._waiting = [*self._waiting, *self._arrived], []
            self._arrived.clear()
        _fail(left, error)

    def _break(self, error: UnrollError) -> None:
        """Answer also those that are being run: their lane may be gone."""
        self._stop(error)
        for batch in self._running.copy():
            self._leave(batch)
            _fail(batch, error)


def _finish(request: Request) -> None:
    if request.timer is not None:
        request.timer.cancel()
    if not request.result.done():
        request.result.set_result(request.outputs)  # type: ignore[arg-type]  # none is missing


def _fail(items: Sequence[WorkItem], error: UnrollError) -> None:
    """Give the error to every caller that still waits."""
    for item in items:
        if item.request.timer is not None:
            item.request.timer.cancel()
        if not item.request.result.done():
            item.request.result.set_exception(error)
