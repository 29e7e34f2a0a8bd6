"""Continuous batching: requests join and leave a running batch between any two of its runs.

A static batch would keep every request until the longest has ended, and make new ones wait. Here one run of a graph is
the unit of scheduling: the batch is chosen anew before each run. Three requests of a language model, one lane:

    run          1        2         3        4         5        6         7
    graph        prompt   step      prompt   step      prompt   step      step
    A            joins    a1                 a2, ends
    B                               joins    b1                 b2, ends
    C                                                  joins    c1        c2, ends

B arrived during run 2, so it joins at run 3: its prompt is read (prefill) while A waits for one run, and run 4 then
gives both a token (decode). A ends with its second token, and its row is free at once. Where requests have to be read
while others are stepped, the two kinds of runs take turns, so that a long prompt never stalls running texts.

Each lane has a running batch of its own, so that all cores work; rows are spread evenly over them. Who does what:

    event loop            `submit` puts a `Stream` into `_arrived` and wakes a lane; `HandOver` gives the streams
                          what runs produced.
    lane, lock held       `next_work` chooses a running batch and the streams that join it. One lane at a time chooses,
                          so what is changed only here needs no lock of its own.
    lane, no lock held    `_advance` makes one run of the chosen batch, and one call into the event loop for all its
                          streams. A request that is not streamed causes no call until its end.

Invariants:

- A running batch is used by one lane at a time: the one that set `is_running` under the lock.
- A stream is in `_open` until it ends. It goes from `_arrived` to `_waiting` to `_batch_of`, never in two of them.
- A stream is counted out of its batch once, by whoever takes it out of `_batch_of` first: a lane that finishes it and a
  reader that leaves may find out at the same time.
- Rows in use are at most `max_rows`, and a quarter more for requests and callers that have none, unless a single
  request with more rows than that runs alone.

Requests take turns (`fair_share`) to join, and the running batch takes turns with all else that waits for the lanes.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, get_args

from service.errors import NotReady, Overloaded, UnrollError
from service.inference.scheduling.batch_policy import BatchLimits, next_batch, split_expired
from service.inference.scheduling.fair_share import SEVERAL_RUNS_S, FairShare, Turn
from service.inference.scheduling.hand_over import HandOver
from service.inference.scheduling.kept_rows import RESERVED, KeptRows
from service.inference.scheduling.lanes import Lanes, Work
from service.inference.scheduling.running_batch import RunningBatch
from service.inference.scheduling.stream import EndReason, Stream
from service.observability.collectors import Forget
from service.observability.inference_statistics import RunTotals
from service.observability.metrics import Metrics
from service.tasks.core.step_batch import RequestT, StepBatch
from service.tasks.core.task import Runner

#: Weight of the newest stream in the moving average of the time per stream, from which Retry-After is computed.
_NEWEST_WEIGHT = 0.1
_MAX_RETRY_AFTER_S = 30.0
#: A request with more tokens to read takes several runs for that alone, so that shorter ones join before it.
LONG_TOKENS = 256


@dataclass(frozen=True)
class StepLimits:
    """Limits of a continuous batcher.

    Attributes:
        max_waiting: requests in the queue before new ones are refused (load shedding).
        max_rows: rows of all running batches together, the slots; a request with more rows than that runs alone. Those
            who have none may take a quarter more.
        max_backlog: products that a reader may lag behind.
        joining: limits on the requests that join together, because they are read as one padded batch.
    """

    max_waiting: int = 1024
    max_rows: int = 64
    max_backlog: int = 1024
    joining: BatchLimits = field(default_factory=BatchLimits)


class ContinuousBatcher(Generic[RequestT]):
    """The queue and the running batches of one model. Create it inside the event loop that will use it."""

    def __init__(
        self,
        model: str,
        make_batch: Callable[[], StepBatch[RequestT]],
        runner: Runner,
        lanes: Lanes,
        limits: StepLimits,
        metrics: Metrics,
        count_tokens: Callable[[RequestT, Any], int],
    ) -> None:
        """Register the queue with `lanes`.

        Args:
            make_batch: makes an empty batch; called once for each lane.
            count_tokens: see `StepTask.count_tokens`.
        """
        self._model = model
        self._runner = runner
        self._lanes = lanes
        self._limits = limits
        self._count_tokens = count_tokens
        self._running = [RunningBatch(model, make_batch(), lanes.share.begin_shared()) for _ in range(lanes.num_lanes)]
        #: Every stream that has not ended. Only the event loop uses it.
        self._open: set[Stream[RequestT]] = set()
        # The event loop appends to these two, and lanes take from them when they choose: deques, because appending and
        # taking need no lock.
        self._arrived: deque[Stream[RequestT]] = deque()
        self._ended_early: deque[Stream[RequestT]] = deque()
        self._hand_over = HandOver[RequestT](model)
        #: Streams in no batch yet, in order of arrival. Only the choosing lane changes it.
        self._waiting: list[Stream[RequestT]] = []
        #: The running batch of each stream that has joined one, whether or not its prompt has been read.
        self._batch_of: dict[Stream[RequestT], RunningBatch[RequestT]] = {}
        self._kept_rows = KeptRows[RequestT](limits.max_rows)
        #: Turns that end with their stream, as it is the only one of its request.
        self._own_turns: set[Turn] = set()
        self._is_closed = False
        self._stopped: UnrollError | None = None
        self._mean_stream_s = 0.0
        #: Of this batcher alone, while the metrics are those of all versions of the model.
        self.runs = RunTotals()
        self._batch_size = metrics.batch_size.labels(model)
        self._generated_tokens = metrics.generated_tokens.labels(model)
        self._joins = metrics.slot_joins.labels(model)
        self._leaves = {reason: metrics.slot_leaves.labels(model, reason) for reason in get_args(EndReason)}
        self._misses = {phase: metrics.deadline_misses.labels(model, phase) for phase in ("queue", "running")}
        self._forget: tuple[Forget, ...] = (
            metrics.watch_queue(model, depth=lambda: self.num_waiting, oldest_age_s=lambda: self.oldest_age_s),
            metrics.watch_slots(
                model, streams=lambda: len(self._batch_of), in_use=lambda: self.num_rows, total=limits.max_rows
            ),
        )
        lanes.add(self)

    @property
    def is_alive(self) -> bool:
        """False once it is closed, or broken by a fault of its own, or left without lanes."""
        return self._stopped is None and self._lanes.is_alive

    @property
    def num_pending(self) -> int:
        """Streams that have not ended."""
        return len(self._open)

    @property
    def num_waiting(self) -> int:
        """Streams in no batch yet."""
        return len(self._arrived) + len(self._waiting)

    @property
    def num_live(self) -> int:
        """Streams that have joined a running batch."""
        return len(self._batch_of)

    @property
    def num_rows(self) -> int:
        """Rows in use in all running batches."""
        return sum(batch.num_rows for batch in self._running)

    @property
    def oldest_age_s(self) -> float:
        """How long the oldest waiting stream has waited; 0 if none does."""
        now_s = time.monotonic()
        return now_s - min([stream.enqueued_s for stream in self._all_waiting()], default=now_s)

    @property
    def share(self) -> FairShare:
        """The turns of all that waits for the lanes."""
        return self._lanes.share

    def submit(
        self, request: RequestT, deadline_s: float, caller: str = "", turn: Turn | None = None
    ) -> Stream[RequestT]:
        """Queue a request; read the stream, and close it. `deadline_s` is on `time.monotonic()`'s clock.

        Pass a `turn` for one of several that belong together and share it; without one the request has its own.

        Raises:
            Overloaded: too many wait.
            NotReady: the batcher has stopped.
        """
        self.require_room(1, caller)
        if turn is None:
            is_long = request.length > LONG_TOKENS
            self._own_turns.add(turn := self.share.begin(caller, SEVERAL_RUNS_S if is_long else 0.0))
        stream = Stream(request, deadline_s, self._limits.max_backlog, turn, self._on_end)
        self._open.add(stream)
        self._arrived.append(stream)
        self._lanes.wake(self)
        return stream

    def require_room(self, num_requests: int, caller: str = "") -> None:
        """Raises Overloaded if this many more requests do not fit the queue, NotReady if the batcher has stopped."""
        if self._stopped is not None:
            raise self._stopped
        if not self._lanes.is_alive:
            raise NotReady(f"the continuous batcher of {self._model} has stopped")
        if (refusal := self.refusal(num_requests, caller)) is not None:
            raise refusal

    def refusal(self, num_requests: int, caller: str = "") -> Overloaded | None:
        """The refusal of this many more requests, if they do not fit the queue."""
        num_more = self.num_waiting + num_requests - self._limits.max_waiting
        if num_more > 0 and (num_more > self._limits.max_waiting * RESERVED or self._is_waiting(caller)):
            return Overloaded(f"{self._model} has {self.num_waiting} requests waiting", self._retry_after_s())
        return None

    def _is_waiting(self, caller: str) -> bool:
        queues = (self._waiting, self._arrived)  # copied one by one, as mostly the first has one of the caller
        return any(any(stream.turn.caller == caller for stream in queue.copy()) for queue in queues)

    async def close(self) -> None:
        """Take no more requests; streams that have not ended end with NotReady."""
        if not self._is_closed:
            self._is_closed = True
            self._lanes.remove(self)
            for forget in self._forget:
                forget()
            self._forget = ()  # they refer to this batcher: without them the graphs are freed at once
            self._stop(NotReady("the service is stopping", cause="draining"))

    @property
    def next_key(self) -> float | None:
        """For the lanes: the turn of the running batch that is due for a run, or of a stream that can join one."""
        if self._stopped is not None:
            return None
        keys = [batch.turn.key for batch in self._running if batch.is_ready]
        has_idle = any(not batch.is_running for batch in self._running)
        # A stream that finds no row counts only where a batch is empty: a running one is due without it.
        if has_idle and (not keys or self.num_rows < self._limits.max_rows) and (waiting := self._all_waiting()):
            keys.append(min([stream.turn.key for stream in waiting]))
        return min(keys, default=None)

    def next_work(self) -> Work | None:
        """For the lanes, with their lock held: choose the batch that has rested longest, and the streams that join it.

        `is_running` is set here, under the lock, so that no other lane chooses the same batch.
        """
        if self._stopped is not None:
            return None
        self._sort_out()
        idle = [batch for batch in self._running if not batch.is_running]
        for batch in sorted(idle, key=lambda batch: batch.ready_since_s):
            is_empty = not batch.num_rows
            joining = self._take_joining(batch) if self._waiting else []
            if joining or batch.num_rows:
                if is_empty:
                    self.share.renew(batch.turn)
                self.share.take(batch.turn)
                batch.is_running = True
                return lambda: self._advance(batch, joining)
        return None

    def fail(self, error: BaseException) -> None:
        """For the lanes: choosing or running raised, so this batcher stops."""
        failure = NotReady(f"the continuous batcher of {self._model} has stopped: {type(error).__name__}")
        self._stopped = self._stopped or failure
        self._hand_over.call(self._stop, failure)

    def _sort_out(self) -> None:
        """Take over what the event loop has appended: streams that arrived, and streams that ended early."""
        while self._arrived:
            self._waiting.append(self._arrived.popleft())
        while self._ended_early:
            stream = self._ended_early.popleft()
            if (batch := self._left(stream, stream.end_reason or "cancelled")) is not None:
                # Another lane may be running this batch now, so its rows are freed before the next run.
                batch.leaving.append(stream)

    def _left(self, stream: Stream[RequestT], reason: EndReason) -> RunningBatch[RequestT] | None:
        """Take a stream out of its batch and count it. The first call returns the batch, every later one None."""
        batch = self._batch_of.pop(stream, None)
        self._kept_rows.free(stream)
        if batch is not None:
            self._leaves[reason].inc()
        return batch

    def _take_joining(self, batch: RunningBatch[RequestT]) -> list[Stream[RequestT]]:
        """The streams that join: of near lengths, in the order of their turns, up to the batch's fair share of rows.

        The fair share is that of all rows, live and waiting, so that the lanes have about the same work. Two lanes, one
        with 5 rows and one with 1, and 4 waiting requests of one row: the share is (6 + 4) / 2 = 5, so all 4 join the
        second. The last to join may exceed the share, and a request with more rows than all slots runs alone.

        Where no row is free, streams of requests and of callers that have none find some kept for them.
        """
        now_s = time.monotonic()
        self._waiting, _ = split_expired(self._waiting, now_s)  # an expired stream is ended by its timer
        self._waiting.sort(key=_key)
        num_live_rows = self.num_rows
        num_free = self._limits.max_rows - (num_live_rows - self._kept_rows.num_used)
        num_wanted = num_live_rows + sum(stream.request.num_rows for stream in self._waiting)
        room = math.ceil(num_wanted / len(self._running)) - batch.num_rows
        if not self._waiting or room <= 0:
            return []
        joining: list[Stream[RequestT]] = []
        near = next_batch(self._waiting, self._limits.joining, now_s, self._is_first_due()) if num_free > 0 else []
        for stream in sorted(near, key=_key):
            num_rows = stream.request.num_rows
            # Stop at the first that does not fit. Smaller ones behind it would take every row that becomes free, and
            # it would never find enough of them at once (starvation).
            if room <= 0 or num_free < min(num_rows, self._limits.max_rows):
                break
            joining.append(stream)
            room, num_free = room - num_rows, num_free - num_rows
        joining = joining or self._kept_rows.take_first(self._waiting, self._batch_of)
        self._join(batch, joining, now_s)
        return joining

    def _is_first_due(self) -> bool:
        """Whether the first must join: it has no row, while others that wait have some, or need several runs, or while
        its caller asks for little.
        """
        live = {id(stream.turn) for stream in self._batch_of}
        first, *others = (stream.turn for stream in self._waiting)
        if id(first) in live:
            return False
        return first.is_modest or any(id(turn) in live or turn.run_s > first.run_s for turn in others)

    def _join(self, batch: RunningBatch[RequestT], joining: Sequence[Stream[RequestT]], now_s: float) -> None:
        chosen = set(joining)
        self._waiting = [stream for stream in self._waiting if stream not in chosen]
        for stream in joining:
            stream.started_s = now_s
            self._batch_of[stream] = batch
            self._joins.inc()
            batch.num_rows += stream.request.num_rows  # at once, so that the next choice counts them
            self.share.take(stream.turn)
            self.share.charge(stream.turn, self._mean_stream_s / len(self._batch_of))

    def _advance(self, batch: RunningBatch[RequestT], joining: Sequence[Stream[RequestT]]) -> None:
        """In a lane: one run of a running batch."""
        num_rows = batch.num_rows
        self._batch_size.observe(num_rows)
        started_s = time.monotonic()
        handed = batch.advance(self._runner, joining)
        with self._lanes.lock:
            run_s = time.monotonic() - started_s
            self.share.charge(batch.turn, run_s)
            self.runs.add(num_rows, run_s)
        for stream, outcome in handed:
            if outcome.finished:
                self._left(stream, "finished" if outcome.error is None else "failed")
        # Hand over before another lane may choose the batch. That lane could finish the next run and hand over first:
        # the stream would get its tokens out of order, and lose those that come after its end.
        if handed:
            self._hand_over.put(handed)
        batch.is_running = False

    def _on_end(self, stream: Stream[RequestT]) -> None:
        """In the event loop, once for each stream, however it ended."""
        self._open.discard(stream)
        if stream.turn in self._own_turns:
            self._own_turns.remove(stream.turn)
            self.share.end(stream.turn)
        if stream.started_s:
            num_tokens = self._count_tokens(stream.request, stream.last_product)
            self._generated_tokens.inc(num_tokens)
            if stream.meter is not None:
                stream.meter.charge(self._model, written_tokens=num_tokens, compute_s=stream.compute_s)
        if stream.end_reason == "expired":
            self._misses["running" if stream.started_s else "queue"].inc()
        if stream.end_reason == "finished":
            self._mean_stream_s += _NEWEST_WEIGHT * (stream.ended_s - stream.started_s - self._mean_stream_s)
        elif stream.end_reason != "failed":
            # It is still in a batch, or in the queue: a lane has to take it out.
            self._ended_early.append(stream)
            self._lanes.wake(self)

    def _all_waiting(self) -> list[Stream[RequestT]]:
        """Any thread may ask. A deque must not change while it is iterated, so it is copied."""
        return [*self._waiting, *self._arrived.copy()]

    def _retry_after_s(self) -> float:
        """How long the queue takes to drain: as many streams as are running end within their mean duration."""
        num_live = max(1, len(self._open) - self.num_waiting)
        seconds = self.num_waiting * self._mean_stream_s / num_live
        return min(_MAX_RETRY_AFTER_S, max(1.0, math.ceil(seconds)))

    def _stop(self, error: UnrollError) -> None:
        self._stopped = self._stopped or error
        for stream in list(self._open):
            self._left(stream, "stopped")
            stream.end("stopped", error)


def _key(stream: Stream[Any]) -> float:
    return stream.turn.key
