"""Requests that are not HTTP/1.1, that can be read in two ways, or that are too large get one clear error."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live_server import LiveServer, live_server, post, request

MAX_BODY_BYTES = 64 * 1024
MAX_HEAD_BYTES = 16 * 1024
TAG = {"model": "tiny-tagger", "inputs": "The cat sat."}
ENDED = "unroll_connections_ended_total"
REQUESTS = "unroll_requests_total"


@pytest.fixture(scope="module")
def server(tiny_models: Path) -> Iterator[LiveServer]:
    with live_server(tiny_models, max_body_bytes=MAX_BODY_BYTES, max_head_bytes=MAX_HEAD_BYTES) as started:
        yield started


def head(*lines: str, method: str = "POST", target: str = "/predict", version: str = "HTTP/1.1") -> bytes:
    """The head of a request without any header but those given."""
    return "\r\n".join([f"{method} {target} {version}", *lines, "", ""]).encode("latin-1")


JSON = "Content-Type: application/json"
CHUNKED = "Transfer-Encoding: chunked"
CHUNKS = b"2\r\n{}\r\n0\r\n\r\n"

#: Each is answered by 400 with error_type malformed_request.
MALFORMED = {
    "no words": b"NONSENSE\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "unknown method": head("Host: x", method="FROB"),
    "method in small letters": head("Host: x", method="get"),
    "blank in the target": head("Host: x", target="/pre dict"),
    "NUL in the target": head("Host: x", target="/a\0b"),
    "byte beyond ASCII in the target": head("Host: x", target="/\xff"),
    "no host in the target": head("Host: x", target="http://"),
    "bare line feeds": b"POST /predict HTTP/1.1\nHost: x\n\n",
    "bare carriage returns": b"POST /predict HTTP/1.1\rHost: x\r\r",
    "line feed at the end of the head": b"POST /predict HTTP/1.1\r\nHost: x\r\n\n",
    "version 1.2": head("Host: x", version="HTTP/1.2"),
    "HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "no colon": head("Host: x", "Nothing"),
    "blank before the colon": head("Host: x", "Content-Length : 2"),
    "blank in a name": head("Host: x", "na me: x"),
    "empty name": head("Host: x", ": x"),
    "NUL in a name": head("Host: x", "a\0b: c"),
    "NUL in a value": head("Host: x", "a: b\0c"),
    "control character in a value": head("Host: x", "a: b\x01c"),
    "folded line": head("Host: x", "a: b\r\n c"),
    "line folded by a tab": head("Host: x", "a:\r\n\tb"),
    "no Host": head(JSON),
    "two Hosts": head("Host: x", "Host: y"),
    "two equal Hosts": head("Host: x", "host: x"),
    "two Hosts in one": head("Host: x, y"),
    "path as Host": head("Host: x/y"),
    "user in Host": head("Host: u@x"),
    "port of letters": head("Host: x:http"),
    "negative length": head("Host: x", "Content-Length: -2"),
    "length with a plus": head("Host: x", "Content-Length: +2") + b"{}",
    "length in hexadecimals": head("Host: x", "Content-Length: 0x2") + b"{}",
    "length with an underscore": head("Host: x", "Content-Length: 0_2") + b"{}",
    "fraction of a length": head("Host: x", "Content-Length: 2.0") + b"{}",
    "empty length": head("Host: x", "Content-Length:") + b"{}",
    "list of lengths": head("Host: x", "Content-Length: 2, 2") + b"{}",
    "two lengths": head("Host: x", "Content-Length: 2", "Content-Length: 3") + b"{}",
    "two equal lengths": head("Host: x", "Content-Length: 2", "content-length: 2") + b"{}",
    "length of 23 digits": head("Host: x", "Content-Length: " + "9" * 23) + b"{}",
    "length of 1000 digits": head("Host: x", "Content-Length: " + "9" * 1000) + b"{}",
    "length and chunks": head("Host: x", "Content-Length: 2", CHUNKED) + CHUNKS,
    "chunks and length": head("Host: x", CHUNKED, "Content-Length: 2") + CHUNKS,
    "unknown coding": head("Host: x", "Transfer-Encoding: xchunked") + CHUNKS,
    "unknown coding before chunks": head("Host: x", "Transfer-Encoding: xchunked", CHUNKED) + CHUNKS,
    "unknown coding after chunks": head("Host: x", CHUNKED, "Transfer-Encoding: xchunked") + CHUNKS,
    "chunks twice": head("Host: x", CHUNKED, CHUNKED) + CHUNKS,
    "compressed chunks": head("Host: x", "Transfer-Encoding: gzip, chunked") + CHUNKS,
    "identity": head("Host: x", "Transfer-Encoding: identity") + b"{}",
    "chunks in HTTP/1.0": head("Host: x", CHUNKED, version="HTTP/1.0") + CHUNKS,
    "chunk of negative size": head("Host: x", CHUNKED) + b"-2\r\n{}\r\n0\r\n\r\n",
    "chunk of 17 digits": head("Host: x", CHUNKED) + b"f" * 17 + b"\r\n{}",
    "chunk longer than it says": head("Host: x", CHUNKED) + b"1\r\n{}\r\n0\r\n\r\n",
    "chunk size with a line feed": head("Host: x", CHUNKED) + b"2\n{}\n0\n\n",
    "extension without end": head("Host: x", JSON, CHUNKED) + b"2;" + b"a" * 400_000,
    "trailers without end": head("Host: x", JSON, CHUNKED) + b"2\r\n{}\r\n0\r\n" + b"a: b\r\n" * 80_000,
}

#: Each with its status and error_type.
REFUSED = {
    "HTTP/2.0": (head("Host: x", version="HTTP/2.0"), 505, "http_version_not_supported"),
    "HTTP/0.9": (b"GET /\r\n\r\n", 505, "http_version_not_supported"),
    "CONNECT": (head("Host: x", method="CONNECT", target="x:443"), 405, "method_not_allowed"),
    "101 headers": (head("Host: x", *["a: b"] * 100), 431, "headers_too_large"),
    "one large header": (head("Host: x", "a: " + "b" * MAX_HEAD_BYTES), 431, "headers_too_large"),
    "name without end": (head("Host: x")[:-2] + b"a" * (MAX_HEAD_BYTES * 4), 431, "headers_too_large"),
    "value without end": (head("Host: x")[:-2] + b"a: " + b"b" * (MAX_HEAD_BYTES * 4), 431, "headers_too_large"),
    "empty lines without end": (b"\r\n" * MAX_HEAD_BYTES, 431, "headers_too_large"),
    "long target": (head("Host: x", target="/" + "a" * 9_000), 414, "target_too_long"),
    "target without end": (b"GET /" + b"a" * (MAX_HEAD_BYTES * 4), 414, "target_too_long"),
    "long query": (head("Host: x", target="/predict?" + "a" * 9_000), 414, "target_too_long"),
    "body of 120 MB": (head("Host: x", JSON, "Content-Length: 120000000"), 413, "body_too_large"),
    "22 zeros before 120 MB": (head("Host: x", JSON, f"Content-Length: {'0' * 22}120000000"), 413, "body_too_large"),
    "length of 64 bits": (head("Host: x", JSON, "Content-Length: 18446744073709551615"), 413, "body_too_large"),
    "large body that waits for 100": (
        head("Host: x", JSON, f"Content-Length: {MAX_BODY_BYTES + 1}", "Expect: 100-continue"), 413, "body_too_large",
    ),
    "large body elsewhere": (
        head("Host: x", "Content-Length: 120000000", method="GET", target="/health/live"), 413, "body_too_large",
    ),
}  # fmt: skip
CASES = {name: (data, 400, "malformed_request") for name, data in MALFORMED.items()} | REFUSED


@pytest.mark.parametrize("name", CASES)
def test_a_request_that_breaks_a_rule_gets_one_clear_error(server: LiveServer, name: str) -> None:
    """The response has the form of every error, the connection ends after it, and it is counted."""
    data, status, error_type = CASES[name]
    before = server.metric(ENDED, reason="refused")
    with server.connect() as connection:
        answer = connection.ask(data)
        assert (answer.status, answer.json["error_type"]) == (status, error_type)
        assert answer.json["error"]
        assert answer.json["request_id"] == answer.headers["x-request-id"]
        assert answer.headers["connection"] == "close"
        assert connection.is_closed()
    assert server.metric(ENDED, reason="refused") == before + 1
    with server.connect() as connection:
        assert connection.ask(post("/predict", TAG)).status == 200


@pytest.mark.parametrize("name", ["two Hosts", "unknown coding before chunks", "bare line feeds", "101 headers", "TLS"])
def test_requests_before_a_broken_one_are_answered_first(server: LiveServer, name: str) -> None:
    """A broken request in a pipeline takes nothing from those before it, and nothing after it is answered."""
    data, status, _ = CASES[name]
    with server.connect() as connection:
        connection.send(post("/predict", TAG) + request("GET", "/health/live") + data + post("/predict", TAG))
        assert [connection.answer().status for _ in range(3)] == [200, 200, status]
        assert connection.is_closed()


def test_outcomes_of_refused_requests_are_counted(server: LiveServer) -> None:
    labels = {"model": "none", "task": "none", "outcome": "malformed_request"}
    before = server.metric(REQUESTS, **labels)
    for name in ("two Hosts", "unknown coding", "TLS"):
        with server.connect() as connection:
            assert connection.ask(MALFORMED[name]).status == 400
    assert server.metric(REQUESTS, **labels) == before + 3


@pytest.mark.parametrize(
    "form",
    [
        head("Host: localhost:8000", "Content-Length: 2", JSON),
        head("Host: [::1]:8000", "Content-Length: 2", JSON),
        head("Host: my_service.name", "Content-Length: 2", JSON),
        head("Host:", "Content-Length: 2", JSON),
        head("Host: x", "Content-Length: 0000000000000000000000000002", JSON),
        head("Host: x", "Content-Length:    2   ", JSON),
        head("Host: x", "Content-Length: 2", JSON, version="HTTP/1.0"),
        head("Content-Length: 2", JSON, version="HTTP/1.0"),
        head("Host: x", "Content-Length: 2", JSON, *[f"a{n}: b" for n in range(97)]),
        head("Host: x", "Content-Length: 2", JSON, "A: " + "b" * 8_000),
        head("Host: x", "Content-Length: 2", JSON, target="http://x/predict"),
        b"\r\n\r\n" + head("Host: x", "Content-Length: 2", JSON),
    ],
    ids=lambda form: form[:90].decode("latin-1"),
)
def test_unusual_but_valid_requests_are_read(server: LiveServer, form: bytes) -> None:
    """The body `{}` arrives: the error is about its fields."""
    with server.connect() as connection:
        answer = connection.ask(form + b"{}")
    assert (answer.status, answer.json["error_type"]) == (422, "validation")
    assert answer.json["detail"][0]["field"] == "inputs"


def test_trailers_do_not_change_headers(server: LiveServer) -> None:
    """A trailer with the name of a header, here the request id, is ignored."""
    body = json.dumps(TAG).encode()
    chunked = head("Host: x", JSON, "X-Request-Id: mine", CHUNKED)
    with server.connect() as connection:
        answer = connection.ask(chunked + b"%x\r\n%b\r\n0\r\nX-Request-Id: other\r\n\r\n" % (len(body), body))
    assert (answer.status, answer.headers["x-request-id"]) == (200, "mine")


@pytest.mark.parametrize("size", [1, 3, 1_000])
def test_a_body_in_chunks_of_any_size_is_joined(server: LiveServer, size: int) -> None:
    body = json.dumps(TAG).encode().ljust(5_000)
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(p), p) for p in (body[n : n + size] for n in range(0, len(body), size)))
    with server.connect() as connection:
        answer = connection.ask(head("Host: x", JSON, CHUNKED) + chunks + b"0\r\n\r\n")
    assert answer.status == 200


@pytest.mark.parametrize("target", ["/predict", "/health/live", "/nowhere"])
def test_a_body_in_chunks_without_end_is_not_read_for_ever(server: LiveServer, target: str) -> None:
    """After the response so much is dropped as two bodies may have, and then the connection ends."""
    chunk = b"4000\r\n" + b" " * 0x4000 + b"\r\n"
    with server.connect() as connection:
        connection.send(head("Host: x", JSON, CHUNKED, target=target))
        with pytest.raises(OSError):  # noqa: PT012 - the server closes the connection at some point
            for _ in range(10_000):
                connection.send(chunk)
    assert server.metric("unroll_held_body_bytes") == 0


def test_a_refused_body_is_never_held(server: LiveServer) -> None:
    """A body that is declared too large is dropped as it arrives, and the connection stays usable."""
    with server.connect() as connection:
        connection.send(head("Host: x", JSON, f"Content-Length: {MAX_BODY_BYTES + 1}") + b" " * MAX_BODY_BYTES)
        assert connection.answer().status == 413
        assert server.metric("unroll_held_body_bytes") == 0
        assert connection.ask(b" " + post("/predict", TAG)).status == 200


def test_a_client_that_gets_an_error_instead_of_100_is_not_misread(server: LiveServer) -> None:
    """Whether it will send its body is unknown, so the connection ends after the error."""
    with server.connect() as connection:
        answer = connection.ask(
            head("Host: x", "Content-Type: text/plain", "Content-Length: 9", "Expect: 100-continue")
        )
        if answer.status == 415:
            assert connection.is_closed()
        else:
            assert answer.status == 100
            assert connection.ask(b"123456789").status == 415
