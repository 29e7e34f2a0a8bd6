"""A request that offers another protocol is answered over HTTP/1.1, with its body, and the connection stays usable."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live_server import LiveServer, live_server, post, request

TAG = {"model": "tiny-tagger", "inputs": "The cat sat."}
BODY = json.dumps(TAG).encode()
#: What Java's client and `curl --http2` send.
H2C = {"connection": "Upgrade, HTTP2-Settings", "upgrade": "h2c", "http2_settings": "AAMAAABkAAQAoAAAAAIAAAAA"}
WEBSOCKET = {
    "connection": "keep-alive, Upgrade",
    "upgrade": "websocket",
    "sec_websocket_version": "13",
    "sec_websocket_key": "AAAAAAAAAAAAAAAAAAAAAA==",
}
OFFERS = {
    "h2c": H2C,
    "h2c in capitals": {"connection": "UPGRADE, http2-settings", "upgrade": "H2C", "http2_settings": ""},
    "h2c without its settings": {"connection": "upgrade", "upgrade": "h2c"},
    "h2c not named by Connection": {"upgrade": "h2c"},
    "websocket": WEBSOCKET,
    "several": {"connection": "Upgrade", "upgrade": "h2c, websocket, TLS/1.0"},
    "unknown": {"connection": "close-not, Upgrade", "upgrade": "x/1"},
}


@pytest.fixture(scope="module")
def server(tiny_models: Path) -> Iterator[LiveServer]:
    with live_server(tiny_models) as started:
        yield started


@pytest.mark.parametrize("offer", OFFERS)
@pytest.mark.parametrize("target", ["/predict", "/predict?"])
def test_the_offer_is_ignored_and_the_body_is_read(server: LiveServer, offer: str, target: str) -> None:
    with server.connect() as connection:
        expected = connection.ask(post("/predict", TAG)).json["predictions"]
        for _ in range(3):
            answer = connection.ask(post(target, TAG, **OFFERS[offer]))
            assert (answer.version, answer.status) == ("HTTP/1.1", 200)
            assert answer.json["predictions"] == expected
        assert connection.ask(request("GET", "/health/live")).status == 200


def test_the_request_may_be_cut_at_any_byte(server: LiveServer) -> None:
    """Head and body in one segment, or in two that are cut at each byte."""
    whole = post("/predict", TAG, **H2C)
    with server.connect() as connection:
        for cut in range(1, len(whole)):
            assert connection.ask(whole[:cut], whole[cut:]).status == 200, whole[:cut]


def test_a_body_in_chunks_is_read(server: LiveServer) -> None:
    head = request("POST", "/predict", content_type="application/json", transfer_encoding="chunked", **H2C)
    with server.connect() as connection:
        for _ in range(2):
            assert connection.ask(head + b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)).status == 200


def test_offers_in_a_pipeline_are_answered_in_order(server: LiveServer) -> None:
    makers = [post("/predict", TAG, x_request_id=f"r{n}", **(H2C if n % 2 else WEBSOCKET)) for n in range(6)]
    with server.connect() as connection:
        connection.send(b"".join(makers))
        answers = [connection.answer() for _ in makers]
    assert [(answer.status, answer.headers["x-request-id"]) for answer in answers] == [(200, f"r{n}") for n in range(6)]


def test_a_client_that_only_offers_websocket_is_told_what_there_is(server: LiveServer) -> None:
    with server.connect() as connection:
        assert connection.ask(request("GET", "/predict", **WEBSOCKET)).status == 405
        assert connection.ask(request("GET", "/health/live", **WEBSOCKET)).status == 200


@pytest.mark.parametrize("connection_header", ["close, Upgrade", "Upgrade, close"])
def test_what_else_the_connection_header_says_is_kept(server: LiveServer, connection_header: str) -> None:
    with server.connect() as connection:
        answer = connection.ask(post("/predict", TAG, connection=connection_header, upgrade="h2c"))
        assert (answer.status, answer.headers["connection"]) == (200, "close")
        assert connection.is_closed()


@pytest.mark.parametrize("header", ["Content-Length: 3", "Host: y", "Transfer-Encoding: xchunked"])
def test_the_rules_for_heads_hold_with_an_offer_too(server: LiveServer, header: str) -> None:
    """Two lengths, a second Host, an unknown coding: the offer lets nothing through."""
    broken = post("/predict", TAG, **H2C).replace(b"\r\n\r\n", f"\r\n{header}\r\n\r\n".encode(), 1)
    with server.connect() as connection:
        assert connection.ask(broken).status == 400
        assert connection.is_closed()
