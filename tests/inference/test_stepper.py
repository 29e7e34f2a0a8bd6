"""Streams join and leave the running batch at any step without touching each other."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from service.errors import DeadlineExceeded, InferenceFailed, Overloaded
from service.inference.batch_policy import BatchLimits
from service.inference.direct import OpenBundle, answer_one, open_bundle
from service.inference.stepper import Stepper, Stream
from service.metrics import Metrics
from service.tasks.base import Array, Runner
from service.tasks.generation import Generation
from service.tasks.generation_parameters import GenerationParameters
from tests.conftest import until

FAR_S = 1e9


@pytest.fixture(scope="module")
def generator(tiny_models: Path) -> OpenBundle:
    return open_bundle(tiny_models / "tiny-generator" / "1", "cpu", 1)


class Watched:
    """A runner that counts rows of steps, and fails when told to."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self.step_rows: list[int] = []
        self.fail_next = ""

    def run(self, graph: str, feeds: Mapping[str, Array]) -> dict[str, Array]:
        if graph == self.fail_next:
            self.fail_next = ""
            raise InferenceFailed(f"graph {graph!r} failed")
        if graph == "step":
            self.step_rows.append(len(feeds["token"]))
        return self._runner.run(graph, feeds)


def play(generator: OpenBundle, scenario: Callable[[Stepper, Watched], Awaitable[None]], **options: Any) -> Metrics:
    """Run a scenario with a stepper in an event loop of its own."""
    assert isinstance(generator.task, Generation)
    task, runner, metrics = generator.task, Watched(generator.runner), Metrics(CollectorRegistry())
    defaults = {"batch": BatchLimits(), "max_waiting": 50, "max_live": 50, "max_backlog_events": 1000}

    async def run() -> None:
        stepper = Stepper("m", task, runner, metrics=metrics, **(defaults | options))
        try:
            await scenario(stepper, runner)
        finally:
            await stepper.close()

    asyncio.run(run())
    return metrics


def start(generator: OpenBundle, prompt: str, **parameters: Any) -> Any:
    assert isinstance(generator.task, Generation)
    return generator.task.start(prompt, GenerationParameters(**parameters))


async def text_of(stream: Stream) -> str:
    async for _ in stream:
        pass
    return stream.continuation.answer().generated_text


def test_streams_in_company_give_what_they_give_alone(generator: OpenBundle) -> None:
    wishes = [{"max_new_tokens": 3 + n, "do_sample": True, "seed": n} for n in range(12)]
    prompts = ["a" * (1 + 3 * n % 17) for n in range(12)]
    alone = [answer_one(generator, p, w).model_dump()["generated_text"] for p, w in zip(prompts, wishes, strict=True)]

    streams: list[Stream] = []

    async def scenario(stepper: Stepper, runner: Watched) -> None:
        for prompt, wish in zip(prompts, wishes, strict=True):
            streams.append(stepper.submit(start(generator, prompt, **wish), FAR_S))
            await asyncio.sleep(0)
        assert await asyncio.gather(*map(text_of, streams)) == alone
        assert max(runner.step_rows) > 1, "streams did share steps"

    metrics = play(generator, scenario)
    tokens = metrics.registry.get_sample_value("unroll_generated_tokens_total", {"model": "m"})
    assert tokens == sum(stream.continuation.num_produced for stream in streams)


def test_a_closed_stream_leaves_at_the_next_step(generator: OpenBundle) -> None:
    async def scenario(stepper: Stepper, runner: Watched) -> None:
        left = stepper.submit(start(generator, "a", max_new_tokens=30), FAR_S)
        stays = stepper.submit(start(generator, "b", max_new_tokens=30), FAR_S)
        async for event in left:
            if event.index == 3:
                break
        left.close()
        await text_of(stays)
        assert left.continuation.num_produced < 30
        assert runner.step_rows[-1] == 1
        assert stepper.num_pending == 0

    play(generator, scenario)


def test_a_failed_step_ends_its_streams_and_the_loop_lives_on(generator: OpenBundle) -> None:
    async def scenario(stepper: Stepper, runner: Watched) -> None:
        runner.fail_next = "step"
        streams = [stepper.submit(start(generator, "a", max_new_tokens=9), FAR_S) for _ in range(2)]
        results = await asyncio.gather(*map(text_of, streams), return_exceptions=True)
        assert all(isinstance(result, InferenceFailed) for result in results)
        again = stepper.submit(start(generator, "a", max_new_tokens=9), FAR_S)
        assert len(await text_of(again)) == 9
        assert stepper.is_alive

    play(generator, scenario)


def test_a_failed_prefill_does_not_touch_the_running_streams(generator: OpenBundle) -> None:
    async def scenario(stepper: Stepper, runner: Watched) -> None:
        running = stepper.submit(start(generator, "a", max_new_tokens=30), FAR_S)
        await running.events.get()
        runner.fail_next = "prompt"
        unlucky = stepper.submit(start(generator, "b", max_new_tokens=9), FAR_S)
        with pytest.raises(InferenceFailed):
            await text_of(unlucky)
        assert len(await text_of(running)) == 30

    play(generator, scenario)


def test_one_stream_that_cannot_choose_a_token_ends_alone(
    generator: OpenBundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(stepper: Stepper, runner: Watched) -> None:
        broken, healthy = (start(generator, prompt, max_new_tokens=9) for prompt in "ab")
        monkeypatch.setattr(broken, "_choose", lambda _: 1 / 0)
        streams = [stepper.submit(continuation, FAR_S) for continuation in (broken, healthy)]
        results = await asyncio.gather(*map(text_of, streams), return_exceptions=True)
        assert isinstance(results[0], InferenceFailed)
        assert len(results[1]) == 9

    play(generator, scenario)


def test_a_reader_that_lags_too_far_behind_is_cut(generator: OpenBundle) -> None:
    """What it had been given stays readable, then it learns why it was cut; others go on."""

    async def scenario(stepper: Stepper, runner: Watched) -> None:
        slow = stepper.submit(start(generator, "a", max_new_tokens=30), FAR_S)
        await until(lambda: not stepper.num_pending)
        assert slow.events.qsize() == 4 + 1, "four tokens and the end"
        with pytest.raises(Overloaded, match="too slowly"):
            await text_of(slow)

    play(generator, scenario, max_backlog_events=4)


def test_too_many_waiting_streams_are_refused(generator: OpenBundle) -> None:
    async def scenario(stepper: Stepper, runner: Watched) -> None:
        streams = [stepper.submit(start(generator, "a", max_new_tokens=2), FAR_S) for _ in range(2)]
        with pytest.raises(Overloaded) as refusal:
            stepper.submit(start(generator, "a"), FAR_S)
        assert refusal.value.retry_after_s >= 1
        assert len(await asyncio.gather(*map(text_of, streams))) == 2

    play(generator, scenario, max_waiting=2)


def test_a_stream_whose_deadline_has_passed_is_ended(generator: OpenBundle) -> None:
    async def scenario(stepper: Stepper, runner: Watched) -> None:
        late = stepper.submit(start(generator, "a"), time.monotonic() - 1)
        with pytest.raises(DeadlineExceeded):
            await text_of(late)
        assert runner.step_rows == []

    play(generator, scenario)
