"""Requests that are refused before their body is read are refused as on the long way, and no other request is."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.access.key_makers import bearer, key, key_file
from tests.conftest import wait_until
from tests.live_server import Answer, Connection, LiveServer, held_runs, live_server, post

TAGGER, GENERATOR, CLASSIFIER = "tiny-tagger", "tiny-generator", "tiny-classifier"
TAG = {"model": TAGGER, "inputs": "hello"}
GENERATE = {"model": GENERATOR, "inputs": "a", "parameters": {"max_new_tokens": 2}}
COMPLETE = {"model": GENERATOR, "prompt": "a", "max_tokens": 2}
_MAX_WAITING = 2


@pytest.fixture(scope="module")
def server(tiny_models: Path) -> Iterator[LiveServer]:
    """A server with short queues and one lane."""
    limits = {"max_queue_items": _MAX_WAITING, "max_inputs_per_request": _MAX_WAITING, "max_batch_items": 1}
    with live_server(tiny_models, lanes=1, default_timeout_ms=600_000, **limits) as started:
        yield started


@contextmanager
def full_queue(server: LiveServer, path: str, body: Any, **headers: str) -> Iterator[Connection]:
    """The queue of this model is full, and one request has been refused. Gives a connection to ask on."""
    engine = server.engine(body["model"])
    with ExitStack() as stack, held_runs(server, body["model"]) as begun:
        openings = [stack.enter_context(server.connect()) for _ in range(_MAX_WAITING + 1)]
        openings[0].send(post(path, body, **headers))
        assert begun.wait(60)
        for opening in openings[1:]:
            opening.send(post(path, body, **headers))
        wait_until(lambda: engine.num_waiting == _MAX_WAITING)
        yield stack.enter_context(server.connect())
    wait_until(lambda: not engine.num_pending)


def told(answer: Answer) -> tuple[int, dict[str, str], Any]:
    """All of a refusal but what differs from request to request."""
    request_id = answer.headers["x-request-id"]
    headers = {name: value for name, value in answer.headers.items() if name not in ("date", "x-request-id")}
    return answer.status, headers, json.loads(answer.body.replace(request_id.encode(), b"ID"))


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/predict", TAG),
        ("/generate", GENERATE),
        ("/generate_stream", GENERATE),
        ("/", GENERATE),
        ("/v1/completions", COMPLETE),
    ],
)
def test_a_refusal_is_the_same_before_the_body_is_read(server: LiveServer, path: str, body: Any) -> None:
    """Status, headers and body are those of the first refusal, which has gone the long way; nothing else is run."""
    labels = {"model": body["model"], "task": server.engine(body["model"]).opened.bundle.manifest.task}
    counted = server.metric("unroll_requests_total", outcome="overloaded", **labels)
    statistics = server.engine(body["model"]).statistics
    num_failed = statistics.failure.times
    rejected = server.metric("unroll_rejections_total", reason="queue_full")
    with full_queue(server, path, body) as connection:
        first = connection.ask(post(path, body))
        num_asked = len(server.short_paths)
        later = [connection.ask(post(path, body)) for _ in range(20)]
        assert len(server.short_paths) == num_asked, "none of them was looked at"
        mine = connection.ask(post(path, body, x_request_id="mine-123456"))
        brief = connection.ask(post(path, body, x_request_id="q"))
    assert first.status == 429
    assert int(first.headers["retry-after"]) >= 1
    assert [told(answer) for answer in later] == [told(first)] * 20
    assert len({answer.headers["x-request-id"] for answer in later}) == 20
    assert (mine.headers["x-request-id"], brief.headers["x-request-id"]) == ("mine-123456", "q")
    assert json.loads(brief.body).keys() == json.loads(first.body).keys()
    assert statistics.failure.times == num_failed + 23
    wait_until(lambda: server.metric("unroll_requests_total", outcome="overloaded", **labels) == counted + 23)
    wait_until(lambda: server.metric("unroll_rejections_total", reason="queue_full") == rejected + 23)
    with server.connect() as connection:
        assert connection.ask(post(path, body)).status == 200, "there is room again"


def test_only_requests_for_the_full_model_are_refused(server: LiveServer) -> None:
    """Whatever a body looks like, one for a model with room is answered, and a wrong one gets its own error."""
    text = f'"model": "{TAGGER}"'
    answered = {"model": CLASSIFIER, "inputs": text}
    nested = f'{{"parameters": {{"model": "{TAGGER}"}}, "model": "{CLASSIFIER}", "inputs": "a"}}'.encode()
    asked = [
        post("/predict", {"inputs": text, "model": CLASSIFIER}),
        post("/predict", json.dumps(answered).replace("model", "mod\\u0065l", 1).encode()),
        post("/predict", gzip.compress(json.dumps(answered).encode()), content_encoding="gzip"),
    ]
    with ExitStack() as stack:
        open_ones = [stack.enter_context(server.connect()) for _ in asked]
        with full_queue(server, "/predict", TAG) as connection:
            for body in (TAG, TAG, f'{{"model" :\n"{TAGGER}", "inputs": "a"}}'.encode(), {"inputs": "a" * 6000, **TAG}):
                assert connection.ask(post("/predict", body)).status == 429, body
            for body, status in (
                ({"model": "absent", "inputs": "a"}, 404),
                (nested, 422),
                (b'{"model": 1, "inputs": "a"}', 422),
                (b'{"model": ', 400),
                (b"", 422),
                (b"\xff\xfe", 400),
                ({"inputs": text}, 422),
            ):
                assert connection.ask(post("/predict", body)).status == status, body
            for opening, one in zip(open_ones[:2], asked[:2], strict=True):
                opening.send(one)  # its queue has room, and its run waits for the lane
            wait_until(lambda: server.engine(CLASSIFIER).num_waiting == 2)
            assert open_ones[2].ask(asked[2]).status == 429, "now it has none"
        assert [opening.answer().status for opening in open_ones[:2]] == [200, 200]
        assert open_ones[2].ask(asked[2]).status == 200


def test_a_key_that_has_used_up_its_limit_is_refused_alike(tiny_models: Path, tmp_path: Path) -> None:
    """The refusals of a key are those of the long way, with its limits in the headers; other keys are answered."""
    keys = key_file(tmp_path, key("few", limits={"requests_per_minute": 1}), key("many"), key("one"))
    with live_server(tiny_models, api_keys_file=keys) as server, server.connect() as connection:
        few, many = {"authorization": bearer("few")}, {"authorization": bearer("many")}
        assert connection.ask(post("/predict", TAG, **few)).status == 200
        first = connection.ask(post("/predict", TAG, **few))
        num_asked = len(server.short_paths)
        later = [connection.ask(post("/predict", TAG, **few)) for _ in range(20)]
        assert len(server.short_paths) == num_asked, "none of them was looked at"
        assert (first.status, first.json["error_type"]) == (429, "rate_limited")
        for answer in later:
            assert (answer.status, answer.headers.keys()) == (429, first.headers.keys())
            assert answer.json.keys() == first.json.keys()
            assert answer.headers["x-ratelimit-remaining-requests"] == "0"
        assert connection.ask(post("/generate", GENERATE, **few)).status == 429
        assert connection.ask(post("/predict", TAG, **many)).status == 200
        assert connection.ask(post("/predict", TAG, authorization="Bearer none")).status == 401
        assert connection.ask(post("/predict", TAG)).status == 401
        reason = {"reason": "key_requests_per_minute"}
        wait_until(lambda: server.metric("unroll_rejections_total", **reason) == 22)


def test_a_full_queue_refuses_requests_with_keys_alike(tiny_models: Path, tmp_path: Path) -> None:
    """They are counted against their key and carry its limits; a key that may not ask gets its own error, as before."""
    keys = key_file(
        tmp_path,
        key("many", limits={"requests_per_minute": 1000}),
        key("last", limits={"requests_per_minute": 1}),
        key("small", limits={"max_body_bytes": 10}),
        key("other", scopes=[f"predict:{CLASSIFIER}"]),
        key("narrow", scopes=[f"predict:{TAGGER}"]),
    )
    limits = {"max_queue_items": _MAX_WAITING, "max_inputs_per_request": _MAX_WAITING, "max_batch_items": 1}
    with live_server(tiny_models, lanes=1, default_timeout_ms=600_000, api_keys_file=keys, **limits) as server:
        callers = {name: {"authorization": bearer(name)} for name in ("many", "last", "small", "other", "narrow")}
        with full_queue(server, "/predict", TAG, **callers["narrow"]) as connection:

            def ask(name: str) -> Answer:
                return connection.ask(post("/predict", TAG, **callers[name]))

            first = ask("many")
            num_asked = len(server.short_paths)
            later = [ask("many") for _ in range(20)]
            others = [ask("narrow") for _ in range(2)]
            last = ask("last")
            assert len(server.short_paths) == num_asked, "none of them was looked at"
            assert [answer.status for answer in (first, *later, *others, last)] == [429] * 24
            assert all(answer.headers.keys() == first.headers.keys() for answer in later)
            assert [told(answer)[2] for answer in later] == [told(first)[2]] * 20
            assert last.json["error_type"] == "overloaded"
            assert server.metric("unroll_usage_requests_total", key="many", model=TAGGER) == 21
            limited = ask("last")
            assert (limited.status, limited.json["error_type"]) == (429, "rate_limited")
            assert [ask("small").status, ask("other").status] == [413, 403]
            assert connection.ask(post("/predict", TAG, authorization="Bearer none")).status == 401
            assert connection.ask(post("/predict", TAG)).status == 401


def test_a_flood_of_refusals_has_few_log_lines(server: LiveServer, caplog: pytest.LogCaptureFixture) -> None:
    """Some refusals have a line each, and those beyond a few at once have one together, with their number."""
    with caplog.at_level("INFO", "service.requests"), full_queue(server, "/predict", TAG) as connection:
        for _ in range(10):
            connection.send(*[b"".join([post("/predict", TAG)] * 100)])
            assert {connection.answer().status for _ in range(100)} == {429}

        def lines() -> list[Any]:
            return [line for line in caplog.records if getattr(line, "rejection", "") == "queue_full"]

        wait_until(lambda: sum(getattr(line, "num_requests", 1) for line in lines()) == 1000)
    assert len(lines()) < 500
    assert any(line.num_requests > 1 and line.model == TAGGER for line in lines() if hasattr(line, "num_requests"))
