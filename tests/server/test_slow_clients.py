"""Clients that do not finish their requests are cut in time, and counted; slow ones that progress are not."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.conftest import wait_until
from tests.live_server import LiveServer, live_server, post, request

TAG = {"model": "tiny-tagger", "inputs": "The cat sat."}
ENDED = "unroll_connections_ended_total"
WHOLE = post("/predict", TAG)
HEAD, _, BODY = WHOLE.partition(b"\r\n\r\n")
CHUNKED = request("POST", "/predict", content_type="application/json", transfer_encoding="chunked")


@pytest.fixture(scope="module")
def server(tiny_models: Path) -> Iterator[LiveServer]:
    limits = {"head_timeout_s": 2.0, "body_timeout_s": 2.0, "min_upload_bytes_per_s": 1_000}
    with live_server(tiny_models, **limits) as started:
        yield started


UNFINISHED = {
    "method": b"PO",
    "request line": b"POST /predict HTTP/1.1\r\n",
    "header": b"POST /predict HTTP/1.1\r\nHost: te",
    "all but the last byte of the head": HEAD + b"\r\n\r",
    "empty lines": b"\r\n\r\n",
    "head without body": HEAD + b"\r\n\r\n",
    "half a body": WHOLE[:-10],
    "all but the last byte": WHOLE[:-1],
    "chunked without body": CHUNKED,
    "half a chunk": CHUNKED + b"50\r\n{",
    "chunks without the last": CHUNKED + b"2\r\n{}\r\n",
    "half an upgrade": HEAD + b"\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n" + BODY[:-1],
    "body of another route": request("POST", "/predict?", content_type="application/json", content_length="9") + b"{",
}


@pytest.mark.parametrize("is_first", [True, False], ids=["first", "later"])
def test_unfinished_requests_get_408(server: LiveServer, is_first: bool) -> None:
    """Wherever they stop, as the first request or a later one of a connection; others are answered meanwhile."""
    before = server.metric(ENDED, reason="timeout")
    with ExitStack() as stack:
        connections = {what: stack.enter_context(server.connect()) for what in UNFINISHED}
        for what, connection in connections.items():
            if not is_first:
                assert connection.ask(WHOLE).status == 200
            connection.send(UNFINISHED[what])
        with server.connect() as other:
            assert other.ask(WHOLE).status == 200
        for what, connection in connections.items():
            answer = connection.answer()
            assert (answer.status, answer.json["error_type"]) == (408, "request_timeout"), what
            assert answer.headers["connection"] == "close"
            assert connection.is_closed()
    assert server.metric(ENDED, reason="timeout") == before + len(UNFINISHED)
    assert server.metric("unroll_held_body_bytes") == 0


@pytest.mark.parametrize("drip", [b"a", b"\r\n", b"a: b\r\n"], ids=repr)
def test_a_head_that_drips_is_cut_all_the_same(server: LiveServer, drip: bytes) -> None:
    """More bytes of a head do not extend its time."""
    before = server.metric(ENDED, reason="timeout")
    with server.connect() as connection:
        connection.send(b"" if drip == b"\r\n" else b"POST /predict HTTP/1.1\r\nx: y")
        with pytest.raises(OSError):  # noqa: PT012 - the server closes the connection at some point
            for _ in range(1_000):
                connection.send(drip)
                time.sleep(0.05)  # fewer headers than are allowed, before its time is up
    assert server.metric(ENDED, reason="timeout") == before + 1


def test_a_body_that_drips_below_the_least_rate_is_cut(server: LiveServer) -> None:
    before = server.metric(ENDED, reason="timeout")
    with server.connect() as connection:
        connection.send(request("POST", "/predict", content_type="application/json", content_length="100000"))
        with pytest.raises(OSError):  # noqa: PT012 - the server closes the connection at some point
            for _ in range(1_000):
                connection.send(b" ")
                time.sleep(0.02)
    assert server.metric(ENDED, reason="timeout") == before + 1


def test_a_large_body_over_a_slow_line_is_read(server: LiveServer) -> None:
    """A body may take as long as its bytes take at the least rate, which is longer than the time limit alone."""
    body = json.dumps(TAG).encode().ljust(12_000)
    parts = [body[start : start + 1_000] for start in range(0, len(body), 1_000)]
    begun_s = time.monotonic()
    with server.connect() as connection:
        connection.send(request("POST", "/predict", content_type="application/json", content_length="12000"))
        for part in parts:
            connection.send(part)
            time.sleep(0.3)
        assert connection.answer().status == 200
    assert time.monotonic() - begun_s > 3.0


def test_silent_connections_are_closed_without_a_word(server: LiveServer) -> None:
    """A browser that connects ahead must not find an error when it sends its first request."""
    before = server.metric(ENDED, reason="idle")
    connections = [server.connect() for _ in range(50)]
    assert [connection.is_closed() for connection in connections] == [True] * 50
    for connection in connections:
        connection.close()
    assert server.metric(ENDED, reason="idle") == before + 50
    wait_until(lambda: server.metric("unroll_connections") == 0)


def test_an_idle_connection_is_closed_after_its_last_response(tiny_models: Path) -> None:
    with live_server(tiny_models, keep_alive_s=0.5) as server, server.connect() as connection:
        assert connection.ask(WHOLE).status == 200
        assert connection.is_closed()
        assert server.metric(ENDED, reason="idle") == 1


def test_a_request_that_takes_longer_than_its_reading_may_is_answered(
    server: LiveServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The limits are for what clients send, not for the service's own time."""
    runner = server.engine("tiny-tagger").opened.runner

    def slow(*arguments: object, original: object = runner.run) -> object:
        time.sleep(4.0)
        return original(*arguments)  # type: ignore[operator]

    monkeypatch.setattr(runner, "run", slow)
    with server.connect() as connection:
        assert connection.ask(WHOLE).status == 200
