"""A resumed stream yields every token exactly once, in order, and equal to an uninterrupted stream."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import cycle
from typing import Any

import pytest

from service.client import InferenceFailed, NotReady, TokenEvent
from service.client.streaming import token_events
from tests.client.conftest import Connect
from tests.conftest import PATIENCE_S
from tests.live_server import LiveServer, live_server
from tests.tiny_bundles import write_tiny_bundle

KEY = "a secret of more than sixteen characters"
STATE_EVERY_TOKENS = 8
LENGTH = 28
NOT_READY = b'data:{"error":"stopping","error_type":"not_ready"}\n\n'
NONE_READY = b'{"error": "no replica is ready"}'
FAILED = b'data:{"error":"graph step failed","error_type":"generation"}\n\n'

#: How a connection ends: after this many events, with these bytes instead of the next event; None: not before its end.
Cut = tuple[int, bytes] | int | None


class Gateway(ThreadingHTTPServer):
    """Round-robin proxy that truncates answers as the test specifies; `bodies` records the requests."""

    daemon_threads = True

    def __init__(self, replicas: Sequence[LiveServer], cuts: Sequence[Cut]) -> None:
        super().__init__(("127.0.0.1", 0), _Passing)
        self.ports = cycle(replica.port for replica in replicas)
        self.cuts = iter(cuts)
        self.bodies: list[dict[str, Any]] = []


class _Passing(BaseHTTPRequestHandler):
    server: Gateway

    def do_POST(self) -> None:
        """Forward one request; a cut at -503 responds with that status instead."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.bodies.append(json.loads(body))
        cut = next(self.server.cuts, None)
        num_events, last = cut if isinstance(cut, tuple) else (cut, b"")
        if num_events is not None and num_events < 0:
            status, frames, num_events = -num_events, [NONE_READY], 1
        else:
            status, frames = self._ask(body)
        self.send_response(status)
        self.end_headers()
        self.wfile.write(b"".join(frames[:num_events]) + last)

    def _ask(self, body: bytes) -> tuple[int, list[bytes]]:
        """Forward to the next replica and return its answer, event by event."""
        upstream = http.client.HTTPConnection("127.0.0.1", next(self.server.ports), timeout=PATIENCE_S)
        upstream.request("POST", self.path, body, {"Content-Type": "application/json"})
        response = upstream.getresponse()
        frames = [frame + b"\n\n" for frame in response.read().split(b"\n\n") if frame]
        upstream.close()
        return response.status, frames

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@pytest.fixture(scope="module")
def replicas(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[LiveServer]]:
    """Two servers with the same bundle and the same state key."""
    models = tmp_path_factory.mktemp("resuming") / "models"
    write_tiny_bundle(models, "generation")
    with live_server(models, state_keys=KEY) as here, live_server(models, state_keys=KEY) as there:
        yield [here, there]


@pytest.fixture(autouse=True)
def _small_and_quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_events, "STATE_EVERY_TOKENS", STATE_EVERY_TOKENS)


@contextmanager
def gateway(replicas: Sequence[LiveServer], *cuts: Cut) -> Iterator[Gateway]:
    server = Gateway(replicas, cuts)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def events_of(connect: Connect, server: Gateway, **parameters: Any) -> list[TokenEvent]:
    client = connect(f"http://127.0.0.1:{server.server_port}")
    return list(client.generate_stream("the cat", max_new_tokens=LENGTH, **parameters))


def told(events: list[TokenEvent]) -> list[dict[str, Any]]:
    """What does not depend on where a stream was cut."""
    return [event.model_dump(exclude={"state", "tokens_left"}, exclude_unset=True) for event in events]


@pytest.mark.parametrize(
    "parameters", [{}, {"do_sample": True, "seed": 5, "temperature": 1.4}], ids=["greedy", "drawn"]
)
@pytest.mark.parametrize(
    "cuts",
    [
        [0],
        [5],
        [STATE_EVERY_TOKENS],
        [STATE_EVERY_TOKENS + 5, 7, 0, 10],
        [-502, 20, -503, -429, 5],
        [(18, NOT_READY)],
        [LENGTH - 1, 3],
    ],
    ids=str,
)
def test_a_lost_connection_does_not_change_the_stream(
    connect: Connect, replicas: list[LiveServer], cuts: list[Cut], parameters: dict[str, Any]
) -> None:
    """Neither its tokens nor their numbers nor the whole text at its end."""
    with gateway(replicas) as whole, gateway(replicas, *cuts) as broken:
        assert told(events_of(connect, broken, **parameters)) == told(events_of(connect, whole, **parameters))
        assert len(broken.bodies) == len(cuts) + 1


def test_a_prompt_that_is_returned_too_is_in_front_once(connect: Connect, replicas: list[LiveServer]) -> None:
    with gateway(replicas, STATE_EVERY_TOKENS + 3) as broken:
        events = events_of(connect, broken, return_full_text=True, details=True)
    assert events[-1].generated_text == "the cat" + "".join(event.token.text for event in events)
    assert events[-1].details is not None
    assert events[-1].details.generated_tokens == LENGTH


def test_a_stream_continues_from_its_newest_state_and_not_from_the_prompt(
    connect: Connect, replicas: list[LiveServer]
) -> None:
    with gateway(replicas, 2 * STATE_EVERY_TOKENS + 7) as broken:
        assert len(events_of(connect, broken)) == LENGTH
    first, second = broken.bodies
    assert "state" not in first
    assert (second["inputs"], second["parameters"]["max_new_tokens"]) == ("", LENGTH - 2 * STATE_EVERY_TOKENS)


def test_a_text_that_is_drawn_without_a_seed_gets_one_before_it_begins(
    connect: Connect, replicas: list[LiveServer]
) -> None:
    """A text sampled without a seed is given one, so a retry before the first state yields the same text."""
    with gateway(replicas, 0) as broken:  # before the first event: the text may be that short
        events_of(connect, broken, do_sample=True)
    first, second = broken.bodies
    assert first["parameters"]["seed"] == second["parameters"]["seed"]


def test_after_too_many_failures_without_a_new_token_the_last_one_is_told(
    connect: Connect, replicas: list[LiveServer]
) -> None:
    with gateway(replicas, 5, -503, -503, -503, -503) as broken, pytest.raises(NotReady, match="no replica is ready"):
        events_of(connect, broken)
    assert len(broken.bodies) == 4


def test_a_failed_inference_is_not_retried(connect: Connect, replicas: list[LiveServer]) -> None:
    with gateway(replicas, (6, FAILED)) as failing, pytest.raises(InferenceFailed, match="graph step failed"):
        events_of(connect, failing)
    assert len(failing.bodies) == 1
