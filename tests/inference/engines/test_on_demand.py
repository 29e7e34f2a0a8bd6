"""Within a memory budget bundles are opened for their first request, and the least recently used one is closed."""

from __future__ import annotations

import asyncio
import gc
import time
import weakref
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from service.bundle.load import read_manifest
from service.bundle.task_options import TaskName
from service.errors import InvalidInput, NotReady, StillOpening, UnknownModel
from service.inference.engines import loader, retirement
from service.inference.engines.engine import Lease
from service.inference.engines.engine_context import EngineOptions
from service.inference.engines.health import ReadinessPolicy
from service.inference.engines.lifecycle import on_demand
from service.inference.engines.lifecycle.memory_estimate import estimated_bytes
from service.inference.engines.registry import Registry
from service.observability.metrics import Metrics
from tests.conftest import until
from tests.tiny_bundles import write_tiny_bundle

NAMES = ("first", "second", "third")

Scenario = Callable[[Registry, Metrics], Awaitable[None]]


@pytest.fixture(autouse=True)
def _retire_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retirement, "_GRACE_S", 0.0)


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """Three classifiers of one size."""
    for number, name in enumerate(NAMES):
        write_tiny_bundle(tmp_path, "classification", name, seed=number)
    return tmp_path


def size_of(models: Path, name: str = "first") -> int:
    return estimated_bytes(models / name / "1", read_manifest(models / name / "1"))


def play(models: Path, scenario: Scenario, num_fitting: float = 2.5, policy: ReadinessPolicy | None = None) -> None:
    """Run a scenario with a registry whose budget is that of so many of the classifiers."""

    async def run() -> None:
        metrics = Metrics(CollectorRegistry())
        options = EngineOptions("cpu", num_lanes=1, model_memory_bytes=int(num_fitting * size_of(models)))
        registry = Registry(models, options, metrics, policy)
        try:
            await registry.load()
            await scenario(registry, metrics)
        finally:
            await registry.close(drain_timeout_s=1.0)

    asyncio.run(run())


async def found(registry: Registry, name: str) -> Any:
    """The engine of a model, as a request gets it."""
    while True:
        try:
            return registry.find("predict", name, None)
        except StillOpening as opening:
            await opening.opened


async def score(registry: Registry, name: str) -> float:
    engine = await found(registry, name)
    lease = Lease(engine.opened.usage)
    prediction = await engine.predict("hello world", {}, time.monotonic() + 30)
    del lease
    return float(prediction.answers[0]["score"])


def open_models(registry: Registry) -> list[str]:
    return [entry.name for entry in registry.entries if entry.engine is not None]


def test_nothing_is_open_before_the_first_request_and_the_service_is_ready(models: Path) -> None:
    async def scenario(registry: Registry, metrics: Metrics) -> None:
        assert registry.reasons() == []
        assert {entry.state for entry in registry.entries} == {"idle"}
        assert metrics.registry.get_sample_value("unroll_parity_passed", {"model": "first", "version": "1"}) is None
        await score(registry, "second")
        assert open_models(registry) == ["second"]
        assert metrics.registry.get_sample_value("unroll_open_model_bytes") == size_of(models, "second")

    play(models, scenario)


def test_the_least_recently_used_model_goes_first_and_comes_back(models: Path) -> None:
    async def scenario(registry: Registry, metrics: Metrics) -> None:
        first = await score(registry, "first")
        await score(registry, "second")
        await score(registry, "first")
        await score(registry, "third")
        assert open_models(registry) == ["first", "third"]
        await score(registry, "second")
        assert open_models(registry) == ["second", "third"]
        assert await score(registry, "first") == first
        assert metrics.registry.get_sample_value("unroll_model_evictions_total", {"model": "first"}) == 1

    play(models, scenario)


def test_first_requests_at_once_wait_for_one_opening(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []

    def counting(path: Path, *arguments: Any, original: Any = loader._open_and_check) -> Any:
        opened.append(path)
        return original(path, *arguments)

    monkeypatch.setattr(loader, "_open_and_check", counting)

    async def scenario(registry: Registry, metrics: Metrics) -> None:
        scores = await asyncio.gather(*(score(registry, "first") for _ in range(50)))
        assert len(set(scores)) == 1
        assert opened == [models / "first" / "1"]

    play(models, scenario)


def test_a_model_with_a_request_in_flight_is_never_closed(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other one waits, is refused for now, and is opened once the first one has no request."""
    monkeypatch.setattr(on_demand, "_ROOM_TIMEOUT_S", 0.1)

    async def scenario(registry: Registry, metrics: Metrics) -> None:
        engine = await found(registry, "first")
        lease = Lease(engine.opened.usage)
        with pytest.raises(StillOpening) as opening:
            registry.find("predict", "second", None)
        await opening.value.opened
        assert open_models(registry) == ["first"]
        assert engine.is_alive
        del lease
        await score(registry, "second")
        assert open_models(registry) == ["second"]

    play(models, scenario, num_fitting=1.5)


def test_many_requests_for_more_models_than_fit_are_all_answered(models: Path) -> None:
    async def scenario(registry: Registry, metrics: Metrics) -> None:
        expected = {name: await score(registry, name) for name in NAMES}
        order = [NAMES[number % 3] for number in range(60)]
        assert await asyncio.gather(*(score(registry, name) for name in order)) == [expected[name] for name in order]
        assert len(open_models(registry)) == 1

    play(models, scenario, num_fitting=1.2)


@pytest.mark.parametrize("task", ["classification", "generation", "translation"])
def test_the_graphs_of_a_closed_bundle_are_freed_at_once(models: Path, task: TaskName) -> None:
    """By reference counts alone: the collector of cycles may not come for a long time."""
    write_tiny_bundle(models, task, "fourth")

    async def scenario(registry: Registry, metrics: Metrics) -> None:
        await registry.load_model("fourth")
        engine = registry.entry("fourth").engine
        assert engine is not None
        runner = weakref.ref(engine.opened.runner)
        del engine
        await registry.unload_model("fourth")
        await registry.retired()
        await until(lambda: runner() is None)

    gc.collect()
    gc.disable()
    try:
        play(models, scenario, num_fitting=1000)
    finally:
        gc.enable()


def test_a_model_that_can_never_fit_says_so(models: Path) -> None:
    async def scenario(registry: Registry, metrics: Metrics) -> None:
        with pytest.raises(NotReady) as refusal:
            await score(registry, "first")
        assert "UNROLL_MODEL_MEMORY_BYTES is" in refusal.value.reasons[0]

    play(models, scenario, num_fitting=0.5)


def test_named_models_are_open_from_the_start_and_stay(models: Path) -> None:
    async def scenario(registry: Registry, metrics: Metrics) -> None:
        assert open_models(registry) == ["second"]
        for name in ("first", "third", "first"):
            await score(registry, name)
            assert "second" in open_models(registry)

    play(models, scenario, policy=ReadinessPolicy({"second"}))


def test_a_bundle_that_is_bad_when_it_is_opened_is_told_and_the_others_answer(models: Path) -> None:
    with (models / "first" / "1" / "classifier.onnx").open("ab") as file:
        file.write(b"more")

    async def scenario(registry: Registry, metrics: Metrics) -> None:
        with pytest.raises(NotReady) as refusal:
            await score(registry, "first")
        assert "its sha256" in refusal.value.reasons[0]
        assert await score(registry, "second") > 0
        assert metrics.registry.get_sample_value("unroll_parity_passed", {"model": "first", "version": "1"}) == 0

    play(models, scenario)


def test_what_an_idle_model_does_is_known_without_opening_it(models: Path) -> None:
    async def scenario(registry: Registry, metrics: Metrics) -> None:
        with pytest.raises(InvalidInput, match="first does classification: send it to /predict"):
            registry.find("generate", "first", None)
        with pytest.raises(InvalidInput, match="for this route there are: first, second, third"):
            registry.find("predict", None, None)
        with pytest.raises(UnknownModel):
            registry.find("predict", "first", "9")
        assert open_models(registry) == []

    play(models, scenario)


def test_reload_load_and_unload_keep_to_the_budget(models: Path) -> None:
    """New versions wait for a request, changed ones of open models are opened, loaded ones are open."""

    async def scenario(registry: Registry, metrics: Metrics) -> None:
        await score(registry, "first")
        write_tiny_bundle(models, "classification", "second", version="2", seed=9)
        assert await registry.reload() == "ok"
        assert open_models(registry) == ["first"]
        await registry.load_model("second", "2")
        assert open_models(registry) == ["first", "second"]
        await registry.load_model("third")
        assert len(open_models(registry)) == 2
        await registry.unload_model("third")
        with pytest.raises(NotReady) as refusal:
            registry.find("predict", "third", None)
        assert refusal.value.cause == "unloaded"

    play(models, scenario)
