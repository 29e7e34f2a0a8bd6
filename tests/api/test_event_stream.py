"""Clients that disconnect, read slowly or stop reading: slots and sessions are freed, and others are not delayed."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from service.api.event_stream import EventStream
from service.api.protocols.text_generation_inference import generation
from service.bundle.load import read_manifest
from service.bundle.write import write_manifest
from service.server.fast_path import FastPathCycle
from tests.conftest import PATIENCE_S, until, wait_until
from tests.live_server import Connection, LiveServer, live_server, post, request
from tests.tiny_bundles import copy_bundle

MODEL = "tiny-generator"
#: Enough tokens, of a few hundred bytes each, to fill every buffer between server and client.
ENDLESS_TOKENS = 50_000
LEAVES = "unroll_slot_leaves_total"
MAX_BACKLOG = 256
#: Time to write so many tokens that all buffers are full, on a busy machine.
_FILLING_S = 300.0
OVERLOADED = {"model": MODEL, "task": "generation", "outcome": "overloaded"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, tiny_models: Path) -> Iterator[LiveServer]:
    """A server with a generator of very long texts and a classifier."""
    models = tmp_path_factory.mktemp("endless")
    bundle = copy_bundle(tiny_models / MODEL / "1", models)
    manifest = read_manifest(bundle)
    limits = manifest.limits.model_copy(update={"max_new_tokens": ENDLESS_TOKENS})
    write_manifest(bundle, manifest.model_copy(update={"limits": limits}))
    copy_bundle(tiny_models / "tiny-classifier" / "1", models)
    limits = {"max_stream_backlog_events": MAX_BACKLOG, "default_timeout_ms": 600_000}
    with live_server(models, send_bytes=16_384, **limits) as started:
        yield started


def stream_request(num_tokens: int = ENDLESS_TOKENS, authorization: str = "", **wishes: Any) -> bytes:
    parameters = {"max_new_tokens": num_tokens, "top_n_tokens": 5}
    return post("/generate_stream", {"inputs": "a", "parameters": parameters, **wishes}, authorization=authorization)


def all_slots_are_free(server: LiveServer) -> bool:
    gauges = ("unroll_slots_in_use", "unroll_live_streams", "unroll_queue_depth")
    return not any(server.metric(name, model=MODEL) for name in gauges) and not server.engine(MODEL).num_pending


def assert_others_are_answered(server: LiveServer) -> None:
    with server.connect() as connection:
        assert connection.ask(post("/generate", {"inputs": "a", "parameters": {"max_new_tokens": 5}})).status == 200
        assert connection.ask(post("/predict", {"inputs": "hello"})).status == 200
        assert connection.ask(request("GET", "/health/ready")).status == 200


class Held:
    """A runner's `run` that blocks until the test releases it."""

    def __init__(self, run: Any) -> None:
        self.entered, self.gate = threading.Event(), threading.Event()
        self._run = run

    def __call__(self, *arguments: Any) -> Any:
        self.entered.set()
        assert self.gate.wait(PATIENCE_S)
        return self._run(*arguments)


@contextmanager
def held_runs(server: LiveServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Held]:
    """Block the generator's runs until the gate is opened; it is open after the test."""
    runner = server.engine(MODEL).opened.runner
    held = Held(runner.run)
    with monkeypatch.context() as patch:
        patch.setattr(runner, "run", held)
        try:
            yield held
        finally:
            held.gate.set()


def read_head(connection: Connection) -> None:
    head = bytearray()
    while not head.endswith(b"\r\n\r\n"):
        head += connection.socket.recv(1)
    assert head.startswith(b"HTTP/1.1 200")


def test_a_reader_that_leaves_before_the_first_event_frees_its_slot(
    server: LiveServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that disconnects after the headers, during prefill, frees its slot."""
    before = server.metric(LEAVES, model=MODEL, reason="cancelled")
    with held_runs(server, monkeypatch) as held:
        with server.connect() as connection:
            connection.send(stream_request())
            read_head(connection)
            assert held.entered.wait(PATIENCE_S)
        wait_until(lambda: server.engine(MODEL).num_pending == 0)
    wait_until(lambda: all_slots_are_free(server))
    assert server.metric(LEAVES, model=MODEL, reason="cancelled") == before + 1
    assert_others_are_answered(server)


def test_a_reader_that_does_not_read_is_cut_and_stalls_nobody(
    server: LiveServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once buffers and backlog are full, a client that does not read loses its slot, and others are not delayed."""
    stalled: list[Any] = []
    pause = server.protocol.pause_writing

    def pausing(connection: Any) -> None:
        stalled.append(connection)
        pause(connection)

    monkeypatch.setattr(server.protocol, "pause_writing", pausing)
    before = server.metric(LEAVES, model=MODEL, reason="overrun")
    num_overloaded = server.metric("unroll_requests_total", **OVERLOADED)
    with server.connect(receive_bytes=4096) as deaf:
        deaf.send(stream_request())
        read_head(deaf)
        assert_others_are_answered(server)
        wait_until(lambda: server.metric(LEAVES, model=MODEL, reason="overrun") == before + 1, _FILLING_S)
        wait_until(lambda: all_slots_are_free(server))
        assert_others_are_answered(server)
        # What the stall timer does when it expires.
        stalled[0].loop.call_soon_threadsafe(stalled[0].transport.abort)
        wait_until(lambda: server.metric("unroll_requests_total", **OVERLOADED) == num_overloaded + 1)


def test_a_slow_reader_gets_all_up_to_the_cut_and_the_reason(server: LiveServer) -> None:
    """A slow client that resumes reading gets all events before the cut, in order, and then the error."""
    before = server.metric(LEAVES, model=MODEL, reason="overrun")
    with server.connect(receive_bytes=4096) as slow:
        slow.send(stream_request())
        wait_until(lambda: server.metric(LEAVES, model=MODEL, reason="overrun") == before + 1, _FILLING_S)
        events = [json.loads(line[5:]) for line in slow.answer().body.split(b"\n\n") if line]
    *tokens, last = events
    assert [event["index"] for event in tokens] == list(range(1, len(tokens) + 1))
    assert MAX_BACKLOG <= len(tokens) < ENDLESS_TOKENS
    assert last["error_type"] == "overloaded"
    assert "too slowly" in last["error"]


@pytest.mark.parametrize("moment", ["before the first event", "in the midst of events"])
def test_the_session_of_a_stream_that_was_left_is_free_again(
    server: LiveServer, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """A session is busy until its disconnected stream has ended, and can then be used again."""
    name, owner = moment.replace(" ", "-"), "Bearer one"
    again = post(
        "/generate", {"inputs": "a", "session": name, "parameters": {"max_new_tokens": 3}}, authorization=owner
    )
    with server.connect() as other:
        with held_runs(server, monkeypatch) as held, server.connect() as leaving:
            leaving.send(stream_request(session=name, authorization=owner))
            read_head(leaving)
            if moment == "in the midst of events":
                held.gate.set()
                assert leaving.read_chunk().startswith(b"data:")
            assert other.ask(again).json["error_type"] == "session_busy"
        wait_until(lambda: other.ask(again).status == 200)
    wait_until(lambda: all_slots_are_free(server))


def test_events_that_are_ready_together_are_written_together(
    server: LiveServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Events produced while the event loop was blocked are sent in one chunk."""
    loop_is_busy, may_go_on = threading.Event(), threading.Event()

    def keep_the_loop_busy() -> None:
        loop_is_busy.set()
        assert may_go_on.wait(PATIENCE_S)

    batcher, num_tokens = server.engine(MODEL)._batcher, 20
    with server.connect() as connection, held_runs(server, monkeypatch) as held:
        connection.send(stream_request(num_tokens))
        read_head(connection)
        assert held.entered.wait(PATIENCE_S)
        batcher._hand_over.call(keep_the_loop_busy)
        assert loop_is_busy.wait(PATIENCE_S)
        held.gate.set()
        wait_until(lambda: batcher.num_rows == 0)
        may_go_on.set()
        (chunk,) = iter(connection.read_chunk, b"")
    assert chunk.count(b"data:") == num_tokens


def test_the_tokens_of_a_client_that_reads_wake_no_task(server: LiveServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a long text only the first and the last events pass through the task of the request."""
    sent: list[str] = []
    send = FastPathCycle._send

    async def watched(cycle: FastPathCycle, message: Any) -> None:
        sent.append(message["type"])
        await send(cycle, message)

    monkeypatch.setattr(FastPathCycle, "_send", watched)
    with server.connect() as connection:
        for path, body in (
            ("/generate_stream", {"inputs": "a", "parameters": {"max_new_tokens": 300, "seed": 1, "do_sample": True}}),
            ("/v1/completions", {"prompt": "a", "max_tokens": 300, "seed": 1, "stream": True}),
            ("/v2/models/tiny-generator/generate_stream", {"text_input": "a", "max_tokens": 300, "seed": 1}),
        ):
            sent.clear()
            events = connection.ask(post(path, body)).body
            assert events.count(b"data:") > 60, path
            assert len(sent) < 15, path


def test_an_error_while_a_frame_is_written_at_once_breaks_that_stream_alone(
    server: LiveServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with server.connect() as connection, monkeypatch.context() as patched:
        patched.setattr(generation, "token_frame", lambda _: 1 / 0)
        connection.send(stream_request(50))
        read_head(connection)
        assert b"generated_text" not in connection.rest().replace(b'"generated_text":null', b"")
    wait_until(lambda: all_slots_are_free(server))
    assert_others_are_answered(server)


def test_resources_are_given_back_however_a_stream_ends() -> None:
    """Resources are released even if the writing task is cancelled during a send, as at shutdown."""

    async def run() -> list[str]:
        closed: list[str] = []
        is_stuck = asyncio.Event()

        async def frames() -> Any:
            yield b"data:1\n\n"

        async def stuck(message: dict[str, Any]) -> None:
            if message.get("body"):
                is_stuck.set()
                await asyncio.Event().wait()

        async def silent() -> dict[str, Any]:
            await asyncio.Event().wait()
            raise AssertionError("not reached")

        stack = AsyncExitStack()
        stack.callback(closed.append, "closed")
        response = EventStream(frames(), stack, on_leave=lambda: None)
        writing = asyncio.create_task(response({"type": "http"}, silent, stuck))  # type: ignore[arg-type]
        await is_stuck.wait()
        writing.cancel()
        await asyncio.wait([writing])
        assert writing.cancelled()
        await until(lambda: asyncio.all_tasks() == {asyncio.current_task()})
        return closed

    assert asyncio.run(run()) == ["closed"]
