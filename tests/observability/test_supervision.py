"""Background tasks that fail are counted, logged and restarted."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from pathlib import Path

import pytest

from service.observability.supervision import supervise
from tests.conftest import running_service, wait_until
from tests.tiny_bundles import write_tiny_bundle


def test_a_task_that_fails_is_started_again_until_it_ends(caplog: pytest.LogCaptureFixture) -> None:
    """Each failure is counted, and its line names the task; a normal end is an end."""
    runs: Counter[str] = Counter()

    async def work() -> None:
        runs["started"] += 1
        if runs["started"] < 4:
            raise RecursionError("broken")

    def count() -> None:
        runs["failed"] += 1

    asyncio.run(supervise("sweep", work, count, first_pause_s=0.001))
    assert runs == {"started": 4, "failed": 3}
    said = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert [vars(record)["background_task"] for record in said] == ["sweep"] * 3
    assert [vars(record)["restart_in_s"] for record in said] == [0.001, 0.002, 0.004]


def test_cancelling_ends_the_task_and_its_supervision() -> None:
    async def scenario() -> None:
        begun = asyncio.Event()

        async def work() -> None:
            begun.set()
            await asyncio.Event().wait()

        task = asyncio.create_task(supervise("wait", work, lambda: pytest.fail("a cancellation is no failure")))
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(scenario())


def test_a_service_whose_reload_task_failed_reloads_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reload that raises what nobody expected is a metric, and the next interval reloads again."""
    write_tiny_bundle(tmp_path, "tagging")
    with running_service(tmp_path, reload_every_s=0.01) as client:
        app = client.app
        reload = app.state.registry.reload  # type: ignore[attr-defined]
        calls: Counter[str] = Counter()

        async def fail_first(retry: bool) -> object:
            calls["asked"] += 1
            if calls["asked"] == 1:
                raise UnicodeError("a name that is no UTF-8")
            return await reload(retry)

        monkeypatch.setattr(app.state.registry, "reload", fail_first)  # type: ignore[attr-defined]
        wait_until(lambda: calls["asked"] > 2)
        assert 'unroll_background_failures_total{task="reload-bundles"} 1.0' in client.get("/metrics").text
