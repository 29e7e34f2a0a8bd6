"""What is wrong with one folder is that folder's alone: at the start, in a reload, and for readiness by its policy."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from service.errors import NotReady
from service.inference.engines.engine_context import EngineOptions
from service.inference.engines.health import ReadinessPolicy
from service.inference.engines.registry import Registry
from service.observability.metrics import Metrics
from service.settings import Settings, SettingsError, read_settings
from tests.conftest import running_service
from tests.tiny_bundles import copy_bundle, unseal, write_tiny_bundle

CLASSIFIER, TAGGER = "tiny-classifier", "tiny-tagger"


@pytest.fixture
def models(tmp_path: Path, tiny_models: Path) -> Path:
    for name in (CLASSIFIER, TAGGER):
        copy_bundle(tiny_models / name / "1", tmp_path / "models")
    return tmp_path / "models"


def play(
    models: Path, scenario: Callable[[Registry], Awaitable[None]], ready: str = "all", link_roots: str = ""
) -> None:
    """Run a scenario with a loaded registry in its own event loop."""
    settings = Settings(models_dir=models, ready=ready, link_roots=link_roots)

    async def run() -> None:
        policy = ReadinessPolicy(settings.required_models)
        options, metrics = EngineOptions("cpu", num_lanes=1), Metrics(CollectorRegistry())
        registry = Registry(models, options, metrics, policy, settings.link_root_list)
        try:
            await registry.load()
            await scenario(registry)
        finally:
            await registry.close(drain_timeout_s=1.0)

    asyncio.run(run())


def damage(models: Path, name: str, version: str = "1") -> None:
    with (models / name / version / "manifest.json").open("ab") as file:
        file.write(b" ")


def test_stray_folders_leave_the_service_ready(models: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Each is warned about once, not at every reload, and is in none of /models and /metrics."""
    for stray in ("__MACOSX/tiny-tagger", "docs/img", "lost+found", "a\nb/1", "tiny-tagger/1.bak", ".git"):
        (models / stray).mkdir(parents=True)
    (models / "loop").symlink_to("loop")
    shutil.copytree(models / CLASSIFIER, models / "backup")
    with caplog.at_level(logging.WARNING), running_service(models) as client:
        assert client.get("/health/ready").json() == {"status": "ready", "reasons": []}
        assert {model["name"] for model in client.get("/models").json()["models"]} == {CLASSIFIER, TAGGER}
        metrics = client.get("/metrics")
    assert metrics.status_code == 200
    assert "backup" not in metrics.text
    assert len([record for record in caplog.records if "ignored" in record.getMessage()]) == 7


def test_a_stray_folder_is_warned_about_once(models: Path, caplog: pytest.LogCaptureFixture) -> None:
    (models / "__MACOSX").mkdir()

    async def scenario(registry: Registry) -> None:
        assert await registry.reload() == "unchanged"
        (models / "docs" / "img").mkdir(parents=True)
        assert await registry.reload() == "unchanged"

    with caplog.at_level(logging.WARNING):
        play(models, scenario)
    paths = [str(getattr(record, "path", "")) for record in caplog.records if "ignored" in record.getMessage()]
    assert [Path(path).name for path in paths] == ["__MACOSX", "docs"]


def test_a_flood_of_strays_is_counted(models: Path, caplog: pytest.LogCaptureFixture) -> None:
    for number in range(100):
        (models / f"Album {number}").mkdir()

    async def scenario(registry: Registry) -> None:
        assert registry.reasons() == []

    with caplog.at_level(logging.WARNING):
        play(models, scenario)
    ignored = [record for record in caplog.records if "ignored" in record.getMessage()]
    assert len(ignored) == 21
    assert getattr(ignored[-1], "count", 0) == 80


def test_a_model_whose_folder_cannot_be_read_for_a_while_goes_on(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is known of it still holds: an error of the disk must not look like a removal."""

    async def scenario(registry: Registry) -> None:
        engine = registry.find("predict", TAGGER, None)
        original = os.scandir

        def scandir(folder: Path) -> Any:
            if folder == models / TAGGER:
                raise PermissionError(13, "Permission denied", str(folder))
            return original(folder)

        with monkeypatch.context() as patch:
            patch.setattr(os, "scandir", scandir)
            assert await registry.reload() == "unchanged"
        assert registry.find("predict", TAGGER, None) is engine
        assert await registry.reload() == "unchanged"
        shutil.rmtree(models / TAGGER)
        assert await registry.reload() == "ok"
        assert {entry.name for entry in registry.entries} == {CLASSIFIER}

    play(models, scenario)


def test_a_folder_that_leads_outside_is_refused_unless_allowed(models: Path, tmp_path: Path) -> None:
    (models / TAGGER).rename(tmp_path / "elsewhere")
    (models / TAGGER).symlink_to(tmp_path / "elsewhere")

    async def refused(registry: Registry) -> None:
        assert "UNROLL_LINK_ROOTS" in registry.reasons()[0]
        assert registry.find("predict", CLASSIFIER, None).is_alive

    async def allowed(registry: Registry) -> None:
        assert registry.reasons() == []

    play(models, refused)
    play(models, allowed, link_roots=f"{tmp_path / 'elsewhere'}:{tmp_path / 'nowhere'}")


def test_by_default_every_bundle_must_be_ready_and_the_reasons_say_how_to_change_that(models: Path) -> None:
    damage(models, TAGGER)

    async def scenario(registry: Registry) -> None:
        failed, hint = registry.reasons()
        assert failed.startswith(f"{TAGGER} version 1 failed: ")
        assert hint.startswith("UNROLL_READY is all")

    play(models, scenario)


def test_any_bundle_is_enough_if_the_policy_says_so(models: Path) -> None:
    """Its failed neighbours are refused one by one; with none that answers the service is not ready."""
    damage(models, TAGGER)

    async def one_left(registry: Registry) -> None:
        assert registry.reasons() == []
        with pytest.raises(NotReady):
            registry.find("predict", TAGGER, None)

    async def none_left(registry: Registry) -> None:
        assert [reason.split()[0] for reason in registry.reasons()] == [CLASSIFIER, TAGGER, "UNROLL_READY"]

    play(models, one_left, ready="any")
    damage(models, CLASSIFIER)
    play(models, none_left, ready="any")


@pytest.mark.parametrize(
    ("ready", "is_ready"),
    [(CLASSIFIER, True), (TAGGER, False), (f"{CLASSIFIER}, {TAGGER}", False), (f"{CLASSIFIER},missing", False)],
)
def test_the_models_that_the_policy_names_must_be_ready(models: Path, ready: str, is_ready: bool) -> None:
    damage(models, TAGGER)

    async def scenario(registry: Registry) -> None:
        assert (registry.reasons() == []) == is_ready
        assert any("'missing'" in reason for reason in registry.reasons()) == ("missing" in ready)

    play(models, scenario, ready=ready)


@pytest.mark.parametrize(("ready", "answers"), [("all", "2"), ("any", "1"), (TAGGER, "1")])
def test_an_older_version_answers_for_a_damaged_one_only_where_the_policy_is_lenient(
    models: Path, ready: str, answers: str
) -> None:
    """With the strict policy an older version must not answer unnoticed."""
    write_tiny_bundle(models, "classification", version="2", seed=5)
    damage(models, CLASSIFIER, "2")

    async def scenario(registry: Registry) -> None:
        assert registry.entry(CLASSIFIER).version == answers

    play(models, scenario, ready=ready)


def test_a_misspelt_name_in_the_policy_is_suggested(models: Path) -> None:
    async def scenario(registry: Registry) -> None:
        assert registry.reasons() == [
            "UNROLL_READY names 'alll', and there is no such model; did you mean all?",
            f"UNROLL_READY names 'tiny-tager', and there is no such model; did you mean {TAGGER}?",
        ]

    play(models, scenario, ready="tiny-tager , alll")


def test_a_repaired_bundle_is_held_to_the_policy_again(models: Path) -> None:
    manifest = models / TAGGER / "1" / "manifest.json"
    content = manifest.read_bytes()
    damage(models, TAGGER)

    async def scenario(registry: Registry) -> None:
        assert registry.reasons()
        manifest.write_bytes(content)
        assert await registry.reload() == "ok"
        assert registry.reasons() == []

    play(models, scenario, ready=f"{TAGGER},{CLASSIFIER}")


@pytest.mark.parametrize("value", ["", "ALL", "a b", "a,,b", "spam en", "../x", "all,ner-en", "a\nb"])
def test_a_policy_that_cannot_be_meant_stops_the_start(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("UNROLL_READY", value)
    with pytest.raises(SettingsError, match=r"UNROLL_READY: .*must be all, any, or names of models"):
        read_settings({})


def test_a_bundle_without_a_digest_answers_with_a_warning(models: Path, caplog: pytest.LogCaptureFixture) -> None:
    unseal(models / TAGGER / "1")

    async def scenario(registry: Registry) -> None:
        assert registry.reasons() == []

    with caplog.at_level(logging.WARNING):
        play(models, scenario)
    assert [record.getMessage() for record in caplog.records] == ["bundle unsealed"]
    assert "unroll models seal" in str(getattr(caplog.records[0], "reason", ""))
