"""A dead lane or a broken queue: all waiting requests fail, and readiness reports it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from service.errors import NotReady, UnrollError
from service.inference.engines.generation_engine import GenerationEngine
from service.inference.engines.predict_engine import PredictEngine
from service.inference.engines.registry import Registry
from service.server.app import Application, create_app
from service.settings import Settings
from service.tasks.generation.options import SamplingOptions
from tests.conftest import until

NUM_WAITING = 6
FAR_S = 600.0
#: Time limit for loading and for the rest of the test, each.
LIMIT_S = 120.0
MODELS = ["tiny-tagger", "tiny-classifier", "tiny-translator", "tiny-generator", "tiny-parser"]

Scenario = Callable[[Registry], Awaitable[None]]


def play(models: Path, num_lanes: int, scenario: Scenario) -> None:
    async def run() -> None:
        app: Application = create_app(Settings(models_dir=models, device="cpu", lanes=num_lanes, drain_timeout_s=0.1))
        async with asyncio.timeout(LIMIT_S), app.framework.router.lifespan_context(app.framework):
            await app.state.loading
            registry: Registry = app.state.registry
            assert registry.reasons() == []
            await scenario(registry)

    asyncio.run(run())


def engine_of(registry: Registry, model: str) -> Any:
    (entry,) = registry.versions(model)
    return entry.engine


def ask(registry: Registry, model: str) -> asyncio.Task[Any]:
    """Send one input to a model."""
    engine = engine_of(registry, model)
    return asyncio.create_task(
        generated(engine) if isinstance(engine, GenerationEngine) else predicted(engine), name=model
    )


async def predicted(engine: PredictEngine) -> Any:
    return await engine.predict("hello", {}, time.monotonic() + FAR_S)


async def generated(engine: GenerationEngine) -> Any:
    parameters = SamplingOptions(max_new_tokens=3)
    stream = await engine.stream("a", parameters, time.monotonic() + FAR_S)
    return await stream.result()


async def errors_of(tasks: list[asyncio.Task[Any]]) -> list[type[BaseException]]:
    """The types of the exceptions that the tasks raised."""
    return [type(end) for end in await asyncio.gather(*tasks, return_exceptions=True) if isinstance(end, Exception)]


def ends_its_thread(*_: Any) -> Any:
    """Raise an exception that ends the thread, because no code below the interpreter handles it."""
    raise SystemExit


@pytest.mark.parametrize("num_lanes", [1, 3])
@pytest.mark.parametrize("model", MODELS)
def test_a_lost_lane_answers_everyone_and_is_seen(
    tiny_models: Path, monkeypatch: pytest.MonkeyPatch, model: str, num_lanes: int
) -> None:
    """When a lane dies, running and waiting requests of all models fail with NotReady, and readiness reports it."""

    async def scenario(registry: Registry) -> None:
        monkeypatch.setattr(engine_of(registry, model).opened.runner, "run", ends_its_thread)
        waiting = [ask(registry, model) for _ in range(NUM_WAITING)]
        assert await errors_of(waiting) == [NotReady] * NUM_WAITING
        assert len(registry.reasons()) == len(MODELS)
        for other in MODELS:
            assert await errors_of([ask(registry, other)]) == [NotReady]

    play(tiny_models, num_lanes, scenario)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("fault", ["next_batch", "split_expired"])
def test_a_queue_that_breaks_answers_everyone_and_leaves_the_others_alone(
    tiny_models: Path, monkeypatch: pytest.MonkeyPatch, model: str, fault: str
) -> None:
    def broken(*_: Any) -> Any:
        raise RuntimeError("a fault of our own")

    module = "batcher" if model in ("tiny-tagger", "tiny-classifier", "tiny-parser") else "continuous_batcher"

    async def scenario(registry: Registry) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(f"service.inference.scheduling.{module}.{fault}", broken)
            waiting = [ask(registry, model) for _ in range(NUM_WAITING)]
            assert await errors_of(waiting) == [NotReady] * NUM_WAITING
        assert [reason.split()[0] for reason in registry.reasons()] == [model]
        with pytest.raises(UnrollError, match="not ready"):
            registry.find("predict", model, None)
        healthy = [ask(registry, other) for other in MODELS if other != model]
        assert await errors_of(healthy) == []

    play(tiny_models, 2, scenario)


@pytest.mark.parametrize("model", ["tiny-translator", "tiny-generator"])
def test_a_batch_that_breaks_fails_whom_it_held_and_no_more(
    tiny_models: Path, monkeypatch: pytest.MonkeyPatch, model: str
) -> None:
    """A bug in the batch's own code fails the requests in it, and the batcher continues with an empty batch."""

    async def scenario(registry: Registry) -> None:
        with monkeypatch.context() as patch:
            patch.setattr("service.tasks.core.recurrent_state.RecurrentState.from_outputs", ends_badly)
            ends = await errors_of([ask(registry, model) for _ in range(NUM_WAITING)])
        assert [end.__name__ for end in ends] == ["InferenceFailed"] * NUM_WAITING
        assert registry.reasons() == []
        assert await errors_of([ask(registry, model)]) == []
        await until(lambda: engine_of(registry, model).num_pending == 0)

    play(tiny_models, 2, scenario)


def ends_badly(*_: Any) -> Any:
    raise ZeroDivisionError("a fault of our own")
