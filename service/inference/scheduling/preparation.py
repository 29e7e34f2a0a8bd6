"""Threads that prepare large inputs and write large answers, one piece of a request at a time.

A piece is one picture, one sound, or some texts. Requests take turns piece by piece, as batches do on the lanes, and a
request is worked on by one thread at a time: a large one neither holds all threads nor makes a small one wait for more
than a piece. Nothing is done for a request whose deadline has passed or whose caller has left.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from service.errors import DeadlineExceeded, NotReady
from service.inference.scheduling.fair_share import EQUAL_WEIGHTS, Turn
from service.inference.scheduling.lanes import Lanes, Work

T = TypeVar("T")

_LATE = "the answer was not ready before the request's deadline"


@dataclass(eq=False, slots=True)
class _Job:
    """The pieces of one request. Lanes run them; the event loop takes the results."""

    pieces: Sequence[Callable[[], Any]]
    deadline_s: float
    done: asyncio.Future[list[Any]]
    turn: Turn
    results: list[Any] = field(default_factory=list)
    is_running: bool = False


class Preparation:
    """The threads and the requests that wait for them. Use it inside one event loop."""

    def __init__(self, num_threads: int, weights: Mapping[str, float] = EQUAL_WEIGHTS) -> None:
        self._lanes = Lanes(num_threads, "prepare", weights)
        self._loop = asyncio.get_running_loop()
        #: The event loop adds, and removes what is done; lanes copy it before they look through it.
        self._jobs: dict[int, _Job] = {}
        self._lanes.add(self)

    async def run(self, pieces: Sequence[Callable[[], T]], deadline_s: float, caller: str = "") -> list[T]:
        """Call the pieces in order, in the threads. Returns their results.

        Raises:
            DeadlineExceeded: it has passed; the piece that is running is the last.
            NotReady: the threads have ended.
            Exception: what a piece raised; those after it are not called.
        """
        if not self._lanes.is_alive:
            raise NotReady("the threads that prepare inputs have ended")
        job = _Job(pieces, deadline_s, self._loop.create_future(), self._lanes.share.begin(caller))
        self._jobs[id(job)] = job
        self._lanes.wake(self)
        timer = self._loop.call_later(max(0.0, deadline_s - time.monotonic()), _expire, job)
        try:
            return await job.done
        finally:
            timer.cancel()
            job.done.cancel()  # if the caller has left: no further piece is begun
            del self._jobs[id(job)]
            self._lanes.share.end(job.turn)

    def close(self) -> None:
        """End the threads. Whoever waits gets NotReady."""
        self._lanes.remove(self)
        self._lanes.close()
        self._break(NotReady("the service is stopping", cause="draining"))

    @property
    def next_key(self) -> float | None:
        """See `WorkSource`: the key of the request whose turn is next."""
        return min([job.turn.key for job in self._due()], default=None)

    def next_work(self) -> Work | None:
        """See `WorkSource`: the next piece of the request whose turn it is."""
        job = min(self._due(), key=lambda job: job.turn.key, default=None)
        if job is None:
            return None
        job.is_running = True
        self._lanes.share.take(job.turn)
        return partial(self._run_piece, job)

    def fail(self, error: BaseException) -> None:
        """See `WorkSource`: the code of this class has raised, or a thread has ended."""
        self._call_in_loop(self._break, NotReady(f"the preparation of inputs has stopped: {type(error).__name__}"))

    def _due(self) -> list[_Job]:
        now_s = time.monotonic()
        jobs = list(self._jobs.values())
        return [job for job in jobs if not job.is_running and not job.done.done() and job.deadline_s > now_s]

    def _run_piece(self, job: _Job) -> None:
        """In a thread: one piece; then the next request has its turn."""
        started_s = time.monotonic()
        try:
            job.results.append(job.pieces[len(job.results)]())
        except Exception as error:  # of the piece: it is the caller's answer
            self._call_in_loop(_settle, job, error)
            return
        finally:
            with self._lanes.lock:
                self._lanes.share.charge(job.turn, time.monotonic() - started_s)
        if len(job.results) == len(job.pieces):
            self._call_in_loop(_settle, job, None)
        else:
            job.is_running = False

    def _call_in_loop(self, settle: Callable[..., None], *arguments: Any) -> None:
        try:
            self._loop.call_soon_threadsafe(settle, *arguments)
        except RuntimeError:  # the event loop has ended, and nobody waits
            return

    def _break(self, error: Exception) -> None:
        for job in list(self._jobs.values()):
            _settle(job, error)


def _expire(job: _Job) -> None:
    _settle(job, DeadlineExceeded(_LATE))


def _settle(job: _Job, error: Exception | None) -> None:
    if job.done.done():
        return
    if error is None:
        job.done.set_result(job.results)
    else:
        job.done.set_exception(error)
