"""`POST /predict` with pictures: answers, validation and the model's description."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from service.bundle.load import load_bundle
from service.tasks.recorded import differences
from tests.conftest import running_service
from tests.tiny_pictures import as_json, shape_picture, shape_pictures
from tests.training.tiny_captioner import captioner, publish_captioner

BLUE_BAR = as_json(shape_picture("blue", "bar"))


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("captioning") / "models"
    publish_captioner(captioner(), folder)
    return folder


@pytest.fixture(scope="module")
def served(models: Path) -> Iterator[TestClient]:
    with running_service(models) as client:
        yield client


def predictions(client: TestClient, inputs: object, **parameters: Any) -> list[dict[str, Any]]:
    response = client.post("/predict", json={"inputs": inputs, "parameters": parameters})
    assert response.status_code == 200, response.text
    assert response.json()["task"] == "captioning"
    found: list[dict[str, Any]] = response.json()["predictions"]
    return found


def test_the_recorded_pictures_are_described_as_recorded(models: Path, served: TestClient) -> None:
    """Captions, scores and attention over HTTP match those recorded from torch."""
    for example in load_bundle(models / "tiny-captioner" / "1").examples:
        assert differences([example.answer], predictions(served, example.inputs, **example.parameters), 1e-4) == []


def test_many_pictures_get_what_each_gets_alone(served: TestClient) -> None:
    """Thirty pictures in one request get the same captions, in order, as one by one."""
    inputs = [as_json(record.png) for record in shape_pictures(30)]
    together = predictions(served, inputs)
    assert len(together) == 30
    alone = [predictions(served, each)[0] for each in inputs[:6]]
    assert differences(alone, together[:6], 1e-5) == []


def test_attention_is_a_map_of_the_picture_for_each_token(served: TestClient) -> None:
    """Attention is a rows-by-columns map per token that sums to 1, returned only on request."""
    (answer,) = predictions(served, BLUE_BAR, return_attention=True, num_beams=3)
    attention = answer["attention"]
    assert (attention["rows"], attention["columns"]) == (4, 6)
    assert [len(row) for row in attention["weights"]] == [24] * len(attention["tokens"])
    assert all(sum(row) == pytest.approx(1.0, abs=1e-5) for row in attention["weights"])
    (plain,) = predictions(served, BLUE_BAR, return_score=False, num_beams=1)
    assert plain.keys() == {"text"}


def test_parameters_bound_the_search(served: TestClient) -> None:
    """`max_new_tokens` limits the caption, and a value above the model's limit is refused with its path."""
    (short,) = predictions(served, BLUE_BAR, max_new_tokens=1, return_attention=True)
    assert len(short["attention"]["tokens"]) <= 1
    refused = served.post("/predict", json={"inputs": BLUE_BAR, "parameters": {"max_new_tokens": 7}})
    assert refused.status_code == 422
    assert refused.json()["detail"][0]["field"] == "parameters.max_new_tokens"


@pytest.mark.parametrize(
    ("inputs", "field", "reason"),
    [
        ({"png": "@"}, "inputs.png", "this is not base64"),
        ([BLUE_BAR, {"png": "R0lGODlh"}], "inputs.1.png", "a GIF file: send the picture as PNG"),
        ([{"png": BLUE_BAR["png"][:80]}], "inputs.0.png", "damaged or cut short"),
        ({"png": ""}, "inputs.png", "at least 1 character"),
        ({"png": BLUE_BAR["png"], "wav": "x"}, "inputs", ""),
        ({"gif": "R0lGODlh"}, "inputs", '"png", "clip", "pictures" or "tensors"'),
        ("a cat", "inputs", "takes a picture"),
        ({"frames": [[1.0]]}, "inputs", "not frames of numbers"),
    ],
)
def test_what_cannot_be_described_is_a_422_with_its_path(
    inputs: object, field: str, reason: str, served: TestClient
) -> None:
    response = served.post("/predict", json={"inputs": inputs})
    assert response.status_code == 422
    found = response.json()["detail"][0]
    assert found["field"].startswith(field)
    assert reason in found["message"] + response.json()["error"]


def test_the_model_says_what_it_takes_and_counts_what_it_looked_at(served: TestClient) -> None:
    """The model route and card describe picture size and grid, and grid cells are counted as tokens read."""
    details = served.get("/models/tiny-captioner").json()
    options = details["options"]
    assert details["task"] == options["task"] == "captioning"
    assert (options["image_rows"], options["image_columns"]) == (16, 24)
    assert (options["grid_rows"], options["grid_columns"]) == (4, 6)
    assert "brought to 24 x 16 pixels" in details["card"]
    predictions(served, BLUE_BAR)
    metrics = served.get("/metrics").text
    assert 'unroll_read_tokens_total{model="tiny-captioner"}' in metrics
    assert 'task="captioning"' in metrics
    schemas = served.get("/openapi.json").json()["components"]["schemas"]
    assert schemas["CaptioningAnswer"]["required"] == ["text"]


def test_a_picture_cannot_be_sent_in_parts(served: TestClient) -> None:
    response = served.post("/predict", json={"inputs": BLUE_BAR, "return_state": True})
    assert response.status_code == 422
    assert "looks at the whole picture for every word" in response.json()["error"]
