"""Raw text in, sentences out, by every way to a parser: JSON, tensors, the client, the command line, and tables."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from typer.testing import CliRunner

from service.cli.commands import app
from service.client.answers.predictions import Parsing
from service.offline import Scorer
from tests.api.protocols.open_inference.requests import data_of, infer, tensor, text
from tests.conftest import running_service
from tests.tasks.parsing.tiny_text_parser import MODEL, write_text_parser
from tests.tiny_bundles import write_tiny_bundle

TEXT = "Ada lives du mat. The cat\n\nhello"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A parser that cuts text, and one that does not."""
    root = tmp_path_factory.mktemp("texts") / "models"
    write_text_parser(root)
    write_tiny_bundle(root, "parsing")
    return root


@pytest.fixture(scope="module")
def client(models: Path) -> Iterator[TestClient]:
    with running_service(models) as started:
        yield started


def asked(client: TestClient, inputs: Any, model: str = MODEL, **parameters: Any) -> Any:
    return client.post("/predict", json={"model": model, "inputs": inputs, "parameters": parameters})


def answered(client: TestClient, inputs: Any, **parameters: Any) -> dict[str, Any]:
    response = asked(client, inputs, **parameters)
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()["predictions"][0]
    return found


def test_the_answer_has_all_sentences(client: TestClient) -> None:
    """With their words, the multiword token, and CoNLL-U; the client reads it."""
    found = answered(client, TEXT, conllu=True)
    assert [token["text"] for token in found["tokens"]] == ["Ada", "lives", "de", "le", "mat.", "The", "cat", "hello"]
    assert found["sentences"] == [
        {"start": 0, "end": 17, "first_token": 0, "num_tokens": 5},
        {"start": 18, "end": 25, "first_token": 5, "num_tokens": 2},
        {"start": 27, "end": 32, "first_token": 7, "num_tokens": 1},
    ]
    assert found["multiword_tokens"] == [{"text": "du", "start": 10, "end": 12, "first_token": 2, "num_tokens": 2}]
    assert found["conllu"].count("# sent_id = ") == 3
    assert "\n3-4\tdu\t_" in found["conllu"]
    assert Parsing.model_validate(found).model_dump(exclude_none=True)["sentences"] == found["sentences"]


def test_texts_of_one_request_are_cut_apart(client: TestClient) -> None:
    """Each has its own answer, a list of words among them none of sentences."""
    many = asked(client, [TEXT, "hello", ["the", "cat"]]).json()["predictions"]
    assert many[0] == answered(client, TEXT)
    assert [len(each.get("sentences", [])) for each in many] == [3, 1, 0]


def test_limits_are_told(client: TestClient) -> None:
    """Of characters, with the place; of words where rules cut the text; what has no words is refused."""
    long = asked(client, ["hello", "a " * 201])
    assert long.status_code == 422
    assert "the input has 402 characters, this model takes at most 400" in long.text
    assert "inputs[1]" in long.text or "inputs.1" in long.text
    assert asked(client, "the " * 41, segment=False).status_code == 422
    assert answered(client, "the " * 99)["sentences"][0]["num_tokens"] <= 40
    assert asked(client, " \n ").status_code == 422
    assert asked(client, "\u200b").status_code == 422


def test_a_model_that_cuts_no_text_says_so(client: TestClient) -> None:
    """Where it is asked to; without the parameter it answers one sentence."""
    refused = asked(client, TEXT, "tiny-parser", segment=True)
    assert refused.status_code == 422
    assert "does not cut text into sentences" in refused.text
    assert "sentences" not in asked(client, TEXT, "tiny-parser").json()["predictions"][0]


def test_tensors_have_the_sentences(client: TestClient) -> None:
    """Their lengths and places; a list of words is one sentence without a place; `segment` is a parameter."""
    found = data_of(client, MODEL, text(TEXT, "hello"))
    assert found["sentence_lengths"] == [5, 2, 1, 1, -1, -1]
    assert found["sentence_offsets"] == [0, 17, 18, 25, 27, 32, 0, 5, *[-1] * 4]
    words = data_of(client, MODEL, tensor("words", [["the", "cat"]], [1, 2]))
    assert (words["sentence_lengths"], words["sentence_offsets"]) == ([2], [-1, -1])
    whole = infer(client, MODEL, text("a b. c"), parameters={"segment": False})
    assert whole["sentence_lengths"]["data"] == [4]
    asked_for = data_of(client, MODEL, text(TEXT), outputs=[{"name": "conllu"}])["conllu"]
    assert asked_for == [answered(client, TEXT, conllu=True)["conllu"]]


def test_tables_have_the_sentences(models: Path, client: TestClient) -> None:
    """Words of all of them, how many each has, and CoNLL-U without ids, which would repeat from row to row."""
    scorer = Scorer(models / MODEL, output_columns=["words", "sentence_lengths", "multiword_tokens", "conllu"])
    columns = scorer({"text": [TEXT, "hello"]})
    assert [list(lengths) for lengths in columns["sentence_lengths"]] == [[5, 2, 1], [1]]
    assert list(columns["words"][0]) == [token["text"] for token in answered(client, TEXT)["tokens"]]
    assert '"text": "du"' in columns["multiword_tokens"][0]
    assert columns["conllu"][0].count("# text = ") == 3
    assert "sent_id" not in columns["conllu"][0]


def test_the_command_line_writes_all_sentences(models: Path, tmp_path: Path) -> None:
    """Ids are the number of the text and of the sentence in it."""
    out = tmp_path / "trees.conllu"
    arguments = ["predict", "--models", str(models), "-m", MODEL, TEXT, "hello", "--out", str(out)]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    ids = [line for line in out.read_text(encoding="utf-8").splitlines() if line.startswith("# sent_id")]
    assert ids == ["# sent_id = 1.1", "# sent_id = 1.2", "# sent_id = 1.3", "# sent_id = 2.1"]
