"""Dynamic batching: every request gets its own result, and a failure does not affect other requests."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from service.errors import DeadlineExceeded, InferenceFailed, NotReady, Overloaded
from service.inference.scheduling.batch_policy import BatchLimits
from service.inference.scheduling.batcher import Batcher
from service.inference.scheduling.batching.queued_request import Output
from service.inference.scheduling.lanes import Lanes
from service.observability.metrics import Metrics
from tests.conftest import PATIENCE_S, until

FAR_S = 1e9
ANY_LIMITS = BatchLimits()


@dataclass(frozen=True)
class Number:
    """An input whose answer is its square. All have the same length unless a test sets another."""

    value: int
    length: int = 1


def squares(examples: Sequence[Number]) -> list[int]:
    return [example.value**2 for example in examples]


class Gate:
    """A `run` that blocks until the test releases it and records its batches."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.batches: list[list[int]] = []

    def run(self, examples: Sequence[Number]) -> list[int]:
        self.batches.append(sorted(example.value for example in examples))
        assert self.open.wait(PATIENCE_S)
        return squares(examples)


def with_batcher(
    run: Callable[[Sequence[Number]], Sequence[int]],
    scenario: Callable[[Batcher], Awaitable[None]],
    limits: BatchLimits = ANY_LIMITS,
    max_queue_items: int = 100,
    num_lanes: int = 1,
) -> Metrics:
    """Run a scenario in its own event loop; returns the metrics."""
    metrics = Metrics(CollectorRegistry())

    async def play() -> None:
        lanes = Lanes(num_lanes)
        batcher = Batcher("m", run, lanes, limits, max_queue_items, metrics)
        try:
            await scenario(batcher)
        finally:
            if batcher.is_alive:
                await batcher.close()
            lanes.close()

    asyncio.run(play())
    return metrics


def submit(batcher: Batcher, *numbers: int, deadline_s: float = FAR_S) -> asyncio.Future[list[Output]]:
    return batcher.submit([Number(number) for number in numbers], deadline_s)


def deadline_misses(metrics: Metrics) -> dict[str, float | None]:
    """Deadline misses by phase."""
    name = "unroll_deadline_misses_total"
    return {
        phase: metrics.registry.get_sample_value(name, {"model": "m", "phase": phase}) for phase in ("queue", "running")
    }


@settings(max_examples=20, deadline=None)
@given(st.lists(st.lists(st.integers(-50, 50), min_size=1, max_size=6), min_size=1, max_size=12))
def test_each_caller_gets_its_own_results_in_order(requests: list[list[int]]) -> None:
    async def scenario(batcher: Batcher) -> None:
        futures = [submit(batcher, *numbers) for numbers in requests]
        for numbers, results in zip(requests, futures, strict=True):
            assert [output.value for output in await results] == [number**2 for number in numbers]

    with_batcher(squares, scenario, BatchLimits(max_items=4), num_lanes=2)


def test_what_waits_while_a_batch_runs_forms_the_next_one() -> None:
    gate = Gate()

    async def scenario(batcher: Batcher) -> None:
        first = submit(batcher, 1)
        await until(lambda: gate.batches == [[1]])
        later = [submit(batcher, number) for number in (2, 3, 4)]
        gate.open.set()
        outputs = await asyncio.gather(first, *later)
        assert [output.batch_size for (output,) in outputs] == [1, 3, 3, 3]

    metrics = with_batcher(gate.run, scenario)
    assert gate.batches == [[1], [2, 3, 4]]
    assert metrics.registry.get_sample_value("unroll_batch_size_sum", {"model": "m"}) == 4


def test_a_failed_batch_answers_all_its_callers_and_the_loop_lives_on() -> None:
    def sometimes(examples: Sequence[Number]) -> list[int]:
        if Number(13) in examples:
            raise ValueError("unlucky")
        return squares(examples)

    async def scenario(batcher: Batcher) -> None:
        results = await asyncio.gather(submit(batcher, 13), submit(batcher, 14), return_exceptions=True)
        assert all(isinstance(result, InferenceFailed) for result in results)
        (good,) = await submit(batcher, 3)
        assert good.value == 9
        assert batcher.is_alive

    with_batcher(sometimes, scenario)


def test_a_wrong_number_of_results_is_a_failure_for_all() -> None:
    """A wrong number of results fails the whole batch, because answers might go to the wrong requests."""

    async def scenario(batcher: Batcher) -> None:
        with pytest.raises(InferenceFailed):
            await submit(batcher, 1, 2, 3)
        assert batcher.is_alive

    with_batcher(lambda examples: squares(examples)[:-1], scenario)


def test_a_full_queue_refuses_whole_requests_before_any_work() -> None:
    gate = Gate()

    async def scenario(batcher: Batcher) -> None:
        running = submit(batcher, 1)
        await until(lambda: gate.batches == [[1]])
        waiting = [submit(batcher, 2, 3)]
        with pytest.raises(Overloaded) as refusal:
            submit(batcher, 4, 5)
        assert refusal.value.retry_after_s >= 1
        waiting.append(submit(batcher, 6))
        gate.open.set()
        await asyncio.gather(running, *waiting)

    metrics = with_batcher(gate.run, scenario, max_queue_items=3)
    assert [number for batch in gate.batches for number in batch] == [1, 2, 3, 6]
    assert metrics.registry.get_sample_value("unroll_queue_depth", {"model": "m"}) == 0


def test_cancelled_inputs_are_never_run() -> None:
    gate = Gate()

    async def scenario(batcher: Batcher) -> None:
        running = submit(batcher, 1)
        await until(lambda: gate.batches == [[1]])
        cancelled, kept = submit(batcher, 2), submit(batcher, 3)
        cancelled.cancel()
        gate.open.set()
        await asyncio.gather(running, kept)

    with_batcher(gate.run, scenario)
    assert gate.batches == [[1], [3]]


def test_inputs_whose_deadline_has_passed_are_refused_and_never_run() -> None:
    gate = Gate()
    gate.open.set()

    async def scenario(batcher: Batcher) -> None:
        with pytest.raises(DeadlineExceeded):
            await submit(batcher, 1, deadline_s=time.monotonic() - 1)

    metrics = with_batcher(gate.run, scenario)
    assert gate.batches == []
    assert deadline_misses(metrics) == {"queue": 1, "running": 0}


def test_a_deadline_ends_the_wait_also_while_a_run_hangs() -> None:
    gate = Gate()

    async def scenario(batcher: Batcher) -> None:
        with pytest.raises(DeadlineExceeded):
            await submit(batcher, 1, deadline_s=time.monotonic() + 1)  # long enough for the run to begin
        gate.open.set()
        assert [output.value for output in await submit(batcher, 2)] == [4]

    assert deadline_misses(with_batcher(gate.run, scenario)) == {"queue": 0, "running": 1}


def test_a_closed_batcher_refuses_and_leaves_nobody_waiting() -> None:
    gate = Gate()

    async def scenario(batcher: Batcher) -> None:
        running = submit(batcher, 1)
        await until(lambda: gate.batches == [[1]])
        waiting = submit(batcher, 2)
        await batcher.close()
        with pytest.raises(NotReady):
            await waiting
        gate.open.set()
        assert [output.value for output in await running] == [1]
        assert not batcher.is_alive
        with pytest.raises(NotReady):
            submit(batcher, 3)

    with_batcher(gate.run, scenario)


def test_a_fault_in_choosing_a_batch_answers_everyone_and_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """If choosing a batch raises, all waiting requests fail and the batcher reports that it is not alive."""

    def broken(*_: object) -> None:
        raise RuntimeError("a fault of our own")

    async def scenario(batcher: Batcher) -> None:
        monkeypatch.setattr("service.inference.scheduling.batcher.next_batch", broken)
        with pytest.raises(NotReady):
            await submit(batcher, 1)
        assert not batcher.is_alive

    with_batcher(squares, scenario)


def test_lanes_run_batches_side_by_side() -> None:
    """Two lanes run batches concurrently."""
    both = threading.Barrier(2, timeout=PATIENCE_S)

    def meet(examples: Sequence[Number]) -> list[int]:
        both.wait()
        return squares(examples)

    async def scenario(batcher: Batcher) -> None:
        results = await asyncio.gather(submit(batcher, 2), submit(batcher, 3))
        assert [output.value for (output,) in results] == [4, 9]

    with_batcher(meet, scenario, BatchLimits(max_items=1), num_lanes=2)
