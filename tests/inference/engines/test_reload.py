"""A reload applies valid changes of the models folder and never loses a working bundle."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from service.errors import NotReady, UnknownModel
from service.inference.engines import retirement
from service.inference.engines.engine_context import EngineOptions
from service.inference.engines.registry import Registry
from service.observability.metrics import Metrics
from tests.tiny_bundles import copy_bundle, write_tiny_bundle

CLASSIFIER = "tiny-classifier"


@pytest.fixture(autouse=True)
def _retire_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retire without a grace period, because the tests control when requests are queued."""
    monkeypatch.setattr(retirement, "_GRACE_S", 0.0)


@pytest.fixture
def models(tmp_path: Path, tiny_models: Path) -> Path:
    """A writable models folder with one classifier and one language model."""
    for name in (CLASSIFIER, "tiny-generator"):
        copy_bundle(tiny_models / name / "1", tmp_path)
    return tmp_path


def play(models: Path, scenario: Callable[[Registry, Metrics], Awaitable[None]]) -> None:
    """Run a scenario with a fully loaded registry in its own event loop."""

    async def run() -> None:
        metrics = Metrics(CollectorRegistry())
        registry = Registry(models, EngineOptions("cpu", num_lanes=1), metrics)
        try:
            await registry.load()
            await scenario(registry, metrics)
        finally:
            await registry.close(drain_timeout_s=1.0)

    asyncio.run(run())


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, labels)


async def score(registry: Registry, version: str | None = None) -> float:
    """The classifier's current answer."""
    engine: Any = registry.find("predict", CLASSIFIER, version)
    prediction = await engine.predict("hello world", {}, time.monotonic() + 10)
    return float(prediction.answers[0]["score"])


def damage(bundle: Path) -> None:
    with (bundle / "classifier.onnx").open("ab") as file:
        file.write(b"more")


def empty(folder: Path, is_there: bool) -> None:
    shutil.rmtree(folder)
    if is_there:
        folder.mkdir()


def test_a_new_version_answers_after_a_reload_and_the_old_one_when_named(models: Path) -> None:
    async def scenario(registry: Registry, metrics: Metrics) -> None:
        old = await score(registry)
        write_tiny_bundle(models, "classification", version="2", seed=5)
        assert await registry.reload() == "ok"
        assert await score(registry) != old
        assert await score(registry, "1") == old
        assert value(metrics, "unroll_reloads_total", outcome="ok") == 1
        assert value(metrics, "unroll_parity_passed", model=CLASSIFIER, version="2") == 1

    play(models, scenario)


def test_a_damaged_new_version_changes_nothing(models: Path) -> None:
    """After a reload with a damaged new version the old one answers, readiness holds, and the failure is reported."""

    async def scenario(registry: Registry, metrics: Metrics) -> None:
        old = await score(registry)
        damage(write_tiny_bundle(models, "classification", version="2", seed=5))
        assert await registry.reload() == "failed"
        assert await score(registry) == old
        assert registry.reasons() == []
        with pytest.raises(NotReady) as refusal:
            registry.find("predict", CLASSIFIER, "2")
        assert "classifier.onnx" in refusal.value.reasons[0]
        assert refusal.value.cause == "failed_bundle"
        assert registry.entry(CLASSIFIER).version == "1"
        assert value(metrics, "unroll_parity_passed", model=CLASSIFIER, version="2") == 0
        assert value(metrics, "unroll_last_reload_successful") == 0

    play(models, scenario)


def test_damaged_files_of_a_version_are_refused_until_they_are_repaired(models: Path) -> None:
    async def scenario(registry: Registry, metrics: Metrics) -> None:
        old = await score(registry)
        graph = models / CLASSIFIER / "1" / "classifier.onnx"
        whole = graph.read_bytes()
        damage(graph.parent)
        assert await registry.reload() == "failed"
        assert await score(registry) == old
        assert "changed files were refused" in registry.entry(CLASSIFIER).reason
        assert await registry.reload(retry=False) == "unchanged"
        graph.write_bytes(whole)
        assert await registry.reload() == "ok"
        assert registry.entry(CLASSIFIER).reason == ""
        assert value(metrics, "unroll_last_reload_successful") == 1

    play(models, scenario)


def test_a_bundle_that_failed_at_the_start_can_be_repaired_without_a_restart(models: Path) -> None:
    graph = models / CLASSIFIER / "1" / "classifier.onnx"
    whole = graph.read_bytes()
    damage(graph.parent)

    async def scenario(registry: Registry, metrics: Metrics) -> None:
        assert "sha256" in registry.reasons()[0]
        assert await registry.reload() == "failed"
        assert "sha256" in registry.reasons()[0]
        graph.write_bytes(whole)
        assert await registry.reload(retry=False) == "ok"
        assert registry.reasons() == []
        assert await score(registry) > 0

    play(models, scenario)


def test_a_removed_bundle_answers_no_longer(models: Path) -> None:
    async def scenario(registry: Registry, metrics: Metrics) -> None:
        shutil.rmtree(models / CLASSIFIER)
        assert await registry.reload() == "ok"
        with pytest.raises(UnknownModel):
            registry.find("predict", CLASSIFIER, None)
        await registry.retired()
        assert value(metrics, "unroll_parity_passed", model=CLASSIFIER, version="1") is None
        assert value(metrics, "unroll_queue_depth", model=CLASSIFIER) == 0

    play(models, scenario)


@pytest.mark.parametrize("is_there", [True, False])
def test_a_folder_that_is_suddenly_empty_or_gone_changes_nothing(models: Path, is_there: bool) -> None:
    """If the folder is empty or missing, as after an unmount, the reload fails and all models stay loaded."""

    async def scenario(registry: Registry, metrics: Metrics) -> None:
        empty(models, is_there)
        assert await registry.reload() == "failed"
        assert await score(registry) > 0
        assert registry.reasons() == []

    play(models, scenario)


def test_a_reload_of_an_unchanged_folder_opens_nothing(models: Path) -> None:
    async def scenario(registry: Registry, metrics: Metrics) -> None:
        engine = registry.find("predict", CLASSIFIER, None)
        assert await registry.reload() == "unchanged"
        assert registry.find("predict", CLASSIFIER, None) is engine
        assert value(metrics, "unroll_reloads_total", outcome="unchanged") == 1

    play(models, scenario)


def test_a_replaced_engine_answers_its_pending_requests(models: Path) -> None:
    async def scenario(registry: Registry, metrics: Metrics) -> None:
        engine: Any = registry.find("predict", CLASSIFIER, None)
        expected = await score(registry)
        shutil.rmtree(models / CLASSIFIER)
        write_tiny_bundle(models, "classification", seed=5)
        asked = [asyncio.create_task(engine.predict("hello world", {}, time.monotonic() + 10)) for _ in range(20)]
        assert await registry.reload() == "ok"
        assert {answer.answers[0]["score"] for answer in await asyncio.gather(*asked)} == {expected}
        assert await score(registry) != expected
        await registry.retired()
        assert not engine.is_alive

    play(models, scenario)


def test_two_reloads_at_once_take_turns(models: Path) -> None:
    async def scenario(registry: Registry, metrics: Metrics) -> None:
        write_tiny_bundle(models, "classification", version="2", seed=5)
        assert sorted(await asyncio.gather(registry.reload(), registry.reload())) == ["ok", "unchanged"]

    play(models, scenario)
