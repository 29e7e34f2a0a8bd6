"""Step models: many streams share one running batch, and each joins and leaves at any step.

New streams are prefilled together as a padded batch and their state rows are appended to the running ones; every step
then runs all live streams at once; a stream that has finished, or that nobody reads any more, is gone at the next step.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

from service.errors import DeadlineExceeded, InferenceFailed, NotReady, Overloaded, UnrollError
from service.inference.batch_policy import BatchLimits, next_batch, split_expired
from service.metrics import Metrics
from service.tasks.base import Array, Runner
from service.tasks.continuation import Continuation
from service.tasks.generation import Generation
from service.tasks.generation_answer import TokenEvent
from service.tasks.recurrent_state import RecurrentState

logger = logging.getLogger(__name__)

_SECONDS_PER_WAITING_STREAM = 0.1


@dataclass(eq=False)
class Stream:
    """One caller's continuation, from the queue to its last token. Read it with `async for`, then `close` it.

    At most `max_backlog_events` wait for the reader; `error` is raised to it after the events that came before.
    Times are `time.monotonic()`.
    """

    continuation: Continuation
    deadline_s: float
    max_backlog_events: int
    events: asyncio.Queue[TokenEvent | None] = field(default_factory=asyncio.Queue)
    submitted_s: float = field(default_factory=time.monotonic)
    prefill_started_s: float = 0.0
    first_token_s: float = 0.0
    ended_s: float = 0.0
    error: UnrollError | None = None
    is_closed: bool = False

    @property
    def length(self) -> int:
        return len(self.continuation.prompt_ids)

    @property
    def is_cancelled(self) -> bool:
        return self.is_closed

    def close(self) -> None:
        """Nobody reads any more: the stream leaves the running batch at the next step."""
        self.is_closed = True

    async def __aiter__(self) -> AsyncIterator[TokenEvent]:
        while True:
            event = await self.events.get()
            if event is not None:
                yield event
            elif self.error is not None:
                raise self.error
            else:
                return

    def deliver(self, event: TokenEvent) -> None:
        """Hand one token to the reader; a reader that lags too far behind is cut off."""
        if self.is_closed:
            return
        if self.events.qsize() >= self.max_backlog_events:
            self.end(Overloaded("the stream was cut: it was read too slowly"))
        else:
            self.first_token_s = self.first_token_s or time.monotonic()
            self.events.put_nowait(event)

    def end(self, error: UnrollError | None = None) -> None:
        """No more events follow."""
        if not self.is_closed:
            self.is_closed, self.error, self.ended_s = True, error, time.monotonic()
            self.events.put_nowait(None)


class Running(NamedTuple):
    """The live streams and their state rows, in the same order."""

    streams: tuple[Stream, ...] = ()
    state: RecurrentState | None = None

    def joined(self, other: Running) -> Running:
        """Both batches as one, the rows of the other last."""
        if self.state is None or other.state is None:
            return self if other.state is None else other
        return Running(self.streams + other.streams, RecurrentState.joined([self.state, other.state]))

    def only(self, keep: Callable[[Stream], bool]) -> Running:
        """The rows whose stream is to be kept; the same object if all are."""
        rows = [row for row, stream in enumerate(self.streams) if keep(stream)]
        if len(rows) == len(self.streams) or self.state is None:
            return self
        return Running(tuple(self.streams[row] for row in rows), self.state.rows(rows)) if rows else Running()


class Advance(NamedTuple):
    """What one run gave: the batch that goes on, and what each of its streams produced."""

    running: Running
    produced: list[tuple[Stream, TokenEvent | UnrollError]]


class Stepper:
    """The streams of one model and the loop that advances them. Create and use it inside a running event loop."""

    def __init__(
        self,
        model: str,
        task: Generation,
        runner: Runner,
        *,
        batch: BatchLimits,
        max_waiting: int,
        max_live: int,
        max_backlog_events: int,
        metrics: Metrics,
    ) -> None:
        self._model = model
        self._task = task
        self._runner = runner
        self._batch = batch
        self._max_waiting = max_waiting
        self._max_live = max_live
        self._max_backlog_events = max_backlog_events
        self._metrics = metrics
        self._waiting: list[Stream] = []
        self._joining: list[Stream] = []
        self._running = Running()
        self._arrival = asyncio.Event()
        self._lane = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"lane-{model}")
        self._loop_task = asyncio.create_task(self._serve(), name=f"stepper-{model}")
        self._loop_task.add_done_callback(self._on_loop_end)

    @property
    def is_alive(self) -> bool:
        """False once the loop has ended, which it does only when closed or through a fault of its own."""
        return not self._loop_task.done()

    @property
    def num_pending(self) -> int:
        """Streams waiting or being generated."""
        return len(self._waiting) + len(self._joining) + len(self._running.streams)

    def submit(self, continuation: Continuation, deadline_s: float) -> Stream:
        """Queue a continuation. Raises Overloaded when too many wait, NotReady when the loop has ended."""
        if not self.is_alive:
            raise NotReady(f"the stepper of {self._model} has stopped")
        if len(self._waiting) >= self._max_waiting:
            retry_after_s = 1.0 + len(self._waiting) * _SECONDS_PER_WAITING_STREAM
            raise Overloaded(f"{self._model} has {len(self._waiting)} streams waiting", retry_after_s)
        stream = Stream(continuation, deadline_s, self._max_backlog_events)
        self._set_waiting([*self._waiting, stream])
        self._arrival.set()
        return stream

    async def close(self) -> None:
        """Stop the loop; streams that are not done end with NotReady."""
        self._loop_task.cancel()
        await asyncio.wait([self._loop_task])
        self._lane.shutdown(wait=False)

    async def _serve(self) -> None:
        while True:
            await self._arrival.wait()
            self._drop_done()
            self._joining = self._take_joining()
            if self._joining:
                prefilled = await self._run(self._joining, partial(self._prefill, self._joining))
                self._joining = []
                self._set_running(self._running.joined(prefilled))
            if self._running.streams:
                stepped = await self._run(self._running.streams, partial(self._step, self._running))
                self._set_running(stepped)
            elif not self._waiting:
                self._arrival.clear()

    def _drop_done(self) -> None:
        """Leave out the streams that were closed, and end those whose time is up."""
        now_s = time.monotonic()
        for stream in self._running.streams:
            if stream.deadline_s <= now_s:
                stream.end(DeadlineExceeded("the text was not finished before the request's deadline"))
        self._set_running(self._running.only(lambda stream: not stream.is_closed))

    def _take_joining(self) -> list[Stream]:
        live, expired = split_expired(self._waiting, time.monotonic())
        for stream in expired:
            stream.end(DeadlineExceeded("the stream waited in the queue beyond its deadline"))
        free = self._max_live - len(self._running.streams)
        joining = next_batch(live, self._batch)[:free]
        chosen = {id(stream) for stream in joining}
        self._set_waiting([stream for stream in live if id(stream) not in chosen])
        return joining

    async def _run(self, streams: Sequence[Stream], work: Callable[[], Advance]) -> Running:
        """Do `work` in the lane and hand out what it produced; if it fails, its streams end and the loop lives on."""
        try:
            advance = await asyncio.get_running_loop().run_in_executor(self._lane, work)
        except asyncio.CancelledError:
            end_all(streams, NotReady("the service is stopping"))
            raise
        except UnrollError as error:
            end_all(streams, error)
            return Running()
        except Exception as error:
            logger.exception("a step failed", extra={"model": self._model, "batch_size": len(streams)})
            end_all(streams, InferenceFailed(f"{self._model} failed with {type(error).__name__}"))
            return Running()
        self._hand_out(advance)
        return advance.running

    def _prefill(self, streams: Sequence[Stream]) -> Advance:
        """In the lane: read the prompts, and choose each stream's first token."""
        started_s = time.monotonic()
        for stream in streams:
            stream.prefill_started_s = started_s
        logits, state = self._task.prefill(self._runner, [stream.continuation for stream in streams])
        return _accepted(streams, logits, state)

    def _step(self, running: Running) -> Advance:
        """In the lane: feed each stream's newest token, and choose its next one."""
        assert running.state is not None, "a batch with streams has their state"
        newest = [stream.continuation.last_token_id for stream in running.streams]
        logits, state = self._task.step(self._runner, newest, running.state)
        return _accepted(running.streams, logits, state)

    def _hand_out(self, advance: Advance) -> None:
        self._metrics.batch_size.labels(self._model).observe(len(advance.produced))
        self._metrics.generated_tokens.labels(self._model).inc(len(advance.produced))
        for stream, product in advance.produced:
            if isinstance(product, UnrollError):
                stream.end(product)
                continue
            stream.deliver(product)
            if product.finish_reason is not None:
                stream.end()

    def _set_waiting(self, streams: list[Stream]) -> None:
        self._metrics.queue_depth.labels(self._model).inc(len(streams) - len(self._waiting))
        self._waiting = streams

    def _set_running(self, running: Running) -> None:
        self._metrics.live_streams.labels(self._model).inc(len(running.streams) - len(self._running.streams))
        self._running = running

    def _on_loop_end(self, task: asyncio.Task[None]) -> None:
        end_all([*self._waiting, *self._running.streams], NotReady(f"the stepper of {self._model} has stopped"))
        if not task.cancelled() and task.exception() is not None:
            logger.error("the stepper died", extra={"model": self._model}, exc_info=task.exception())


def end_all(streams: Sequence[Stream], error: UnrollError) -> None:
    """End every stream that has not ended yet with the error."""
    for stream in streams:
        stream.end(error)


def _accepted(streams: Sequence[Stream], logits: Array, state: RecurrentState) -> Advance:
    """Let each stream choose its token from its row of `logits`; a row that cannot be used ends only its own stream."""
    produced = [(stream, _accept(stream, row)) for stream, row in zip(streams, logits, strict=True)]
    going_on = {
        id(stream) for stream, product in produced if isinstance(product, TokenEvent) and product.finish_reason is None
    }
    return Advance(Running(tuple(streams), state).only(lambda stream: id(stream) in going_on), produced)


def _accept(stream: Stream, logits: Array) -> TokenEvent | UnrollError:
    try:
        return stream.continuation.accept(logits)
    except UnrollError as error:
        return error
    except Exception as error:  # one stream's parameters must not end its neighbours
        logger.exception("a token could not be chosen")
        return InferenceFailed(f"choosing a token failed with {type(error).__name__}")
