"""A small request beside large ones is part of one of the next two runs: counted in runs, for every kind of queue."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass

import pytest
from prometheus_client import CollectorRegistry

from service.errors import Overloaded
from service.inference.scheduling.batch_policy import BatchLimits
from service.inference.scheduling.batcher import Batcher
from service.inference.scheduling.continuous_batcher import ContinuousBatcher, StepLimits
from service.inference.scheduling.lanes import Lanes
from service.inference.scheduling.step_queue import StepQueue
from service.observability.metrics import Metrics
from service.tasks.core.step_batch import Outcome
from service.tasks.core.task import Runner
from tests.conftest import PATIENCE_S, until

FAR_S = 1e9
LIMITS = BatchLimits(max_items=4, max_padded_tokens=400)
NUM_IN_BIG = 64
BIG_LENGTH, SMALL_LENGTH = 100, 3


@dataclass(eq=False)
class Input:
    """One input of a request: `name` is the request's. It takes `num_steps` steps where it is decoded."""

    name: str
    length: int = BIG_LENGTH
    num_steps: int = 3
    num_rows: int = 1


class Runs:
    """Records whose inputs are in each run. The first run waits until the test lets it go."""

    def __init__(self) -> None:
        self.names: list[set[str]] = []
        self.go = threading.Event()

    def note(self, inputs: Iterable[Input]) -> None:
        self.names.append({one.name for one in inputs})
        assert self.go.wait(PATIENCE_S)

    def run(self, inputs: Sequence[Input]) -> list[str]:
        self.note(inputs)
        return [one.name for one in inputs]

    def waited(self, name: str) -> int:
        """Runs that began after the first and before the one that has this request."""
        return next(number for number, names in enumerate(self.names[1:]) if name in names)


class ToyBatch:
    """A step batch: one run reads what has joined, the next ones step all rows, and everything is noted."""

    def __init__(self, runs: Runs) -> None:
        self._runs, self._left = runs, dict[Input, int]()

    @property
    def num_rows(self) -> int:
        return sum(one.num_rows for one in self._left)

    @property
    def is_idle(self) -> bool:
        return not self._left

    def join(self, requests: Sequence[Input]) -> None:
        self._left |= {one: one.num_steps for one in requests}

    def leave(self, requests: Iterable[Input]) -> None:
        for one in requests:
            self._left.pop(one, None)

    def clear(self) -> list[Input]:
        cleared, self._left = list(self._left), {}
        return cleared

    def advance(self, runner: Runner) -> list[Outcome[Input]]:
        self._runs.note(self._left)
        self._left = {one: left - 1 for one, left in self._left.items()}
        done = [one for one, left in self._left.items() if not left]
        self.leave(done)
        return [Outcome(one, one.name, finished=True) for one in done]


class NoRunner:
    def run(self, graph: str, feeds: object) -> dict[str, object]:
        raise AssertionError("a toy batch runs no graph")


class Service:
    """Queues on shared lanes; the names of models are those of the tests."""

    def __init__(self, runs: Runs, num_lanes: int) -> None:
        self.lanes, self.runs = Lanes(num_lanes), runs
        self.queues: list[Batcher | StepQueue] = []

    def batcher(self, limits: BatchLimits = LIMITS, max_queue_items: int = 1024) -> Batcher:
        metrics = Metrics(CollectorRegistry())
        self.queues.append(queue := Batcher("m", self.runs.run, self.lanes, limits, max_queue_items, metrics))
        return queue

    def step_queue(self, max_rows: int = 8) -> StepQueue:
        limits = StepLimits(max_rows=max_rows, joining=LIMITS)
        batch, metrics = lambda: ToyBatch(self.runs), Metrics(CollectorRegistry())
        runner: Runner = NoRunner()  # type: ignore[assignment]
        batcher = ContinuousBatcher("m", batch, runner, self.lanes, limits, metrics, lambda *_: 0)
        self.queues.append(queue := StepQueue(batcher))
        return queue

    async def close(self) -> None:
        for queue in self.queues:
            await queue.close()
        self.lanes.close()


def big(name: str, length: int = BIG_LENGTH, num_steps: int = 3, num_rows: int = 1) -> list[Input]:
    return [Input(name, length, num_steps, num_rows) for _ in range(NUM_IN_BIG)]


def small() -> list[Input]:
    return [Input("small", SMALL_LENGTH)]


Scenario = Callable[[Service], Awaitable[None]]


def play(scenario: Scenario, num_lanes: int = 1) -> Runs:
    """Run a scenario with its own lanes."""
    runs = Runs()

    async def run() -> None:
        service = Service(runs, num_lanes)
        try:
            async with asyncio.timeout(PATIENCE_S):
                await scenario(service)
        finally:
            runs.go.set()
            await service.close()

    asyncio.run(run())
    return runs


async def after_the_first_run(service: Service, *answers: asyncio.Future[list[object]]) -> None:
    await until(lambda: bool(service.runs.names))
    service.runs.go.set()
    await asyncio.gather(*answers)


async def in_company(
    service: Service, bigs: Sequence[tuple[Batcher | StepQueue, str]], queue: Batcher | StepQueue, caller: str = ""
) -> None:
    """Large requests, the first of which is running when the small one arrives; all are answered."""
    answers = [large.submit(big(f"big {number}"), FAR_S, by) for number, (large, by) in enumerate(bigs)]
    await until(lambda: bool(service.runs.names))
    answers.append(queue.submit(small(), FAR_S, caller))
    service.runs.go.set()
    outputs = await asyncio.gather(*answers)
    assert [len(given) for given in outputs] == [NUM_IN_BIG] * len(bigs) + [1]


@pytest.mark.parametrize("num_bigs", [1, 4, 12])
@pytest.mark.parametrize("caller", ["", "another"])
def test_a_small_request_beside_large_ones_for_its_own_model_waits_for_two_runs_at_most(
    num_bigs: int, caller: str
) -> None:
    async def scenario(service: Service) -> None:
        queue = service.batcher()
        await in_company(service, [(queue, "")] * num_bigs, queue, caller)

    assert play(scenario).waited("small") < 2


@pytest.mark.parametrize("num_models", [1, 4])
@pytest.mark.parametrize("num_lanes", [1, 2])
def test_a_small_request_beside_large_ones_for_other_models_waits_for_two_runs_at_most(
    num_models: int, num_lanes: int
) -> None:
    async def scenario(service: Service) -> None:
        others, own = [service.batcher() for _ in range(num_models)], service.batcher()
        await in_company(service, [(other, "") for other in others], own)

    assert play(scenario, num_lanes).waited("small") < 2 + num_lanes - 1


@pytest.mark.parametrize("is_own_model", [True, False])
@pytest.mark.parametrize("caller", ["", "another"])
def test_a_small_request_beside_decoded_ones_waits_for_two_runs_at_most(is_own_model: bool, caller: str) -> None:
    """A translation or caption beside one of many sentences that hold every row: in its own model and in another."""

    async def scenario(service: Service) -> None:
        large = service.step_queue()
        await in_company(service, [(large, "")], large if is_own_model else service.step_queue(), caller)

    assert play(scenario).waited("small") < 2


@pytest.mark.parametrize("is_decoded", [True, False])
def test_a_small_request_beside_a_large_one_of_another_kind_of_model_waits_for_two_runs_at_most(
    is_decoded: bool,
) -> None:
    async def scenario(service: Service) -> None:
        decoded, batched = service.step_queue(), service.batcher()
        large, own = (batched, decoded) if is_decoded else (decoded, batched)
        await in_company(service, [(large, "")], own)

    assert play(scenario).waited("small") < 2


def test_a_caller_with_many_streams_leaves_a_row_to_another_one() -> None:
    """All rows are held by streams of 30 steps of one caller; another caller's request joins the next run."""

    async def scenario(service: Service) -> None:
        queue = service.step_queue(max_rows=8)
        streams = [queue.submit([Input("many", 5, num_steps=30)], FAR_S, "greedy") for _ in range(40)]
        await until(lambda: bool(service.runs.names))
        tiny = queue.submit(small(), FAR_S, "another")
        await after_the_first_run(service, *streams, tiny)  # type: ignore[arg-type]

    assert play(scenario).waited("small") < 2


@pytest.mark.parametrize("caller", ["", "another"])
def test_many_requests_with_long_prompts_leave_a_row_to_a_short_one(caller: str) -> None:
    """Forty prompts of 2,000 tokens, each a request of its own, hold all rows and wait for more: a short one joins."""

    async def scenario(service: Service) -> None:
        queue = service.step_queue(max_rows=8)
        streams = [queue.submit([Input("long", 2000, num_steps=20)], FAR_S) for _ in range(40)]
        await until(lambda: bool(service.runs.names))
        tiny = queue.submit(small(), FAR_S, caller)
        await after_the_first_run(service, *streams, tiny)  # type: ignore[arg-type]

    assert play(scenario).waited("small") < 2


def test_a_caller_with_many_requests_does_not_make_another_one_wait() -> None:
    """200 requests of one input each from one caller, and one of another caller: it is in one of the next two runs."""

    async def scenario(service: Service) -> None:
        queue = service.batcher()
        crowd = [queue.submit([Input("crowd", SMALL_LENGTH)], FAR_S, "greedy") for _ in range(200)]
        await until(lambda: bool(service.runs.names))
        tiny = queue.submit(small(), FAR_S, "another")
        await after_the_first_run(service, *crowd, tiny)  # type: ignore[arg-type]

    assert play(scenario).waited("small") < 2


def test_large_requests_share_the_runs() -> None:
    """Two large requests of different lengths take turns from the start."""

    async def scenario(service: Service) -> None:
        queue = service.batcher(BatchLimits(max_items=4, max_padded_tokens=4000))
        answers = [queue.submit(big(name, length), FAR_S) for name, length in (("first", 100), ("second", 20))]
        await after_the_first_run(service, *answers)  # type: ignore[arg-type]

    first_runs = play(scenario).names[:4]
    assert all(any(name in run for run in first_runs) for name in ("first", "second")), first_runs


def test_a_flood_of_small_requests_does_not_starve_a_large_one() -> None:
    """A request of many runs is answered although a new small one is always waiting."""

    async def scenario(service: Service) -> None:
        queue = service.batcher()
        service.runs.go.set()
        large = queue.submit(big("big")[:8], FAR_S)

        async def one_after_the_other() -> None:
            while not large.done():
                await queue.submit(small(), FAR_S)

        await asyncio.gather(large, *(one_after_the_other() for _ in range(8)))

    runs = play(scenario).names
    assert sum("big" in names for names in runs) > 1
    assert sum("small" in names for names in runs) > 0


def test_a_full_queue_has_room_for_a_caller_with_nothing_in_it() -> None:
    """One caller fills the queue and is refused; another one is not, up to a quarter more."""

    async def scenario(service: Service) -> None:
        queue = service.batcher(max_queue_items=8)
        running = queue.submit([Input("greedy")], FAR_S, "greedy")
        await until(lambda: bool(service.runs.names))
        full = queue.submit(big("greedy")[:8], FAR_S, "greedy")
        with pytest.raises(Overloaded):
            queue.submit(small(), FAR_S, "greedy")
        tiny = queue.submit(small(), FAR_S, "another")
        with pytest.raises(Overloaded):
            queue.submit(big("third")[:2], FAR_S, "third")
        await after_the_first_run(service, running, full, tiny)  # type: ignore[arg-type]

    play(scenario)
