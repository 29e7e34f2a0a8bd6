"""What a route declares is what a key needs, and refusals have the form of its protocol."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.responses import Response

from service.access.api_key import KeyLimits
from service.api.call import Call
from service.api.error_table import ErrorForm, Failure
from service.api.protocol import Protocol, Route
from service.errors import Forbidden, RateLimited
from tests.access.key_makers import bearer, key, key_file
from tests.live_server import LiveServer, live_server, request


async def who(call: Call, _: bytes) -> Response:
    return Response(call.sharer)


async def classify(call: Call, _: bytes) -> Response:
    call.predict_engine("tiny-classifier")
    return Response(b"ok")


async def write(call: Call, _: bytes) -> Response:
    call.generation_engine("tiny-generator")
    return Response(b"ok")


def toy_error(failure: Failure) -> dict[str, Any]:
    return {"toy": {"code": failure.error_type, "status": failure.status}}


TOY = Protocol(
    "toy",
    "toy",
    errors=ErrorForm(toy_error, {Forbidden: (404, "hidden"), RateLimited: (429, "slow_down")}),
    routes=[
        Route("/toy/open", who, bytes, method="GET", scope="open"),
        Route("/toy/any", who, bytes, method="GET"),
        Route("/toy/any/{name}", who, bytes, method="DELETE", scope="any"),
        Route("/toy/change", who, bytes, scope="admin"),
        Route("/toy/classify", classify, bytes),
        Route("/toy/write", write, bytes, scope="generate"),
        Route("/toy/forgotten", write, bytes),
    ],
)


@pytest.fixture(scope="module")
def server(tiny_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    path = key_file(
        tmp_path_factory.mktemp("keys"),
        key("predictor", scopes=("predict",)),
        key("writer", scopes=("generate",)),
        key("admin", scopes=("admin",)),
        key("few", limits=KeyLimits(requests_per_minute=1)),
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("service.server.app.PROTOCOLS", [TOY])
        with live_server(tiny_models, api_keys_file=path) as started:
            yield started


def ask(server: LiveServer, method: str, path: str, name: str = "") -> tuple[int, bytes]:
    headers = {"authorization": bearer(name)} if name else {}
    with server.connect() as connection:
        answer = connection.ask(request(method, path, content_length="0", **headers))
    return answer.status, answer.body


@pytest.mark.parametrize("ending", ["", "?"], ids=["fast path", "asgi"])
@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/toy/open", {"", "predictor", "writer", "admin"}),
        ("GET", "/toy/any", {"predictor", "writer", "admin"}),
        ("DELETE", "/toy/any/x", {"predictor", "writer", "admin"}),
        ("POST", "/toy/change", {"admin"}),
        ("POST", "/toy/classify", {"predictor"}),
        ("POST", "/toy/write", {"writer"}),
        ("POST", "/toy/forgotten", set()),
    ],
)
def test_a_route_needs_what_it_declares(
    server: LiveServer, method: str, path: str, allowed: set[str], ending: str
) -> None:
    """A route that forgot its scope is still guarded by the engine that it asks for."""
    answers = {name: ask(server, method, path + ending, name) for name in ("", "predictor", "writer", "admin")}
    assert {name for name, (status, _) in answers.items() if status == 200} == allowed
    refused = {name: answer for name, answer in answers.items() if name not in allowed}
    assert refused.pop("", (401, b'{"toy": {"code": "unauthenticated", "status": 401}}')) == (
        401,
        b'{"toy": {"code": "unauthenticated", "status": 401}}',
    )
    assert set(refused.values()) <= {(404, b'{"toy": {"code": "hidden", "status": 404}}')}


def test_a_limit_is_told_in_the_form_of_the_protocol(server: LiveServer) -> None:
    answers = [ask(server, "GET", "/toy/any", "few") for _ in range(2)]
    assert answers[-1] == (429, b'{"toy": {"code": "slow_down", "status": 429}}')


def test_lanes_are_shared_by_key(server: LiveServer) -> None:
    assert ask(server, "GET", "/toy/any", "writer")[1] == b"key:writer"
    assert ask(server, "GET", "/toy/open", "writer")[1] == b"127.0.0.1"
