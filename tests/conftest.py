"""Shared fixtures: tiny bundles on disk and a service that runs on them. Registers the plugins of the test run."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings

from service.inference.runtime.device import OPENVINO_PROVIDER
from service.inference.runtime.ort_runner import available_providers
from service.inference.runtime.precision import cpu_has_bf16
from service.server import background
from service.server.app import create_app
from service.settings import Settings
from tests import skip_gate
from tests.allowed_skips import NO_BF16
from tests.tiny_bundles import write_all_tiny_bundles

# A slow machine must not fail a property test: no deadline for an example, and no health check on generation time.
hypothesis_settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
hypothesis_settings.load_profile("untimed")

#: Timeout of every wait: far longer than needed even on a busy machine, so that only a failing test reaches it.
PATIENCE_S = 60.0


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        skip_gate.OPTION,
        action="store_true",
        default=os.environ.get("CI") == "true",
        help="fail if a test is skipped for a reason that tests/allowed_skips.py does not list (default where CI=true)",
    )


def pytest_configure(config: pytest.Config) -> None:
    # A shell that starts the tests in the background has them ignore Ctrl-C, which some tests send to themselves.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    config.pluginmanager.register(skip_gate.SkipGate(config.getoption("strict_skips")), "skip-gate")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if hasattr(config, "workerinput"):  # a worker of pytest-xdist
        from tests.worker_groups import begin_long_ones_first

        begin_long_ones_first(items)


def pytest_collection_finish() -> None:
    """Exclude the imported modules and collected tests from garbage collection: each full one would traverse them."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    from tests.worker_groups import make_scheduler

    return make_scheduler(config, log)


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clear the settings in the environment, so that they do not affect the tests."""
    for name in list(os.environ):
        if name.startswith(("UNROLL_", "OTEL_")) and name not in ("UNROLL_DATA_DIR", "UNROLL_CACHE_DIR"):
            monkeypatch.delenv(name)


@pytest.fixture(scope="session", autouse=True)
def _collected_tests_stay_frozen() -> Iterator[None]:
    """A service that reloads unfreezes all objects of its process, to freeze them again; here it only collects."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(background, "settle_memory", lambda is_reload=False: gc.collect())
        yield


@pytest.fixture(scope="session")
def _openvino() -> None:
    """For tests marked `openvino`: skip if the package or the CPU instructions are missing."""
    if OPENVINO_PROVIDER not in available_providers():
        pytest.skip("onnxruntime-openvino is not installed: run `make pytest-layers`")
    if not cpu_has_bf16():
        pytest.skip(NO_BF16)


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one tiny bundle of each task. It is shared: copy bundles from it, do not change it."""
    return write_all_tiny_bundles(tmp_path_factory.mktemp("tiny") / "models")


@contextmanager
def running_service(models_dir: Path, **settings: object) -> Iterator[TestClient]:
    """A client of a service on `models_dir` that has finished loading, ready or not."""
    app = create_app(Settings(models_dir=models_dir, **{"device": "cpu", "lanes": 2, **settings}))  # type: ignore[arg-type]
    with TestClient(app, raise_server_exceptions=True) as client:
        wait_until(app.state.loading.done)
        yield client


def wait_until(condition: Callable[[], bool], timeout_s: float = PATIENCE_S) -> None:
    """Poll until a condition set by another thread holds; fails the test after `timeout_s`."""
    give_up_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < give_up_s, "timed out waiting for a condition"
        time.sleep(0.005)


async def until(condition: Callable[[], bool], timeout_s: float = PATIENCE_S) -> None:
    """Run the event loop until a condition holds; raises TimeoutError after `timeout_s`."""
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110 - the conditions have no event
            await asyncio.sleep(0.001)


@pytest.fixture(scope="session")
def client(tiny_models: Path) -> Iterator[TestClient]:
    """A running service with all tiny bundles, shared by tests that do not change it."""
    with running_service(tiny_models) as started:
        yield started
