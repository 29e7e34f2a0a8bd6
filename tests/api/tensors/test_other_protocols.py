"""Named arrays over KServe's first protocol, Hugging Face's tasks, and refusals of protocols for text."""

from __future__ import annotations

import httpx
import pytest

from service.tasks.recorded import differences
from tests.api.tensors.conftest import predict
from tests.tasks.tensors.tiny_tensors import sample

TENSORS = {"tensors": sample("several", 3)}


def test_kserve_takes_objects_of_arrays(http: httpx.Client) -> None:
    """An instance is an object of arrays by name, with or without `tensors` around it."""
    plain = predict(http, "several", [TENSORS])["predictions"]
    path = "/v1/models/tiny-several:predict"
    for instance in (TENSORS, TENSORS["tensors"]):
        found = http.post(path, json={"instances": [instance]}).json()
        assert differences(plain, found["predictions"], 1e-6) == []
    refused = http.post(path, json={"instances": [{"x": [[0.0]]}]})
    assert refused.status_code == 400
    assert "instances.0.tensors: pixels, context, rate is missing" in refused.json()["error"]


def test_hugging_face_clients_get_the_prediction(http: httpx.Client) -> None:
    """The task route answers with a list of the prediction, with the outputs that are asked for."""
    body = {"inputs": TENSORS, "parameters": {"outputs": ["score"]}}
    (found,) = http.post("/models/tiny-several", json=body).json()
    (plain,) = predict(http, "several", TENSORS)["predictions"]
    assert list(found["outputs"]) == ["score"]
    assert found["outputs"]["score"] == pytest.approx(plain["outputs"]["score"])
    assert http.get("/models/tiny-several/info").json()["model_pipeline_tag"] == "other"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/embeddings", {"model": "tiny-lstm", "input": "hello"}),
        ("/v1/completions", {"model": "tiny-lstm", "prompt": "hello"}),
        ("/generate", {"model": "tiny-lstm", "inputs": "hello"}),
        ("/models/tiny-lstm/pipeline/feature-extraction", {"inputs": "hello"}),
    ],
)
def test_protocols_of_text_refuse_arrays(path: str, body: dict[str, str], http: httpx.Client) -> None:
    """A model of arrays neither writes text nor gives embeddings, and is named in the refusal."""
    response = http.post(path, json=body)
    assert response.status_code in (400, 404, 422)
    assert "tiny-lstm does tensors" in response.text
