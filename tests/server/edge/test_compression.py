"""Compressed bodies of requests, on the fast path and through ASGI, and compressed answers."""

from __future__ import annotations

import gzip
import json
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from service.api.validation.content_coding import inflate
from tests.conftest import PATIENCE_S
from tests.live_server import Connection, LiveServer, live_server, post, request

TAG = {"model": "tiny-tagger", "inputs": "The cat sat."}
BODY = json.dumps(TAG).encode()
LARGE = BODY.ljust(400_000)
MAX_BODY_BYTES = 512 * 1024
TARGETS = ["/predict", "/predict?"]


@pytest.fixture(scope="module")
def server(tiny_models: Path) -> Iterator[LiveServer]:
    with live_server(tiny_models, max_body_bytes=MAX_BODY_BYTES) as started:
        yield started


@pytest.fixture
def connection(server: LiveServer) -> Iterator[Connection]:
    server.short_paths.clear()
    with server.connect() as opened:
        yield opened


def raw_deflate(body: bytes) -> bytes:
    compressing = zlib.compressobj(wbits=-15)
    return compressing.compress(body) + compressing.flush()


READ = {
    "gzip": ("gzip", gzip.compress(BODY)),
    "x-gzip in capitals": ("X-GZIP", gzip.compress(BODY)),
    "gzip in two members": ("gzip", gzip.compress(BODY[:10]) + gzip.compress(BODY[10:])),
    "stored gzip": ("gzip", gzip.compress(BODY, 0)),
    "zlib": ("deflate", zlib.compress(BODY)),
    "zlib, best": ("deflate", zlib.compress(BODY, 9)),
    "raw deflate": ("deflate", raw_deflate(BODY)),
    "nothing": ("identity", BODY),
    "empty header": ("", BODY),
    "gzip and nothing": ("identity, gzip", gzip.compress(BODY)),
    "large": ("gzip", gzip.compress(LARGE)),
    "large and hardly smaller": ("deflate", zlib.compress(LARGE, 0)),
}


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("what", READ)
def test_compressed_bodies_are_read(server: LiveServer, connection: Connection, target: str, what: str) -> None:
    coding, body = READ[what]
    answer = connection.ask(post(target, body, content_encoding=coding))
    assert answer.status == 200, answer
    assert answer.json["predictions"] == connection.ask(post(target, TAG)).json["predictions"]
    assert server.short_paths == (["/predict"] * 2 if target == "/predict" else [])


REFUSED = {
    "brotli": ("br", BODY, 415),
    "zstd": ("zstd", BODY, 415),
    "twice": ("gzip, gzip", gzip.compress(gzip.compress(BODY)), 415),
    "garbage as a coding": ("gzip;q=1", BODY, 415),
    "not gzip": ("gzip", BODY, 400),
    "not deflate": ("deflate", b"\xff\xff\xff", 400),
    "one byte": ("deflate", b"x", 400),
    "without its end": ("gzip", gzip.compress(BODY)[:-9], 400),
    "with a wrong checksum": ("gzip", gzip.compress(BODY)[:-8] + b"\0" * 8, 400),
    "with something after it": ("gzip", gzip.compress(BODY) + b"more", 400),
    "with something after its deflate": ("deflate", zlib.compress(BODY) + b"more", 400),
    "many members": ("gzip", gzip.compress(b"") * 2_000, 400),
    "bomb": ("gzip", gzip.compress(b"0" * 100_000_000), 413),
    "bomb of zlib": ("deflate", zlib.compress(b"0" * 100_000_000), 413),
    "one byte too many": ("gzip", gzip.compress(b" " * (MAX_BODY_BYTES + 1)), 413),
    "gzip of no JSON": ("gzip", gzip.compress(b"{"), 400),
}


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("what", REFUSED)
def test_other_bodies_are_refused_and_the_connection_stays(
    server: LiveServer, connection: Connection, target: str, what: str
) -> None:
    """The status, a sentence that names the header, and for an unknown coding those that are accepted."""
    coding, body, status = REFUSED[what]
    answer = connection.ask(post(target, body, content_encoding=coding))
    assert answer.status == status, answer
    if status == 415:
        assert "Content-Encoding" in answer.json["error"]
        assert answer.headers["accept-encoding"] == "gzip, deflate"
    elif status == 413:
        assert answer.json["error_type"] == "body_too_large"
        assert str(MAX_BODY_BYTES) in answer.json["error"]
    elif what != "gzip of no JSON":
        assert answer.json["error_type"] == "malformed_body"
    assert connection.ask(post(target, TAG)).status == 200
    assert server.metric("unroll_held_body_bytes") == 0


def test_other_protocols_refuse_in_their_form_and_read_the_same(connection: Connection) -> None:
    body = json.dumps({"inputs": "a", "parameters": {"max_new_tokens": 3, "seed": 1}}).encode()
    plain = connection.ask(post("/generate", body)).json
    assert connection.ask(post("/generate", gzip.compress(body), content_encoding="gzip")).json == plain
    streamed = connection.ask(post("/generate_stream", zlib.compress(body), content_encoding="deflate"))
    assert streamed.body.count(b"data:") == 3


def test_what_is_inflated_counts_as_held(tiny_models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Small bodies cannot become large ones all at once: those beyond the limit on all bodies get 429."""
    go_on, begun = threading.Event(), threading.Event()
    body = gzip.compress(LARGE)
    with live_server(
        tiny_models, max_body_bytes=MAX_BODY_BYTES, max_held_body_bytes=MAX_BODY_BYTES + 200_000
    ) as server:
        run = server.engine("tiny-tagger").opened.runner.run

        def held(*arguments: Any) -> Any:
            begun.set()
            assert go_on.wait(PATIENCE_S)
            return run(*arguments)

        monkeypatch.setattr(server.engine("tiny-tagger").opened.runner, "run", held)
        with server.connect() as first, server.connect() as second:
            first.send(post("/predict", body, content_encoding="gzip"))
            assert begun.wait(PATIENCE_S)
            assert server.metric("unroll_held_body_bytes") >= len(LARGE)
            refused = second.ask(post("/predict", body, content_encoding="gzip"))
            assert (refused.status, refused.json["error_type"], refused.headers["retry-after"]) == (
                429,
                "overloaded",
                "1",
            )
            go_on.set()
            assert first.answer().status == 200
            assert second.ask(post("/predict", body, content_encoding="gzip")).status == 200
        assert server.metric("unroll_held_body_bytes") == 0


def test_a_bomb_is_inflated_no_further_than_to_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """However much is behind it: no more output is asked for than the limit and one byte."""
    asked: list[int] = []

    class Counting:
        def __init__(self, form: int, original: Any = zlib.decompressobj) -> None:
            self._inflating = original(form)

        def decompress(self, data: bytes, max_length: int) -> bytes:
            asked.append(max_length)
            return self._inflating.decompress(data, max_length)

    bomb = gzip.compress(b"0" * 50_000_000)
    monkeypatch.setattr("service.api.validation.content_coding.zlib.decompressobj", Counting)
    assert inflate(bomb, b"gzip", 1_000) is None
    assert asked == [1_001]


@pytest.mark.parametrize("path", ["/metrics", "/openapi.json", "/models/tiny-tagger", "/playground/app.js"])
@pytest.mark.parametrize("accepted", ["gzip", "br, gzip;q=0.5", "deflate, gzip, br"])
def test_large_answers_are_compressed_on_request(connection: Connection, path: str, accepted: str) -> None:
    plain = connection.ask(request("GET", path))
    packed = connection.ask(request("GET", path, accept_encoding=accepted))
    assert packed.headers["content-encoding"] == "gzip"
    assert "Accept-Encoding" in packed.headers["vary"]
    assert len(packed.body) < len(plain.body) / 2
    if path != "/metrics":
        assert gzip.decompress(packed.body) == plain.body


@pytest.mark.parametrize("accepted", ["identity", "gzip;q=0", "gzip; q=0.0, br", "br"])
def test_answers_are_plain_where_gzip_is_not_accepted(connection: Connection, accepted: str) -> None:
    answer = connection.ask(request("GET", "/openapi.json", accept_encoding=accepted))
    assert "content-encoding" not in answer.headers
    assert answer.headers["vary"] == "Accept-Encoding"
    assert answer.json["openapi"]


def test_small_answers_are_not_compressed(connection: Connection) -> None:
    assert "content-encoding" not in connection.ask(request("GET", "/health/live", accept_encoding="gzip")).headers
