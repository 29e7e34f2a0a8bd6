"""Streams that nobody reads count as open requests, hold little, and end."""

from __future__ import annotations

import asyncio
import json
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from service.inference.scheduling.stream import Stream
from service.inference.state.sealed_state import StateSealer
from tests.conftest import wait_until
from tests.live_server import held_runs, live_server, post, request

STREAM = {"inputs": "a", "parameters": {"max_new_tokens": 30}}
ENDED = "unroll_connections_ended_total"


@pytest.mark.parametrize("target", ["/generate_stream", "/generate_stream?"])
def test_streams_count_among_open_requests(tiny_models: Path, target: str) -> None:
    """With the limit taken by streams that wait, the next request of any form gets 429, and probes are answered."""
    with live_server(tiny_models, max_open_requests=2) as server, ExitStack() as stack:
        streams = [stack.enter_context(server.connect()) for _ in range(2)]
        other = stack.enter_context(server.connect())
        with held_runs(server, "tiny-generator"):
            for stream in streams:
                stream.send(post(target, STREAM))
            wait_until(lambda: server.app.num_open == 2)
            for path in ("/generate_stream", "/predict", "/predict?", "/generate_stream?"):
                refused = other.ask(post(path, STREAM))
                assert (refused.status, refused.json["error_type"]) == (429, "overloaded")
            assert other.ask(request("GET", "/health/live")).status == 200
        assert [stream.answer().body.count(b"data:") for stream in streams] == [30, 30]
        assert other.ask(post(target, STREAM)).status == 200


def test_a_stream_that_nobody_reads_ends_and_is_counted(tiny_models: Path) -> None:
    with live_server(tiny_models, unread_timeout_s=0.3, send_bytes=4096) as server, ExitStack() as stack:
        deaf = [stack.enter_context(server.connect(receive_bytes=4096)) for _ in range(3)]
        many = {"inputs": "a", "parameters": {"max_new_tokens": 30, "top_n_tokens": 5}}
        for connection in deaf:
            connection.send(post("/generate_stream", many) * 200)
        wait_until(lambda: server.metric(ENDED, reason="unread") == 3)
        wait_until(lambda: server.app.num_open == 0)
        assert server.engine("tiny-generator").num_pending == 0


def test_several_states_are_sealed_off_the_event_loop(tiny_models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """States of events that are ready together are sealed in a thread; every event has its own, as asked for."""
    with live_server(tiny_models, max_connections=10) as server, server.connect() as connection:
        in_loop: list[bool] = []
        seal = StateSealer.seal

        def noting(sealer: StateSealer, *arguments: Any) -> str:
            try:
                asyncio.get_running_loop()
                in_loop.append(True)
            except RuntimeError:
                in_loop.append(False)
            return seal(sealer, *arguments)

        async def all_at_once(stream: Any, original: Any) -> Any:
            await stream.result()
            async for products in original(stream):
                yield products

        batches = Stream.batches
        monkeypatch.setattr(Stream, "batches", lambda stream, _: all_at_once(stream, batches))
        monkeypatch.setattr(StateSealer, "seal", noting)
        body = connection.ask(post("/generate_stream", {**STREAM, "state_every": 8})).body
    events = [json.loads(line[5:]) for line in body.split(b"\n\n") if line.startswith(b"data:")]
    assert [event["index"] for event in events if "state" in event] == [8, 16, 24]
    assert [event["tokens_left"] for event in events if "state" in event] == [22, 14, 6]
    assert in_loop == [False] * 3
