"""Client disconnects free resources: a place in the queue at once, a batch slot at the next step."""

from __future__ import annotations

import asyncio
import itertools
import json
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from service.server.app import Application, create_app
from service.settings import Settings
from tests.conftest import PATIENCE_S, until

Message = dict[str, Any]


class Caller:
    """A raw ASGI client, so that the test controls the moment of the disconnect."""

    def __init__(self, app: Application, path: str, body: Message) -> None:
        self._app = app
        self._path = path
        self._messages: asyncio.Queue[Message] = asyncio.Queue()
        self._messages.put_nowait({"type": "http.request", "body": json.dumps(body).encode(), "more_body": False})
        self.sent: list[Message] = []
        self.got_chunk = asyncio.Event()

    def hang_up(self) -> None:
        self._messages.put_nowait({"type": "http.disconnect"})

    async def call(self) -> None:
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": "POST",
            "scheme": "http",
            "path": self._path,
            "raw_path": self._path.encode(),
            "query_string": b"",
            "root_path": "",
            "headers": [(b"content-type", b"application/json")],
            "server": ("test", 80),
            "client": ("test", 1),
        }
        await self._app(scope, self._messages.get, self._send)

    async def _send(self, message: Message) -> None:
        self.sent.append(message)
        if message.get("body"):
            self.got_chunk.set()


def play(models: Path, scenario: Callable[[Application], Awaitable[None]]) -> None:
    async def run() -> None:
        app = create_app(Settings(models_dir=models, device="cpu", lanes=1))
        async with app.framework.router.lifespan_context(app.framework):
            await app.state.loading
            await scenario(app)

    asyncio.run(run())


def cancelled_count(app: Application, model: str, task: str) -> float | None:
    labels = {"model": model, "task": task, "outcome": "cancelled"}
    value: float | None = app.state.metrics.registry.get_sample_value("unroll_requests_total", labels)
    return value


def test_a_stream_that_nobody_reads_stops(tiny_models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(app: Application) -> None:
        engine = app.state.registry.find("generate", None, None)
        may_go_on = threading.Event()
        monkeypatch.setattr(engine.opened.runner, "run", held_after(3, engine.opened.runner.run, may_go_on))
        caller = Caller(app, "/generate_stream", {"inputs": "a", "parameters": {"max_new_tokens": 30}})
        calling = asyncio.create_task(caller.call())
        await caller.got_chunk.wait()
        caller.hang_up()
        await calling
        may_go_on.set()
        await until(lambda: not engine.num_pending)
        await until(lambda: not engine._batcher.num_rows)
        assert sum(bool(message.get("body")) for message in caller.sent) < 30
        assert cancelled_count(app, "tiny-generator", "generation") == 1

    play(tiny_models, scenario)


def held_after(num_runs: int, run: Callable[..., Any], may_go_on: threading.Event) -> Callable[..., Any]:
    """A run that blocks until the test releases it, after the first `num_runs` calls."""
    numbers = itertools.count()

    def held(*arguments: Any) -> Any:
        if next(numbers) >= num_runs:
            assert may_go_on.wait(PATIENCE_S)
        return run(*arguments)

    return held


@pytest.mark.parametrize(
    ("path", "body", "model", "task"),
    [
        ("/predict", {"model": "tiny-classifier", "inputs": "hello"}, "tiny-classifier", "classification"),
        ("/generate", {"inputs": "a", "parameters": {"max_new_tokens": 30}}, "tiny-generator", "generation"),
    ],
)
def test_a_caller_that_leaves_before_the_answer_is_counted_and_forgotten(
    tiny_models: Path, path: str, body: Message, model: str, task: str
) -> None:
    """An immediate disconnect is counted and its work dropped, and the next request is answered."""

    async def scenario(app: Application) -> None:
        caller = Caller(app, path, body)
        caller.hang_up()
        await caller.call()
        engine = app.state.registry.find("predict" if path == "/predict" else "generate", model, None)
        await until(lambda: not engine.num_pending)
        assert cancelled_count(app, model, task) == 1
        patient = Caller(app, path, body)
        await patient.call()
        assert patient.sent[0]["status"] == 200

    play(tiny_models, scenario)
