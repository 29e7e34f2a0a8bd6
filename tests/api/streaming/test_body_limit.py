"""Sound makes a body of /predict larger than text may be: only where it is sound, and only for models that read it."""

from __future__ import annotations

import base64
import gzip
import io
import json
import struct
from collections.abc import Iterator

import httpx
import numpy as np
import pytest

MB = 1024 * 1024
RATE_HZ = 48_000


def wave_file(seconds: float) -> str:
    """A wave file of 64-bit floats in base64: half a megabyte for each second."""
    data = np.zeros(int(RATE_HZ * seconds)).tobytes()
    head = struct.pack("<4sI4s4sIHHIIHH4sI", b"RIFF", len(data) + 36, b"WAVE", b"fmt ", 16, 3, 1, RATE_HZ, RATE_HZ * 8,
                       8, 64, b"data", len(data))  # fmt: skip
    return base64.b64encode(head + data).decode()


LARGE = wave_file(5.0)


def body_of(model: str, inputs: object) -> bytes:
    return json.dumps({"inputs": inputs, "model": model}).encode()


def parts_of(body: bytes) -> Iterator[bytes]:
    stream = io.BytesIO(body)
    while part := stream.read(MB):
        yield part


def answer(http: httpx.Client, body: bytes | Iterator[bytes], **headers: str) -> tuple[int, str]:
    response = http.post("/predict", content=body, headers={"content-type": "application/json", **headers})
    return response.status_code, response.text


@pytest.mark.parametrize("way", ["declared", "in parts", "compressed"])
def test_a_large_sound_is_read(http: httpx.Client, way: str) -> None:
    body = body_of("tiny-sound", {"wav": LARGE})
    assert len(body) > 2 * MB
    if way == "compressed":
        status, text = answer(http, gzip.compress(body, 1), **{"content-encoding": "gzip"})
    else:
        status, text = answer(http, parts_of(body) if way == "in parts" else body)
    assert (status, "the sound lasts 5.00 s" in text) == (422, True), text  # which is known once it is read


@pytest.mark.parametrize(
    ("model", "inputs"),
    [
        pytest.param("tiny-tagger", "a " * (2 * MB), id="a text"),
        pytest.param("tiny-sound", "a " * (2 * MB), id="a text for a model of sound"),
        pytest.param("tiny-sound", '"wav": "' + "a" * 3 * MB, id="a text that looks like sound"),
        pytest.param("tiny-tagger", {"wav": LARGE}, id="sound for a model of text"),
    ],
)
def test_other_large_bodies_are_refused(http: httpx.Client, model: str, inputs: object) -> None:
    status, text = answer(http, body_of(model, inputs))
    assert (status, json.loads(text)["error_type"]) == (413, "body_too_large")
    assert "2097152 bytes" in text


@pytest.mark.parametrize("path", ["/predict", "/generate"])
def test_a_body_beyond_the_limit_of_its_route_is_refused_by_its_length(http: httpx.Client, path: str) -> None:
    limit = 16 * MB if path == "/predict" else 2 * MB
    response = http.post(path, content=b" " * (limit + 1), headers={"content-type": "application/json"})
    assert response.status_code == 413
    assert str(limit) in response.json()["error"]
