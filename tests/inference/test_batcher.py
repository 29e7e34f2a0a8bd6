"""The queue and the loop: every caller gets its own result, and one failure stays one failure."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from service.errors import DeadlineExceeded, InferenceFailed, NotReady, Overloaded
from service.inference.batch_policy import BatchLimits
from service.inference.batcher import Batcher, Output
from service.metrics import Metrics
from tests.conftest import until

FAR_S = 1e9
ANY_LENGTHS = BatchLimits(max_padding_ratio=1.0)


def squares(examples: Sequence[int]) -> list[int]:
    return [example * example for example in examples]


class Gate:
    """A `run` that waits for the test, and remembers its batches."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.batches: list[list[int]] = []

    def run(self, examples: Sequence[int]) -> list[int]:
        self.batches.append(list(examples))
        assert self.open.wait(10)
        return squares(examples)


def with_batcher(
    run: Callable[[Sequence[int]], Sequence[int]],
    scenario: Callable[[Batcher], Awaitable[None]],
    limits: BatchLimits = ANY_LENGTHS,
    max_queue_items: int = 100,
) -> Metrics:
    """Run a scenario in an event loop of its own; the metrics tell afterwards what happened."""
    metrics = Metrics(CollectorRegistry())

    async def play() -> None:
        batcher = Batcher("m", run, limits, max_queue_items, metrics)
        try:
            await scenario(batcher)
        finally:
            await batcher.close()

    asyncio.run(play())
    return metrics


def submit(batcher: Batcher, *numbers: int, deadline_s: float = FAR_S) -> list[asyncio.Future[Output]]:
    return batcher.submit([(number, max(1, abs(number))) for number in numbers], deadline_s)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.lists(st.integers(-50, 50), min_size=1, max_size=6), min_size=1, max_size=12))
def test_each_caller_gets_its_own_results_in_order(requests: list[list[int]]) -> None:
    async def scenario(batcher: Batcher) -> None:
        futures = [submit(batcher, *numbers) for numbers in requests]
        for numbers, results in zip(requests, futures, strict=True):
            outputs = await asyncio.gather(*results)
            assert [output.value for output in outputs] == squares(numbers)

    with_batcher(squares, scenario, BatchLimits(max_items=4))


def test_what_waits_while_a_batch_runs_forms_the_next_one() -> None:
    gate = Gate()

    async def scenario(batcher: Batcher) -> None:
        first = submit(batcher, 1)
        await until(lambda: gate.batches == [[1]])
        later = [future for number in (2, 3, 4) for future in submit(batcher, number)]
        gate.open.set()
        outputs = await asyncio.gather(*first, *later)
        assert [output.batch_size for output in outputs] == [1, 3, 3, 3]

    metrics = with_batcher(gate.run, scenario)
    assert gate.batches == [[1], [2, 3, 4]]
    assert metrics.registry.get_sample_value("unroll_batch_size_sum", {"model": "m"}) == 4


def test_a_failed_batch_answers_all_its_callers_and_the_loop_lives_on() -> None:
    def sometimes(examples: Sequence[int]) -> list[int]:
        if 13 in examples:
            raise ValueError("unlucky")
        return squares(examples)

    async def scenario(batcher: Batcher) -> None:
        results = await asyncio.gather(*submit(batcher, 13, 14), return_exceptions=True)
        assert all(isinstance(result, InferenceFailed) for result in results)
        (good,) = await asyncio.gather(*submit(batcher, 3))
        assert good.value == 9
        assert batcher.is_alive

    with_batcher(sometimes, scenario)


def test_a_wrong_number_of_results_is_a_failure_for_all() -> None:
    """Shifted rows would give callers the answers of others."""

    async def scenario(batcher: Batcher) -> None:
        results = await asyncio.gather(*submit(batcher, 1, 2, 3), return_exceptions=True)
        assert isinstance(results[-1], InferenceFailed)
        assert batcher.is_alive

    with_batcher(lambda examples: squares(examples)[:-1], scenario)


def test_a_full_queue_refuses_whole_requests_before_any_work() -> None:
    gate = Gate()

    async def scenario(batcher: Batcher) -> None:
        running = submit(batcher, 1)
        await until(lambda: gate.batches == [[1]])
        waiting = submit(batcher, 2, 3)
        with pytest.raises(Overloaded) as refusal:
            submit(batcher, 4, 5)
        assert refusal.value.retry_after_s >= 1
        waiting += submit(batcher, 6)
        gate.open.set()
        await asyncio.gather(*running, *waiting)

    metrics = with_batcher(gate.run, scenario, max_queue_items=3)
    assert [number for batch in gate.batches for number in batch] == [1, 2, 3, 6]
    assert metrics.registry.get_sample_value("unroll_queue_depth", {"model": "m"}) == 0


def test_cancelled_inputs_are_never_run() -> None:
    gate = Gate()

    async def scenario(batcher: Batcher) -> None:
        running = submit(batcher, 1)
        await until(lambda: gate.batches == [[1]])
        cancelled, kept = submit(batcher, 2, 3)
        cancelled.cancel()
        gate.open.set()
        await asyncio.gather(*running, kept)

    with_batcher(gate.run, scenario)
    assert gate.batches == [[1], [3]]


def test_inputs_whose_deadline_has_passed_are_refused_and_never_run() -> None:
    gate = Gate()
    gate.open.set()

    async def scenario(batcher: Batcher) -> None:
        (late,) = submit(batcher, 1, deadline_s=time.monotonic() - 1)
        with pytest.raises(DeadlineExceeded):
            await late

    with_batcher(gate.run, scenario)
    assert gate.batches == []


def test_a_dead_loop_refuses_and_leaves_nobody_waiting() -> None:
    async def scenario(batcher: Batcher) -> None:
        gate_closed = submit(batcher, 1)
        await batcher.close()
        results = await asyncio.gather(*gate_closed, return_exceptions=True)
        assert isinstance(results[0], NotReady)
        assert not batcher.is_alive
        with pytest.raises(NotReady):
            submit(batcher, 2)

    with_batcher(squares, scenario)
