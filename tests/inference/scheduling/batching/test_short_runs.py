"""Short runs are done on the event loop where all lanes are idle, and with several lanes for a single request."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from unittest.mock import patch

import pytest
from prometheus_client import CollectorRegistry

from service.errors import InferenceFailed
from service.inference.scheduling import lanes as lanes_module
from service.inference.scheduling.batch_policy import BatchLimits
from service.inference.scheduling.batcher import Batcher
from service.inference.scheduling.batching.run_cost import RunCost
from service.inference.scheduling.lanes import Lanes
from service.observability.metrics import Metrics
from tests.conftest import PATIENCE_S, until

FAR_S = 1e9
#: What a run is said to have taken, in seconds.
SHORT_S, LONG_S = 1e-6, 0.1


@dataclass(frozen=True)
class Item:
    length: int = 1


class Known(RunCost):
    """A cost that is given, and not learned: the machine may do other things while a test runs."""

    def __init__(self, run_s: float) -> None:
        super().__init__()
        super().note([1], run_s)

    def note(self, lengths: Sequence[int], run_s: float) -> None:
        pass

    def note_on_loop(self, run_s: float, now_s: float) -> None:
        pass


class Wakeups:
    """The wake-ups of idle lanes, which tells whether all lanes are asleep and none has been woken."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._num_left = self._num_asleep = 0

    def put(self, _: None) -> None:
        with self._changed:
            self._num_left += 1
            self._changed.notify()

    def get(self) -> None:
        with self._changed:
            self._num_asleep += 1
            self._changed.wait_for(lambda: self._num_left)
            self._num_left -= 1
            self._num_asleep -= 1

    def all_sleep(self, num_lanes: int) -> bool:
        with self._changed:
            return self._num_asleep == num_lanes and not self._num_left


class Threads:
    """A `run` that notes which thread called it, and for how many inputs; it may be held."""

    def __init__(self) -> None:
        self.calls: list[tuple[bool, int]] = []
        self.open = threading.Event()
        self.open.set()

    def run(self, examples: Sequence[Item]) -> list[int]:
        self.calls.append((threading.current_thread() is threading.main_thread(), len(examples)))
        assert self.open.wait(PATIENCE_S)
        return [0] * len(examples)


def play(
    scenario: Callable[[Batcher, Threads], Awaitable[None]], run_s: float, num_lanes: int = 1
) -> list[tuple[bool, int]]:
    """A scenario with a batcher that has learned how long its runs take; whether on the loop, and size, of each run."""
    threads, wakeups = Threads(), Wakeups()

    async def main() -> None:
        with patch.object(lanes_module, "SimpleQueue", return_value=wakeups):
            lanes = Lanes(num_lanes)
        batcher = Batcher("m", threads.run, lanes, BatchLimits(), 100, Metrics(CollectorRegistry()))
        batcher._cost = Known(SHORT_S)
        await until(lambda: wakeups.all_sleep(num_lanes))
        batcher._cost = Known(run_s)
        try:
            await scenario(batcher, threads)
        finally:
            await batcher.close()
            lanes.close()

    asyncio.run(main())
    return threads.calls


async def _one(batcher: Batcher, _: Threads) -> None:
    await batcher.submit([Item()], FAR_S)


@pytest.mark.parametrize("num_lanes", [1, 3])
@pytest.mark.parametrize(("run_s", "is_on_loop"), [(SHORT_S, True), (LONG_S, False)])
def test_only_a_short_run_is_done_on_the_event_loop(run_s: float, num_lanes: int, is_on_loop: bool) -> None:
    """A long run must not hold up the event loop."""
    assert play(_one, run_s, num_lanes) == [(is_on_loop, 1)]


def test_with_several_lanes_two_requests_are_left_to_them() -> None:
    """They could run at the same time there."""

    async def scenario(batcher: Batcher, _: Threads) -> None:
        await asyncio.gather(*(batcher.submit([Item()], FAR_S) for _ in range(2)))

    assert not any(is_on_loop for is_on_loop, _ in play(scenario, SHORT_S, num_lanes=2))


def test_what_arrives_together_is_run_together() -> None:
    """The event loop looks at all that has arrived before it chooses."""

    async def scenario(batcher: Batcher, _: Threads) -> None:
        await asyncio.gather(*(batcher.submit([Item()], FAR_S) for _ in range(5)))

    assert play(scenario, SHORT_S) == [(True, 5)]


def test_many_short_inputs_that_are_long_together_go_to_the_lane() -> None:
    """It is the whole batch that would hold up the event loop."""

    async def scenario(batcher: Batcher, _: Threads) -> None:
        await asyncio.gather(*(batcher.submit([Item(4)], FAR_S) for _ in range(20)))

    assert not any(is_on_loop for is_on_loop, _ in play(scenario, 0.0004))


def test_while_the_lane_runs_nothing_is_run_on_the_event_loop() -> None:
    """One lane means one run at a time."""

    async def scenario(batcher: Batcher, threads: Threads) -> None:
        threads.open.clear()
        first = batcher.submit([Item(10_000_000)], FAR_S)
        await until(lambda: len(threads.calls) == 1)
        second = batcher.submit([Item()], FAR_S)
        threads.open.set()
        await asyncio.gather(first, second)

    assert play(scenario, SHORT_S) == [(False, 1), (False, 1)]


def test_a_failure_on_the_event_loop_is_the_answer_and_the_next_request_is_run() -> None:
    """A run that raises there fails its requests, and nothing else."""

    on_loop: list[bool] = []

    def fail(examples: Sequence[Item]) -> list[int]:
        on_loop.append(threading.current_thread() is threading.main_thread())
        return [1 // 0]

    async def scenario(batcher: Batcher, threads: Threads) -> None:
        batcher._run = fail
        with pytest.raises(InferenceFailed, match="failed with ZeroDivisionError"):
            await batcher.submit([Item()], FAR_S)
        batcher._run = threads.run
        await batcher.submit([Item()], FAR_S)

    assert len(play(scenario, SHORT_S)) == 1
    assert on_loop == [True]


def test_after_a_run_that_took_much_longer_than_expected_there_is_a_pause() -> None:
    """What was learned was wrong: the lane runs what comes, for a while."""
    cost = RunCost()
    cost.note([1], SHORT_S)
    assert cost.is_short([1], now_s=10.0)
    cost.note_on_loop(0.05, now_s=10.0)
    assert not cost.is_short([1], now_s=10.5)
    assert cost.is_short([1], now_s=12.0)


def test_a_run_that_something_disturbed_changes_little_of_what_is_known() -> None:
    """The time of a token is that of undisturbed runs, and follows where all runs have become slower."""
    cost = RunCost()
    cost.note([1], 1e-4)
    cost.note([1], 1e-2)
    assert cost.is_short([1], now_s=0.0)
    for _ in range(500):
        cost.note([1], 1e-2)
    assert not cost.is_short([1], now_s=0.0)
