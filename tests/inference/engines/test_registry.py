"""The registry finds the engine for a request, reports readiness, and drains on close."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from service.errors import InvalidInput, NotReady, UnknownModel
from service.inference.engines import loader
from service.inference.engines.engine_context import EngineOptions
from service.inference.engines.generation_engine import GenerationEngine
from service.inference.engines.predict_engine import PredictEngine
from service.inference.engines.registry import Registry
from service.observability.metrics import Metrics
from tests.conftest import PATIENCE_S, until
from tests.tiny_bundles import NAMES


def play(models: Path, scenario: Callable[[Registry], Awaitable[None]]) -> None:
    """Run a scenario with a registry in its own event loop; the scenario loads it."""

    async def run() -> None:
        registry = Registry(models, EngineOptions("cpu", num_lanes=1), Metrics(CollectorRegistry()))
        try:
            await scenario(registry)
        finally:
            await registry.close(drain_timeout_s=1.0)

    asyncio.run(run())


def test_nothing_is_ready_before_loading(tiny_models: Path) -> None:
    async def scenario(registry: Registry) -> None:
        assert registry.reasons()
        with pytest.raises(NotReady) as refusal:
            registry.find("predict", "tiny-tagger", None)
        assert refusal.value.reasons

    play(tiny_models, scenario)


def test_models_that_are_still_loading_are_named(tiny_models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a bundle loads, readiness names it, and requests that need it are refused."""
    may_load = threading.Event()

    def held(*arguments: Any, original: Any = loader._open_and_check) -> Any:
        assert may_load.wait(PATIENCE_S)
        return original(*arguments)

    monkeypatch.setattr(loader, "_open_and_check", held)

    async def scenario(registry: Registry) -> None:
        loading = asyncio.create_task(registry.load())
        await until(lambda: len(registry.entries) == len(NAMES))
        assert any("tiny-translator version 1 is still loading" in reason for reason in registry.reasons())
        with pytest.raises(NotReady):
            registry.find("predict", "tiny-translator", None)
        with pytest.raises(NotReady):
            registry.find("generate", None, None)
        may_load.set()
        await loading
        assert registry.reasons() == []

    play(tiny_models, scenario)


def test_requests_find_their_engine(tiny_models: Path) -> None:
    async def scenario(registry: Registry) -> None:
        await registry.load()
        assert isinstance(registry.find("predict", "tiny-tagger", "1"), PredictEngine)
        assert isinstance(registry.find("generate", None, None), GenerationEngine)
        with pytest.raises(InvalidInput, match="say which model"):
            registry.find("predict", None, None)
        with pytest.raises(UnknownModel) as refusal:
            registry.find("predict", "nope", None)
        assert "tiny-tagger" in refusal.value.available

    play(tiny_models, scenario)


def test_a_stopped_engine_makes_the_service_not_ready(tiny_models: Path) -> None:
    async def scenario(registry: Registry) -> None:
        await registry.load()
        await registry.find("predict", "tiny-tagger", None).close()
        assert registry.reasons() == ["tiny-tagger version 1 has stopped answering"]
        with pytest.raises(NotReady):
            registry.find("predict", "tiny-tagger", None)

    play(tiny_models, scenario)


def test_closing_lets_waiting_requests_finish_and_refuses_new_ones(tiny_models: Path) -> None:
    async def scenario(registry: Registry) -> None:
        await registry.load()
        engine: Any = registry.find("predict", "tiny-classifier", None)
        asked = [asyncio.create_task(engine.predict("hello world", {}, time.monotonic() + 10)) for _ in range(8)]
        await asyncio.sleep(0)
        await registry.close(drain_timeout_s=10.0)
        answers = await asyncio.gather(*asked)
        assert len({answer.answers[0]["score"] for answer in answers}) == 1
        assert registry.reasons() == ["the service is stopping"]
        with pytest.raises(NotReady):
            registry.find("predict", "tiny-classifier", None)

    play(tiny_models, scenario)
