"""Answers are compressed in a coding that the client accepts, where that is worth it."""

from __future__ import annotations

import gzip
import zlib

import pytest
from fastapi.testclient import TestClient

from service.api.protocols.open_inference.compression import accepted_coding
from tests.api.protocols.open_inference.requests import text


@pytest.mark.parametrize(
    ("header", "coding"),
    [
        (b"", b""),
        (b"gzip", b"gzip"),
        (b"deflate", b"deflate"),
        (b"br, deflate, GZIP;q=0.5", b"gzip"),
        (b"gzip;q=0, deflate", b"deflate"),
        (b"gzip; q=0.0", b""),
        (b"br", b""),
        (b"identity;q=1, *;q=0", b""),
        (b";;;,,gzip;;q=", b"gzip"),
    ],
)
def test_the_coding_is_one_that_is_accepted(header: bytes, coding: bytes) -> None:
    assert accepted_coding(header) == coding


@pytest.mark.parametrize(("coding", "form"), [("gzip", 31), ("deflate", 15)])
@pytest.mark.parametrize("num_texts", [40, 128])
def test_long_answers_are_compressed(client: TestClient, coding: str, form: int, num_texts: int) -> None:
    body = {"inputs": [text(*["hello world, one two"] * num_texts)]}
    path = "/v2/models/tiny-tagger/infer"
    plain = client.post(path, json=body, headers={"Accept-Encoding": "identity"})
    with client.stream("POST", path, json=body, headers={"Accept-Encoding": coding}) as response:
        raw = b"".join(response.iter_raw())
    assert "content-encoding" not in plain.headers
    assert (response.headers["content-encoding"], response.headers["vary"]) == (coding, "Accept-Encoding")
    assert int(response.headers["content-length"]) == len(raw) < len(plain.content) / 4
    assert zlib.decompress(raw, form) == plain.content


def test_short_answers_are_sent_as_they_are(client: TestClient) -> None:
    body = {"inputs": [text("hello")], "outputs": [{"name": "label"}]}
    response = client.post("/v2/models/tiny-classifier/infer", json=body, headers={"Accept-Encoding": "gzip"})
    assert "content-encoding" not in response.headers


def test_compressed_requests_are_read(client: TestClient) -> None:
    content = b'{"inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": ["hello"]}]}'
    for coding, squeezed in (("gzip", gzip.compress(content)), ("deflate", zlib.compress(content))):
        sent = {"Content-Encoding": coding}
        response = client.post("/v2/models/tiny-classifier/infer", content=squeezed, headers=sent)
        assert response.status_code == 200, response.text
