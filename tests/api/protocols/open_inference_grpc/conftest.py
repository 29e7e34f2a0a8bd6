"""One service with a port of gRPC, which the tests of this folder share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from tests.live_server import LiveServer, live_server


@pytest.fixture(scope="package")
def service(tiny_models: Path) -> Iterator[LiveServer]:
    with live_server(tiny_models, grpc_port=0, max_body_bytes=64 * 1024) as started:
        yield started


@pytest.fixture(scope="package")
def channel(service: LiveServer) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(f"127.0.0.1:{service.grpc_port}") as opened:
        yield opened
