"""Health probes: answered without the framework where all is well, byte for byte as by the framework."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.api.request_scope import RequestScope
from tests.live_server import Connection, LiveServer, live_server, request

PROBES = ("/health/live", "/health/ready")


@pytest.fixture(scope="module")
def server(tiny_models: Path) -> Iterator[LiveServer]:
    with live_server(tiny_models) as started:
        yield started


@pytest.fixture
def long_ways(server: LiveServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The paths of requests that went through ASGI."""
    logger = logging.getLogger("service.requests")
    level = logger.level
    logger.setLevel(logging.INFO)
    paths: list[str] = []
    call = RequestScope.__call__

    async def noted(self: RequestScope, scope: dict, receive: object, send: object) -> None:  # type: ignore[type-arg]
        paths.append(scope["path"])
        await call(self, scope, receive, send)  # type: ignore[arg-type]

    monkeypatch.setattr(RequestScope, "__call__", noted)
    yield paths
    logger.setLevel(level)


@pytest.fixture
def connection(server: LiveServer) -> Iterator[Connection]:
    with server.connect() as opened:
        yield opened


def raw(connection: Connection, probe: bytes) -> bytes:
    """The response as it was sent, but for the date and a generated id."""
    connection.send(probe)
    answer = connection.answer()
    lines = [f"{name}: {value}" for name, value in answer.headers.items() if name != "date"]
    text = "\n".join([f"{answer.version} {answer.status}", *lines, answer.body.decode()])
    return re.sub(r"[0-9a-f]{32}", "ID", text).encode()


@pytest.mark.parametrize("path", PROBES)
def test_a_probe_gets_the_same_bytes_without_the_framework(
    connection: Connection, long_ways: list[str], path: str
) -> None:
    """The first is parsed, the second known by its bytes; a query string takes the long way to the same answer."""
    first, second = (raw(connection, request("GET", path)) for _ in range(2))
    assert long_ways == []
    assert first == second == raw(connection, request("GET", f"{path}?"))
    assert long_ways == [path]
    assert raw(connection, request("GET", path, x_request_id="mine")) == first.replace(b": ID", b": mine")
    assert long_ways == [path]


@pytest.mark.parametrize(
    "form",
    [
        request("HEAD", "/health/live"),
        request("GET", "/health/live", version="1.0"),
        request("GET", "/health/live", connection="close"),
        request("GET", "/health/live", b"{}", content_length="2"),
        request("GET", "/health/live", b"0\r\n\r\n", transfer_encoding="chunked"),
        request("GET", "/health/liv%65"),
        request("GET", "/health/live?verbose"),
        request("GET", "http://test/health/live"),
    ],
    ids=["head", "1.0", "close", "body", "chunked", "escape", "query", "absolute"],
)
def test_an_unusual_form_goes_the_ordinary_way(connection: Connection, long_ways: list[str], form: bytes) -> None:
    connection.send(form)
    assert connection.answer(has_body=not form.startswith(b"HEAD")).status == 200
    assert long_ways == ["/health/live"]


def test_probes_are_logged_where_debug_lines_are(connection: Connection, long_ways: list[str]) -> None:
    logging.getLogger("service.requests").setLevel(logging.DEBUG)
    raw(connection, request("GET", "/health/live"))
    assert long_ways == ["/health/live"]


def test_a_fault_is_told_by_the_framework(
    server: LiveServer, connection: Connection, long_ways: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A probe whose head is known is asked anew: as soon as something is wrong, 503 and the reasons are sent."""
    assert b'"ready"' in raw(connection, request("GET", "/health/ready"))
    (entry,) = server.app.state.registry.versions("tiny-tagger")
    monkeypatch.setattr(entry, "state", "loading")
    refused = raw(connection, request("GET", "/health/ready"))
    assert b" 503\n" in refused
    assert b"tiny-tagger version 1 is still loading" in refused
    assert b'"live"' in raw(connection, request("GET", "/health/live"))
    assert long_ways == ["/health/ready"]
    monkeypatch.undo()
    assert b'"ready"' in raw(connection, request("GET", "/health/ready"))
