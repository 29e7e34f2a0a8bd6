"""Metrics and log: each piece is a request of its model, each connection has one line and its close code."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest
from websockets.exceptions import InvalidStatus

from tests.api.streaming.conftest import stream_of
from tests.conftest import wait_until
from tests.live_server import LiveServer, held_runs, live_server, post

WEBSOCKET = {"protocol": "websocket"}


def count(server: LiveServer, name: str, **labels: str) -> float:
    return server.metric(f"unroll_{name}", **WEBSOCKET, **labels)


def test_a_stream_is_counted_while_it_is_open_and_at_its_end(
    stream_models: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = {"model": "tiny-tagger-chunks", "task": "tagging", "outcome": "ok"}
    with live_server(stream_models) as server, caplog.at_level(logging.INFO, "service.requests"):
        with stream_of(server, additional_headers={"X-Request-Id": "abc"}) as stream:
            stream.start("tiny-tagger-chunks")
            stream.text("the cat ")
            assert count(server, "stream_connections") == 1
            stream.end()
        wait_until(lambda: count(server, "stream_connections") == 0)
        assert server.metric("unroll_requests_total", **model) == 2
        assert count(server, "protocol_requests_total", outcome="ok") == 2
        assert count(server, "stream_messages_total", direction="in") == 3
        assert count(server, "stream_messages_total", direction="out") == 3
        assert count(server, "stream_closes_total", code="1000") == 1
        assert count(server, "stream_duration_seconds_count") == 1
    (line,) = [vars(record) for record in caplog.records if record.name == "service.requests"]
    expected = {"route": "/stream", "status": 101, "outcome": "ok", "close_code": 1000, "model": "tiny-tagger-chunks"}
    assert expected.items() <= line.items()
    assert (line["messages_in"], line["messages_out"]) == (3, 3)


@pytest.mark.parametrize(("proxies", "client"), [("127.0.0.1", "203.0.113.7"), ("none", "127.0.0.1")])
def test_the_client_is_the_one_that_trusted_proxies_tell(
    stream_models: Path, caplog: pytest.LogCaptureFixture, proxies: str, client: str
) -> None:
    """Fair share, log and limits are of the client behind a proxy; strangers cannot say that they are another."""
    with (
        live_server(stream_models, trusted_proxies=proxies) as server,
        caplog.at_level(logging.INFO, "service.requests"),
    ):
        with stream_of(server, additional_headers={"X-Forwarded-For": "203.0.113.7"}) as stream:
            stream.start("tiny-tagger-chunks")
            stream.end()
        wait_until(lambda: count(server, "stream_closes_total", code="1000") == 1)
    (line,) = [vars(record) for record in caplog.records if record.name == "service.requests"]
    assert line["client"] == client


def test_a_refused_handshake_is_a_request_with_its_outcome(stream_models: Path) -> None:
    with live_server(stream_models) as server:
        with pytest.raises(InvalidStatus) as refused, stream_of(server, origin="https://elsewhere.example"):
            raise AssertionError("it was opened")
        assert refused.value.response.status_code == 403
        wait_until(lambda: count(server, "protocol_requests_total", outcome="refused") == 1)


def test_a_model_that_is_taken_away_ends_its_streams_with_a_code_to_try_again(stream_models: Path) -> None:
    """The state that was reached is handed out with the error."""
    with live_server(stream_models) as server, stream_of(server) as stream:
        stream.start("tiny-tagger-chunks")
        stream.text("the cat ")
        loop = server.app.state.loading.get_loop()
        asyncio.run_coroutine_threadsafe(server.engine("tiny-tagger-chunks").close(), loop).result(60)
        error = stream.text("sat ")
        assert (error["type"], error["error_type"], error["index"]) == ("error", "not_ready", 1)
        assert error["state"]
        assert stream.close_code() == 1013


def test_more_open_requests_than_allowed_are_sent_away(stream_models: Path) -> None:
    with live_server(stream_models, max_open_requests=1) as server, stream_of(server) as stream:
        stream.start("tiny-tagger-chunks")
        with held_runs(server, "tiny-tagger") as begun, server.connect() as other:
            other.send(post("/predict", {"model": "tiny-tagger", "inputs": "cat"}))
            assert begun.wait(60)
            error = stream.text("sat ")
        assert error["error_type"] == "overloaded"
        assert stream.close_code() == 1013


def test_a_deadline_holds_for_each_piece(stream_models: Path) -> None:
    timeout = {"X-Request-Timeout-Ms": "50"}
    with live_server(stream_models) as server, stream_of(server, additional_headers=timeout) as stream:
        stream.start("tiny-tagger-chunks")
        with held_runs(server, "tiny-tagger-chunks"):
            error = stream.text("the cat ")
        assert error["error_type"] == "deadline_exceeded"
        assert stream.close_code() == 4504
