"""Walks the menu of taggers and classifiers: whatever a recipe may combine exports, verifies, and answers by HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from service.server.app import create_app
from service.settings import Settings
from tests.conftest import wait_until
from tests.training.exportable import draft_of, lively, questions_of, vocabulary_sizes
from tests.training.tiny_character_models import contextual_tagger
from training.config.networks import ClassifierConfig, TaggerConfig
from training.networks.classifier import Classifier
from training.networks.network import Network
from training.networks.tagger import Tagger
from training.publish.export import export_bundle

_SMALL = {"hidden_size": 7, "layers": 2, "character_size": 4, "character_hidden_size": 5}
_STACKS = list(product(("none", "residual", "highway"), (False, True), (True, False)))
_READERS = ("cnn", "rnn", "none")
_CELLS = ("lstm", "gru", "gru_before", "rnn")
_POOLINGS = ("max", "last", "max+mean", "last+max+mean", "attention", "mean")
_FEED_FORWARD = {f"classifier-{kind.replace('+', '-')}": kind for kind in _POOLINGS if "last" not in kind}


def _choice(number: int) -> dict[str, object]:
    """The stack of that number, and beside it the other dishes in turn, so that each is met with many."""
    connection, layer_norm, bidirectional = _STACKS[number]
    dishes = {"connection": connection, "layer_norm": layer_norm, "bidirectional": bidirectional}
    return {**_SMALL, **dishes, "cell": _CELLS[(number + number // 4) % 4], "characters": _READERS[(number // 2) % 3]}


def _tagger(number: int) -> Network:
    decoder, joint = ("crf", "softmax")[number % 2], number % 4 != 1
    pooling = {"joint": joint, "text_pooling": _POOLINGS[number % 6]}
    config = TaggerConfig.model_validate({**_choice(number), "word_size": 6, "decoder": decoder, **pooling})
    words, characters, labels = vocabulary_sizes()
    return lively(Tagger(config, words, characters, labels, text_labels=3 if joint else 0))


def _classifier(number: int) -> Network:
    config = ClassifierConfig.model_validate(
        {**_choice(number), "embedding_size": 6, "pooling": _POOLINGS[number % 6], "locked_dropout": number % 2 == 0}
    )
    words, characters, labels = vocabulary_sizes()
    return lively(Classifier(config, words, labels, characters))


def _feed_forward(pooling: str) -> Network:
    """A classifier without a recurrence, one or two layers deep; wide enough that not all of a layer is below zero."""
    characters = "cnn" if pooling == "mean" else "none"
    sizes = {"hidden_size": 24, "embedding_size": 6, "character_size": 4, "character_hidden_size": 5}
    config = ClassifierConfig.model_validate(
        {**sizes, "cell": "none", "pooling": pooling, "characters": characters, "layers": 1 + (pooling == "mean")}
    )
    words, spellings, labels = vocabulary_sizes()
    return lively(Classifier(config, words, labels, spellings))


def _dishes() -> Iterator[tuple[str, Network]]:
    for number in range(len(_STACKS)):
        yield f"tagger-{number}", _tagger(number)
        yield f"classifier-{number}", _classifier(number)
    yield f"tagger-{len(_STACKS) + 1}", contextual_tagger("gru", decoder="crf")
    for name, pooling in _FEED_FORWARD.items():
        yield name, _feed_forward(pooling)


@pytest.fixture(scope="module")
def menu(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of each combination, verified against torch before it was published."""
    root = tmp_path_factory.mktemp("menu")
    for name, network in _dishes():
        export_bundle(network, draft_of(network, name), questions_of(network), root)
    return root


def test_every_dish_of_the_menu_is_served(menu: Path) -> None:
    """Each bundle repeats its recorded answers when it is loaded, and answers a request for a text of its own."""
    app = create_app(Settings(models_dir=menu))
    with TestClient(app) as client:
        wait_until(app.state.loading.done)
        assert client.get("/health/ready").status_code == 200
        names = [model["name"] for model in client.get("/models").json()["models"]]
        assert len(names) == 2 * len(_STACKS) + 5
        for name in names:
            answer = client.post("/predict", json={"model": name, "inputs": ["the red bird", "a cat sat on the mat"]})
            assert answer.status_code == 200, answer.text
            short, long = answer.json()["predictions"]
            assert short != long
            assert ("label" in short) == (name.startswith("classifier") or _is_joint(name))


def _is_joint(name: str) -> bool:
    return int(name.removeprefix("tagger-")) % 4 != 1
