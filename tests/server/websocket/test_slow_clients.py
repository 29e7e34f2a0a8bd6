"""Clients that are silent, that do not read, or that leave: they cost little, and not for long."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import wait_until
from tests.live_server import LiveServer, held_runs, live_server, post
from tests.server.websocket.raw_socket import CLOSE, PING, RawSocket, frame, offer, open_socket, text

TAG = {"model": "tiny-tagger", "inputs": "The cat sat."}
START = {"type": "start", "model": "tiny-tagger"}
GENERATE = {"type": "start", "model": "tiny-generator", "parameters": {"max_new_tokens": 30}}


def test_a_client_that_says_nothing_is_closed_with_a_code_for_it(tiny_models: Path) -> None:
    """Its pongs keep the connection alive, and not the stream."""
    with live_server(tiny_models, stream_timeout_s=0.3, stream_ping_interval_s=0.1) as server:
        with RawSocket(server.port) as connection:
            assert connection.ask(offer()).status == 101
            received = connection.receive()
            while received.opcode == PING:
                connection.send(frame(10, received.payload))
                received = connection.receive()
            assert received.close_code == 4408
            assert connection.is_closed()
        assert server.metric("unroll_connections_ended_total", reason="idle") == 1


def test_a_client_that_answers_no_ping_is_gone(tiny_models: Path) -> None:
    with live_server(tiny_models, stream_ping_interval_s=0.2) as server:
        with RawSocket(server.port) as connection:
            assert connection.ask(offer()).status == 101
            assert connection.receive().opcode == PING
            assert connection.receive().close_code == 1011
            assert connection.is_closed()
        assert server.metric("unroll_connections_ended_total", reason="timeout") == 1


def test_a_message_that_never_ends_is_ended_as_a_body_would_be(tiny_models: Path) -> None:
    with live_server(tiny_models, body_timeout_s=0.3) as server, RawSocket(server.port) as connection:
        assert connection.ask(offer()).status == 101
        connection.send(frame(1, b'{"type": ', fin=False))
        assert connection.receive().close_code == 4408


@pytest.fixture(scope="module")
def server(tiny_models: Path) -> Iterator[LiveServer]:
    """Small buffers, so that a client that does not read is noticed soon."""
    with live_server(tiny_models, send_bytes=4096, unread_timeout_s=0.5) as started:
        yield started


def flood(connection: RawSocket, data: bytes) -> None:
    """Send until the service stops reading, or ends the connection."""
    connection.socket.settimeout(2)
    try:
        while True:
            connection.socket.sendall(data)
    except (TimeoutError, ConnectionError):
        pass


@pytest.mark.parametrize(
    "data",
    [frame(PING, b"x" * 125) * 100, text({"type": "state"}) * 100],
    ids=["pings", "messages"],
)
def test_a_client_that_sends_and_never_reads_is_ended_with_little_held(server: LiveServer, data: bytes) -> None:
    before = server.metric("unroll_connections_ended_total", reason="unread")
    with RawSocket(server.port, receive_bytes=4096) as connection:
        assert connection.ask(offer()).status == 101
        connection.send(text(START))
        flood(connection, data)
        assert server.metric("unroll_held_body_bytes") < 2 * 1024 * 1024
        wait_until(lambda: server.metric("unroll_connections_ended_total", reason="unread") > before)
    wait_until(lambda: not len(server.app.open_connections))
    assert server.metric("unroll_held_body_bytes") == 0


def test_a_client_that_leaves_ends_its_generation(server: LiveServer) -> None:
    with held_runs(server, "tiny-generator") as begun:
        with RawSocket(server.port) as connection:
            assert connection.ask(offer()).status == 101
            connection.send(text(GENERATE) + text({"type": "text", "text": "a"}) + text({"type": "end"}))
            assert begun.wait(60)
            assert server.engine("tiny-generator").num_pending == 1
        wait_until(lambda: server.engine("tiny-generator").num_pending == 0)
    wait_until(lambda: not server.app.num_open)
    assert server.metric("unroll_protocol_requests_total", protocol="websocket", outcome="cancelled") >= 1


def test_a_reset_in_the_middle_of_a_message_leaves_nothing(server: LiveServer) -> None:
    with RawSocket(server.port) as connection:
        assert connection.ask(offer()).status == 101
        connection.send(frame(1, b"x" * 1000, fin=False), frame(0, b"y" * 500)[:300])
        connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
    wait_until(lambda: not len(server.app.open_connections))
    assert server.metric("unroll_held_body_bytes") == 0


def test_silent_streams_make_room_for_others(tiny_models: Path) -> None:
    """Ten connections may be open; the eleventh takes the place of a stream that waits for its client."""
    with live_server(tiny_models, max_connections=10) as server:
        streams = [RawSocket(server.port) for _ in range(10)]
        try:
            for stream in streams:
                assert stream.ask(offer()).status == 101
            with server.connect() as another:
                assert another.ask(post("/predict", TAG)).status == 200
            for stream in streams:
                stream.send(text(START))
            first = [stream.receive() for stream in streams]
            ended = [received for received in first if received.opcode == CLOSE]
            assert [received.close_code for received in ended] == [1013]
            assert server.metric("unroll_connections_ended_total", reason="too_many_connections") == 1
        finally:
            for stream in streams:
                stream.close()


def test_what_all_connections_hold_is_bounded(tiny_models: Path) -> None:
    """Inputs that are collected count among the bodies of requests: who needs more is sent away."""
    limits = {"max_body_bytes": 20_000, "max_held_body_bytes": 30_000}
    with live_server(tiny_models, **limits) as server, open_socket(server) as one, RawSocket(server.port) as two:
        assert two.ask(offer()).status == 101
        piece = {"type": "text", "text": "x" * 9000}
        for stream in (one, two):
            stream.say(START)
        assert [one.say(piece)["index"], one.say(piece)["index"], two.say(piece)["index"]] == [1, 2, 1]
        assert server.metric("unroll_held_body_bytes") == 27_000
        two.send(text(piece))
        assert two.receive().close_code == 1013
        wait_until(lambda: server.metric("unroll_held_body_bytes") == 18_000)
        error = one.say(piece)
        assert error["error_type"] == "body_too_large"
        assert one.receive().close_code == 1009
        wait_until(lambda: server.metric("unroll_held_body_bytes") == 0)


def test_a_stop_answers_what_came_and_says_from_where_to_go_on(tiny_models: Path) -> None:
    """The text before the stop is continued elsewhere from the state in `closing`."""
    with live_server(tiny_models, state_keys="a key of a test that is long enough") as server:
        connection = RawSocket(server.port)
        assert connection.ask(offer()).status == 101
        assert connection.say(GENERATE)["type"] == "started"
        connection.send(text({"type": "text", "text": "a"}) + text({"type": "generate"}))
        while (message := connection.receive().json)["type"] != "result" or "generated_text" not in message:
            pass
    closing = connection.receive().json
    assert (closing["type"], closing["index"]) == ("closing", 1)
    assert closing["state"]
    assert connection.receive().close_code == 1012
    assert connection.is_closed()
    connection.close()


def test_many_silent_streams_do_not_keep_others_out(tiny_models: Path) -> None:
    with live_server(tiny_models) as server:
        streams = [RawSocket(server.port) for _ in range(200)]
        for stream in streams:
            stream.send(offer())
        assert {stream.answer().status for stream in streams} == {101}
        with server.connect() as another:
            assert another.ask(post("/predict", TAG)).status == 200
        for stream in streams:
            stream.close()
        wait_until(lambda: not len(server.app.open_connections))
