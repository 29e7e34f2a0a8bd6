"""Dynamic batching for single-pass models: inputs wait in a bounded queue, and the lanes run them in batches.

There is no batching delay: a batch is chosen from the waiting inputs the moment a lane is free, and a single input runs
immediately. Request handlers on the event loop only enqueue; one call per batch resolves the requests there. Where the
only lane is idle and all that waits is known to be done in less than a millisecond, the event loop runs it by itself;
likewise a single request where all of several lanes are idle.

Requests take turns (`fair_share`): a batch holds inputs of the request whose turn it is, and of others of near lengths,
and each is charged its share of the run. A request that has had no run yet goes before the second run of any other.
"""

from __future__ import annotations

import asyncio
import logging
import math
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from service.access.metering import meter_var
from service.errors import DeadlineExceeded, InferenceFailed, NotReady, Overloaded, UnrollError
from service.inference.scheduling.batch_policy import BatchLimits, next_batch, padding_ratio, split_expired
from service.inference.scheduling.batching.deadlines import Deadlines
from service.inference.scheduling.batching.queued_request import Output, Request, WorkItem, fail, finish
from service.inference.scheduling.batching.run_cost import RunCost
from service.inference.scheduling.fair_share import SEVERAL_RUNS_S
from service.inference.scheduling.kept_rows import RESERVED
from service.inference.scheduling.lanes import Lanes, Work
from service.observability.inference_statistics import RunTotals
from service.observability.metrics import Metrics

logger = logging.getLogger(__name__)

#: Weight of the newest batch in the moving average of the time per item, from which Retry-After is computed.
_NEWEST_WEIGHT = 0.2
_LATE = "the answer was not ready before the request's deadline"


class Batcher:
    """The request queue of one model. Create it inside the event loop that uses it; the lanes take batches from it."""

    def __init__(
        self,
        model: str,
        run: Callable[[Sequence[Any]], Sequence[Any]],
        lanes: Lanes,
        limits: BatchLimits,
        max_queue_items: int,
        metrics: Metrics,
    ) -> None:
        """`run` maps examples to values, one each and in order; lanes call it."""
        self._model = model
        self._run = run
        self._lanes = lanes
        self._limits = limits
        self._max_queue_items = max_queue_items
        self._loop = asyncio.get_running_loop()
        # The event loop appends to `_arrived`; lanes move the items to `_waiting` when they choose a batch.
        self._arrived: deque[WorkItem] = deque()
        self._waiting: list[WorkItem] = []
        #: Lanes append, the event loop removes.
        self._running: list[list[WorkItem]] = []
        self._closed: UnrollError | None = None
        self._seconds_per_item = 0.0
        self._cost = RunCost()
        self._deadlines = Deadlines(self._loop, self._expire)
        self._loop_thread = threading.get_ident()
        #: Whether the event loop has been asked to run what waits.
        self._is_asked = False
        #: Of this batcher alone, while the metrics are those of all versions of the model.
        self.runs = RunTotals()
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
        """False once the batcher is closed or broken, or the lanes have ended."""
        return self._closed is None and self._lanes.is_alive

    @property
    def num_pending(self) -> int:
        """Inputs that are waiting or running."""
        return self.num_waiting + sum([len(batch) for batch in self._running])

    @property
    def num_waiting(self) -> int:
        return len(self._arrived) + len(self._waiting)

    @property
    def oldest_age_s(self) -> float:
        """Waiting time of the oldest input; 0 if none waits."""
        now_s = time.monotonic()
        return now_s - min([item.enqueued_s for item in self._all_waiting()], default=now_s)

    def submit(self, examples: Sequence[Any], deadline_s: float, caller: str = "") -> asyncio.Future[list[Output]]:
        """Enqueue all examples or none; the future gives one output each, in order. Cancel it to drop them.

        Requests take turns, and so do callers, see `FairShare`.

        Raises:
            Overloaded: they do not fit the queue.
            NotReady: the batcher has stopped.
        """
        self._admit(len(examples), caller)
        now_s = time.monotonic()
        turn = self._lanes.share.begin(caller, self._expected_run_s(examples))
        num_items, result = len(examples), self._loop.create_future()
        request = Request(result, [None] * num_items, num_items, turn, deadline_s, meter_var.get())
        result.add_done_callback(partial(self._end, request))
        items = [
            WorkItem(example, example.length, now_s, deadline_s, request, index)
            for index, example in enumerate(examples)
        ]
        self._arrived.extend(items)
        self._begin()
        self._deadlines.watch(request, now_s)
        return result

    def _end(self, request: Request, _: asyncio.Future[list[Output]]) -> None:
        """A request has its answer or its error, or its caller has left."""
        self._lanes.share.end(request.turn)
        self._deadlines.forget(request)

    def _begin(self) -> None:
        """See that what has arrived is run: by a lane, or on the event loop once all that came with it has arrived."""
        if self._is_asked:
            return
        if self._cost.is_known and self._lanes.may_run_here:
            self._is_asked = True
            self._loop.call_soon(self._run_here)
        else:
            self._lanes.wake(self)

    def _run_here(self) -> None:
        """Run what waits on the event loop, if that is still short and the lanes are idle."""
        self._is_asked = False
        started_s = time.monotonic()
        if not self._is_short(started_s) or not self._lanes.run_here(self):
            self._lanes.wake(self)
            return
        ended_s = time.monotonic()
        self._cost.note_on_loop(ended_s - started_s, ended_s)
        if self.num_waiting:
            self._lanes.wake(self)

    def _is_short(self, now_s: float) -> bool:
        """Whether all that waits fits one batch that may hold up the event loop. Call it there, all lanes idle."""
        lengths = [item.length for item in self._all_waiting()]
        return len(lengths) <= self._limits.max_items and self._cost.is_short(lengths, now_s)

    async def close(self) -> None:
        """Accept no more and fail waiting requests with NotReady. Batches that are running are still answered."""
        self._lanes.remove(self)
        self._forget()
        self._deadlines.close()
        self._forget = _nothing  # it refers to this batcher: without it the graphs are freed at once
        self._stop(NotReady("the service is stopping", cause="draining"))

    @property
    def next_key(self) -> float | None:
        """See `WorkSource`: the key of the request whose turn is next."""
        return (
            None
            if self._closed is not None
            else min([item.request.turn.key for item in self._all_waiting()], default=None)
        )

    def next_work(self) -> Work | None:
        """See `WorkSource`: choose a batch. Cancelled and expired inputs are dropped here."""
        while self._arrived:
            self._waiting.append(self._arrived.popleft())
        now_s = time.monotonic()
        live, expired = split_expired(self._waiting, now_s)
        live.sort(key=_key)
        batch = next_batch(live, self._limits, now_s, _is_first_due(live), self._cost.run_tokens)
        chosen = set(map(id, batch))
        self._waiting = [item for item in live if id(item) not in chosen]
        if expired:
            self._call_in_loop(self._expire_all, expired)
        if not batch:
            return None
        self._lanes.share.take(min(batch, key=_key).request.turn)
        for item in batch:
            item.request.is_running = True
        self._running.append(batch)
        return lambda: self._run_batch(batch)

    def fail(self, error: BaseException) -> None:
        """See `WorkSource`: choosing or running a batch raised, or a lane has ended."""
        failure = NotReady(f"the batcher of {self._model} has stopped: {type(error).__name__}")
        self._closed = self._closed or failure
        self._call_in_loop(self._break, failure)

    def _all_waiting(self) -> list[WorkItem]:
        """Any thread may ask. A deque must not change while it is iterated, so it is copied."""
        return [*self._waiting, *self._arrived.copy()]

    def _expected_run_s(self, examples: Sequence[Any]) -> float:
        """0 for a request that fits one run: such requests are served in order of arrival."""
        num_tokens = examples[0].length if len(examples) == 1 else sum([example.length for example in examples])
        fits_one = len(examples) <= self._limits.max_items and num_tokens <= self._limits.max_padded_tokens
        return 0.0 if fits_one else SEVERAL_RUNS_S

    def _admit(self, num_items: int, caller: str) -> None:
        if self._closed is not None:
            raise self._closed
        if not self._lanes.is_alive:
            raise NotReady(f"the batcher of {self._model} has stopped")
        if (refusal := self.refusal(num_items, caller)) is not None:
            raise refusal

    def refusal(self, num_items: int, caller: str = "") -> Overloaded | None:
        """The refusal of this many more inputs, if they do not fit the queue."""
        num_more = self.num_waiting + num_items - self._max_queue_items
        if num_more > 0 and (num_more > self._max_queue_items * RESERVED or self._is_waiting(caller)):
            return Overloaded(f"{self._model} has {self.num_waiting} inputs waiting", self._retry_after_s())
        return None

    def _is_waiting(self, caller: str) -> bool:
        queues = (self._waiting, self._arrived)  # copied one by one, as mostly the first has one of the caller
        return any(any(item.request.turn.caller == caller for item in queue.copy()) for queue in queues)

    def _run_batch(self, batch: list[WorkItem]) -> None:
        """In a lane: run, and pass the result or the error to the event loop."""
        start_s = time.monotonic()
        try:
            values = self._run_and_charge(batch)
            if len(values) != len(batch):
                raise ValueError(f"{len(values)} results for {len(batch)} inputs")
        except UnrollError as error:
            self._call_in_loop(self._answer_failure, batch, error)
        except Exception as error:
            logger.exception("a batch failed", extra={"model": self._model, "batch_size": len(batch)})
            failure = InferenceFailed(f"{self._model} failed with {type(error).__name__}")
            self._call_in_loop(self._answer_failure, batch, failure)
        else:
            self._call_in_loop(self._answer, batch, values, start_s, time.monotonic())

    def _run_and_charge(self, batch: list[WorkItem]) -> Sequence[Any]:
        """Run, and charge each request that may have more to run its share of the time."""
        started_s = time.monotonic()
        try:
            return self._run([item.example for item in batch])
        finally:
            share_s = (time.monotonic() - started_s) / len(batch)
            num_items = Counter(item.request for item in batch if len(item.request.outputs) > 1)
            if num_items:
                with self._lanes.lock:
                    for request, count in num_items.items():
                        self._lanes.share.charge(request.turn, share_s * count)

    def _call_in_loop(self, answer: Callable[..., None], *arguments: Any) -> None:
        """Call `answer` on the event loop; if that has ended, nobody is waiting any more."""
        if threading.get_ident() == self._loop_thread:
            answer(*arguments)
            return
        try:
            self._loop.call_soon_threadsafe(answer, *arguments)
        except RuntimeError:
            logger.debug("the event loop ended before a batch did", extra={"model": self._model})

    def _answer(self, batch: list[WorkItem], values: Sequence[Any], start_s: float, end_s: float) -> None:
        size, run_s = len(batch), end_s - start_s
        self._remove_running(batch)
        self._observe([item.length for item in batch], run_s)
        for item, value in zip(batch, values, strict=True):
            request = item.request
            request.outputs[item.index] = Output(value, start_s - item.enqueued_s, run_s, size)
            request.num_missing -= 1
            if request.meter is not None:
                request.meter.charge(self._model, compute_s=run_s / size)
            if not request.num_missing:
                finish(request)

    def _answer_failure(self, batch: list[WorkItem], error: UnrollError) -> None:
        self._remove_running(batch)
        fail(batch, error)

    def _expire_all(self, items: list[WorkItem]) -> None:
        for item in items:
            self._expire(item.request)

    def _expire(self, request: Request) -> None:
        """On the event loop: the deadline has passed."""
        if not request.result.done():
            self._misses["running" if request.is_running else "queue"].inc()
            request.result.set_exception(DeadlineExceeded(_LATE))

    def _remove_running(self, batch: list[WorkItem]) -> None:
        if batch in self._running:  # otherwise its requests were failed when the batcher broke
            self._running.remove(batch)

    def _observe(self, lengths: list[int], run_s: float) -> None:
        padded_tokens = max(lengths) * len(lengths)
        self._batch_size.observe(len(lengths))
        self.runs.add(len(lengths), run_s)
        self._padding_ratio.observe(padding_ratio(lengths))
        self._computed_tokens.inc(padded_tokens)
        self._padded_tokens.inc(padded_tokens - sum(lengths))
        self._seconds_per_item += _NEWEST_WEIGHT * (run_s / len(lengths) - self._seconds_per_item)
        self._cost.note(lengths, run_s)

    def _retry_after_s(self) -> float:
        seconds = self.num_waiting * self._seconds_per_item / self._lanes.num_lanes
        return min(30.0, max(1.0, math.ceil(seconds)))

    def _stop(self, error: UnrollError) -> None:
        with self._lanes.lock:
            self._closed = self._closed or error
            left, self._waiting = [*self._waiting, *self._arrived], []
            self._arrived.clear()
        fail(left, error)

    def _break(self, error: UnrollError) -> None:
        """Fail the running batches too: their lane may have ended."""
        self._stop(error)
        for batch in self._running.copy():
            self._remove_running(batch)
            fail(batch, error)


def _nothing() -> None:
    """There is nothing left to forget."""


def _key(item: WorkItem) -> float:
    return item.request.turn.key


def _is_first_due(waiting: Sequence[WorkItem]) -> bool:
    """Whether the first must be in the next batch: its caller asks for little, or there is a request of several runs,
    which would otherwise be dealt run after run.
    """
    return bool(waiting) and (waiting[0].request.turn.is_modest or any(item.request.is_running for item in waiting))
