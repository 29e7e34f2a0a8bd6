"""Lanes: the worker threads that own a device. Each takes the unit of work whose turn it is, and runs it.

On a CPU there is one lane per core that the container may use, and every graph run is single-threaded: recurrent steps
are too small to be split, so concurrent runs are faster than multi-threaded ones. A GPU has one lane.

Code on the event loop only appends to a deque and calls `wake`; it never waits for a lane. The result of a unit of work
goes back to the event loop in one `call_soon_threadsafe`. Lanes look through the sources that may have work, not
through all: hundreds of models that nobody asks cost nothing.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from queue import SimpleQueue
from typing import Protocol

from service.errors import NotReady
from service.inference.scheduling.fair_share import EQUAL_WEIGHTS, FairShare

logger = logging.getLogger(__name__)

Work = Callable[[], None]


class WorkSource(Protocol):
    """A source of work. Lanes ask one at a time while they hold the lock, so the first two members must be fast."""

    @property
    def next_key(self) -> float | None:
        """The key of the turn that is next, see `FairShare`: the lowest goes first; None if nothing can be run."""
        ...

    def next_work(self) -> Work | None:
        """The next unit of work, to be run without the lock; None if there is none after all.

        Work handles its own failures. If it raises, its source is broken: see `fail`.
        """
        ...

    def fail(self, error: BaseException) -> None:
        """Fail all waiting requests and accept no more: the source's own code raised. Called without the lock."""
        ...


class Lanes:
    """`num_lanes` threads and the sources they serve. The lock lets one lane at a time choose its next work.

    Attributes:
        share: the turns of all requests that wait for these lanes, whatever their source.
        is_alive: False once the lanes are closed, or one has crashed; in that case `fail` was called on every source.
    """

    def __init__(self, num_lanes: int, name: str = "lane", weights: Mapping[str, float] = EQUAL_WEIGHTS) -> None:
        """`weights` are those of callers, see `FairShare`."""
        self.num_lanes = num_lanes
        self.lock = threading.Lock()
        self.share = FairShare(weights)
        self._sources: set[WorkSource] = set()
        #: Those that may have work, the earliest first: producers add to it without the lock, so it must stay a dict.
        self._ready: dict[WorkSource, None] = {}
        self._num_idle = 0
        self._wakeups: SimpleQueue[None] = SimpleQueue()
        self._is_closing = False
        self.is_alive = True  # asked by every request: no property
        #: For each lane, and for the event loop: the total time of its finished runs, and the start of its current run
        #: (0 if idle). Both in one tuple, so that a reader counts no run twice and misses none.
        self._clocks = [(0.0, 0.0)] * (num_lanes + 1)
        self._threads = [
            threading.Thread(target=self._serve, args=(number,), name=f"{name}-{number}", daemon=True)
            for number in range(num_lanes)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def busy_s(self) -> float:
        """Total running time of all lanes, current runs included."""
        now_s = time.monotonic()
        return sum(past_s + (now_s - since_s if since_s else 0.0) for past_s, since_s in tuple(self._clocks))

    @property
    def run_age_s(self) -> float:
        """Age of the oldest run that has not ended; it grows without bound when a lane is stuck."""
        now_s = time.monotonic()
        return max(now_s - since_s if since_s else 0.0 for _, since_s in tuple(self._clocks))

    def add(self, source: WorkSource) -> None:
        """Start to serve a source. Raises NotReady if the lanes are closed."""
        with self.lock:
            if self._is_closing:
                raise NotReady("the service is stopping", cause="draining")
            self._sources.add(source)
        self.wake(source)

    def remove(self, source: WorkSource) -> None:
        """Take no more work from a source, if it is served; a unit that is running is finished."""
        with self.lock:
            self._sources.discard(source)
            self._ready.pop(source, None)

    def wake(self, source: WorkSource) -> None:
        """Wake an idle lane, as this source has new work; busy lanes find it when they finish. Any thread may call it.

        No wake-up is lost: a lane first counts itself idle and then looks for work once more, while a producer first
        queues its work and then looks for idle lanes.
        """
        self._ready[source] = None
        self._wake_idle()

    def _wake_idle(self) -> None:
        if self._num_idle:
            self._wakeups.put(None)

    @property
    def may_run_here(self) -> bool:
        """Whether the event loop may do a short unit of work itself: no lane has anything to do, and there is one lane,
        or one request, since lanes would work on several at the same time.
        """
        is_idle = self._num_idle == self.num_lanes and not self._is_closing
        return is_idle and (self.num_lanes == 1 or self.share.num_open <= 1)

    def run_here(self, source: WorkSource) -> bool:
        """Do the next unit of work of `source` in the thread that calls, which must be the event loop's.

        Handing over to a lane and back takes longer than a short run. Returns False, with nothing done, if a lane has
        something to do or is about to look for it.
        """
        if not self.may_run_here or not self.lock.acquire(blocking=False):
            return False
        try:
            work = _next_work(source)
        finally:
            self.lock.release()
        if work is not None:
            self._run(self.num_lanes, source, work)
        return True

    def close(self) -> None:
        """End every lane after its current unit of work."""
        with self.lock:
            self._is_closing, self.is_alive = True, False
            for _ in self._threads:
                self._wakeups.put(None)

    def _serve(self, lane: int) -> None:
        try:
            while not self._is_closing:
                taken = self._choose()
                if taken is None:
                    taken = self._wait()
                if taken is not None:
                    self._run(lane, *taken)
        except BaseException as error:  # ends this thread; what it was running gets no answer from here
            self.is_alive = False
            logger.critical("a lane has ended", exc_info=error)
            for source in tuple(self._sources):
                source.fail(error)

    def _run(self, lane: int, source: WorkSource, work: Work) -> None:
        past_s, started_s = self._clocks[lane][0], time.monotonic()
        self._clocks[lane] = (past_s, started_s)
        try:
            work()
        except Exception as error:
            logger.exception("a unit of work raised")
            source.fail(error)
        finally:
            self._clocks[lane] = (past_s + time.monotonic() - started_s, 0.0)
            self._ready[source] = None  # what ran may have been all that kept it from having more

    def _choose(self) -> tuple[WorkSource, Work] | None:
        with self.lock:
            return self._take()

    def _wait(self) -> tuple[WorkSource, Work] | None:
        """Sleep until the lane is woken. Work that arrived just before is returned immediately."""
        with self.lock:
            self._num_idle += 1
            taken = self._take()
        if taken is None:
            self._wakeups.get()
        with self.lock:
            self._num_idle -= 1
        return taken

    def _take(self) -> tuple[WorkSource, Work] | None:
        """The work whose turn it is; if there is more, another idle lane is woken."""
        waiting = self._waiting()
        for _, source in sorted(waiting, key=lambda entry: entry[0]):
            work = _next_work(source)
            if work is not None:
                if len(waiting) > 1 or source.next_key is not None:
                    self._wake_idle()
                return source, work
        return None

    def _waiting(self) -> list[tuple[float, WorkSource]]:
        """The sources that have work, each with the key of its next turn."""
        waiting = []
        for source in tuple(self._ready):
            # Removed before it is asked: work that is queued after the question puts it back.
            self._ready.pop(source, None)
            if source in self._sources and (key := source.next_key) is not None:
                self._ready[source] = None
                waiting.append((key, source))
        return waiting


def _next_work(source: WorkSource) -> Work | None:
    try:
        return source.next_work()
    except Exception as error:
        logger.exception("a source failed to choose its next work")
        return partial(source.fail, error)
