"""`POST /v1/embeddings`: inputs in four forms, encodings, usage, every kind of model, refusals in OpenAI's shape."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from service.bundle.load import load_bundle
from service.inference.engines.open_bundle import open_bundle
from tests.tiny_graph import HIDDEN

PATH = "/v1/embeddings"
TEXTS = ["hello world", "one two one", "the cat sat on a mat"]


def embed(client: TestClient, **wishes: Any) -> dict[str, Any]:
    response = client.post(PATH, json={"model": "tiny-classifier", "input": TEXTS} | wishes)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def vectors(client: TestClient, **wishes: Any) -> Any:
    return np.array([one["embedding"] for one in embed(client, **wishes)["data"]])


def refusal(client: TestClient, body: Any, status: int = 400) -> dict[str, Any]:
    response = client.post(PATH, json=body)
    assert response.status_code == status, response.text
    error: dict[str, Any] = response.json()["error"]
    return error


def test_vectors_are_of_length_1_in_the_order_of_the_inputs(client: TestClient) -> None:
    """As OpenAI's are, so that their products are cosines; the usage counts the tokens of all inputs."""
    answer = embed(client)
    assert [one["index"] for one in answer["data"]] == [0, 1, 2]
    assert (answer["object"], answer["model"]) == ("list", "tiny-classifier")
    assert answer["usage"] == {"prompt_tokens": 11, "total_tokens": 11}
    found = np.array([one["embedding"] for one in answer["data"]])
    assert found.shape == (3, HIDDEN)
    assert np.linalg.norm(found, axis=1) == pytest.approx(1.0)
    alone = np.concatenate([vectors(client, input=text) for text in TEXTS])
    assert found == pytest.approx(alone, abs=1e-6)


def test_more_inputs_than_a_request_may_have_elsewhere_are_taken_in_parts(client: TestClient) -> None:
    """Clients send a thousand at once: order, usage and the place of a bad input are those of the whole list."""
    texts = [TEXTS[index % 3] for index in range(300)]
    answer = embed(client, input=texts)
    assert [one["index"] for one in answer["data"]] == list(range(300))
    assert answer["usage"]["prompt_tokens"] == 100 * embed(client)["usage"]["prompt_tokens"]
    found = np.array([one["embedding"] for one in answer["data"]])
    assert found == pytest.approx(np.tile(vectors(client), (100, 1)), abs=1e-6)
    error = refusal(client, {"model": "tiny-classifier", "input": [*texts, " "]})
    assert (error["param"], "empty" in error["message"]) == ("input.300", True)


def test_without_normalisation_they_are_what_the_model_computes(client: TestClient) -> None:
    """The direction is the same, and the vector is that of `return_hidden`."""
    plain, unit = vectors(client, normalize=False), vectors(client)
    assert plain / np.linalg.norm(plain, axis=1, keepdims=True) == pytest.approx(unit, abs=1e-6)
    body = {"model": "tiny-classifier", "inputs": TEXTS, "parameters": {"return_hidden": True}}
    predictions = client.post("/predict", json=body).json()["predictions"]
    assert np.array([one["hidden"] for one in predictions]) == pytest.approx(plain, abs=1e-6)


def test_base64_is_little_endian_float32(client: TestClient) -> None:
    """OpenAI's Python client asks for it, and decodes it with numpy."""
    data = embed(client, encoding_format="base64")["data"]
    found = [np.frombuffer(base64.b64decode(one["embedding"]), dtype="<f4") for one in data]
    assert np.stack(found) == pytest.approx(vectors(client), abs=1e-7)


@pytest.mark.parametrize("name", ["tiny-tagger", "tiny-translator", "tiny-generator"])
def test_every_kind_of_model_gives_vectors(client: TestClient, name: str) -> None:
    """A batch of texts of different lengths gives the vectors that each text has alone."""
    together = vectors(client, model=name, input=TEXTS)
    alone = np.concatenate([vectors(client, model=name, input=text) for text in TEXTS])
    assert together == pytest.approx(alone, abs=1e-5)
    assert len({tuple(row) for row in together.round(3).tolist()}) == len(TEXTS)


def test_a_language_model_reads_token_ids(client: TestClient, tiny_models: Any) -> None:
    """Ids are those of its tokenizer: one list is one input, a list of lists several."""
    tokenizer = load_bundle(tiny_models / "tiny-generator" / "1").tokenizers["text"]
    ids = [tokenizer.encode(text) for text in TEXTS]
    texts = vectors(client, model="tiny-generator", input=TEXTS)
    assert vectors(client, model="tiny-generator", input=ids) == pytest.approx(texts, abs=1e-6)
    assert vectors(client, model="tiny-generator", input=ids[1])[0] == pytest.approx(texts[1], abs=1e-6)


def test_a_language_models_vector_is_that_of_its_last_token(tiny_models: Any) -> None:
    """Read in parts, from state to state, a text has the vector that it has in one run."""
    opened = open_bundle(tiny_models / "tiny-generator" / "1", device="cpu")
    example = opened.task.embedding_example("the cat sat on a mat, and one dog")
    (whole,) = opened.task.embed(opened.runner, [example])
    feeds = {"tokens": np.array([example.ids]), "lengths": np.array([len(example.ids)])}
    states = {spec.name: np.zeros((1, 1, HIDDEN), np.float32) for spec in opened.bundle.manifest.state}
    found = opened.runner.run_with_hidden("prompt", {**feeds, **states})["hidden_states"]
    assert whole == pytest.approx(found[0, -1], abs=1e-6)


@pytest.mark.parametrize(
    ("wishes", "param", "message"),
    [
        ({"input": []}, "input", "empty"),
        ({"input": ""}, "input", "empty"),
        ({"input": ["one", " "]}, "input.1", "empty"),
        ({"input": [["one"]]}, "input", ""),
        ({"input": [5, 6]}, "input", "language models only"),
        ({"input": [[5], [6]]}, "input", "check_embedding_ctx_length=False"),
        ({"input": {"text": "one"}}, "input", "text"),
        ({"input": None}, "input", ""),
        ({"input": ["one"] * 2049}, "input", "2049 inputs in one request, at most 2048"),
        ({"input": "one " * 50}, "input", "at most 40"),
        ({"encoding_format": "int8"}, "encoding_format", "base64"),
        ({"dimensions": 3}, "dimensions", f"have {HIDDEN} numbers"),
        ({"dimensions": 0}, "dimensions", ""),
        ({"normalize": "yes"}, "normalize", ""),
        ({"dimension": 4}, "dimension", "dimensions"),
        ({"model": None}, "model", "tiny-classifier, tiny-generator"),
        ({"model": "tiny-generator", "input": [10**6]}, "input.0", ""),
        ({"model": "tiny-generator", "input": [[5], [-1]]}, "input", ""),
        ({"model": "tiny-generator", "input": [1.5, float("1e3")]}, "input", ""),
    ],
)
def test_what_cannot_be_embedded_is_refused(
    client: TestClient, wishes: dict[str, Any], param: str, message: str
) -> None:
    """Each with status 400, the field at fault and what is allowed."""
    error = refusal(client, {"model": "tiny-classifier", "input": "one"} | wishes)
    assert str(error["param"]).startswith(param)
    assert error["type"] == "invalid_request_error"
    assert message in error["message"]


def test_an_unknown_model_is_404_and_names_those_that_there_are(client: TestClient) -> None:
    """Names of models elsewhere, such as text-embedding-3-small, are no reason to guess."""
    error = refusal(client, {"model": "text-embedding-3-small", "input": "one"}, 404)
    assert (error["code"], error["param"]) == ("model_not_found", "model")
    assert "tiny-tagger" in error["message"]


def test_the_size_of_the_model_may_be_asked_for(client: TestClient) -> None:
    assert vectors(client, dimensions=HIDDEN).shape == (3, HIDDEN)
