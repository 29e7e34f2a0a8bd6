"""With `UNROLL_STOP_DELAY_S` the service turns unready on SIGTERM but serves requests until the delay has passed."""

from __future__ import annotations

import asyncio
import logging
import signal
from pathlib import Path
from typing import Any
from unittest.mock import AsyncMock

import pytest
import uvicorn

from service.server import run as server
from service.server.run import GracefulServer
from tests.conftest import running_service


@pytest.fixture
def now_s(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The server's clock; set item 0 to change it."""
    now = [100.0]
    monkeypatch.setattr(server.time, "monotonic", lambda: now[0])
    return now


def stops(announcing: GracefulServer) -> bool:
    return asyncio.run(announcing.on_tick(1))


def announcing_server(announced: list[str], delay_s: float) -> GracefulServer:
    config = uvicorn.Config(lambda: None, log_config=None)
    return GracefulServer(config, lambda: announced.append("stopping"), delay_s)


def test_a_stop_takes_effect_after_its_delay_and_is_announced_at_once(now_s: list[float]) -> None:
    announced: list[str] = []
    announcing = announcing_server(announced, delay_s=5.0)
    announcing.handle_exit(signal.SIGTERM, None)
    now_s[0] = 104.9
    assert (announced, stops(announcing)) == (["stopping"], False)
    now_s[0] = 105.0
    assert stops(announcing)


@pytest.mark.parametrize("signals", [[signal.SIGINT], [signal.SIGTERM, signal.SIGTERM]])
def test_who_presses_on_need_not_wait(now_s: list[float], signals: list[signal.Signals]) -> None:
    announcing = announcing_server([], delay_s=5.0)
    for sent in signals:
        announcing.handle_exit(sent, None)
    assert stops(announcing)


def test_without_a_delay_nothing_is_announced() -> None:
    announced: list[str] = []
    announcing = announcing_server(announced, delay_s=0.0)
    announcing.handle_exit(signal.SIGTERM, None)
    assert (announced, stops(announcing)) == ([], True)


class OpenConnection:
    """A connection that closes when it is told of the stop."""

    def __init__(self, connections: set[Any]) -> None:
        self.connections, self.num_told = connections, 0
        connections.add(self)

    def shutdown(self) -> None:
        self.num_told += 1
        self.connections.discard(self)


def test_a_connection_that_opens_after_the_stop_is_told_of_it_once() -> None:
    """Accepted before, opened after: it ends like the others, and does not hold up the stop."""

    async def stop() -> list[int]:
        stopping = announcing_server([], delay_s=0.0)
        stopping.config.timeout_graceful_shutdown = 60
        stopping.servers, stopping.lifespan = [], AsyncMock()
        connections: set[Any] = stopping.server_state.connections
        early, late = OpenConnection(connections), list[OpenConnection]()
        asyncio.get_running_loop().call_soon(lambda: late.append(OpenConnection(connections)))
        await stopping.shutdown()
        return [early.num_told, *(one.num_told for one in late)]

    assert asyncio.run(stop()) == [1, 1]


def test_the_address_is_logged_when_the_server_listens(caplog: pytest.LogCaptureFixture) -> None:
    config = uvicorn.Config(lambda: None, log_config=None, lifespan="off")
    starting = GracefulServer(config, lambda: None, 0.0)
    listening = server.open_socket("127.0.0.1", 0)
    port = listening.getsockname()[1]

    async def start_and_stop() -> None:
        config.load()
        starting.lifespan = config.lifespan_class(config)
        await starting.startup([listening])
        await starting.shutdown([listening])

    with caplog.at_level(logging.INFO):
        asyncio.run(start_and_stop())
    assert f"listening on http://127.0.0.1:{port}" in caplog.messages


def test_a_service_that_will_stop_is_not_ready_and_answers_all_the_same(tiny_models: Path) -> None:
    with running_service(tiny_models) as client:
        client.app.state.registry.announce_stop()  # type: ignore[attr-defined]
        ready = client.get("/health/ready")
        assert (ready.status_code, ready.json()["reasons"]) == (503, ["the service is stopping"])
        assert client.get("/health/live").status_code == 200
        assert client.post("/predict", json={"model": "tiny-classifier", "inputs": "hello"}).status_code == 200
