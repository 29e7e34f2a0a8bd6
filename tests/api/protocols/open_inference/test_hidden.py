"""The hidden state as a tensor: of the task by the name `embedding`, and as the graph has it."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi.testclient import TestClient

from tests.tiny_bundles import NAMES
from tests.tiny_graph import HIDDEN


def infer(client: TestClient, model: str, body: dict[str, Any]) -> dict[str, Any]:
    response = client.post(f"/v2/models/{model}/infer", json=body)
    assert response.status_code == 200, response.text
    return {tensor["name"]: tensor for tensor in response.json()["outputs"]}


def texts(*values: str) -> dict[str, Any]:
    return {"inputs": [{"name": "text", "datatype": "BYTES", "shape": [len(values)], "data": list(values)}]}


@pytest.mark.parametrize("model", sorted(NAMES.values()))
def test_every_task_gives_an_embedding_on_request(client: TestClient, model: str) -> None:
    """It is FP32 `[batch, width]`, that of /v1/embeddings, and not among the outputs that are not asked for."""
    both = ["hello world", "the cat"]
    found = infer(client, model, texts(*both) | {"outputs": [{"name": "embedding"}]})
    assert found.keys() == {"embedding"}
    assert (found["embedding"]["datatype"], found["embedding"]["shape"]) == ("FP32", [2, HIDDEN])
    other = client.post("/v1/embeddings", json={"model": model, "input": both, "normalize": False}).json()["data"]
    assert found["embedding"]["data"] == pytest.approx([n for one in other for n in one["embedding"]], abs=1e-5)
    assert "embedding" not in infer(client, model, texts("hello"))


def test_an_embedding_comes_beside_other_outputs_and_normalised(client: TestClient) -> None:
    """In the order in which they are asked for."""
    wanted = {"outputs": [{"name": "label"}, {"name": "embedding"}], "parameters": {"normalize": True}}
    found = infer(client, "tiny-classifier", texts("hello world") | wanted)
    assert list(found) == ["label", "embedding"]
    assert sum(number**2 for number in found["embedding"]["data"]) == pytest.approx(1.0)


def test_a_graph_gives_its_hidden_states_only_on_request(client: TestClient) -> None:
    """Its metadata list them; a request without outputs gets what it got before."""
    names = {tensor["name"] for tensor in client.get("/v2/models/tiny-generator.prompt").json()["outputs"]}
    assert names == {"logits", "next_hidden", "next_cell", "hidden_states"}
    state = [
        {"name": name, "datatype": "FP32", "shape": [1, 1, HIDDEN], "data": [0.0] * HIDDEN}
        for name in ("hidden", "cell")
    ]
    tokens = {"name": "tokens", "datatype": "INT64", "shape": [1, 3], "data": [5, 6, 7]}
    body = {"inputs": [tokens, {"name": "lengths", "datatype": "INT64", "shape": [1], "data": [3]}, *state]}
    assert infer(client, "tiny-generator.prompt", body).keys() == names - {"hidden_states"}
    found = infer(client, "tiny-generator.prompt", body | {"outputs": [{"name": "hidden_states"}]})
    assert found["hidden_states"]["shape"] == [1, 3, HIDDEN]


@pytest.mark.parametrize(
    ("model", "wishes", "field", "message"),
    [
        ("tiny-classifier", {"parameters": {"return_hidden": True}}, "parameters.return_hidden", "'embedding'"),
        ("tiny-classifier", {"parameters": {"normalize": True}}, "parameters.normalize", "'embedding'"),
        (
            "tiny-generator",
            {"outputs": [{"name": "embedding"}], "parameters": {"sequence_id": 7, "sequence_start": True}},
            "outputs.embedding",
            "without a sequence",
        ),
    ],
)
def test_an_embedding_that_would_not_be_given_is_refused(
    client: TestClient, model: str, wishes: dict[str, Any], field: str, message: str
) -> None:
    """Where a parameter would have no effect, or a sequence would not be continued."""
    response = client.post(f"/v2/models/{model}/infer", json=texts("hello") | wishes)
    assert response.status_code == 400
    (detail,) = response.json()["detail"]
    assert (detail["field"], message in detail["message"]) == (field, True)
    both = {"outputs": [{"name": "embedding"}, {"name": "label"}], "parameters": {"return_hidden": True}}
    assert list(infer(client, "tiny-classifier", texts("hello") | both)) == ["embedding", "label"]
