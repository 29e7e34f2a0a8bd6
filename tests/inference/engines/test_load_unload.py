"""Models are loaded and unloaded by name while the service runs."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from service.errors import BundleError, NotReady, UnknownModel
from service.inference.engines import retirement
from service.inference.engines.engine_context import EngineOptions
from service.inference.engines.health import ReadinessPolicy
from service.inference.engines.registry import Registry
from service.observability.metrics import Metrics
from tests.tiny_bundles import copy_bundle, write_tiny_bundle

CLASSIFIER = "tiny-classifier"
GENERATOR = "tiny-generator"


@pytest.fixture(autouse=True)
def _retire_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retirement, "_GRACE_S", 0.0)


@pytest.fixture
def models(tmp_path: Path, tiny_models: Path) -> Path:
    """A writable models folder with one classifier and one language model."""
    for name in (CLASSIFIER, GENERATOR):
        copy_bundle(tiny_models / name / "1", tmp_path)
    return tmp_path


def play(
    models: Path, scenario: Callable[[Registry, Metrics], Awaitable[None]], policy: ReadinessPolicy | None = None
) -> None:
    async def run() -> None:
        metrics = Metrics(CollectorRegistry())
        registry = Registry(models, EngineOptions("cpu", num_lanes=1), metrics, policy)
        try:
            await registry.load()
            await scenario(registry, metrics)
        finally:
            await registry.close(drain_timeout_s=1.0)

    asyncio.run(run())


async def score(registry: Registry, version: str | None = None) -> float:
    engine: Any = registry.find("predict", CLASSIFIER, version)
    prediction = await engine.predict("hello world", {}, time.monotonic() + 10)
    return float(prediction.answers[0]["score"])


def states(registry: Registry) -> dict[str, str]:
    return {f"{entry.name} {entry.version}": entry.state for entry in registry.entries}


@pytest.mark.parametrize("names", [None, frozenset(), frozenset({CLASSIFIER})], ids=["all", "any", "named"])
def test_an_unloaded_model_answers_no_more_and_the_service_stays_ready(
    models: Path, names: frozenset[str] | None
) -> None:
    async def scenario(registry: Registry, metrics: Metrics) -> None:
        await registry.unload_model(CLASSIFIER)
        assert registry.reasons() == []
        assert states(registry) == {f"{CLASSIFIER} 1": "unloaded", f"{GENERATOR} 1": "ready"}
        with pytest.raises(NotReady) as refusal:
            registry.find("predict", CLASSIFIER, None)
        assert refusal.value.cause == "unloaded"
        assert refusal.value.reasons == (f"{CLASSIFIER} version 1 is unloaded",)

    play(models, scenario, ReadinessPolicy(names))


def test_an_unloaded_model_stays_unloaded_over_reloads_until_it_is_loaded(models: Path) -> None:
    """Also if its files change or a new version comes meanwhile; loading takes both over."""

    async def scenario(registry: Registry, metrics: Metrics) -> None:
        before = await score(registry)
        await registry.unload_model(CLASSIFIER)
        shutil.rmtree(models / CLASSIFIER / "1")
        write_tiny_bundle(models, "classification", seed=5)
        write_tiny_bundle(models, "classification", version="2", seed=6)
        for _ in range(2):
            await registry.reload()
        assert states(registry) == {
            f"{CLASSIFIER} 1": "unloaded",
            f"{CLASSIFIER} 2": "unloaded",
            f"{GENERATOR} 1": "ready",
        }
        await registry.load_model(CLASSIFIER)
        assert len({before, await score(registry, "1"), await score(registry, "2")}) == 3
        assert await registry.reload() == "unchanged"
        assert set(states(registry).values()) == {"ready"}

    play(models, scenario)


def test_one_version_is_unloaded_and_the_one_below_answers(models: Path) -> None:
    write_tiny_bundle(models, "classification", version="2", seed=5)

    async def scenario(registry: Registry, metrics: Metrics) -> None:
        first = await score(registry, "1")
        await registry.unload_model(CLASSIFIER, "2")
        assert await score(registry) == first
        await registry.reload()
        assert await score(registry) == first
        await registry.load_model(CLASSIFIER, "2")
        assert await score(registry) != first

    play(models, scenario)


def test_one_version_of_an_unloaded_model_is_loaded_alone(models: Path) -> None:
    write_tiny_bundle(models, "classification", version="2", seed=5)

    async def scenario(registry: Registry, metrics: Metrics) -> None:
        await registry.unload_model(CLASSIFIER)
        await registry.load_model(CLASSIFIER, "1")
        await registry.reload()
        assert states(registry)[f"{CLASSIFIER} 2"] == "unloaded"
        assert await score(registry) == await score(registry, "1")

    play(models, scenario)


def test_requests_in_flight_are_answered_by_the_model_that_is_unloaded(models: Path) -> None:
    async def scenario(registry: Registry, metrics: Metrics) -> None:
        expected = await score(registry)
        engine: Any = registry.find("predict", CLASSIFIER, None)
        asked = [asyncio.create_task(engine.predict("hello world", {}, time.monotonic() + 10)) for _ in range(20)]
        await asyncio.sleep(0)
        await registry.unload_model(CLASSIFIER)
        assert {answer.answers[0]["score"] for answer in await asyncio.gather(*asked)} == {expected}
        await registry.retired()
        assert not engine.is_alive
        assert metrics.registry.get_sample_value("unroll_bundle_info", {"model": CLASSIFIER, "version": "1"}) is None

    play(models, scenario)


def test_loading_takes_a_new_model_over_without_a_reload_of_the_others(models: Path) -> None:
    async def scenario(registry: Registry, metrics: Metrics) -> None:
        write_tiny_bundle(models, "classification", "new-one")
        write_tiny_bundle(models, "classification", "another")
        await registry.load_model("new-one")
        assert states(registry)["new-one 1"] == "ready"
        assert "another 1" not in states(registry)

    play(models, scenario)


def test_a_bad_bundle_is_told_and_replaces_nothing(models: Path) -> None:
    async def scenario(registry: Registry, metrics: Metrics) -> None:
        before = await score(registry)
        with (models / CLASSIFIER / "1" / "classifier.onnx").open("ab") as file:
            file.write(b"more")
        with pytest.raises(BundleError, match=r"classifier\.onnx: its sha256") as refusal:
            await registry.load_model(CLASSIFIER)
        assert str(refusal.value).count(str(models / CLASSIFIER / "1")) <= 2
        assert await score(registry) == before
        assert registry.reasons() == []

    play(models, scenario)


@pytest.mark.parametrize(("name", "version"), [("nope", None), (CLASSIFIER, "7"), ("", None), ("../x", "1")])
def test_what_is_not_there_cannot_be_loaded_or_unloaded(models: Path, name: str, version: str | None) -> None:
    async def scenario(registry: Registry, metrics: Metrics) -> None:
        for act in (registry.load_model, registry.unload_model):
            with pytest.raises(UnknownModel, match="there are: "):
                await act(name, version)
        assert set(states(registry).values()) == {"ready"}

    play(models, scenario)


def test_nothing_is_loaded_before_the_start_or_after_the_end(models: Path) -> None:
    async def scenario(registry: Registry, metrics: Metrics) -> None:
        early = Registry(models, EngineOptions("cpu", num_lanes=1), Metrics(CollectorRegistry()))
        with pytest.raises(NotReady):
            await early.load_model(CLASSIFIER)
        await registry.close(drain_timeout_s=1.0)
        with pytest.raises(NotReady):
            await registry.unload_model(CLASSIFIER)

    play(models, scenario)
