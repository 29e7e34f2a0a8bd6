"""Simulated clients that join, cancel and time out, and checks of what each of them receives."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass
from typing import Any, NamedTuple

from prometheus_client import CollectorRegistry

from service.errors import DeadlineExceeded, InferenceFailed
from service.observability.metrics import Metrics
from service.tasks.recorded import differences
from tests.conftest import until

MODEL = "m"
NUM_CALLERS = 96
_FAR_S = 600.0
#: An event loop may fire a timer early by its clock resolution.
_CLOCK_S = 1e-3
#: Gauges that must be 0 once all requests have ended.
_GAUGES = ("queue_depth", "queue_oldest_age_seconds", "live_streams", "slots_in_use")


class Asked(NamedTuple):
    """A request in flight. Cancel the answer to cancel it; `is_doomed` tells whether an injected fault has hit it."""

    answer: asyncio.Future[Any]
    is_doomed: Callable[[], bool]


#: Submits the request with this index and a deadline on `time.monotonic()`'s clock.
Ask = Callable[[int, float], Asked]


@dataclass
class Tally:
    """Counts of events: each join is matched by exactly one of the other four."""

    joins: int = 0
    leaves: int = 0
    cancels: int = 0
    expiries: int = 0
    failures: int = 0

    @property
    def num_events(self) -> int:
        return sum(astuple(self))


class Crowd:
    """Sends random requests, and compares each answer with the answer to the same request alone."""

    def __init__(self, ask: Ask, alone: Sequence[Any], seed: int, tolerance: float) -> None:
        """Texts must equal those of `alone`, and numbers must be within the tolerance; see `differences`."""
        self.tally = Tally()
        self._tolerance = tolerance
        self._ask = ask
        self._alone = alone
        self._seed = seed

    async def play(self, num_requests: int) -> Tally:
        """Make `num_requests` requests, a crowd of them at a time."""
        callers = range(NUM_CALLERS)
        shares = [len(range(caller, num_requests, NUM_CALLERS)) for caller in callers]
        async with asyncio.TaskGroup() as group:
            for caller, share in zip(callers, shares, strict=True):
                group.create_task(self._caller(random.Random(f"{self._seed} {caller}"), share))
        return self.tally

    async def _caller(self, chance: random.Random, num_requests: int) -> None:
        for _ in range(num_requests):
            await self._request(chance)

    async def _request(self, chance: random.Random) -> None:
        wish, mood = chance.randrange(len(self._alone)), chance.random()
        is_hasty, is_fickle = mood < 0.08, mood > 0.92
        deadline_s = time.monotonic() + (chance.uniform(-0.001, 0.004) if is_hasty else _FAR_S)
        asked = self._ask(wish, deadline_s)
        self.tally.joins += 1
        if is_fickle and await self._left(asked, chance):
            self.tally.cancels += 1
            return
        try:
            answer = await asked.answer
        except DeadlineExceeded:
            assert time.monotonic() > deadline_s - _CLOCK_S, f"seed {self._seed}: told before the deadline"
            self.tally.expiries += 1
        except InferenceFailed:
            assert asked.is_doomed(), f"seed {self._seed}: a fault of others was told to wish {wish}"
            self.tally.failures += 1
        else:
            assert not asked.is_doomed(), f"seed {self._seed}: wish {wish} was in a run that failed, and has an answer"
            wrong = differences(self._alone[wish], answer, self._tolerance)
            assert wrong == [], f"seed {self._seed}: wish {wish} got what it would not get alone"
            self.tally.leaves += 1

    async def _left(self, asked: Asked, chance: random.Random) -> bool:
        """Cancel after a short delay; returns False if the answer came first."""
        await asyncio.sleep(chance.choice([0, 0.001, 0.003]))
        return asked.answer.cancel()


def new_metrics() -> Metrics:
    return Metrics(CollectorRegistry())


async def assert_nothing_is_left(metrics: Metrics, counts: Callable[[], Sequence[int]]) -> None:
    """Check that nothing is queued or running, all gauges are 0, no asyncio task is left, and joins equal leaves."""
    await until(lambda: not any(counts()))
    await until(lambda: len(asyncio.all_tasks()) == 1)
    gauges = {name: metrics.registry.get_sample_value(f"unroll_{name}", {"model": MODEL}) for name in _GAUGES}
    assert not any(gauges.values()), gauges
    samples = [sample for family in metrics.registry.collect() for sample in family.samples]
    num_left = sum(sample.value for sample in samples if sample.name == "unroll_slot_leaves_total")
    num_joined = metrics.registry.get_sample_value("unroll_slot_joins_total", {"model": MODEL}) or 0
    assert num_left == num_joined, (num_left, num_joined)


def assert_all_kinds_happened(tally: Tally, num_requests: int) -> None:
    """Check that every kind of event occurred, and that each request ended exactly once."""
    assert tally.joins == num_requests
    assert tally.num_events == 2 * num_requests
    assert min(astuple(tally)) > 0, tally
