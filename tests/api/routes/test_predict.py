"""`POST /predict` gives every client its own answer in the documented format."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from service.bundle.load import load_bundle
from service.tasks.recorded import differences
from tests.conftest import running_service
from tests.tiny_bundles import write_tiny_bundle

PREDICT_MODELS = ["tiny-tagger", "tiny-classifier", "tiny-translator", "tiny-parser"]
TIMING_FIELDS = {"preprocess_ms", "queue_ms", "inference_ms", "postprocess_ms", "total_ms", "batch_size"}


def predict(client: TestClient, model: str, inputs: Any, **parameters: Any) -> dict[str, Any]:
    response = client.post("/predict", json={"model": model, "inputs": inputs, "parameters": parameters})
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


@pytest.mark.parametrize("model", PREDICT_MODELS)
def test_recorded_examples_are_answered_over_http(client: TestClient, tiny_models: Path, model: str) -> None:
    for example in load_bundle(tiny_models / model / "1").examples:
        answer = predict(client, model, [example.inputs], **example.parameters)
        assert differences(example.answer, answer["predictions"][0], 1e-5) == []


def test_the_response_says_who_answered_and_where_time_went(client: TestClient) -> None:
    answer = predict(client, "tiny-classifier", ["hello", "world"])
    assert (answer["model"], answer["version"], answer["task"]) == ("tiny-classifier", "1", "classification")
    assert answer["timings"].keys() == TIMING_FIELDS
    assert answer["timings"]["total_ms"] >= answer["timings"]["inference_ms"] > 0
    assert len(answer["predictions"]) == 2


def test_one_text_and_a_list_of_one_give_the_same(client: TestClient) -> None:
    alone, listed = (predict(client, "tiny-tagger", inputs) for inputs in ("The cat sat.", ["The cat sat."]))
    assert alone["predictions"] == listed["predictions"]


def test_words_and_text_may_stand_in_one_list(client: TestClient) -> None:
    text, words = predict(client, "tiny-tagger", ["The cat", ["The", "cat"]])["predictions"]
    assert [token["tag"] for token in text["tokens"]] == [token["tag"] for token in words["tokens"]]
    assert text["tokens"][1]["start"] == 4
    assert words["tokens"][1]["start"] is None


@pytest.mark.parametrize("model", PREDICT_MODELS)
def test_concurrent_callers_get_their_own_rows(client: TestClient, model: str) -> None:
    """Concurrent requests of different lengths get the same answers as alone."""
    texts = [
        " ".join((["the cat sat on a mat hello world one two ada"] * 3)[: 1 + n % 3])[: 3 + 4 * n] for n in range(24)
    ]
    alone = [predict(client, model, text)["predictions"] for text in texts]
    with ThreadPoolExecutor(12) as pool:
        together = list(pool.map(lambda text: predict(client, model, text)["predictions"], texts))
    assert differences(alone, together, 1e-4) == []


def test_the_model_may_be_left_out_when_only_one_can_answer(tmp_path: Path) -> None:
    write_tiny_bundle(tmp_path, "classification")
    write_tiny_bundle(tmp_path, "generation")
    with running_service(tmp_path) as client:
        answer = client.post("/predict", json={"inputs": "hello"}).json()
    assert answer["model"] == "tiny-classifier"


def test_the_highest_version_answers_unless_another_is_named(tmp_path: Path) -> None:
    """The highest version by number answers by default: 10 is above 9."""
    for number, version in enumerate(["9", "10"]):
        write_tiny_bundle(tmp_path, "classification", version=version, seed=number)
    with running_service(tmp_path) as client:
        default = client.post("/predict", json={"inputs": "hello"}).json()
        older = client.post("/predict", json={"inputs": "hello", "version": "9"}).json()
    assert (default["version"], older["version"]) == ("10", "9")
    assert default["predictions"] != older["predictions"]


def test_a_deadline_that_cannot_be_met_is_504(client: TestClient) -> None:
    """A beam search that exceeds a deadline of one millisecond is a 504."""
    body = {"model": "tiny-translator", "inputs": ["the cat sat on a mat " * 6] * 16, "parameters": {"num_beams": 8}}
    response = client.post("/predict", json=body, headers={"X-Request-Timeout-Ms": "1"})
    assert response.status_code == 504
    assert response.json()["error_type"] == "deadline_exceeded"


def test_an_impossible_deadline_is_422(client: TestClient) -> None:
    response = client.post("/predict", json={"inputs": "a"}, headers={"X-Request-Timeout-Ms": "soon"})
    assert response.status_code == 422
    assert response.json()["detail"][0]["field"] == "X-Request-Timeout-Ms"


def test_more_than_the_queue_holds_is_429_with_retry_after(tmp_path: Path) -> None:
    """A request with more inputs than the queue has room for is refused as a whole, before any work."""
    write_tiny_bundle(tmp_path, "translation")
    slow = {"inputs": ["the cat sat on a mat " * 6] * 8, "parameters": {"num_beams": 16}}
    with running_service(tmp_path, max_queue_items=8, max_inputs_per_request=8, max_batch_items=1) as client:
        with ThreadPoolExecutor(6) as pool:
            responses = list(pool.map(lambda _: client.post("/predict", json=slow), range(6)))
        refused = [response for response in responses if response.status_code == 429]
        assert {response.status_code for response in responses} == {200, 429}
        assert all(int(response.headers["Retry-After"]) >= 1 for response in refused)
        assert refused[0].json()["error_type"] == "overloaded"
        assert client.post("/predict", json={"inputs": "hello"}).status_code == 200


def test_a_request_id_is_taken_over_or_made(client: TestClient) -> None:
    given = client.get("/health/live", headers={"X-Request-Id": "abc-1"}).headers["X-Request-Id"]
    made = client.get("/health/live", headers={"X-Request-Id": "bad id\t" + "x" * 200}).headers["X-Request-Id"]
    assert given == "abc-1"
    assert len(made) == 32


def test_every_documented_request_is_accepted_by_its_schema(client: TestClient) -> None:
    """The examples in /docs pass validation: with a model that does not exist they get a 404, not a 422."""
    paths = client.get("/openapi.json").json()["paths"]
    for path in ("/predict", "/generate", "/generate_stream"):
        examples = paths[path]["post"]["requestBody"]["content"]["application/json"]["examples"]
        assert examples
        for example in examples.values():
            body = {"model": "not-here", **example["value"], "version": None} | {"model": "not-here"}
            response = client.post(path, content=json.dumps(body), headers={"Content-Type": "application/json"})
            assert response.status_code == 404, (path, response.text)
