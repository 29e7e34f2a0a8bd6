"""A protocol is one declaration from which routing, errors and metrics follow, with the fast path and with ASGI."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.responses import Response

from service.api.call import Call
from service.api.error_table import ErrorForm, Failure, json_response
from service.api.event_stream import EventStream
from service.api.protocol import Protocol, Route, RouteTable
from service.errors import InferenceFailed, InvalidInput
from tests.live_server import Answer, Connection, LiveServer, live_server, post, request

REQUESTS = "unroll_requests_total"


class ToyRequest(BaseModel):
    text: str
    stream: bool = False


async def toy(call: Call, body: ToyRequest) -> Response:
    """The label of a text; a stream of events if `stream` is set."""
    engine = call.predict_engine(call.path_values["model"])
    prediction = await call.unless_client_leaves(engine.predict(body.text, {}, call.deadline_s))
    label = prediction.answers[0]["label"]
    if not body.stream:
        return json_response({"toy": label}, 200)
    return EventStream(toy_events(call, label), AsyncExitStack(), on_leave=lambda: None)


async def toy_events(call: Call, label: str) -> AsyncIterator[bytes]:
    yield b"event: toy\ndata: %b\n\n" % label.encode()
    failure = call.failure_in_stream(InferenceFailed("it broke"))
    yield b"event: end\ndata: %b\n\n" % json.dumps(toy_error(failure)).encode()


async def raw(call: Call, body: bytes) -> Response:
    if body == b"?":
        raise ZeroDivisionError
    return Response(body[::-1] or call.path_values["model"], media_type="application/octet-stream")


def toy_error(failure: Failure) -> dict[str, Any]:
    return {"toy_error": {"code": failure.error_type, "text": failure.message}}


TOY = Protocol(
    name="toy",
    tag="toy",
    errors=ErrorForm(toy_error, {InvalidInput: (400, "bad_toy"), InferenceFailed: (502, "toy_broke")}),
    routes=[
        Route("/toy/{model}", toy, ToyRequest, summary="Label a text"),
        Route("/toy/{model}/raw", raw, bytes),
        Route("/toy/{model}:meta", raw, bytes, method="GET", operation_id="toy_meta"),
    ],
)


@pytest.fixture(scope="module")
def server(tiny_models: Path) -> Iterator[LiveServer]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("service.server.app.PROTOCOLS", [TOY])
        with live_server(tiny_models, max_body_bytes=4096) as started:
            yield started


@pytest.fixture(params=["", "?"], ids=["fast path", "asgi"])
def ask(request: pytest.FixtureRequest, server: LiveServer) -> Iterator[Any]:
    """Sends requests over the fast path, and over ASGI by appending a question mark."""
    with server.connect() as connection:
        yield Asking(connection, request.param)


class Asking:
    """Posts to paths of the toy protocol on one connection."""

    def __init__(self, connection: Connection, ending: str) -> None:
        self._connection, self._ending = connection, ending

    def __call__(self, path: str, body: Any, **headers: str) -> Answer:
        return self._connection.ask(post(path + self._ending, body, **headers))


def test_the_path_names_the_model_and_the_answer_has_the_protocols_shape(ask: Asking) -> None:
    answer = ask("/toy/tiny-classifier", {"text": "hello"})
    assert (answer.status, list(answer.json)) == (200, ["toy"])
    assert answer.headers["x-request-id"]


def test_the_body_may_ask_for_a_stream_whose_error_has_the_protocols_shape(server: LiveServer, ask: Asking) -> None:
    broken = {"model": "tiny-classifier", "task": "classification", "outcome": "toy_broke"}
    before = server.metric(REQUESTS, **broken)
    for _ in range(2):  # the connection stays usable
        answer = ask("/toy/tiny-classifier", {"text": "hello", "stream": True})
        first, last, _ = answer.body.split(b"\n\n")
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert first.startswith(b"event: toy\ndata: ")
        assert b'{"toy_error": {"code": "toy_broke", "text": "it broke"}}' in last
    assert server.metric(REQUESTS, **broken) == before + 2


@pytest.mark.parametrize(
    ("path", "body", "status", "code"),
    [
        ("/toy/absent", {"text": "hello"}, 404, "unknown_model"),
        ("/toy/tiny-classifier", {"text": 3}, 400, "bad_toy"),
        ("/toy/tiny-classifier", {"text": " "}, 400, "bad_toy"),
        ("/toy/tiny-classifier", b"{", 400, "malformed_json"),
        ("/toy/tiny-classifier", b" " * 5000, 413, "body_too_large"),
        ("/toy/a/raw", b"?", 500, "internal"),
    ],
)
def test_every_error_has_the_protocols_shape_and_is_counted(
    server: LiveServer, ask: Asking, path: str, body: Any, status: int, code: str
) -> None:
    def count() -> float:
        models = ("none", "none"), ("tiny-classifier", "classification")
        return sum(server.metric(REQUESTS, model=model, task=task, outcome=code) for model, task in models)

    before = count()
    answer = ask(path, body)
    assert (answer.status, answer.json["toy_error"]["code"]) == (status, code)
    assert count() == before + 1


def test_a_body_of_bytes_needs_no_media_type(server: LiveServer) -> None:
    with server.connect() as connection:
        answer = connection.ask(request("POST", "/toy/m/raw", b"\x00\x01", content_length="2"))
    assert answer.body == b"\x01\x00"


def test_other_methods_of_a_path(server: LiveServer) -> None:
    """A protocol may have GET routes, and a wrong method gets a 405 in the protocol's error format."""
    with server.connect() as connection:
        assert connection.ask(request("GET", "/toy/tagger:meta")).body == b"tagger"
        refused = connection.ask(request("PUT", "/toy/tagger/raw"))
    assert (refused.status, refused.json["toy_error"]["code"]) == (405, "method_not_allowed")


def test_the_timeout_header_is_checked(ask: Asking) -> None:
    assert ask("/toy/tiny-classifier", {"text": "a"}, x_request_timeout_ms="0").json["toy_error"]["code"] == "bad_toy"


def test_plain_requests_take_the_fast_path(server: LiveServer) -> None:
    server.short_paths.clear()
    with server.connect() as connection:
        connection.ask(post("/toy/tiny-classifier", {"text": "a"}))
        connection.ask(post("/toy/tiny%2Dclassifier", {"text": "a"}))
    assert server.short_paths == ["/toy/{model}"]


def test_the_routes_are_documented(server: LiveServer) -> None:
    paths = server.app.framework.openapi()["paths"]
    operation = paths["/toy/{model}"]["post"]
    assert [parameter["name"] for parameter in operation["parameters"]] == ["model", "X-Request-Timeout-Ms"]
    assert operation["requestBody"]["content"]["application/json"]["schema"] == {
        "$ref": "#/components/schemas/ToyRequest"
    }
    assert set(paths["/toy/{model}:meta"]) == {"get"}


async def nothing(call: Call, body: bytes) -> Response:
    raise HTTPException(418)


def test_paths_are_found_by_method_and_segment() -> None:
    paths = ["/a", "/a/{x}", "/a/{x}/b", "/a/{x}/{y}", "/a/{x}:go"]
    routes = [Route(path, nothing, bytes) for path in paths]
    table = RouteTable([Protocol("t", "t", [Route("/a/b", nothing, bytes), *reversed(routes)])])

    def found(path: str, method: str = "POST") -> tuple[str, dict[str, str]] | None:
        match = table.find(method, path)
        return None if match is None else (match.route.path, dict(match.path_values))

    assert found("/a") == ("/a", {})
    assert found("/a/b") == ("/a/b", {})
    assert found("/a/c") == ("/a/{x}", {"x": "c"})
    assert found("/a/c:go") == ("/a/{x}:go", {"x": "c"})
    assert found("/a/c/d") == ("/a/{x}/{y}", {"x": "c", "y": "d"})
    assert [found(path) for path in ("/", "/b", "/a/", "/a/c/", "/a/c/d/e", "/a/b/c/")] == [None] * 6
    assert found("/a", "GET") is None
