"""The model card has all required information, and only facts from the manifest."""

from __future__ import annotations

import re

import pytest

from service.bundle.load import Example
from service.bundle.manifest import DataSource, GraphSpec, Manifest, Parity, Score, TrainingFacts
from service.bundle.task_options import ClassificationOptions, GenerationOptions
from training.publish.model_card import model_card

EXAMPLE = Example("it's late", {"top_k": 2}, {"label": "b", "score": 0.75})
MANIFEST = Manifest(
    name="moods",
    task="classification",
    description="Tells moods apart.",
    language="English",
    licence="CC BY 4.0",
    options=ClassificationOptions(),
    graphs={"classifier": GraphSpec(file="classifier.onnx", inputs=(), outputs=())},
    labels=("a", "b"),
    tokenizers={"text": "tokenizer.json"},
    training=TrainingFacts(
        data=(DataSource(name="Mood Set", licence="CC BY 4.0", attribution="By A. Author.", splits={"train": "abc"}),),
        recipe="moods",
        parameters=12345,
        library_versions={"torch": "2"},
    ),
    scores=(Score(measure="accuracy", value=91.25, baseline=80.5, baseline_name="majority label"),),
    parity=Parity(max_difference=1e-6, tolerance=1e-4, checks={"padding": 3e-7}),
)


@pytest.mark.parametrize(
    "fact",
    [
        "# moods, version 1",
        "Tells moods apart.",
        "Gives a whole text one of 2 labels.",
        "Licence: CC BY 4.0.",
        "| accuracy | dev | 91.25 | 80.50 (majority label) |",
        "**Mood Set**, licence CC BY 4.0. By A. Author.",
        "train: sha256 `abc`",
        "| weights | 12,345 |",
        "| padding | 3.0e-07 |",
        "At most 512 tokens",
        "unroll train moods",
        '{"label": "b", "score": 0.75}',
    ],
)
def test_the_card_tells(fact: str) -> None:
    """The card has purpose, licence, scores, baseline, data attribution, limits, parity, recipe and an example."""
    assert fact in model_card(MANIFEST, EXAMPLE)


def test_the_request_can_be_pasted_into_a_shell() -> None:
    """An apostrophe in the example is shell-quoted in the request."""
    card = model_card(MANIFEST, EXAMPLE)
    assert r"""it'"'"'s late""" in card
    assert "/predict" in card


def test_what_is_not_known_is_not_claimed() -> None:
    """Without scores, parity, data and recipe the card states that they are unknown."""
    bare = MANIFEST.model_copy(update={"scores": (), "parity": None, "training": TrainingFacts()})
    card = model_card(bare, EXAMPLE)
    assert "It has not been scored." in card
    assert "Not verified." in card
    assert "Not recorded." in card
    assert "unroll train" not in card


def test_a_model_of_own_data_names_its_files() -> None:
    """For user data the card's command has the task and file names, without a recipe or local folders."""
    config: dict[str, object] = {"data": {"train": "/data/someone/my train.csv", "dev": ""}}
    facts = MANIFEST.training.model_copy(update={"config": config})
    card = model_card(MANIFEST.model_copy(update={"training": facts}), EXAMPLE)
    assert "unroll train classification --train 'my train.csv' --name moods" in card
    assert "someone" not in card


def test_the_card_leads_to_the_errors() -> None:
    """The card links to the error analysis on dev, except for models without reference outputs."""
    card = model_card(MANIFEST, EXAMPLE)
    assert f"unroll evaluate models/{MANIFEST.name}/{MANIFEST.version} FILE --analysis errors" in card
    assert f"runs/{MANIFEST.name}/analysis" in card
    generation = MANIFEST.model_copy(update={"task": "generation", "options": GenerationOptions()})
    assert "--analysis" not in model_card(generation, EXAMPLE)


def test_every_table_has_the_same_number_of_cells_in_each_row() -> None:
    """A vertical bar in a cell does not break the table."""
    score = Score(measure="bleu", value=1.0, detail="a|b")
    card = model_card(MANIFEST.model_copy(update={"scores": (score,)}), EXAMPLE)
    tables = re.findall(r"(?:^\|.*\n)+", card, flags=re.MULTILINE)
    assert len(tables) == 3
    assert all(len({line.count("|") for line in table.splitlines()}) == 1 for table in tables)
