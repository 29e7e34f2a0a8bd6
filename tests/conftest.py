"""Fixtures that many tests share: tiny bundles on disk, and a service that runs on them."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from service.server.app import create_app
from service.settings import Settings
from tests.tiny_bundles import write_all_tiny_bundles

_LOADING_TIMEOUT_S = 30.0


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings in the environment of whoever runs the tests must not change what they prove."""
    for name in list(os.environ):
        if name.startswith(("UNROLL_", "OTEL_")) and name not in ("UNROLL_DATA_DIR", "UNROLL_CACHE_DIR"):
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one tiny bundle of each task. Read it, or copy from it; do not change it."""
    return write_all_tiny_bundles(tmp_path_factory.mktemp("tiny") / "models")


@contextmanager
def running_service(models_dir: Path, **settings: object) -> Iterator[TestClient]:
    """A client of a service over `models_dir` that has finished loading, whether it became ready or not."""
    app = create_app(Settings(models_dir=models_dir, **{"device": "cpu", "lanes": 2, **settings}))  # type: ignore[arg-type]
    with TestClient(app, raise_server_exceptions=True) as client:
        wait_until(app.state.loading.done)
        yield client


def wait_until(condition: Callable[[], bool], timeout_s: float = _LOADING_TIMEOUT_S) -> None:
    """Wait for something that another thread does; fails the test after `timeout_s`."""
    give_up_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < give_up_s, "what the test waits for did not happen"
        time.sleep(0.005)


async def until(condition: Callable[[], bool], timeout_s: float = _LOADING_TIMEOUT_S) -> None:
    """Let the event loop work until something is so; raises TimeoutError after `timeout_s`."""
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.001)


@pytest.fixture(scope="session")
def client(tiny_models: Path) -> Iterator[TestClient]:
    """A running service with all four tiny bundles, shared by tests that only ask."""
    with running_service(tiny_models) as started:
        yield started
