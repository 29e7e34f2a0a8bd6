"""Aliases, weights and shadow traffic of a registry: who answers, and what is compared."""

from __future__ import annotations

import asyncio
import json
import shutil
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from service.bundle.rollout_file import ROLLOUT_FILE
from service.errors import BundleError, InvalidInput, NotReady, UnknownModel
from service.inference.engines import retirement
from service.inference.engines.engine_context import EngineOptions
from service.inference.engines.registry import Registry
from service.inference.rollout import mirror
from service.inference.rollout.shadow_report import ShadowReport
from service.observability.metrics import Metrics
from service.tasks.generation.options import SamplingOptions
from tests.conftest import until
from tests.tiny_bundles import copy_bundle, write_tiny_bundle

MODEL = "tiny-classifier"
SPLIT = {"aliases": {"stable": "1", "canary": "2"}, "traffic": {"stable": 50, "canary": 50}}


@pytest.fixture(autouse=True)
def _retire_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retirement, "_GRACE_S", 0.0)


@pytest.fixture
def models(tmp_path: Path, tiny_models: Path) -> Path:
    """Two versions of a classifier."""
    copy_bundle(tiny_models / MODEL / "1", tmp_path)
    write_tiny_bundle(tmp_path, "classification", version="2", seed=5)
    return tmp_path


def play(models: Path, scenario: Callable[[Registry, Metrics], Awaitable[None]], keeps_texts: bool = False) -> None:
    async def run() -> None:
        metrics = Metrics(CollectorRegistry())
        registry = Registry(models, EngineOptions("cpu", num_lanes=1, keeps_texts=keeps_texts), metrics)
        try:
            await registry.load()
            await scenario(registry, metrics)
        finally:
            await registry.close(drain_timeout_s=1.0)

    asyncio.run(run())


def say(models: Path, content: Any, name: str = MODEL) -> None:
    text = content if isinstance(content, str) else json.dumps(content)
    (models / name / ROLLOUT_FILE).write_text(text, encoding="utf-8")


def version(registry: Registry, asked: str | None = None, affinity: str = "") -> str:
    engine = registry.find("predict", MODEL, asked, affinity)
    return engine.opened.bundle.manifest.version


def versions(registry: Registry, num: int = 200) -> set[str]:
    return {version(registry, affinity=f"user {number}") for number in range(num)}


async def predict(registry: Registry, text: str = "hello world", asked: str | None = None) -> Any:
    engine: Any = registry.find("predict", MODEL, asked)
    return await engine.predict(text, {"top_k": 2}, time.monotonic() + 30)


def test_aliases_name_versions_and_weights_split_the_rest(models: Path) -> None:
    say(models, SPLIT)

    async def scenario(registry: Registry, metrics: Metrics) -> None:
        assert [version(registry, asked) for asked in ("stable", "canary", "1", "2")] == ["1", "2", "1", "2"]
        counts = Counter(version(registry, affinity=f"user {number}") for number in range(400))
        assert min(counts["1"], counts["2"]) > 130
        assert {version(registry, affinity="me") for _ in range(50)} in ({"1"}, {"2"})
        assert metrics.registry.get_sample_value("unroll_traffic_share", {"model": MODEL, "version": "2"}) == 0.5
        with pytest.raises(UnknownModel, match=r"there are: .* canary, ") as refusal:
            version(registry, "cannary")
        assert f"{MODEL} canary" in refusal.value.available

    play(models, scenario)


def test_names_alone_do_not_change_who_answers(models: Path) -> None:
    say(models, {"aliases": {"stable": "1"}})

    async def scenario(registry: Registry, metrics: Metrics) -> None:
        assert versions(registry) == {"2"}

    play(models, scenario)


def test_a_broken_file_is_told_and_the_last_good_one_holds(models: Path) -> None:
    say(models, {"aliases": {"stable": "1"}, "traffic": {"stable": 1}})

    async def scenario(registry: Registry, metrics: Metrics) -> None:
        for broken in ("{", '{"traffic": {"9x": 1}}', ""):
            say(models, broken)
            assert await registry.reload(retry=False) == "failed"
            assert await registry.reload(retry=False) == "unchanged"
            assert versions(registry) == {"1"}
            assert ROLLOUT_FILE in registry.rollout(MODEL).problem
            assert registry.reasons() == []
        with pytest.raises(BundleError):
            await registry.change_rollout(MODEL, {"traffic": None})
        (models / MODEL / ROLLOUT_FILE).unlink()
        assert await registry.reload() == "ok"
        assert versions(registry) == {"2"}

    play(models, scenario)


def test_a_file_that_was_never_readable_leaves_only_requests_that_name_a_version(models: Path) -> None:
    """The highest version may be the canary: it must not get everything unnoticed."""
    say(models, "{")

    async def scenario(registry: Registry, metrics: Metrics) -> None:
        assert ROLLOUT_FILE in registry.reasons()[0]
        with pytest.raises(NotReady):
            version(registry)
        assert version(registry, "1") == "1"
        say(models, SPLIT)
        await registry.reload()
        assert registry.reasons() == []
        assert versions(registry) == {"1", "2"}

    play(models, scenario)


@pytest.mark.parametrize("lost", ["unloaded", "damaged", "removed"])
def test_a_canary_that_does_not_answer_gets_no_requests(models: Path, lost: str) -> None:
    say(models, SPLIT)

    async def scenario(registry: Registry, metrics: Metrics) -> None:
        if lost == "unloaded":
            await registry.unload_model(MODEL, "2")
        elif lost == "removed":
            shutil.rmtree(models / MODEL / "2")
            await registry.reload()
        else:
            await registry.find("predict", MODEL, "2").close()
        assert versions(registry) == {"1"}
        with pytest.raises((NotReady, UnknownModel)):
            version(registry, "canary")

    play(models, scenario)


def test_a_new_version_and_its_weight_are_taken_over_together(models: Path) -> None:
    """No request gets a version before it is open, nor another one because its weight came first."""
    say(models, {"traffic": {"1": 1}})

    async def scenario(registry: Registry, metrics: Metrics) -> None:
        write_tiny_bundle(models, "classification", version="3", seed=6)
        say(models, {"traffic": {"3": 1}})
        reloading = asyncio.create_task(registry.reload())
        seen = []
        while not reloading.done():
            seen.append(version(registry))
            await asyncio.sleep(0)
        assert set(seen) <= {"1", "3"}
        assert versions(registry) == {"3"}

    play(models, scenario)


def test_changes_are_written_and_hold_at_once(models: Path) -> None:
    async def scenario(registry: Registry, metrics: Metrics) -> None:
        await registry.change_rollout(MODEL, {"aliases": {"stable": "1"}, "traffic": {"stable": 3}})
        assert versions(registry) == {"1"}
        assert json.loads((models / MODEL / ROLLOUT_FILE).read_text("utf-8"))["traffic"] == {"stable": 3.0}
        with pytest.raises(UnknownModel, match="no version '7'; there are: 1, 2"):
            await registry.change_rollout(MODEL, {"aliases": {"stable": "7"}})
        with pytest.raises(InvalidInput):
            await registry.change_rollout(MODEL, {"aliases": {"stable": None}})
        with pytest.raises(UnknownModel):
            await registry.change_rollout("nope", {"traffic": None})
        assert versions(registry) == {"1"}
        assert await registry.reload() == "unchanged"

    play(models, scenario)


def test_a_request_in_flight_ends_with_the_version_it_began_with(models: Path) -> None:
    async def scenario(registry: Registry, metrics: Metrics) -> None:
        first = (await predict(registry, asked="1")).answers
        await registry.change_rollout(MODEL, {"traffic": {"1": 1}})
        asked = [asyncio.create_task(predict(registry)) for _ in range(20)]
        await asyncio.sleep(0)
        await registry.change_rollout(MODEL, {"traffic": {"2": 1}})
        assert all(answer.answers == first for answer in await asyncio.gather(*asked))
        assert (await predict(registry)).answers != first

    play(models, scenario)


def test_a_stream_ends_with_the_version_it_began_with(tmp_path: Path, tiny_models: Path) -> None:
    """Over a change of its alias, an unload of its version, and a reload without it."""
    name = "tiny-generator"
    copy_bundle(tiny_models / name / "1", tmp_path)
    write_tiny_bundle(tmp_path, "generation", version="2", seed=5)
    say(tmp_path, {"aliases": {"stable": "1", "next": "2"}, "traffic": {"stable": 1}}, name)

    async def text(registry: Registry, change: Callable[[], Awaitable[Any]] | None = None) -> str:
        engine: Any = registry.find("generate", name, None)
        stream = await engine.stream("Hello ", SamplingOptions(max_new_tokens=30), time.monotonic() + 30)
        if change is not None:
            await change()
        await stream.result()
        stream.close()
        return str(stream.request.text)

    async def scenario(registry: Registry, metrics: Metrics) -> None:
        first = await text(registry)
        assert await text(registry, lambda: registry.change_rollout(name, {"aliases": {"stable": "2"}})) == first
        second = await text(registry)
        assert second != first
        assert await text(registry, lambda: registry.unload_model(name, "2")) == second
        await registry.load_model(name)

        async def remove() -> None:
            shutil.rmtree(tmp_path / name / "2")
            await registry.reload()

        assert await text(registry, remove) == second

    play(tmp_path, scenario)


def test_shadow_answers_are_compared_and_callers_get_the_other_ones(models: Path) -> None:
    async def scenario(registry: Registry, metrics: Metrics) -> None:
        await registry.change_rollout(MODEL, {"traffic": {"1": 1}, "shadow": {"to": "2"}})
        expected = (await predict(registry, asked="1")).answers
        tokens = metrics.registry.get_sample_value("unroll_read_tokens_total", {"model": MODEL})
        assert (await predict(registry)).answers == expected
        await until(lambda: report(registry)["compared"] == 2)
        found = report(registry)
        assert (found["version"], found["candidate"], found["failed"]) == ("1", "2", 0)
        assert found["mean_score_distance"] > 0
        assert found["agreed"] + sum(pair["count"] for pair in found["differences"]) == 2
        assert found["examples"] == []
        assert metrics.registry.get_sample_value("unroll_read_tokens_total", {"model": MODEL}) == 2 * tokens
        await predict(registry, asked="2")  # the candidate itself is compared with nothing
        await registry.change_rollout(MODEL, {"shadow": None})
        await predict(registry)
        assert report(registry)["compared"] == 2
        assert shadow_report(registry, MODEL).candidate is None

    play(models, scenario)


def shadow_report(registry: Registry, name: str) -> ShadowReport:
    """The report at once: a registry without other workers waits for nobody."""
    try:
        registry.shadow_report(name).send(None)
    except StopIteration as end:
        found: ShadowReport = end.value
        return found
    raise AssertionError("it waited for other workers")


def report(registry: Registry) -> dict[str, Any]:
    comparisons = shadow_report(registry, MODEL).model_dump()["comparisons"]
    return comparisons[-1] if comparisons else {"compared": 0}


def test_a_candidate_that_fails_harms_nobody_and_is_counted(models: Path) -> None:
    async def scenario(registry: Registry, metrics: Metrics) -> None:
        await registry.change_rollout(MODEL, {"traffic": {"1": 1}, "shadow": {"to": "2"}})
        await registry.unload_model(MODEL, "2")
        assert (await predict(registry)).answers
        await until(lambda: bool(shadow_report(registry, MODEL).comparisons))
        await until(lambda: report(registry)["failed"] == 1)
        assert report(registry)["errors"] == {"NotReady": 1}

    play(models, scenario)


def test_what_finds_no_place_in_the_mirror_is_dropped(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mirror, "_MAX_WAITING", 0)

    async def scenario(registry: Registry, metrics: Metrics) -> None:
        await registry.change_rollout(MODEL, {"traffic": {"1": 1}, "shadow": {"to": "2"}})
        assert (await predict(registry)).answers
        assert report(registry)["dropped"] == 1
        labels = {"model": MODEL, "outcome": "dropped"}
        assert metrics.registry.get_sample_value("unroll_shadow_answers_total", labels) == 1

    play(models, scenario)


def test_texts_are_kept_only_where_the_settings_allow_it(models: Path) -> None:
    async def scenario(registry: Registry, metrics: Metrics) -> None:
        await registry.change_rollout(MODEL, {"traffic": {"1": 1}, "shadow": {"to": "2"}})
        words = ("one", "two", "three", "hello", "world", "cat", "mat", "ada", "london", "the")
        for word in words:
            await predict(registry, word)
        await until(lambda: report(registry)["compared"] == len(words))
        found = report(registry)
        assert [example["inputs"] in words for example in found["examples"]] == [True] * (
            found["compared"] - found["agreed"]
        )

    play(models, scenario, keeps_texts=True)


def test_texts_of_language_models_are_compared_too(tmp_path: Path, tiny_models: Path) -> None:
    name = "tiny-generator"
    copy_bundle(tiny_models / name / "1", tmp_path)
    write_tiny_bundle(tmp_path, "generation", version="2", seed=5)
    say(tmp_path, {"traffic": {"1": 1}, "shadow": {"to": "2"}}, name)

    async def scenario(registry: Registry, metrics: Metrics) -> None:
        engine: Any = registry.find("generate", name, None)
        stream = await engine.stream("Hello ", SamplingOptions(max_new_tokens=8), time.monotonic() + 30)
        await stream.result()
        stream.close()
        engine.observe(stream)
        await until(lambda: any(each.compared for each in shadow_report(registry, name).comparisons))
        (found,) = shadow_report(registry, name).comparisons
        assert (found.compared, found.agreed, found.failed) == (1, 0, 0)

    play(tmp_path, scenario)
