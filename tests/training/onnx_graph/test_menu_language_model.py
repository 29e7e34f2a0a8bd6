"""The menu of language models: every combination exports, verifies, streams, and returns a reusable state."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient

from service.server.app import create_app
from service.settings import Settings
from tests.conftest import wait_until
from tests.training.exportable import draft_of, questions_of
from tests.training.menus import LANGUAGE_MODEL_STACKS, menu_language_model
from training.publish.export import export_bundle

NAMES = [f"language-model-{number}" for number in range(len(LANGUAGE_MODEL_STACKS) * 2)]
GREEDY = {"max_new_tokens": 12}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """A client of a service with a bundle of each combination, verified against torch before publishing."""
    root = tmp_path_factory.mktemp("menu")
    for number, name in enumerate(NAMES):
        network = menu_language_model(number)
        export_bundle(network, draft_of(network, name), questions_of(network), root)
    app = create_app(Settings(models_dir=root))
    with TestClient(app) as client:
        wait_until(app.state.loading.done)
        assert client.get("/health/ready").status_code == 200
        yield client


def _generated(client: TestClient, **body: Any) -> Any:
    response = client.post("/generate", json=body)
    assert response.status_code == 200, response.text
    return response.json()


@pytest.mark.parametrize("name", NAMES)
def test_a_stream_says_what_the_whole_answer_says(client: TestClient, name: str) -> None:
    body = {"model": name, "inputs": "the cat", "parameters": GREEDY}
    whole = _generated(client, **body)["generated_text"]
    lines = client.post("/generate_stream", json=body).text.split("\n\n")
    events = [json.loads(line.removeprefix("data:")) for line in lines if line]
    assert "".join(event["token"]["text"] for event in events if not event["token"]["special"]) == whole


@pytest.mark.parametrize("name", NAMES)
def test_a_text_goes_on_from_its_state(client: TestClient, name: str) -> None:
    """Five tokens plus seven from the returned state equal the twelve tokens of one request."""
    whole = _generated(client, model=name, inputs="a big dog", parameters=GREEDY)["generated_text"]
    first = _generated(client, model=name, inputs="a big dog", parameters={"max_new_tokens": 5}, return_state=True)
    rest = _generated(client, model=name, inputs="", parameters={"max_new_tokens": 7}, state=first["state"])
    assert first["generated_text"] + rest["generated_text"] == whole
