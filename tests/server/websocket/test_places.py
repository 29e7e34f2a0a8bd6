"""How many WebSockets one client may have: silent ones make room for the next, and those of others do not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.live_server import LiveServer, live_server
from tests.server.websocket.raw_socket import BINARY, RawSocket, frame, offer, text

START = {"type": "start", "model": "tiny-tagger"}


@pytest.fixture(scope="module")
def server(tiny_models: Path) -> Iterator[LiveServer]:
    with live_server(tiny_models, max_streams_per_client=3) as started:
        yield started


@pytest.fixture
def opened(server: LiveServer) -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def connected(server: LiveServer, stack: ExitStack, client: str) -> RawSocket:
    """From this address, as the proxy on the server's own host says."""
    connection = stack.enter_context(RawSocket(server.port))
    assert connection.ask(offer(x_forwarded_for=client)).status == 101
    return connection


def test_the_one_without_a_whole_message_for_longest_makes_room(server: LiveServer, opened: ExitStack) -> None:
    """Bytes of a message that never ends keep no place."""
    busy, endless, third = (connected(server, opened, "192.0.2.1") for _ in range(3))
    for connection in (third, busy):
        assert connection.say(START)["type"] == "started"
    endless.send(frame(BINARY, b"x" * 1000, fin=False))
    connected(server, opened, "192.0.2.1")
    assert endless.receive().close_code == 1013
    for connection in (third, busy):
        assert connection.say({"type": "text", "text": "cat "})["type"] == "result"


def test_another_client_loses_nothing(server: LiveServer, opened: ExitStack) -> None:
    other = connected(server, opened, "192.0.2.2")
    for _ in range(6):
        connected(server, opened, "192.0.2.3")
    assert other.say(START)["type"] == "started"


def test_a_connection_that_has_ended_leaves_its_place(server: LiveServer) -> None:
    for _ in range(6):
        with ExitStack() as stack:
            connection = connected(server, stack, "192.0.2.4")
            connection.send(frame(8, b"\x03\xe8") + text(START))
            assert connection.receive().close_code == 1000
