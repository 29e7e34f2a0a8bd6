"""Continuous batching: requests join and leave running batches at any step, and each gets an answer or an error."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from service.errors import DeadlineExceeded, InferenceFailed, NotReady, Overloaded
from service.inference.engines.engine import OpenBundle
from service.inference.engines.open_bundle import answer_one, open_bundle
from service.inference.scheduling.batch_policy import BatchLimits
from service.inference.scheduling.continuous_batcher import ContinuousBatcher, StepLimits
from service.inference.scheduling.lanes import Lanes
from service.inference.scheduling.stream import Stream
from service.observability.metrics import Metrics
from service.tasks.core.task import Array, Runner
from service.tasks.generation.generation import Generation
from service.tasks.generation.options import SamplingOptions
from service.tasks.generation.recorded_form import GenerationParameters
from service.tasks.generation.request import Delivery, GenerationRequest
from tests.conftest import PATIENCE_S, until

FAR_S = 1e9


@pytest.fixture(scope="module")
def generator(tiny_models: Path) -> OpenBundle:
    return open_bundle(tiny_models / "tiny-generator" / "1", "cpu", 1)


class Watched:
    """A runner that counts the rows of steps, and fails or blocks on request."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self.step_rows: list[int] = []
        self.fail_next = ""
        self.pause_after_steps = 0
        self.may_step = threading.Event()
        self.may_step.set()

    async def resume(self) -> None:
        """Resume after the pause, which may not have been reached yet."""
        await until(lambda: not self.may_step.is_set())
        self.may_step.set()

    def run(self, graph: str, feeds: Mapping[str, Array]) -> dict[str, Array]:
        if graph == self.fail_next:
            self.fail_next = ""
            raise InferenceFailed(f"graph {graph!r} failed")
        if graph == "step":
            assert self.may_step.wait(PATIENCE_S)
            self.step_rows.append(len(feeds["token"]))
            if len(self.step_rows) == self.pause_after_steps:
                self.may_step.clear()
        return self._runner.run(graph, feeds)


Scenario = Callable[[ContinuousBatcher[GenerationRequest], Watched], Awaitable[None]]


def play(generator: OpenBundle, scenario: Scenario, num_lanes: int = 1, **limits: Any) -> Metrics:
    """Run a scenario with a batcher in its own event loop."""
    assert isinstance(generator.task, Generation)
    task, runner, metrics = generator.task, Watched(generator.runner), Metrics(CollectorRegistry())

    async def run() -> None:
        lanes = Lanes(num_lanes)
        batcher = ContinuousBatcher("m", task.batch, runner, lanes, StepLimits(**limits), metrics, task.count_tokens)
        try:
            await scenario(batcher, runner)
        finally:
            runner.may_step.set()
            await batcher.close()
            lanes.close()

    asyncio.run(run())
    return metrics


def start(generator: OpenBundle, prompt: str, is_streamed: bool = False, **parameters: Any) -> GenerationRequest:
    assert isinstance(generator.task, Generation)
    return generator.task.start(prompt, GenerationParameters(**parameters).options, Delivery(is_streamed=is_streamed))


async def text_of(stream: Stream[GenerationRequest]) -> str:
    await stream.result()
    return stream.request.result().text


async def read_into(indices: list[int], stream: Stream[GenerationRequest]) -> None:
    async for events in stream.batches():
        indices += [event.index for event in events]


def sample(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, {"model": "m", **labels})


@pytest.mark.parametrize("num_lanes", [1, 2])
def test_texts_in_company_are_what_they_are_alone(generator: OpenBundle, num_lanes: int) -> None:
    wishes = [{"max_new_tokens": 3 + n, "do_sample": True, "seed": n} for n in range(12)]
    prompts = ["a" * (1 + 3 * n % 17) for n in range(12)]
    alone = [answer_one(generator, p, w).model_dump()["generated_text"] for p, w in zip(prompts, wishes, strict=True)]
    streams: list[Stream[GenerationRequest]] = []

    async def scenario(batcher: ContinuousBatcher[GenerationRequest], runner: Watched) -> None:
        runner.may_step.clear()
        for prompt, wish in zip(prompts, wishes, strict=True):
            streams.append(batcher.submit(start(generator, prompt, **wish), FAR_S))
            await asyncio.sleep(0)
        runner.may_step.set()
        assert await asyncio.gather(*map(text_of, streams)) == alone
        assert max(runner.step_rows) > 1, "texts did share steps"

    metrics = play(generator, scenario, num_lanes)
    num_tokens = sum(stream.request.num_produced for stream in streams)
    assert sample(metrics, "unroll_generated_tokens_total") == num_tokens
    assert sample(metrics, "unroll_slot_joins_total") == 12
    assert sample(metrics, "unroll_slot_leaves_total", reason="finished") == 12
    assert sample(metrics, "unroll_slots_in_use") == sample(metrics, "unroll_live_streams") == 0


def test_a_run_is_handed_over_before_its_batch_may_run_again(generator: OpenBundle) -> None:
    """No other lane can finish the next run first, so that the tokens of a stream stay in order and none is lost."""
    is_running: list[bool] = []

    async def scenario(batcher: ContinuousBatcher[GenerationRequest], _: Watched) -> None:
        put = batcher._hand_over.put

        def watched(*arguments: Any) -> None:
            is_running.append(any(batch.is_running for batch in batcher._running))
            put(*arguments)

        batcher._hand_over.put = watched  # type: ignore[method-assign]
        indices: list[int] = []
        await read_into(indices, batcher.submit(start(generator, "a", is_streamed=True, max_new_tokens=8), FAR_S))
        assert indices == list(range(1, 9))

    play(generator, scenario)
    assert len(is_running) == 8
    assert all(is_running)


def test_rows_are_spread_over_the_lanes(generator: OpenBundle) -> None:
    async def scenario(batcher: ContinuousBatcher[GenerationRequest], runner: Watched) -> None:
        runner.may_step.clear()
        streams = [batcher.submit(start(generator, "a", max_new_tokens=9), FAR_S) for _ in range(2)]
        await until(lambda: batcher.num_waiting == 0)
        streams += [batcher.submit(start(generator, "a", max_new_tokens=9), FAR_S) for _ in range(8)]
        runner.may_step.set()
        await asyncio.gather(*map(text_of, streams))
        assert max(runner.step_rows) == 5

    play(generator, scenario, num_lanes=2)


def test_no_more_rows_than_slots_are_stepped_and_a_fork_needs_one_for_each(generator: OpenBundle) -> None:
    async def scenario(batcher: ContinuousBatcher[GenerationRequest], runner: Watched) -> None:
        assert isinstance(generator.task, Generation)
        forked = generator.task.start("ab", SamplingOptions(max_new_tokens=5), Delivery(num_continuations=3))
        larger = generator.task.start("ab", SamplingOptions(max_new_tokens=5), Delivery(num_continuations=7))
        requests = [*(start(generator, "ab", max_new_tokens=6) for _ in range(9)), forked, larger]
        await asyncio.gather(*(text_of(batcher.submit(request, FAR_S)) for request in requests))
        assert set(runner.step_rows) <= {1, 2, 3, 4, 7}, "seven rows are more than there are, and go alone"
        assert 7 in runner.step_rows

    play(generator, scenario, max_rows=4)


def test_many_small_requests_do_not_keep_a_large_one_waiting(generator: OpenBundle) -> None:
    """A request of four rows is not starved by small requests, although single rows become free sooner."""

    async def scenario(batcher: ContinuousBatcher[GenerationRequest], runner: Watched) -> None:
        assert isinstance(generator.task, Generation)
        ended: list[str] = []

        async def ask(name: str, request: GenerationRequest) -> None:
            await batcher.submit(request, FAR_S).result()
            ended.append(name)

        small = [ask("small", start(generator, "ab", max_new_tokens=3 + n % 9)) for n in range(40)]
        forked = generator.task.start("ab", SamplingOptions(max_new_tokens=5), Delivery(num_continuations=4))
        await asyncio.gather(*small[:8], ask("large", forked), *small[8:])
        assert ended.index("large") < 20

    play(generator, scenario, max_rows=4, joining=BatchLimits(max_overtaken_s=0.0))


def test_a_closed_stream_leaves_at_the_next_step(generator: OpenBundle) -> None:
    async def scenario(batcher: ContinuousBatcher[GenerationRequest], runner: Watched) -> None:
        runner.pause_after_steps = 5
        left = batcher.submit(start(generator, "a", is_streamed=True, max_new_tokens=30), FAR_S)
        stays = batcher.submit(start(generator, "b", max_new_tokens=30), FAR_S)
        async for events in left.batches():
            if events[-1].index >= 3:
                break
        left.close()
        await runner.resume()
        await text_of(stays)
        assert left.request.num_produced <= 6, "one step may have been under way"
        assert runner.step_rows[-1] == 1
        assert batcher.num_pending == 0

    assert sample(play(generator, scenario), "unroll_slot_leaves_total", reason="cancelled") == 1


def test_who_leaves_while_waiting_is_never_run(generator: OpenBundle) -> None:
    async def scenario(batcher: ContinuousBatcher[GenerationRequest], runner: Watched) -> None:
        runner.may_step.clear()
        running = batcher.submit(start(generator, "a", max_new_tokens=9), FAR_S)
        await until(lambda: batcher.num_waiting == 0)
        waiting = batcher.submit(start(generator, "b", max_new_tokens=9), FAR_S)
        waiting.close()
        runner.may_step.set()
        await text_of(running)
        await until(lambda: batcher.num_waiting == 0)
        assert waiting.request.num_produced == 0
        assert max(runner.step_rows) == 1

    play(generator, scenario)


def test_a_failed_step_ends_its_streams_and_the_batcher_lives_on(generator: OpenBundle) -> None:
    async def scenario(batcher: ContinuousBatcher[GenerationRequest], runner: Watched) -> None:
        runner.fail_next = "step"
        streams = [batcher.submit(start(generator, "a", max_new_tokens=9), FAR_S) for _ in range(2)]
        results = await asyncio.gather(*map(text_of, streams), return_exceptions=True)
        assert any(isinstance(result, InferenceFailed) for result in results)
        again = batcher.submit(start(generator, "a", max_new_tokens=9), FAR_S)
        assert len(await text_of(again)) == 9
        assert batcher.is_alive

    play(generator, scenario)


def test_a_failed_prefill_does_not_touch_the_running_streams(generator: OpenBundle) -> None:
    async def scenario(batcher: ContinuousBatcher[GenerationRequest], runner: Watched) -> None:
        runner.pause_after_steps = 5
        running = batcher.submit(start(generator, "a", is_streamed=True, max_new_tokens=30), FAR_S)
        await anext(running.batches())
        runner.fail_next = "prompt"
        unlucky = batcher.submit(start(generator, "two or more", max_new_tokens=9), FAR_S)
        await runner.resume()
        with pytest.raises(InferenceFailed):
            await text_of(unlucky)
        assert len(await text_of(running)) == 30

    play(generator, scenario)


def test_a_batch_that_breaks_answers_its_streams_and_starts_anew(
    generator: OpenBundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(batcher: ContinuousBatcher[GenerationRequest], runner: Watched) -> None:
        broken = start(generator, "a", max_new_tokens=9)
        monkeypatch.setattr(broken, "sequences", None)
        monkeypatch.setattr(GenerationRequest, "num_rows", 1)
        stream = batcher.submit(broken, FAR_S)
        with pytest.raises(InferenceFailed, match="while its batch was run"):
            await stream.result()
        assert len(await text_of(batcher.submit(start(generator, "a", max_new_tokens=9), FAR_S))) == 9

    play(generator, scenario)


def test_a_broken_batcher_answers_everyone_and_is_not_alive(
    generator: OpenBundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(batcher: ContinuousBatcher[GenerationRequest], runner: Watched) -> None:
        may_break = threading.Event()

        def broken(*_: object) -> None:
            assert may_break.wait(PATIENCE_S)
            raise RuntimeError("a fault of our own")

        monkeypatch.setattr("service.inference.scheduling.running_batch.RunningBatch.advance", broken)
        streams = [batcher.submit(start(generator, "a"), FAR_S) for _ in range(3)]
        may_break.set()
        results = await asyncio.gather(*(stream.result() for stream in streams), return_exceptions=True)
        assert all(isinstance(result, NotReady) for result in results)
        assert not batcher.is_alive
        with pytest.raises(NotReady):
            batcher.submit(start(generator, "a"), FAR_S)

    play(generator, scenario)


def test_closing_answers_everyone(generator: OpenBundle) -> None:
    async def scenario(batcher: ContinuousBatcher[GenerationRequest], runner: Watched) -> None:
        runner.may_step.clear()
        streams = [batcher.submit(start(generator, "a", max_new_tokens=9), FAR_S) for _ in range(4)]
        await until(lambda: batcher.num_rows > 0)
        await batcher.close()
        results = await asyncio.gather(*(stream.result() for stream in streams), return_exceptions=True)
        assert all(isinstance(result, NotReady) for result in results)
        assert not batcher.is_alive

    play(generator, scenario)


def test_a_reader_that_lags_too_far_behind_is_cut(generator: OpenBundle) -> None:
    """A slow reader whose backlog is full is ended with Overloaded after its buffered tokens; others continue."""

    async def scenario(batcher: ContinuousBatcher[GenerationRequest], runner: Watched) -> None:
        runner.pause_after_steps = 20
        slow = batcher.submit(start(generator, "a", is_streamed=True, max_new_tokens=30), FAR_S)
        other = batcher.submit(start(generator, "b", max_new_tokens=30), FAR_S)
        await until(lambda: slow.is_cancelled)
        await runner.resume()
        assert len(await text_of(other)) == 30
        read: list[int] = []
        with pytest.raises(Overloaded, match="too slowly"):
            await read_into(read, slow)
        assert read == [1, 2, 3, 4]

    assert sample(play(generator, scenario, max_backlog=4), "unroll_slot_leaves_total", reason="overrun") == 1


def test_too_many_waiting_requests_are_refused(generator: OpenBundle) -> None:
    async def scenario(batcher: ContinuousBatcher[GenerationRequest], runner: Watched) -> None:
        runner.may_step.clear()
        running = batcher.submit(start(generator, "a", max_new_tokens=2), FAR_S)
        await until(lambda: batcher.num_waiting == 0)
        streams = [batcher.submit(start(generator, "a", max_new_tokens=2), FAR_S) for _ in range(2)]
        with pytest.raises(Overloaded) as refusal:
            batcher.submit(start(generator, "a"), FAR_S)
        assert refusal.value.retry_after_s >= 1
        runner.may_step.set()
        assert len(await asyncio.gather(*map(text_of, [running, *streams]))) == 3

    play(generator, scenario, max_waiting=2)


def test_a_stream_whose_time_is_up_is_ended_waiting_or_running(generator: OpenBundle) -> None:
    async def scenario(batcher: ContinuousBatcher[GenerationRequest], runner: Watched) -> None:
        runner.may_step.clear()
        soon_s = time.monotonic() + 0.05
        late = [batcher.submit(start(generator, "a", max_new_tokens=9), soon_s) for _ in range(2)]
        gone = batcher.submit(start(generator, "a"), time.monotonic() - 1)
        for stream in (*late, gone):
            with pytest.raises(DeadlineExceeded):
                await text_of(stream)
        runner.may_step.set()
        assert len(await text_of(batcher.submit(start(generator, "b", max_new_tokens=9), FAR_S))) == 9
        await until(lambda: batcher.num_rows == 0)

    play(generator, scenario)


def test_events_that_are_ready_together_are_read_together(generator: OpenBundle) -> None:
    async def scenario(batcher: ContinuousBatcher[GenerationRequest], runner: Watched) -> None:
        stream = batcher.submit(start(generator, "a", is_streamed=True, max_new_tokens=12), FAR_S)
        await stream.result()
        batches = [batch async for batch in stream.batches()]
        assert [event.index for event in batches[0]] == list(range(1, 13))
        assert len(batches) == 1
        assert (await stream.result()).finish_reason == "length"

    play(generator, scenario)
