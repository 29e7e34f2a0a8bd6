"""Requests that wait on one connection cost little: they are not parsed, and beyond a few the socket is not read."""

from __future__ import annotations

import gc
import logging
import socket
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.server.bounded_protocol import BoundedProtocol
from tests.conftest import PATIENCE_S, wait_until
from tests.live_server import Connection, LiveServer, held_runs, live_server, post, request

TAG = {"model": "tiny-tagger", "inputs": "The cat sat."}
STREAM = {"inputs": "a", "parameters": {"max_new_tokens": 30}}
LIVE = request("GET", "/health/live")
HELD = "unroll_held_body_bytes"
#: More than a client's and a server's socket take in, and than a server should.
FLOOD_BYTES = 64 * 1024 * 1024


@pytest.fixture(scope="module")
def server(tiny_models: Path) -> Iterator[LiveServer]:
    with live_server(tiny_models, unread_timeout_s=1.0, send_bytes=8192) as started:
        yield started


def flood(connection: Connection, requests: bytes) -> int:
    """Send until nothing is taken for a while, or the server cuts the connection; the number of bytes taken."""
    connection.socket.settimeout(1.0)
    data, sent = memoryview(requests * (FLOOD_BYTES // len(requests))), 0
    try:
        while sent < len(data):
            sent += connection.socket.send(data[sent : sent + 65_536])
    except (TimeoutError, ConnectionError):
        pass
    finally:
        connection.socket.settimeout(PATIENCE_S)
    return sent


@pytest.mark.parametrize(
    "waiting", [LIVE, post("/predict", TAG), post("/generate_stream", STREAM)], ids=["live", "tag", "stream"]
)
def test_requests_that_wait_are_not_read(server: LiveServer, waiting: bytes) -> None:
    """While one request is answered, the service takes in less than a megabyte of those behind it."""
    with held_runs(server, "tiny-tagger") as begun, server.connect() as connection:
        connection.send(post("/predict", TAG))
        assert begun.wait(PATIENCE_S)
        assert flood(connection, waiting) < FLOOD_BYTES
        assert 0 < server.metric(HELD) < 1024 * 1024
        with server.connect() as other:
            assert other.ask(LIVE).status == 200
    wait_until(lambda: server.metric(HELD) == 0)


def test_all_requests_of_a_long_pipeline_are_answered(server: LiveServer) -> None:
    """Nothing of a pipeline that had to wait is lost, and every request takes the fast path."""
    server.short_paths.clear()
    requests = [post("/predict", TAG, x_request_id=f"r{number}") for number in range(1_000)]
    with server.connect() as connection:
        sending = threading.Thread(target=connection.send, args=(b"".join(requests),))
        sending.start()
        ids = [connection.answer().headers["x-request-id"] for _ in requests]
        sending.join(PATIENCE_S)
    assert ids == [f"r{number}" for number in range(1_000)]
    assert server.short_paths == ["/predict"] * 1_000


def test_a_long_pipeline_of_refusals_leaves_others_their_turn(tiny_models: Path) -> None:
    """Requests that are answered at once, such as those beyond a limit, do not keep the event loop from others."""
    with live_server(tiny_models, max_body_bytes=1024) as server, server.connect() as connection:
        refused = post("/predict", b" " * 1_025)
        sending = threading.Thread(target=connection.send, args=(refused * 500,))
        sending.start()
        statuses = {connection.answer().status for _ in range(500)}
        sending.join(PATIENCE_S)
    assert statuses == {413}


@pytest.mark.parametrize("request_bytes", [LIVE, post("/predict", TAG)], ids=["live", "tag"])
def test_who_never_reads_is_stopped_and_cut(server: LiveServer, request_bytes: bytes) -> None:
    """Responses that nobody reads stop the reading of requests, and in the end the connection."""
    before = server.metric("unroll_connections_ended_total", reason="unread")
    with server.connect(receive_bytes=4096) as deaf:
        assert flood(deaf, request_bytes) < FLOOD_BYTES
        wait_until(lambda: server.metric("unroll_connections_ended_total", reason="unread") == before + 1)
    wait_until(lambda: server.metric(HELD) == 0)


def leave(connection: Connection, *, by_reset: bool) -> None:
    if by_reset:
        connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def test_who_leaves_takes_the_pipeline_along(server: LiveServer) -> None:
    """When a client leaves, of the requests that wait at most the first ones are answered."""
    server.short_paths.clear()
    with held_runs(server, "tiny-tagger") as begun, server.connect() as connection:
        connection.send(post("/predict", TAG) * 50)
        assert begun.wait(PATIENCE_S)
    wait_until(lambda: server.metric("unroll_connections") == 0)
    assert len(server.short_paths) <= 2
    assert server.metric(HELD) == 0


@pytest.mark.parametrize("by_reset", [False, True], ids=["by closing", "by a reset"])
def test_harmless_leaves_write_no_error_lines(
    server: LiveServer, caplog: pytest.LogCaptureFixture, by_reset: bool
) -> None:
    """Clients leave before, while and after their requests are read, answered and streamed."""
    forms = [
        LIVE,
        post("/predict", TAG),
        post("/predict?", TAG),
        post("/generate_stream", STREAM),
        post("/generate?", STREAM),
    ]
    with caplog.at_level(logging.WARNING):
        for form in forms:
            for repeats in (0, 1, 3, 200):
                connection = server.connect()
                connection.send(form * repeats + form[: len(form) // 2])
                if repeats == 3:
                    connection.answer()
                leave(connection, by_reset=by_reset)
        wait_until(lambda: server.metric("unroll_connections") == 0)
        wait_until(lambda: not server.app.num_open)
    assert caplog.messages == []


def open_protocols() -> list[BoundedProtocol]:
    return [item for item in gc.get_objects() if isinstance(item, BoundedProtocol)]


def test_connections_leave_nothing_to_the_garbage_collector(server: LiveServer) -> None:
    """Connections that end in the middle of a pipeline are freed at once, without a collection."""
    wait_until(lambda: server.metric("unroll_connections") == 0)
    gc.collect()
    gc.disable()
    try:
        for _ in range(20):
            with server.connect() as connection:
                connection.send(LIVE * 20 + post("/predict", TAG) * 20)
                connection.answer()
        wait_until(lambda: server.metric("unroll_connections") == 0)
        wait_until(lambda: not server.app.num_open)
        wait_until(lambda: not open_protocols())
        assert open_protocols() == []
    finally:
        gc.enable()
