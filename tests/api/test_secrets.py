"""Request contents appear in no log line and no span, unless the operator enables text logging."""

from __future__ import annotations

import json
import logging
import os
import tempfile
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from service.observability.json_logs import JsonFormatter, QueueHandler, dropped_notice
from service.observability.log_writer import LogWriter
from tests.conftest import PATIENCE_S, running_service
from tests.observability.collector import VARIABLE, collecting

SECRET = "mysecret"
JSON = {"Content-Type": "application/json"}
GENERATE = {"model": "tiny-generator", "parameters": {"max_new_tokens": 2}}


class Log:
    """Captured standard error of the service, line by line."""

    def __init__(self) -> None:
        self._descriptor, name = tempfile.mkstemp()
        Path(name).unlink()
        weakref.finalize(self, os.close, self._descriptor)
        self.handler = QueueHandler(LogWriter(self._descriptor, dropped_notice))

    def lines(self, message: str = "") -> list[dict[str, Any]]:
        """All lines, or those with this message; each must be valid JSON."""
        assert self.handler.writer.flush(PATIENCE_S)
        written = os.pread(self._descriptor, os.fstat(self._descriptor).st_size, 0)
        parsed = [json.loads(line) for line in written.splitlines()]
        return [line for line in parsed if message in ("", line["message"])]


@contextmanager
def logging_to(log: Log, level: int, shows_texts: bool = False) -> Iterator[None]:
    """Redirect all loggers to this log, except those of the HTTP client in the same process."""
    root, client = logging.getLogger(), logging.getLogger("httpx2")
    log.handler.setFormatter(JsonFormatter(shows_texts))
    level_before = root.level
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(root, "handlers", [log.handler])
        patch.setattr(client, "disabled", True)
        try:
            root.setLevel(level)
            yield
        finally:
            root.setLevel(level_before)


def engine(client: TestClient, model: str) -> Any:
    (entry,) = client.app.state.registry.versions(model)  # type: ignore[attr-defined]
    return entry.engine


def answered(client: TestClient) -> list[int]:
    """Send the secret in every field of every route."""
    sent: list[tuple[str, Any]] = [
        ("/predict", {"model": "tiny-tagger", "inputs": SECRET}),
        ("/predict", {"model": "tiny-tagger", "inputs": [[SECRET, "a"], SECRET]}),
        ("/predict", {"model": "tiny-classifier", "inputs": SECRET}),
        ("/predict", {"model": "tiny-translator", "inputs": SECRET}),
        ("/generate", GENERATE | {"inputs": SECRET}),
        ("/generate_stream", GENERATE | {"inputs": SECRET}),
    ]
    return [client.post(path, json=body).status_code for path, body in sent]


def refused(client: TestClient) -> list[int]:
    """Send the secret in refused requests: as text, field name, model and state, and in truncated JSON."""
    sent: list[tuple[str, Any]] = [
        ("/predict", {"model": "tiny-tagger", "inputs": SECRET, "parameters": {SECRET: SECRET}}),
        ("/predict", {"model": "tiny-tagger", "inputs": [SECRET, ""]}),
        ("/predict", {"model": "tiny-tagger", "inputs": SECRET, SECRET: 1}),
        ("/predict", {"model": SECRET, "inputs": SECRET}),
        ("/predict", {"model": "tiny-tagger", "version": SECRET, "inputs": SECRET}),
        ("/predict", {"model": "tiny-tagger", "inputs": f"{SECRET} " * 200}),
        ("/predict", {"model": "tiny-tagger", "inputs": SECRET * 300_000}),
        ("/generate", GENERATE | {"inputs": SECRET, "state": SECRET}),
        ("/generate", {"inputs": "", "session": SECRET}),
        (f"/nowhere?{SECRET}={SECRET}", {}),
    ]
    statuses = [client.post(path, json=body).status_code for path, body in sent]
    cut = client.post("/predict", content=f'{{"inputs": "{SECRET}'.encode(), headers=JSON).status_code
    headers = {"X-Request-Timeout-Ms": SECRET, "Authorization": SECRET, "traceparent": SECRET, "tracestate": SECRET}
    header = client.post("/predict", json={"model": "tiny-tagger", "inputs": "a"}, headers=headers).status_code
    return [*statuses, cut, header, client.get(f"/models/{SECRET}").status_code]


def raising(*arguments: Any, **more: Any) -> Any:
    """Raise an internal error that quotes the request, as a KeyError does."""
    raise KeyError(SECRET)


def failed(client: TestClient) -> list[int]:
    """Send the secret in requests that fail in preprocessing, postprocessing, a lane or a decode step."""
    tagger, classifier = engine(client, "tiny-tagger"), engine(client, "tiny-classifier")
    generator = engine(client, "tiny-generator")
    sent: list[tuple[object, str, str, dict[str, Any]]] = [
        (tagger, "_preprocess_text", "/predict", {"model": "tiny-tagger", "inputs": SECRET}),
        (tagger, "_written", "/predict", {"model": "tiny-tagger", "inputs": SECRET}),
        (classifier._queue, "_run", "/predict", {"model": "tiny-classifier", "inputs": SECRET}),
        (generator, "_begin", "/generate", GENERATE | {"inputs": SECRET}),
        (generator._batcher._running[0]._batch, "advance", "/generate", GENERATE | {"inputs": SECRET}),
    ]
    statuses = []
    for owner, method, path, body in sent:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(owner, method, raising)
            statuses.append(client.post(path, json=body).status_code)
    return statuses


@pytest.mark.parametrize(("ask", "floor", "ceiling"), [(answered, 200, 200), (refused, 400, 422), (failed, 424, 500)])
def test_nothing_of_a_request_is_in_logs_or_spans(
    tiny_models: Path,
    monkeypatch: pytest.MonkeyPatch,
    ask: Callable[[TestClient], list[int]],
    floor: int,
    ceiling: int,
) -> None:
    """No request content is logged or traced at debug level, even if exceptions quote it."""
    log = Log()
    with collecting() as collector, logging_to(log, logging.DEBUG):
        monkeypatch.setenv(VARIABLE, collector.url)
        with running_service(tiny_models, lanes=1) as client:
            statuses = ask(client)
    assert all(floor <= status <= ceiling for status in statuses), statuses
    assert [line["status"] for line in log.lines("request")] == statuses
    assert all(line["request_id"] for line in log.lines("request"))
    assert [line for line in log.lines() if SECRET in json.dumps(line)] == []
    assert collector.bodies
    assert SECRET.encode() not in b"".join(collector.bodies)


def test_texts_are_logged_where_that_is_asked_for(tiny_models: Path) -> None:
    """With text logging enabled, the first texts are logged, truncated; answers never are."""
    log = Log()
    with logging_to(log, logging.INFO, shows_texts=True), running_service(tiny_models, log_texts=True) as client:
        many = [SECRET, [SECRET, "a"], *["hello"] * 20]
        client.post("/predict", json={"model": "tiny-tagger", "inputs": many})
        client.post("/generate", json=GENERATE | {"inputs": "a" * 30})
        client.post("/predict", json={"model": "tiny-classifier", "inputs": "hello " * 35})
    texts = [line["texts"] for line in log.lines("request")]
    assert texts == [[SECRET, f"{SECRET} a", *["hello"] * 6], ["a" * 30], [("hello " * 35)[:200]]]
