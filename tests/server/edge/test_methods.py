"""HEAD and OPTIONS on every path, and answers to HTTP/1.0 clients."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live_server import Connection, LiveServer, live_server, post, request

TAG = {"model": "tiny-tagger", "inputs": "The cat sat."}
GENERATE = {"inputs": "a", "parameters": {"max_new_tokens": 4}}
PAGES = [
    "/", "/docs", "/health/live", "/health/ready", "/metrics", "/models", "/models/tiny-tagger", "/openapi.json",
    "/playground-traffic", "/playground/app.js", "/redoc", "/static-offline-docs/swagger-ui.css", "/models/absent",
    "/nowhere", "/docs/",
]  # fmt: skip
#: These differ from answer to answer.
CHANGING = ("date", "x-request-id")


@pytest.fixture(scope="module")
def server(tiny_models: Path) -> Iterator[LiveServer]:
    with live_server(tiny_models) as started:
        yield started


@pytest.fixture
def connection(server: LiveServer) -> Iterator[Connection]:
    with server.connect() as opened:
        yield opened


@pytest.mark.parametrize("path", PAGES)
@pytest.mark.parametrize("accepted", ["identity", "gzip"])
def test_head_has_the_headers_of_get_and_no_body(connection: Connection, path: str, accepted: str) -> None:
    """Several on one connection: a body too many would be taken for the next answer."""
    for _ in range(2):
        got = connection.ask(request("GET", path, accept_encoding=accepted))
        connection.send(request("HEAD", path, accept_encoding=accepted))
        head = connection.answer(has_body=False)
        assert head.status == got.status
        changing = {*CHANGING, "content-length"} if path == "/metrics" else set(CHANGING)
        assert {name: value for name, value in head.headers.items() if name not in changing} == {
            name: value for name, value in got.headers.items() if name not in (*changing, "transfer-encoding")
        }


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/predict", "POST, OPTIONS"),
        ("/generate_stream", "POST, OPTIONS"),
        ("/models/tiny-tagger", "GET, HEAD, POST, OPTIONS"),
        ("/models/absent", "GET, HEAD, POST, OPTIONS"),
        ("/health/live", "GET, HEAD, OPTIONS"),
        ("/metrics", "GET, HEAD, OPTIONS"),
        ("/static-offline-docs/swagger-ui.css", "GET, HEAD, OPTIONS"),
        ("*", "GET, HEAD, POST, OPTIONS"),
    ],
)
@pytest.mark.parametrize("version", ["1.1", "1.0"])
def test_options_says_which_methods_there_are(server: LiveServer, path: str, allowed: str, version: str) -> None:
    with server.connect() as connection:
        answer = connection.ask(request("OPTIONS", path, version=version))
    assert (answer.status, answer.headers["allow"], answer.body) == (200, allowed, b"")
    assert "access-control-allow-origin" not in answer.headers


def test_options_of_nothing_is_not_found_and_counts_as_such(server: LiveServer, connection: Connection) -> None:
    labels = {"model": "none", "task": "none"}
    before = server.metric("unroll_requests_total", outcome="not_found", **labels)
    assert connection.ask(request("OPTIONS", "/nowhere")).json["error_type"] == "not_found"
    assert connection.ask(request("OPTIONS", "/predict")).status == 200
    assert server.metric("unroll_requests_total", outcome="not_found", **labels) == before + 1


def test_every_answer_of_the_framework_has_security_headers(connection: Connection) -> None:
    for path in PAGES:
        headers = connection.ask(request("GET", path)).headers
        assert headers["x-content-type-options"] == "nosniff", path
        assert headers["referrer-policy"] == "no-referrer", path
        assert "frame-ancestors 'none'" in headers["content-security-policy"], path


REQUESTS = {
    "fast": post("/predict", TAG, "1.0", connection="keep-alive"),
    "through ASGI": post("/predict?", TAG, "1.0", connection="Keep-Alive"),
    "page": request("GET", "/docs", version="1.0", connection="keep-alive"),
    "file": request("GET", "/static-offline-docs/swagger-ui.css", version="1.0", connection="keep-alive"),
    "empty": request("GET", "/docs/", version="1.0", connection="keep-alive"),
    "missing": request("GET", "/nowhere", version="1.0", connection="keep-alive"),
}


@pytest.mark.parametrize("what", REQUESTS)
def test_an_old_client_keeps_its_connection_if_it_asks_for_that(connection: Connection, what: str) -> None:
    for _ in range(3):
        headers = connection.ask(REQUESTS[what]).headers
        assert headers["connection"] == "keep-alive"
        assert "content-length" in headers


@pytest.mark.parametrize("kept", [{}, {"connection": "keep-alive"}], ids=str)
def test_a_stream_to_an_old_client_has_no_chunks_and_ends_with_the_connection(
    server: LiveServer, kept: dict[str, str]
) -> None:
    with server.connect() as connection:
        connection.send(post("/generate_stream", GENERATE, "1.0", **kept))
        head, _, body = connection.rest().partition(b"\r\n\r\n")
    assert b"transfer-encoding" not in head.lower()
    assert b"connection: close" in head.lower()
    assert body.startswith(b'data:{"index":1,')
    assert body.count(b"data:") == 4
    assert body.endswith(b"\n\n")


def test_a_compressed_file_for_an_old_client_ends_with_the_connection(server: LiveServer) -> None:
    """Its length is not known when it begins."""
    with server.connect() as connection:
        connection.send(
            request("GET", "/static-offline-docs/swagger-ui.css", version="1.0", connection="keep-alive",
                    accept_encoding="gzip")
        )  # fmt: skip
        head, _, body = connection.rest().partition(b"\r\n\r\n")
    assert b"transfer-encoding" not in head.lower()
    assert body.startswith(b"\x1f\x8b")


def test_an_old_client_with_too_large_a_body_gets_413_and_the_end(server: LiveServer) -> None:
    with server.connect() as connection:
        head = request("POST", "/predict", version="1.0", connection="keep-alive", content_length="3000000")
        assert connection.ask(head).status == 413
        assert connection.is_closed()
