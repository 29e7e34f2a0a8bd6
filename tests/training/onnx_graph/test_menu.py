"""The menu of taggers and classifiers: every combination exports, verifies, and answers over HTTP."""

from __future__ import annotations

from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from service.server.app import create_app
from service.settings import Settings
from tests.conftest import wait_until
from tests.training.exportable import draft_of, questions_of
from tests.training.menus import TEXT_STACKS, menu_text_networks
from training.publish.export import export_bundle


@pytest.fixture(scope="module")
def menu(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of each combination, verified against torch before publishing."""
    root = tmp_path_factory.mktemp("menu")
    for name, network in menu_text_networks():
        export_bundle(network, draft_of(network, name), questions_of(network), root)
    return root


def test_every_dish_of_the_menu_is_served(menu: Path) -> None:
    """Each loaded bundle reproduces its recorded answers, and answers a request with a new text."""
    app = create_app(Settings(models_dir=menu))
    with TestClient(app) as client:
        wait_until(app.state.loading.done)
        assert client.get("/health/ready").status_code == 200
        names = [model["name"] for model in client.get("/models").json()["models"]]
        assert len(names) == 2 * len(TEXT_STACKS) + 5
        for name in names:
            answer = client.post("/predict", json={"model": name, "inputs": ["the red bird", "a cat sat on the mat"]})
            assert answer.status_code == 200, answer.text
            short, long = answer.json()["predictions"]
            assert short != long
            assert ("label" in short) == (name.startswith("classifier") or _is_joint(name))


def _is_joint(name: str) -> bool:
    return int(name.removeprefix("tagger-")) % 4 != 1
