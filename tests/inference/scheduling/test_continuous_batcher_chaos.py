"""With random cancels, deadlines and failing runs, each request gets its own text or its own error."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Mapping
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from service.errors import DeadlineExceeded, InferenceFailed
from service.inference.engines.engine import OpenBundle
from service.inference.engines.open_bundle import answer_one, open_bundle
from service.inference.scheduling.continuous_batcher import ContinuousBatcher, StepLimits
from service.inference.scheduling.lanes import Lanes
from service.observability.metrics import Metrics
from service.tasks.core.task import Array, Runner
from service.tasks.generation.generation import Generation
from service.tasks.generation.recorded_form import GenerationParameters
from service.tasks.generation.request import Delivery, GenerationRequest
from tests.conftest import until

NUM_CALLERS = 24
NUM_REQUESTS_EACH = 40


class Unreliable:
    """A thread-safe runner that fails one run in fifty."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._chance = random.Random(3)

    def run(self, graph: str, feeds: Mapping[str, Array]) -> dict[str, Array]:
        if self._chance.random() < 0.02:
            raise InferenceFailed("by chance")
        return self._runner.run(graph, feeds)


class Crowd:
    """Clients of one batcher, and the outcomes of their requests."""

    def __init__(self, opened: OpenBundle, batcher: ContinuousBatcher[GenerationRequest]) -> None:
        assert isinstance(opened.task, Generation)
        self.opened, self.task, self.batcher = opened, opened.task, batcher
        self.outcomes = dict.fromkeys(["whole", "left", "late", "failed"], 0)
        self.known: dict[int, str] = {}

    def alone(self, wish: int) -> str:
        if wish not in self.known:
            answer = answer_one(self.opened, "Hello"[: 1 + wish % 5], self.parameters(wish))
            self.known[wish] = answer.model_dump()["generated_text"]
        return self.known[wish]

    def parameters(self, wish: int) -> dict[str, int | bool]:
        return {"max_new_tokens": 1 + wish % 11, "do_sample": wish % 3 > 0, "seed": wish}

    async def caller(self, chance: random.Random) -> None:
        for _ in range(NUM_REQUESTS_EACH):
            self.outcomes[await self.ask(chance.randrange(50), chance)] += 1

    async def ask(self, wish: int, chance: random.Random) -> str:
        delivery = Delivery(is_streamed=chance.random() < 0.5)
        parameters = GenerationParameters.model_validate(self.parameters(wish)).options
        request = self.task.start("Hello"[: 1 + wish % 5], parameters, delivery)
        is_hasty = chance.random() < 0.1
        stream = self.batcher.submit(request, time.monotonic() + (chance.random() / 500 if is_hasty else 60))
        try:
            if chance.random() < 0.1:
                await asyncio.sleep(chance.random() / 200)
                return "left"
            events = [event async for ready in stream.batches() for event in ready]
        except DeadlineExceeded:
            assert is_hasty
            return "late"
        except InferenceFailed:
            return "failed"
        finally:
            stream.close()
        assert request.result().text == self.alone(wish)
        streamed = "".join(event.token.text for event in events if not event.token.is_special)
        assert not delivery.is_streamed or streamed == self.alone(wish)
        return "whole"


@pytest.mark.parametrize("num_lanes", [1, 2])
def test_everyone_gets_an_own_answer_and_no_row_stays_taken(tiny_models: Path, num_lanes: int) -> None:
    opened = open_bundle(tiny_models / "tiny-generator" / "1", "cpu", 1)

    async def run() -> dict[str, int]:
        assert isinstance(opened.task, Generation)
        lanes, limits = Lanes(num_lanes), StepLimits(max_rows=10)
        runner, metrics = Unreliable(opened.runner), Metrics(CollectorRegistry())
        batcher = ContinuousBatcher("m", opened.task.batch, runner, lanes, limits, metrics, lambda *_: 0)
        crowd = Crowd(opened, batcher)
        async with asyncio.timeout(600):
            await asyncio.gather(*(crowd.caller(random.Random(number)) for number in range(NUM_CALLERS)))
            await until(lambda: batcher.num_rows == batcher.num_pending == batcher.num_waiting == 0)
        assert batcher.is_alive
        await batcher.close()
        lanes.close()
        return crowd.outcomes

    outcomes = asyncio.run(run())
    assert sum(outcomes.values()) == NUM_CALLERS * NUM_REQUESTS_EACH
    assert all(outcomes.values()), outcomes
