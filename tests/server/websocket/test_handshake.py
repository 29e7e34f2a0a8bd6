"""The opening handshake: what is accepted, what is refused with which status, and what stays a request of HTTP."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.access.key_makers import key, key_file, secret_of
from tests.live_server import LiveServer, live_server, post, request
from tests.server.websocket.raw_socket import ACCEPT, OFFER, RawSocket, offer, open_socket, text

TAG = {"model": "tiny-tagger", "inputs": "The cat sat."}
START = {"type": "start", "model": "tiny-tagger"}


@pytest.fixture(scope="module")
def server(tiny_models: Path) -> Iterator[LiveServer]:
    with live_server(tiny_models) as started:
        yield started


def test_the_request_id_of_the_client_is_that_of_the_stream(server: LiveServer) -> None:
    with RawSocket(server.port) as connection:
        answer = connection.ask(offer(x_request_id="mine"))
        assert (answer.status, answer.headers["x-request-id"]) == (101, "mine")
        assert connection.say(START)["request_id"] == "mine"


@pytest.mark.parametrize(
    ("changed", "status"),
    [
        ({"sec_websocket_version": "8"}, 426),
        ({"sec_websocket_version": "13, 8"}, 426),
        ({"sec_websocket_key": "short"}, 400),
        ({"sec_websocket_key": "AAAAAAAAAAAAAAAAAAAAAAAA"}, 400),
        ({"sec_websocket_key": "\xfc" * 24}, 400),
        ({"sec_websocket_key": ""}, 400),
        ({"x_request_timeout_ms": "soon"}, 422),
        ({"origin": "https://elsewhere.example"}, 403),
    ],
)
def test_a_wrong_offer_is_refused_with_a_status_and_a_sentence(
    server: LiveServer, changed: dict[str, str], status: int
) -> None:
    with server.connect() as connection:
        answer = connection.ask(offer(**changed))
        assert answer.status == status
        assert {"error", "error_type"} <= answer.json.keys()
        assert "x-request-id" in answer.headers
        assert connection.is_closed()
    with open_socket(server) as still:
        assert still.say(START)["type"] == "started"


def test_another_version_is_told_the_right_one(server: LiveServer) -> None:
    with server.connect() as connection:
        answer = connection.ask(offer(sec_websocket_version="7"))
        assert answer.headers["sec-websocket-version"] == "13"


@pytest.mark.parametrize("missing", ["sec_websocket_key", "sec_websocket_version"])
def test_a_header_that_is_missing_is_an_error_of_the_client(server: LiveServer, missing: str) -> None:
    headers = {name: value for name, value in OFFER.items() if name != missing}
    with server.connect() as connection:
        assert connection.ask(request("GET", "/stream", **headers)).status in (400, 426)


@pytest.mark.parametrize("host", ["test:1", "other", "test.evil"])
def test_the_rules_for_heads_hold_for_an_offer_too(server: LiveServer, host: str) -> None:
    with server.connect() as connection:
        broken = offer().replace(b"\r\n\r\n", f"\r\nHost: {host}\r\n\r\n".encode())
        assert connection.ask(broken).status == 400


def test_a_plain_request_is_told_to_upgrade(server: LiveServer) -> None:
    with server.connect() as connection:
        answer = connection.ask(request("GET", "/stream"))
        assert (answer.status, answer.headers["upgrade"]) == (426, "websocket")
        assert answer.json["error_type"] == "upgrade_required"
        assert connection.ask(post("/stream", {})).status == 405


@pytest.mark.parametrize("target", ["/predict", "/health/live", "/streams", "/stream/x"])
def test_an_offer_elsewhere_is_ignored(server: LiveServer, target: str) -> None:
    with server.connect() as connection:
        assert connection.ask(request("GET", target, **OFFER)).status in (200, 404, 405)
        assert connection.ask(post("/predict", TAG)).status == 200


def test_an_offer_with_a_body_is_a_request_of_http(server: LiveServer) -> None:
    with server.connect() as connection:
        answer = connection.ask(request("GET", "/stream", b"abc", content_length="3", **OFFER))
        assert answer.status == 426
        assert connection.ask(post("/predict", TAG)).status == 200


def test_an_offer_may_follow_requests_in_a_pipeline(server: LiveServer) -> None:
    with RawSocket(server.port) as connection:
        connection.send(post("/predict", TAG) + post("/predict", TAG) + offer())
        assert [connection.answer().status for _ in range(3)] == [200, 200, 101]
        assert connection.say(START)["type"] == "started"


def test_an_offer_may_be_cut_at_any_byte_and_messages_may_follow_at_once(server: LiveServer) -> None:
    whole = offer() + text(START)
    for cut in range(1, len(whole), 7):
        with RawSocket(server.port) as connection:
            answer = connection.ask(whole[:cut], whole[cut:])
            assert answer.headers["sec-websocket-accept"] == ACCEPT
            assert connection.receive().json["type"] == "started"


def test_compression_is_not_negotiated(server: LiveServer) -> None:
    with RawSocket(server.port) as connection:
        answer = connection.ask(offer(sec_websocket_extensions="permessage-deflate; client_max_window_bits"))
        assert answer.status == 101
        assert "sec-websocket-extensions" not in answer.headers


def test_a_service_that_stops_loading_or_never_began_is_told_apart_on_start(server: LiveServer) -> None:
    with open_socket(server) as connection:
        connection.send(text({"type": "start", "model": "none-such"}))
        answer = connection.receive().json
        assert (answer["type"], answer["error_type"]) == ("error", "unknown_model")
        assert "tiny-tagger" in answer["available"]
        assert connection.receive().close_code == 4404


def test_a_page_gives_its_key_in_a_subprotocol(tiny_models: Path, tmp_path: Path) -> None:
    """It cannot set headers. A key that is unknown, or no base64, is refused as in a header; a header comes first."""
    keys = key_file(tmp_path, key("person"))
    with live_server(tiny_models, api_keys_file=keys) as guarded:

        def status_of(secret: bytes, **headers: str) -> int:
            given = "unroll.bearer." + base64.urlsafe_b64encode(secret).decode().rstrip("=")
            with guarded.connect() as connection:
                answer = connection.ask(offer(sec_websocket_protocol=f"unroll, {given}", **headers))
                assert answer.headers.get("sec-websocket-protocol") == ("unroll" if answer.status == 101 else None)
                return int(answer.status)

        known = secret_of("person").encode()
        assert [status_of(known), status_of(b"wrong"), status_of(b"\xff\xfe?>")] == [101, 401, 401]
        assert status_of(known, authorization="Bearer wrong") == 401
        with guarded.connect() as connection:
            assert connection.ask(offer(sec_websocket_protocol="unroll.bearer.%%%")).status == 401
