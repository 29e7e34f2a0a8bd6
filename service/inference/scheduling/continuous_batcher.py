"""Step models: requests wait in one bounded queue, and lanes step them in groups that they join and leave at any step.

Each lane has a group of its own to take further, so that all cores work; rows are spread evenly over the groups.
Handlers on the event loop only enqueue. A run hands what it produced to the event loop by one call for all its streams,
and a request that is not streamed causes no call until its end.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, get_args

from service.errors import NotReady, Overloaded, UnrollError
from service.inference.scheduling.batch_policy import BatchLimits, next_batch, split_expired
from service.inference.scheduling.lanes import Lanes, Work
from service.inference.scheduling.running_batch import Handed, RunningBatch
from service.inference.scheduling.stream import EndReason, Stream
from service.observability.metrics import Metrics
from service.tasks.core.step_batch import RequestT, StepBatch
from service.tasks.core.task import Runner

logger = logging.getLogger(__name__)

#: Weight of the newest stream in the running mean of the time a stream takes, which Retry-After is computed from.
_NEWEST_WEIGHT = 0.1
_MAX_RETRY_AFTER_S = 30.0


@dataclass(frozen=True)
class StepLimits:
    """Bounds of a stepper.

    Attributes:
        max_waiting: requests in the queue before new ones are refused.
        max_rows: rows of all groups together, the slots; a request with more rows than that is stepped alone.
        max_backlog: products that a reader may fall behind.
        joining: which waiting requests join together.
    """

    max_waiting: int = 1024
    max_rows: int = 64
    max_backlog: int = 1024
    joining: BatchLimits = field(default_factory=BatchLimits)


class ContinuousBatcher(Generic[RequestT]):
    """The queue and the groups of one model. Create it inside the event loop that will use it."""

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
        """Serve `lanes` with this queue.

        Args:
            make_batch: gives a new, empty batch; there will be one for each lane.
            count_tokens: see `StepTask.count_tokens`.
        """
        self._model = model
        self._runner = runner
        self._lanes = lanes
        self._limits = limits
        self._count_tokens = count_tokens
        self._loop = asyncio.get_running_loop()
        self._groups = [RunningBatch(model, make_batch()) for _ in range(lanes.num_lanes)]
        #: Every stream that has not ended; only the event loop touches it.
        self._open: set[Stream[RequestT]] = set()
        # The event loop appends to these two, lanes take from them when they choose.
        self._arrived: deque[Stream[RequestT]] = deque()
        self._ended_early: deque[Stream[RequestT]] = deque()
        self._waiting: list[Stream[RequestT]] = []
        self._group_of: dict[Stream[RequestT], RunningBatch[RequestT]] = {}
        self._is_closed = False
        self._stopped: UnrollError | None = None
        self._mean_stream_s = 0.0
        self._batch_size = metrics.batch_size.labels(model)
        self._generated_tokens = metrics.generated_tokens.labels(model)
        self._joins = metrics.slot_joins.labels(model)
        self._leaves = {reason: metrics.slot_leaves.labels(model, reason) for reason in get_args(EndReason)}
        self._misses = {phase: metrics.deadline_misses.labels(model, phase) for phase in ("queue", "running")}
        self._forget = (
            metrics.watch_queue(model, depth=lambda: self.num_waiting, oldest_age_s=lambda: self.oldest_age_s),
            metrics.watch_slots(
                model, streams=lambda: len(self._group_of), in_use=lambda: self.num_rows, total=limits.max_rows
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
        """Streams that are in no batch yet."""
        return len(self._arrived) + len(self._waiting)

    @property
    def num_live(self) -> int:
        """Streams that are being stepped."""
        return len(self._group_of)

    @property
    def num_rows(self) -> int:
        """Rows in use in all groups."""
        return sum(group.num_rows for group in self._groups)

    @property
    def oldest_age_s(self) -> float:
        """How long the oldest waiting stream has waited; 0 if none does."""
        since_s = self._arrival_s()
        return 0.0 if since_s is None else time.monotonic() - since_s

    def submit(self, request: RequestT, deadline_s: float) -> Stream[RequestT]:
        """Queue a request; read the stream, and close it. `deadline_s` is on `time.monotonic()`'s clock.

        Raises:
            Overloaded: too many wait.
            NotReady: the stepper has stopped.
        """
        self.require_room(1)
        stream = Stream(request, deadline_s, self._limits.max_backlog, self._on_end)
        self._open.add(stream)
        self._arrived.append(stream)
        self._lanes.wake()
        return stream

    def require_room(self, num_requests: int) -> None:
        """Raises Overloaded if so many more requests do not fit the queue, NotReady if the stepper has stopped."""
        if self._stopped is not None:
            raise self._stopped
        if not self._lanes.is_alive:
            raise NotReady(f"the stepper of {self._model} has stopped")
        if self.num_waiting + num_requests > self._limits.max_waiting:
            raise Overloaded(f"{self._model} has {self.num_waiting} requests waiting", self._retry_after_s())

    async def close(self) -> None:
        """Take no more; streams that have not ended end with NotReady."""
        if not self._is_closed:
            self._is_closed = True
            self._lanes.remove(self)
            for forget in self._forget:
                forget()
            self._stop(NotReady("the service is stopping", cause="draining"))

    @property
    def waiting_since_s(self) -> float | None:
        """For the lanes: since when a group could be taken further, or a stream could join one."""
        if self._stopped is not None:
            return None
        ready = [group.ready_since_s for group in self._groups if group.is_ready]
        arrival_s = self._arrival_s()
        if arrival_s is not None and any(not group.is_running and not group.num_rows for group in self._groups):
            ready.append(arrival_s)
        return min(ready, default=None)

    def next_work(self) -> Work | None:
        """For the lanes, with their lock held: choose the group that has rested longest, and who joins it."""
        if self._stopped is not None:
            return None
        self._sort_out()
        free = [group for group in self._groups if not group.is_running]
        for group in sorted(free, key=lambda group: group.ready_since_s):
            joining = self._take_joining(group) if self._waiting else []
            if joining or group.num_rows:
                group.is_running = True
                return lambda: self._advance(group, joining)
        return None

    def fail(self, error: BaseException) -> None:
        """For the lanes: choosing or running broke this stepper."""
        failure = NotReady(f"the stepper of {self._model} has stopped: {type(error).__name__}")
        self._stopped = self._stopped or failure
        self._hand_over(self._stop, failure)

    def _sort_out(self) -> None:
        """Move what the event loop has brought to where it belongs."""
        while self._arrived:
            self._waiting.append(self._arrived.popleft())
        while self._ended_early:
            stream = self._ended_early.popleft()
            if (group := self._left(stream, stream.end_reason or "cancelled")) is not None:
                group.leaving.append(stream)

    def _left(self, stream: Stream[RequestT], reason: EndReason) -> RunningBatch[RequestT] | None:
        """It is in no group any more. Of all who find that out, the first counts it and learns its group."""
        group = self._group_of.pop(stream, None)
        if group is not None:
            self._leaves[reason].inc()
        return group

    def _take_joining(self, group: RunningBatch[RequestT]) -> list[Stream[RequestT]]:
        """Who joins: of near lengths, the oldest first, up to the group's fair share of all rows, live and waiting.

        The last may go over that share, and what is larger than all slots goes alone. Nobody passes an older one that
        waits for room: it would wait for ever.
        """
        now_s = time.monotonic()
        self._waiting, _ = split_expired(self._waiting, now_s)  # the expired are told by their own timers
        num_live_rows = self.num_rows
        num_free = self._limits.max_rows - num_live_rows
        num_wanted = num_live_rows + sum(stream.request.num_rows for stream in self._waiting)
        room = math.ceil(num_wanted / len(self._groups)) - group.num_rows
        if not self._waiting or min(room, num_free) <= 0:
            return []
        near = next_batch(self._waiting, self._limits.joining, now_s)
        joining: list[Stream[RequestT]] = []
        for stream in sorted(near, key=lambda stream: stream.enqueued_s):
            num_rows = stream.request.num_rows
            if room <= 0 or num_free < min(num_rows, self._limits.max_rows):
                break
            joining.append(stream)
            room, num_free = room - num_rows, num_free - num_rows
        self._join(group, joining, now_s)
        return joining

    def _join(self, group: RunningBatch[RequestT], joining: Sequence[Stream[RequestT]], now_s: float) -> None:
        chosen = set(joining)
        self._waiting = [stream for stream in self._waiting if stream not in chosen]
        for stream in joining:
            stream.started_s = now_s
            self._group_of[stream] = group
            self._joins.inc()
            group.num_rows += stream.request.num_rows

    def _advance(self, group: RunningBatch[RequestT], joining: Sequence[Stream[RequestT]]) -> None:
        """In a lane: one run of a group."""
        self._batch_size.observe(group.num_rows)
        handed = group.advance(self._runner, joining)
        for stream, outcome in handed:
            if outcome.finished:
                self._left(stream, "finished" if outcome.error is None else "failed")
        group.is_running = False
        if handed:
            self._hand_over(self._hand_out, handed)

    def _hand_over(self, take: Callable[..., None], argument: object) -> None:
        """Go on in the event loop; if that is gone, nobody waits any more."""
        try:
            self._loop.call_soon_threadsafe(take, argument)
        except RuntimeError:
            logger.debug("the event loop ended before a run did", extra={"model": self._model})

    def _hand_out(self, handed: Sequence[Handed[RequestT]]) -> None:
        for stream, outcome in handed:
            stream.take(outcome)

    def _on_end(self, stream: Stream[RequestT]) -> None:
        """In the event loop, once for each stream."""
        self._open.discard(stream)
        if stream.started_s:
            self._generated_tokens.inc(self._count_tokens(stream.request, stream.last_product))
        if stream.end_reason == "expired":
            self._misses["running" if stream.started_s else "queue"].inc()
        if stream.end_reason == "finished":
            self._mean_stream_s += _NEWEST_WEIGHT * (stream.ended_s - stream.started_s - self._mean_stream_s)
        elif stream.end_reason != "failed":
            self._ended_early.append(stream)
            self._lanes.wake()

    def _arrival_s(self) -> float | None:
        oldest = next(iter(self._waiting), None) or next(iter(self._arrived.copy()), None)
        return None if oldest is None else oldest.enqueued_s

    def _retry_after_s(self) -> float:
        """How long the queue takes to drain: as many streams end in their mean time as are being stepped."""
        num_live = max(1, len(self._open) - self.num_waiting)
        seconds = self.num_waiting * self._mean_stream_s / num_live
        return min(_MAX_RETRY_AFTER_S, max(1.0, math.ceil(seconds)))

    def _stop(self, error: UnrollError) -> None:
        self._stopped = self._stopped or error
        for stream in list(self._open):
            self._left(stream, "stopped")
            stream.end("stopped", error)
