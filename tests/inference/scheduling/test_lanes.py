"""Lanes run the oldest work first, and a failing source does not stop the others."""

from __future__ import annotations

import threading
from collections import deque

import pytest

from service.errors import NotReady
from service.inference.scheduling.lanes import Lanes, Work
from tests.conftest import PATIENCE_S, wait_until


class Jobs:
    """A source of jobs; `since_s` tells how long its first job has waited."""

    def __init__(self, since_s: float = 0.0) -> None:
        self.queue: deque[Work] = deque()
        self.since_s = since_s
        self.error: BaseException | None = None

    @property
    def next_key(self) -> float | None:
        return self.since_s if self.queue else None

    def next_work(self) -> Work | None:
        return self.queue.popleft() if self.queue else None

    def fail(self, error: BaseException) -> None:
        self.error = error


def test_every_job_is_done_once_whatever_the_moment_it_comes() -> None:
    """Each job runs exactly once: no wake-up is lost between a lane that becomes idle and a new job."""
    lanes, jobs, done = Lanes(3), Jobs(), []
    lanes.add(jobs)
    for number in range(2_000):
        jobs.queue.append(lambda number=number: done.append(number))  # type: ignore[misc]
        lanes.wake(jobs)
        if number % 7 == 0:
            wait_until(lambda number=number: len(done) == number + 1)  # type: ignore[misc]
    wait_until(lambda: len(done) == 2_000)
    lanes.close()
    assert sorted(done) == list(range(2_000))


def test_the_source_that_has_waited_longest_comes_first() -> None:
    lanes, old, new, order = Lanes(1), Jobs(1.0), Jobs(2.0), []
    hold = threading.Event()
    blocking = Jobs(0.0)
    blocking.queue.append(lambda: hold.wait(PATIENCE_S) and None)
    for source in (blocking, new, old):
        lanes.add(source)
    wait_until(lambda: not blocking.queue)
    new.queue.append(lambda: order.append("new"))
    old.queue.append(lambda: order.append("old"))
    lanes.wake(new)
    lanes.wake(old)
    hold.set()
    wait_until(lambda: len(order) == 2)
    lanes.close()
    assert order == ["old", "new"]


def test_a_fault_is_told_to_its_source_and_the_lane_lives_on() -> None:
    def faulty() -> None:
        raise ValueError("a fault")

    lanes, broken, healthy, done = Lanes(1), Jobs(), Jobs(), []
    lanes.add(broken)
    lanes.add(healthy)
    broken.queue.append(faulty)
    lanes.wake(broken)
    wait_until(lambda: broken.error is not None)
    healthy.queue.append(lambda: done.append(1))
    lanes.wake(healthy)
    wait_until(lambda: done == [1])
    assert lanes.is_alive
    lanes.close()
    assert isinstance(broken.error, ValueError)


def test_a_fault_in_choosing_is_told_to_its_source_too() -> None:
    class Broken(Jobs):
        def next_work(self) -> Work | None:
            self.queue.clear()
            raise RuntimeError("cannot choose")

    lanes, broken, healthy, done = Lanes(1), Broken(), Jobs(1.0), []
    lanes.add(broken)
    lanes.add(healthy)
    broken.queue.append(lambda: None)
    healthy.queue.append(lambda: done.append(1))
    lanes.wake(broken)
    lanes.wake(healthy)
    wait_until(lambda: done == [1])
    assert lanes.is_alive
    lanes.close()
    assert isinstance(broken.error, RuntimeError)


def test_a_removed_source_is_not_asked_again() -> None:
    lanes, gone, kept, done = Lanes(1), Jobs(), Jobs(), []
    lanes.add(gone)
    lanes.add(kept)
    lanes.remove(gone)
    gone.queue.append(lambda: done.append("gone"))
    kept.queue.append(lambda: done.append("kept"))
    lanes.wake(gone)
    lanes.wake(kept)
    wait_until(lambda: done != [])
    lanes.close()
    assert done == ["kept"]


def test_a_source_that_has_had_no_work_since_it_was_last_asked_is_not_asked_again() -> None:
    """Hundreds of sources without work cost the lanes nothing: each was asked when it was added, and then no more."""

    class Silent(Jobs):
        num_questions = 0

        @property
        def next_key(self) -> float | None:
            type(self).num_questions += 1
            return None

    lanes, jobs, done = Lanes(1), Jobs(), []
    for _ in range(300):
        lanes.add(Silent())
    wait_until(lambda: Silent.num_questions == 300)
    for number in range(50):
        jobs.queue.append(lambda number=number: done.append(number))  # type: ignore[misc]
    lanes.add(jobs)
    wait_until(lambda: len(done) == 50)
    lanes.close()
    assert Silent.num_questions == 300


def test_work_that_comes_to_be_while_its_source_runs_is_found_after_the_run() -> None:
    """A source that can run nothing during a run, as one step at a time, is asked again when the run has ended."""

    class OneAtATime(Jobs):
        is_running = False

        @property
        def next_key(self) -> float | None:
            return None if self.is_running else super().next_key

        def next_work(self) -> Work | None:
            self.is_running = True
            return self.run_one

        def run_one(self) -> None:
            self.queue.popleft()()
            self.is_running = False

    lanes, steps, done = Lanes(2), OneAtATime(), []
    steps.queue.extend(lambda number=number: done.append(number) for number in range(100))  # type: ignore[misc]
    lanes.add(steps)
    wait_until(lambda: len(done) == 100)
    lanes.close()
    assert done == list(range(100))


def test_closed_lanes_take_no_source() -> None:
    lanes = Lanes(1)
    lanes.close()
    assert not lanes.is_alive
    with pytest.raises(NotReady):
        lanes.add(Jobs())


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_lane_that_ends_by_itself_is_told_to_every_source() -> None:
    """When a lane dies, every source is notified and the lanes are no longer alive."""

    def end_the_thread() -> None:
        raise SystemExit

    lanes, culprit, other = Lanes(1), Jobs(), Jobs(1.0)
    lanes.add(culprit)
    lanes.add(other)
    culprit.queue.append(end_the_thread)
    lanes.wake(culprit)
    wait_until(lambda: culprit.error is not None and other.error is not None)
    assert not lanes.is_alive
    lanes.close()


def test_lanes_tell_how_busy_they_are_and_how_long_a_run_takes_already() -> None:
    """An idle lane has a run age of 0; during a run, run age and busy time grow, and busy time is kept after it."""
    lanes, jobs, hold = Lanes(2), Jobs(), threading.Event()
    assert (lanes.busy_s, lanes.run_age_s) == (0.0, 0.0)
    jobs.queue.append(lambda: hold.wait(PATIENCE_S) and None)
    lanes.add(jobs)
    wait_until(lambda: lanes.run_age_s > 0.01)
    while_running_s = lanes.busy_s
    assert while_running_s > 0.01
    hold.set()
    wait_until(lambda: lanes.run_age_s == 0.0)
    lanes.close()
    assert lanes.busy_s >= while_running_s
