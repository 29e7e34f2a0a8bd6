"""Limits of one request over HTTP: tokens, pixels, and no work for pictures that nobody waits for any more."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from service.tasks.inputs.png import PictureSize, Pixels, read_png
from tests.conftest import PATIENCE_S, running_service
from tests.tiny_pictures import as_json, png_of
from tests.training.tiny_captioner import captioner, publish_captioner

BLANK = as_json(png_of(np.full((500, 500, 3), 255, dtype=np.uint8)))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """A service that describes pictures, up to four of half a megapixel in a request."""
    folder = tmp_path_factory.mktemp("captioning") / "models"
    publish_captioner(captioner(), folder)
    with running_service(folder, max_pixels_per_request=1_000_000) as client:
        yield client


@pytest.fixture(scope="module")
def texts(tiny_models: Path) -> Iterator[TestClient]:
    with running_service(tiny_models, max_tokens_per_request=12) as client:
        yield client


def refusal(client: TestClient, path: str, body: dict[str, Any]) -> dict[str, Any]:
    response = client.post(path, json=body)
    assert response.status_code == 422, response.text
    (problem,) = response.json()["detail"]
    return dict(problem)


@pytest.mark.parametrize("model", ["tiny-tagger", "tiny-classifier", "tiny-translator", "tiny-parser"])
def test_more_tokens_than_a_request_may_have_are_refused(texts: TestClient, model: str) -> None:
    """The message says how many were sent, how many are allowed and how many requests to make of it."""
    text = texts.get(f"/models/{model}").json()["examples"][0]["inputs"]
    assert texts.post("/predict", json={"model": model, "inputs": [text]}).status_code == 200
    problem = refusal(texts, "/predict", {"model": model, "inputs": [text] * 13})
    assert problem["field"] == "inputs"
    assert "13 inputs with" in problem["message"]
    assert "at most 12 tokens are allowed (UNROLL_MAX_TOKENS_PER_REQUEST): send them in" in problem["message"]


def test_tokens_to_write_count_too(texts: TestClient) -> None:
    body = {"model": "tiny-generator", "inputs": "ab", "parameters": {"max_new_tokens": 5}}
    assert texts.post("/generate", json=body).status_code == 200
    problem = refusal(texts, "/generate", body | {"n": 4})
    assert problem["field"] == "inputs"
    assert "to read and to write: 22 tokens in one request, at most 12" in problem["message"]


def test_more_pixels_than_a_request_may_have_are_refused_undecoded(
    pictures: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The picture with which there are too many is named, and none has been decoded."""

    def never(data: bytes, size: PictureSize) -> Pixels:
        raise AssertionError("a picture was decoded")

    monkeypatch.setattr("service.tasks.seq2seq.captioning.read_png", never)
    problem = refusal(pictures, "/predict", {"inputs": [BLANK] * 6})
    assert problem["field"] == "inputs.4.png"
    assert "6 pictures with 1,500,000 pixels in one request, at most 1,000,000 pixels" in problem["message"]
    assert problem["message"].endswith("(UNROLL_MAX_PIXELS_PER_REQUEST): send them in 2 requests")


def test_no_picture_is_decoded_after_the_deadline(pictures: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first picture takes longer than the deadline: the caller is told in time, and the others cost nothing."""
    go, decoded = threading.Event(), []

    def slow(data: bytes, size: PictureSize) -> Pixels:
        decoded.append(len(data))
        assert go.wait(PATIENCE_S)
        return read_png(data, size)

    monkeypatch.setattr("service.tasks.seq2seq.captioning.read_png", slow)
    late = pictures.post("/predict", json={"inputs": [BLANK] * 4}, headers={"X-Request-Timeout-Ms": "100"})
    assert late.status_code == 504
    go.set()
    assert pictures.post("/predict", json={"inputs": [BLANK] * 2}).status_code == 200
    assert len(decoded) == 1 + 2


def test_a_small_request_does_not_wait_for_large_pictures(
    pictures: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a picture of a large request is being decoded, another request with pictures is answered."""
    go, begun = threading.Event(), threading.Event()

    def slow(data: bytes, size: PictureSize) -> Pixels:
        if not begun.is_set():
            begun.set()
            assert go.wait(PATIENCE_S)
        return read_png(data, size)

    monkeypatch.setattr("service.tasks.seq2seq.captioning.read_png", slow)
    large = threading.Thread(target=lambda: pictures.post("/predict", json={"inputs": [BLANK] * 4}))
    large.start()
    assert begun.wait(PATIENCE_S)
    assert pictures.post("/predict", json={"inputs": BLANK}).status_code == 200
    go.set()
    large.join(PATIENCE_S)
    assert not large.is_alive()
