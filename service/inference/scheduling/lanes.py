"""The threads that own a device: each takes the next unit of work from whoever has waited longest, and runs it.

On a CPU there is one lane for each core that the container may use, and a run of a graph is single-threaded: recurrent
steps are too small to be split, so runs side by side beat wide runs. A GPU has one lane.

Event-loop code only appends to a deque and calls `wake`; it never waits for a lane. What a unit of work found out goes
back to the event loop by one `call_soon_threadsafe`.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from functools import partial
from queue import SimpleQueue
from typing import Protocol

from service.errors import NotReady

logger = logging.getLogger(__name__)

Work = Callable[[], None]


class WorkSource(Protocol):
    """Something with work for a lane. Lanes ask one at a time, with their lock held, so both members must be quick."""

    @property
    def waiting_since_s(self) -> float | None:
        """Since when its oldest work could have been run, on `time.monotonic()`'s clock; None if there is none."""
        ...

    def next_work(self) -> Work | None:
        """The next unit of work, to be run without the lock; None if there is none after all.

        Work answers for its own failures. One that raises has broken its source: see `fail`.
        """
        ...

    def fail(self, error: BaseException) -> None:
        """The source's own code raised. It answers everyone who waits and takes no more. Called without the lock."""
        ...


class Lanes:
    """`num_lanes` threads and the sources they serve. The lock is for lanes alone: one of them at a time chooses."""

    def __init__(self, num_lanes: int) -> None:
        self.num_lanes = num_lanes
        self.lock = threading.Lock()
        self._sources: list[WorkSource] = []
        self._num_idle = 0
        self._wakeups: SimpleQueue[None] = SimpleQueue()
        self._is_closing = False
        self._num_alive = num_lanes
        #: For each lane: how long all its earlier runs took, and since when it runs what it runs now, 0 if nothing.
        #: One value, so that whoever reads it sees no run twice and none left out.
        self._clocks = [(0.0, 0.0)] * num_lanes
        self._threads = [
            threading.Thread(target=self._serve, args=(number,), name=f"lane-{number}", daemon=True)
            for number in range(num_lanes)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def is_alive(self) -> bool:
        """False once they are closed, or a lane has ended by a fault of its own; then every source was told."""
        return self._num_alive == self.num_lanes and not self._is_closing

    @property
    def busy_s(self) -> float:
        """How long lanes have been running something, all of them added up."""
        now_s = time.monotonic()
        return sum(past_s + (now_s - since_s if since_s else 0.0) for past_s, since_s in tuple(self._clocks))

    @property
    def run_age_s(self) -> float:
        """How long the oldest run that has not ended takes already: the heartbeat of a lane that is stuck stops."""
        now_s = time.monotonic()
        return max(now_s - since_s if since_s else 0.0 for _, since_s in tuple(self._clocks))

    def add(self, source: WorkSource) -> None:
        """Serve this source too. Raises NotReady when the lanes are closed."""
        with self.lock:
            if self._is_closing:
                raise NotReady("the service is stopping", cause="draining")
            self._sources.append(source)
        self.wake()

    def remove(self, source: WorkSource) -> None:
        """Take no more work from this source, if it is here; a unit that is being run is run to its end."""
        with self.lock:
            self._sources = [other for other in self._sources if other is not source]

    def wake(self) -> None:
        """There is new work: an idle lane comes, busy ones come by themselves. Any thread may call it.

        No wake-up is lost: a lane counts itself idle first and looks for work once more afterwards, and whoever brings
        work queues it first and looks for idle lanes afterwards.
        """
        if self._num_idle:
            self._wakeups.put(None)

    def close(self) -> None:
        """Let every lane end after the unit it is running."""
        with self.lock:
            self._is_closing = True
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
        except BaseException as error:  # something ends this thread; what it was running has no answer and gets none
            self._num_alive -= 1
            logger.critical("a lane has ended", exc_info=error)
            for source in tuple(self._sources):
                source.fail(error)

    def _run(self, lane: int, source: WorkSource, work: Work) -> None:
        past_s, started_s = self._clocks[lane][0], time.monotonic()
        self._clocks[lane] = (past_s, started_s)
        try:
            work()
        except Exception as error:
            logger.exception("a unit of work broke its source")
            source.fail(error)
        finally:
            self._clocks[lane] = (past_s + time.monotonic() - started_s, 0.0)

    def _choose(self) -> tuple[WorkSource, Work] | None:
        with self.lock:
            return self._take()

    def _wait(self) -> tuple[WorkSource, Work] | None:
        """Be idle until someone wakes a lane. Work that came just before is returned at once."""
        with self.lock:
            self._num_idle += 1
            taken = self._take()
        if taken is None:
            self._wakeups.get()
        with self.lock:
            self._num_idle -= 1
        return taken

    def _take(self) -> tuple[WorkSource, Work] | None:
        """The longest waiting work; if there is more of it than that, another idle lane is called."""
        waiting = [(since_s, source) for source in self._sources if (since_s := source.waiting_since_s) is not None]
        for _, source in sorted(waiting, key=lambda entry: entry[0]):
            work = _next_work(source)
            if work is not None:
                if len(waiting) > 1 or source.waiting_since_s is not None:
                    self.wake()
                return source, work
        return None


def _next_work(source: WorkSource) -> Work | None:
    try:
        return source.next_work()
    except Exception as error:
        logger.exception("a source could not say what to do next")
        return partial(source.fail, error)
