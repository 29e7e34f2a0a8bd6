"""One live service with bundles of named arrays, which the tests of this folder share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest

from tests.api.streaming.conftest import Client, stream_of
from tests.conftest import PATIENCE_S
from tests.live_server import LiveServer, live_server
from tests.tasks.tensors.tiny_tensors import write_tensors_bundle
from tests.tiny_bundles import write_tiny_bundle

KINDS = ("lstm", "masked", "equal", "labels", "several", "fixed", "wide")


@pytest.fixture(scope="package")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("arrays") / "models"
    for kind in KINDS:
        write_tensors_bundle(root, kind)
    write_tiny_bundle(root, "classification")
    return root


@pytest.fixture(scope="package")
def server(models: Path) -> Iterator[LiveServer]:
    with live_server(models, grpc_port=0) as started:
        yield started


@pytest.fixture(scope="package")
def http(server: LiveServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"http://127.0.0.1:{server.port}", timeout=PATIENCE_S) as client:
        yield client


@pytest.fixture(scope="package")
def channel(server: LiveServer) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as opened:
        yield opened


@pytest.fixture
def stream(server: LiveServer) -> Iterator[Client]:
    with stream_of(server) as client:
        yield client


def predict(http: httpx.Client, kind: str, inputs: Any, **more: Any) -> dict[str, Any]:
    """The answer of `POST /predict`, which must be one."""
    response = http.post("/predict", json={"model": f"tiny-{kind}", "inputs": inputs, **more})
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def refused(http: httpx.Client, kind: str, inputs: Any, **more: Any) -> tuple[int, str]:
    """The status and the sentence of a refusal."""
    response = http.post("/predict", json={"model": f"tiny-{kind}", "inputs": inputs, **more})
    return response.status_code, response.json()["error"]
