"""`generate` and `generate_stream`: one text in JSON, for language models and for all that read texts."""

from __future__ import annotations

import json
from typing import Any

import pytest
from fastapi.testclient import TestClient

from tests.conftest import wait_until
from tests.live_server import LiveServer, live_server, post

PATH = "/v2/models/tiny-generator/generate"


def events(body: bytes) -> list[dict[str, Any]]:
    return [json.loads(event.removeprefix(b"data: ")) for event in body.split(b"\n\n") if event]


@pytest.mark.parametrize(
    "body",
    [
        {"text_input": "Hello ", "parameters": {"max_new_tokens": 6, "seed": 3, "do_sample": True}},
        {
            "text_input": "Hello ",
            "max_tokens": 6,
            "random_seed": 3,
            "do_sample": True,
            "stop_words": "",
            "stream": False,
        },
    ],
)
def test_the_text_is_that_of_generate_whole_or_streamed(client: TestClient, body: dict[str, Any]) -> None:
    """Parameters stand where one client or the other puts them, by either name."""
    asked = {"inputs": "Hello ", "parameters": {"max_new_tokens": 6, "seed": 3, "do_sample": True}}
    plain = client.post("/generate", json=asked).json()["generated_text"]
    whole = client.post(PATH, content=json.dumps(body | {"id": "i"})).json()
    assert (whole["text_output"], whole["id"], whole["model_name"]) == (plain, "i", "tiny-generator")
    streamed = events(client.post(f"{PATH}_stream", json=body).content)
    assert "".join(event["text_output"] for event in streamed) == plain
    assert [event.get("finish_reason") for event in streamed] == [None] * (len(streamed) - 1) + [whole["finish_reason"]]


def test_every_model_that_reads_texts_answers(client: TestClient) -> None:
    body = {"text_input": "the cat sat", "parameters": {}}
    translated = client.post("/v2/models/tiny-translator/generate", json=body).json()
    tagged = client.post("/v2/models/tiny-tagger/versions/1/generate", json=body).json()
    (event,) = events(client.post("/v2/models/tiny-classifier/generate_stream", json=body).content)
    assert isinstance(translated["text_output"], str)
    assert tagged["tokens"] == ["the", "cat", "sat"]
    assert event["label"] in ("greeting", "number", "other")


@pytest.mark.parametrize(
    ("path", "body", "sentence"),
    [
        (PATH, {}, "text_input: this field is needed"),
        (PATH, {"text_input": 3}, "text_input: must be text"),
        (PATH, {"text_input": ""}, "the text is empty"),
        (PATH, {"text_input": "a", "nothing": 1}, "there is no such parameter"),
        (PATH, {"text_input": "a", "temperature": 0}, "parameters.temperature"),
        (f"{PATH}_stream", {"text_input": ""}, "the text is empty"),
        (f"{PATH}_stream", {"text_input": "a", "max_tokens": 10**9}, "writes at most 30 tokens"),
        (f"{PATH}_stream", {"text_input": "a", "sequence_id": 3}, "a stream keeps no state"),
    ],
)
def test_what_is_wrong_is_refused_before_the_stream_begins(
    client: TestClient, path: str, body: dict[str, Any], sentence: str
) -> None:
    response = client.post(path, json=body)
    assert response.status_code == 400
    assert sentence in response.json()["error"]


def test_a_client_that_leaves_frees_its_row(tiny_models: Any) -> None:
    with live_server(tiny_models) as server:
        with server.connect() as connection:
            connection.send(post(f"{PATH}_stream", {"text_input": "Hello ", "max_tokens": 30}))
            assert b"200" in connection.socket.recv(64)
        wait_until(lambda: server.engine("tiny-generator").num_pending == 0)


def test_many_prompts_have_one_budget_of_tokens(tiny_models: Any) -> None:
    with live_server(tiny_models, max_tokens_per_request=100) as server:
        refused = ask(server, [f"{number}" for number in range(8)])
        assert "at most 100 are allowed" in refused["error"]
        wait_until(lambda: server.engine("tiny-generator").num_pending == 0)
        assert len(ask(server, ["a", "b"])["outputs"][0]["data"]) == 2


def ask(server: LiveServer, prompts: list[str]) -> Any:
    tensor = {"name": "text_input", "datatype": "BYTES", "shape": [len(prompts)], "data": prompts}
    body = {"inputs": [tensor], "parameters": {"max_new_tokens": 30}}
    with server.connect() as connection:
        return connection.ask(post("/v2/models/tiny-generator/infer", body)).json
