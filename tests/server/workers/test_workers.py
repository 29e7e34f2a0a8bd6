"""Two workers behind one port: connections, commands, metrics, readiness, and the death of one of them."""

from __future__ import annotations

import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from service.server.workers.worker_table import WorkerState
from tests.conftest import PATIENCE_S, wait_until
from tests.live_server import Connection, post
from tests.server.workers.service_process import ServiceProcess, service_process

ASKED = post("/predict", {"model": "tiny-classifier", "inputs": "a b"})
OK = 'unroll_requests_total{model="tiny-classifier",outcome="ok",task="classification"}'


@pytest.fixture(scope="module")
def models(tiny_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    shutil.copytree(tiny_models / "tiny-classifier", folder / "tiny-classifier")
    return folder


@pytest.fixture(scope="module")
def service(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    with service_process(models, tmp_path_factory.mktemp("workers")) as started:
        yield started


def ask(service: ServiceProcess, index: int, request: bytes = ASKED) -> int:
    """Send a request to one worker; the status of its answer."""
    with service.connect_to(index) as connection:
        return connection.ask(request).status


def test_connections_are_spread_evenly_and_all_workers_answer(service: ServiceProcess) -> None:
    opened = [Connection(service.port) for _ in range(6)]
    try:
        assert [one.ask(ASKED).status for one in opened] == [200] * 6
        assert service.connections == [3, 3]
    finally:
        for one in opened:
            one.close()


def test_metrics_are_those_of_all_workers_whoever_is_asked(service: ServiceProcess) -> None:
    before = service.metric(OK)
    assert [ask(service, index) for index in (0, 1, 1)] == [200] * 3
    for index in (0, 1):
        with service.connect_to(index) as connection:
            text = connection.ask(b"GET /metrics HTTP/1.1\r\nHost: test\r\n\r\n").body.decode()
        assert f"{OK} {before + 3}" in text
        assert "\nunroll_workers 2.0\n" in text and "\nunroll_lanes 2.0\n" in text
        assert "\nunroll_max_open_requests 1024.0\n" in text


def test_a_command_to_one_worker_reaches_all_and_those_that_come_later(
    service: ServiceProcess, models: Path
) -> None:
    assert httpx.post(f"{service.url}/models/tiny-classifier/unload").status_code == 200
    assert [ask(service, index) for index in (0, 1)] == [503, 503]
    kill_and_await(service, 1)
    assert ask(service, 1) == 503
    assert httpx.post(f"{service.url}/models/tiny-classifier/load").status_code == 200
    assert [ask(service, index) for index in (0, 1)] == [200, 200]


def kill_and_await(service: ServiceProcess, index: int) -> None:
    """Kill a worker, and wait until another process is ready in its place."""
    before = service.pids[index]
    os.kill(before, signal.SIGKILL)
    wait_until(lambda: service.pids[index] != before and service.states[index] is WorkerState.READY)
