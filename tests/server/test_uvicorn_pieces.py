"""If a uvicorn internal that the fast path needs is missing, requests go through ASGI instead."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import httptools
import pytest
from uvicorn.protocols.http import httptools_impl
from uvicorn.protocols.http.flow_control import FlowControl

from service.server import fast_path
from service.server.fast_path import FastPathProtocol, missing_pieces
from service.server.run import http_protocol
from tests.live_server import live_server, post

TAG = {"model": "tiny-tagger", "inputs": "The cat sat."}
PROTOCOL = httptools_impl.HttpToolsProtocol

#: Possible changes in a uvicorn release, and the name that is reported as missing.
CHANGES: dict[str, tuple[Callable[[pytest.MonkeyPatch], None], str]] = {
    "a method is gone": (
        lambda patch: patch.delattr(PROTOCOL, "on_response_complete"),
        "HttpToolsProtocol.on_response_complete",
    ),
    "a method takes more": (
        lambda patch: patch.setattr(PROTOCOL, "pause_writing", lambda self, reason: None),
        "HttpToolsProtocol.pause_writing",
    ),
    "a body is kept elsewhere": (
        lambda patch: patch.setattr(PROTOCOL, "on_message_complete", lambda self: None),
        "HttpToolsProtocol.more_body",
    ),
    "the flow control changes": (lambda patch: patch.delattr(FlowControl, "drain"), "FlowControl.drain"),
    "the parser changes": (
        lambda patch: patch.setattr(httptools, "HttpRequestParser", object),
        "HttpRequestParser.get_method",
    ),
    "the status lines change": (lambda patch: patch.setattr(fast_path, "STATUS_LINE", {}), "STATUS_LINE"),
}


def test_the_uvicorn_that_is_installed_has_every_piece(tiny_models: Path) -> None:
    with live_server(tiny_models) as server:
        assert missing_pieces() == []
        assert issubclass(http_protocol(server.app), FastPathProtocol)


@pytest.mark.parametrize("change", CHANGES)
def test_a_missing_piece_turns_the_fast_path_off_and_is_named(
    tiny_models: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, change: str
) -> None:
    apply, piece = CHANGES[change]
    with live_server(tiny_models) as server, monkeypatch.context() as patch, caplog.at_level(logging.WARNING):
        apply(patch)
        assert http_protocol(server.app) == "auto"
    (line,) = [record for record in caplog.records if record.name == "service.server.run"]
    assert piece in line.missing  # type: ignore[attr-defined]


def test_without_the_fast_path_requests_are_answered_through_asgi(tiny_models: Path) -> None:
    with live_server(tiny_models, http="auto") as server, server.connect() as connection:
        answers = [connection.ask(post("/predict", TAG)) for _ in range(2)]
        stream = connection.ask(post("/generate_stream", {"inputs": "a", "parameters": {"max_new_tokens": 3}}))
    assert [answer.status for answer in answers] == [200, 200]
    assert stream.body.count(b"data:") == 3
    assert server.short_paths == []
