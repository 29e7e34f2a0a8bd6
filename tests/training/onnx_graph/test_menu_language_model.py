"""Walks the menu of language models: what a recipe may combine exports, verifies, streams, and its state travels."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import product
from typing import Any

import pytest
import torch
from fastapi.testclient import TestClient

from service.bundle.tokenizer import EOS
from service.server.app import create_app
from service.settings import Settings
from tests.conftest import wait_until
from tests.training.exportable import characters_tokenizer, draft_of, lively, questions_of
from training.config.networks import LanguageModelConfig
from training.networks.language_model import LanguageModel
from training.publish.export import export_bundle

_CELLS = ("lstm", "gru", "gru_before", "rnn")
_TIES: tuple[dict[str, Any], ...] = (
    {"embedding_size": 9},
    {"embedding_size": 7, "tie_embeddings": True},
    {"embedding_size": 5, "tie_embeddings": True},
)
_STACKS = list(product(("none", "residual", "highway"), (False, True)))
NAMES = [f"language-model-{number}" for number in range(len(_STACKS) * 2)]
GREEDY = {"max_new_tokens": 12}


def _network(number: int) -> LanguageModel:
    """The stack of that number with the cells and ties in turn; all that regularises is on and must leave no trace."""
    connection, layer_norm = _STACKS[number % len(_STACKS)]
    config = LanguageModelConfig.model_validate(
        {"connection": connection, "layer_norm": layer_norm, "layers": 1 + number % 3, "hidden_size": 7}
        | {"cell": _CELLS[(number + number // 4) % 4], **_TIES[(number + number // 3) % 3]}
        | {"weight_drop": 0.5, "embedding_dropout": 0.3, "input_dropout": 0.4, "layer_dropout": 0.2}
        | {"locked_dropout": ("none", "layers", "all")[number % 3], "activation_penalty": 2.0, "change_penalty": 1.0}
        | {"sampled_softmax": 5 * (number % 2), "random_window": True}
    )
    network = lively(LanguageModel(config, characters_tokenizer().vocabulary_size))
    with torch.no_grad():
        network.output.bias[EOS] = -100.0  # no text shall end before it was asked to
    return network


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """A service with a bundle of each combination, verified against torch before it was published."""
    root = tmp_path_factory.mktemp("menu")
    for number, name in enumerate(NAMES):
        network = _network(number)
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
    """Five tokens and seven more from the state they left are the twelve of one request."""
    whole = _generated(client, model=name, inputs="a big dog", parameters=GREEDY)["generated_text"]
    first = _generated(client, model=name, inputs="a big dog", parameters={"max_new_tokens": 5}, return_state=True)
    rest = _generated(client, model=name, inputs="", parameters={"max_new_tokens": 7}, state=first["state"])
    assert first["generated_text"] + rest["generated_text"] == whole
