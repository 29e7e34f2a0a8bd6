"""Sequences keep a state between requests: as long as they are not ended, and for their caller alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient

from tests.api.protocols.open_inference.requests import data_of, text
from tests.conftest import running_service
from tests.tiny_bundles import write_tiny_bundle

MODEL = "tiny-tagger-chunks"
CHUNKS = ("the cat", "sat on", "a mat")


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    root = tmp_path_factory.mktemp("sequences") / "models"
    write_tiny_bundle(root, "tagging", reads_chunks=True)
    write_tiny_bundle(root, "generation")
    with running_service(root) as started:
        yield started


def scores(client: TestClient, chunk: str, **parameters: Any) -> list[float]:
    found: list[float] = data_of(client, MODEL, text(chunk), parameters=parameters)["scores"]
    return found


def refusal(client: TestClient, model: str, parameters: dict[str, Any], **headers: str) -> str:
    body = {"inputs": [text("the cat")], "parameters": parameters}
    response = client.post(f"/v2/models/{model}/infer", json=body, headers=headers)
    assert response.status_code == 400, response.text
    message: str = response.json()["error"]
    return message


def test_chunks_of_a_sequence_are_read_as_one_text(client: TestClient) -> None:
    whole = scores(client, " ".join(CHUNKS))
    first = scores(client, CHUNKS[0], sequence_id=5, sequence_start=True)
    other = scores(client, "world", sequence_id="5", sequence_start=True)  # a text is another sequence than a number
    second = scores(client, CHUNKS[1], sequence_id=5)
    last = scores(client, CHUNKS[2], sequence_id=5, sequence_end=True)
    assert [*first, *second, *last] == pytest.approx(whole, abs=1e-5)
    assert len(other) == 1
    assert "begin it with sequence_start" in refusal(client, MODEL, {"sequence_id": 5})


def test_a_sequence_may_begin_anew(client: TestClient) -> None:
    for _ in range(2):
        again = scores(client, CHUNKS[0], sequence_id=6, sequence_start=True)
        assert again == pytest.approx(scores(client, CHUNKS[0]), abs=1e-6)


def test_callers_do_not_reach_the_sequences_of_others(client: TestClient) -> None:
    body = {"inputs": [text("the cat")], "parameters": {"sequence_id": 7, "sequence_start": True}}
    client.post(f"/v2/models/{MODEL}/infer", json=body, headers={"Authorization": "Bearer a"})
    for headers in ({"Authorization": "Bearer b"}, {}):
        assert "has not begun" in refusal(client, MODEL, {"sequence_id": 7}, **headers)


def test_a_state_may_travel_as_a_tensor(client: TestClient) -> None:
    """It is what /predict gives and takes, so that either protocol continues the other."""
    outputs = [{"name": "scores"}, {"name": "state"}]
    first = data_of(client, MODEL, text(CHUNKS[0]), outputs=outputs)
    second = data_of(client, MODEL, text(CHUNKS[1]), text(*first["state"], name="state"), outputs=outputs)
    body = {"model": MODEL, "inputs": CHUNKS[2], "state": second["state"][0]}
    third = [token["score"] for token in client.post("/predict", json=body).json()["predictions"][0]["tokens"]]
    whole = scores(client, " ".join(CHUNKS))
    assert [*first["scores"], *second["scores"], *third] == pytest.approx(whole, abs=1e-5)


def test_a_text_is_continued_by_its_state(client: TestClient) -> None:
    parameters = {"max_new_tokens": 4}
    outputs = [{"name": "text_output"}, {"name": "state"}]
    first = data_of(client, "tiny-generator", text("Hello "), parameters=parameters, outputs=outputs)
    state = text(*first["state"], name="state")
    second = data_of(client, "tiny-generator", text(""), state, parameters=parameters)
    whole = data_of(client, "tiny-generator", text("Hello "), parameters={"max_new_tokens": 8})
    assert first["text_output"][0] + second["text_output"][0] == whole["text_output"][0]


@pytest.mark.parametrize(
    ("inputs", "parameters", "sentence"),
    [
        ([text("a", "b")], {"sequence_id": 9, "sequence_start": True}, "one chunk at a time"),
        ([text("a"), text("x", name="state")], {}, "this is not a state token"),
        ([text("a"), text("x", "y", name="state")], {}, "continues from one state"),
        ([text("a"), text("x", name="state")], {"sequence_id": 9}, "a sequence or a state, not both"),
    ],
)
def test_what_cannot_be_continued_is_refused(
    client: TestClient, inputs: list[Any], parameters: dict[str, Any], sentence: str
) -> None:
    response = client.post(f"/v2/models/{MODEL}/infer", json={"inputs": inputs, "parameters": parameters})
    assert response.status_code == 400
    assert sentence in response.json()["error"]
