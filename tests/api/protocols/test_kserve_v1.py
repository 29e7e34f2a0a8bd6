"""KServe's protocol, version 1: instances in, predictions out, and errors in its shape."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from fastapi.testclient import TestClient

PATH = "/v1/models/tiny-classifier:predict"


def test_predictions_are_those_of_predict(client: TestClient) -> None:
    """Texts and lists of words, with the parameters of the task; KServe's client may send no content type."""
    instances = ["hello world", ["one", "two"]]
    body = {"model": "tiny-classifier", "inputs": instances, "parameters": {"top_k": 2}}
    plain = client.post("/predict", json=body).json()["predictions"]
    asked = {"instances": instances, "parameters": {"top_k": 2}, "signature_name": "serving_default"}
    for path in (PATH, "/v1/models/tiny-classifier/versions/1:predict"):
        assert client.post(path, json=asked).json() == {"predictions": plain}
    content = b'{"instances":["hello world"]}'
    assert client.post(PATH, content=content).json()["predictions"][0]["label"] == plain[0]["label"]


def test_a_language_model_continues_each_instance(client: TestClient) -> None:
    parameters = {"max_new_tokens": 5, "seed": 3, "do_sample": True}
    body = {"instances": ["Hello ", "a"], "parameters": parameters}
    predictions = client.post("/v1/models/tiny-generator:predict", json=body).json()["predictions"]
    plain = client.post("/generate", json={"inputs": "Hello ", "parameters": parameters}).json()
    assert predictions[0] == plain
    assert len(predictions) == 2


@pytest.mark.parametrize(
    ("path", "body", "status", "sentence"),
    [
        (PATH, {}, 400, "instances: this field is needed"),
        (PATH, {"inputs": ["a"]}, 400, "there are: instances, parameters"),
        (PATH, {"instances": []}, 400, "instances: the list is empty"),
        (PATH, {"instances": "a"}, 400, "instances: must be"),
        (PATH, {"instances": [3]}, 400, "instances.0: must be text"),
        (PATH, {"instances": ["a", " "]}, 400, "instances.1: the text is empty"),
        (PATH, {"instances": ["a"] * 129}, 400, "129 inputs in one request"),
        (
            PATH,
            {"instances": ["a"], "parameters": {"nothing": 1}},
            400,
            "this task has: normalize, return_hidden, top_k",
        ),
        (
            PATH,
            {"instances": [{"b64": base64.b64encode(b"abc").decode()}]},
            400,
            "instances.0.wav: this is no sound file",
        ),
        (PATH, {"instances": [{"b64": "a", "c": 1}]}, 400, "instances.0"),
        ("/v1/models/tiny-generator:predict", {"instances": [["a"]]}, 400, "a language model takes texts"),
        ("/v1/models/absent:predict", {"instances": ["a"]}, 404, "there is no model 'absent'"),
        ("/v1/models/tiny-classifier:explain", {"instances": ["a"]}, 404, "has no explainer: use :predict"),
    ],
)
def test_errors_have_a_status_and_a_sentence(
    client: TestClient, path: str, body: dict[str, Any], status: int, sentence: str
) -> None:
    response = client.post(path, json=body)
    assert response.status_code == status
    assert sentence in response.json()["error"]
