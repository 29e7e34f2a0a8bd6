"""Imported bundles from the command line to the service: published, proven at load, batched, in chunks and sessions."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from fastapi.testclient import TestClient

from service.bundle.load import load_bundle
from service.errors import BundleError
from service.tasks.recorded import differences
from tests.conftest import running_service
from tests.training.cli.test_commands import refused, unroll
from tests.training.importing.foreign_models import FEATURES, MODELS, Recurrent, by_row, features

NAMES = {"stateful": "lstm with its state", "averaged": "ids to the mean", "turned": "steps in reverse order"}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ONNX files and their bundles, imported by the command."""
    folder = tmp_path_factory.mktemp("imported")
    for name, model in NAMES.items():
        onnx.save_model(MODELS[model]().file(), folder / f"{name}.onnx")
        result = unroll("import", folder / f"{name}.onnx", "--name", name, "--models", folder / "models")
        assert result.exit_code == 0, result.output
        assert result.stdout.strip() == str(folder / "models" / name / "1")
    return folder


@pytest.fixture(scope="module")
def served(home: Path) -> Iterator[TestClient]:
    with running_service(home / "models") as client:
        yield client


def post(client: TestClient, **body: Any) -> dict[str, Any]:
    response = client.post("/predict", json=body)
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found


def test_every_bundle_proves_itself_at_load(served: TestClient) -> None:
    """The service is ready, which it is only if every recorded answer was repeated."""
    assert served.get("/health/ready").status_code == 200
    assert {model["name"] for model in served.get("/models").json()["models"]} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_batch_of_all_examples_gives_the_answers_of_the_original(home: Path, served: TestClient, name: str) -> None:
    """Examples of different lengths, sent together, have the answers that torch's export gave to each alone."""
    examples = load_bundle(home / "models" / name / "1").examples
    assert len({len(next(iter(example.inputs["tensors"].values()))) for example in examples}) > 1
    found = post(served, model=name, inputs=[example.inputs for example in examples])["predictions"]
    assert differences([example.answer for example in examples], found, 1e-4) == []


def test_chunks_continue_from_their_state(served: TestClient) -> None:
    steps = features(1, 6, seed=3)[0].tolist()
    (whole,) = post(served, model="stateful", inputs={"tensors": {"x": steps}})["predictions"]
    first = post(served, model="stateful", inputs={"tensors": {"x": steps[:2]}}, return_state=True)
    rest = post(served, model="stateful", inputs={"tensors": {"x": steps[2:]}}, state=first["state"])
    parts = [*first["predictions"][0]["outputs"]["y"], *rest["predictions"][0]["outputs"]["y"]]
    assert differences(whole["outputs"]["y"], parts, 1e-5) == []
    assert set(whole["outputs"]) == {"y"}


def test_steps_one_by_one_are_those_of_the_whole(served: TestClient) -> None:
    """Each step is sent with the state that the answer to the one before it gave."""
    steps = features(1, 4, seed=5)[0].tolist()
    (whole,) = post(served, model="stateful", inputs={"tensors": {"x": steps}})["predictions"]
    found, state = [], dict[str, Any]()
    for step in steps:
        answer = post(served, model="stateful", inputs={"tensors": {"x": [step]}}, return_state=True, **state)
        state = {"state": answer["state"]}
        found += answer["predictions"][0]["outputs"]["y"]
    assert differences(whole["outputs"]["y"], found, 1e-5) == []


def test_requests_of_several_lengths_do_not_meet_where_padding_is_read(served: TestClient) -> None:
    """A model without lengths gets every length in a batch of its own: each answer is that of the row alone."""
    rows = [features(1, length, seed=length)[0].tolist() for length in (3, 1, 3, 2)]
    alone = [post(served, model="turned", inputs={"tensors": {"x": row}})["predictions"][0] for row in rows]
    inputs = [{"tensors": {"x": row}} for row in rows]
    assert differences(alone, post(served, model="turned", inputs=inputs)["predictions"], 1e-5) == []


def test_drawn_examples_without_an_answer_are_left_out(tmp_path: Path) -> None:
    """The deviation of one step is no number: the example of one step is not recorded, the others are."""
    onnx.save_model(by_row(Recurrent("gru", "deviation", embeds=True)).file(), tmp_path / "model.onnx")
    result = unroll("import", tmp_path / "model.onnx", "--models", tmp_path / "models")
    assert result.exit_code == 0, result.output
    examples = load_bundle(tmp_path / "models" / "model" / "1").examples
    assert [len(example.inputs["tensors"]["x"]) for example in examples] == [5, 8]


def test_an_id_without_a_row_in_the_embedding_is_refused(served: TestClient) -> None:
    """Neither -1, which onnxruntime reads as the last row, nor an id beyond the last one reaches the graph."""
    for number in (-1, 11):
        response = served.post("/predict", json={"model": "averaged", "inputs": {"tensors": {"x": [1, number]}}})
        assert response.status_code == 422
        assert "0 to 10" in response.text


def test_verify_checks_an_imported_bundle(home: Path) -> None:
    result = unroll("verify", "stateful", "--models", home / "models", "--json")
    report = json.loads(result.stdout)
    assert report["passed"]
    assert set(report["checks"]) == {"padding", "chunks", "examples"}


def test_verify_finds_a_changed_graph(home: Path, tmp_path: Path) -> None:
    """A recorded answer that the graph does not give fails the check of examples."""
    from service.bundle.write import write_examples, write_manifest

    bundle = load_bundle(home / "models" / "turned" / "1")
    for file in bundle.path.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    first = bundle.examples[0]
    first.answer["outputs"]["y"][0][0] += 0.5
    write_examples(tmp_path, bundle.examples)
    write_manifest(tmp_path, bundle.manifest)
    result = unroll("verify", tmp_path)
    assert result.exit_code == 1
    assert "examples: example 1" in result.stdout


def test_the_card_tells_what_was_changed_and_what_is_not_possible(home: Path) -> None:
    stateful = (home / "models" / "stateful" / "1" / "README.md").read_text("utf-8")
    turned = (home / "models" / "turned" / "1" / "README.md").read_text("utf-8")
    assert "the input 'h0' is the state before the first step" in stateful
    assert "can be sent in chunks" in stateful
    assert "only inputs of equal length share a batch" in turned
    assert "pytorch" in stateful


def test_given_examples_are_recorded(home: Path, tmp_path: Path) -> None:
    """The rows of an .npz file, without their padding, become the examples."""
    rows = np.zeros((2, 4, FEATURES), dtype=np.float32)
    rows[0, :4], rows[1, :2] = 0.25, -0.5
    np.savez(tmp_path / "examples.npz", x=rows, lengths=np.array([4, 2]))
    unroll("import", home / "stateful.onnx", "--examples", tmp_path / "examples.npz", "--models", tmp_path)
    examples = load_bundle(tmp_path / "stateful" / "1").examples
    found = [example.inputs["tensors"]["x"] for example in examples]
    assert found == [[[0.25] * FEATURES] * 4, [[-0.5] * FEATURES] * 2]


def test_examples_of_another_shape_are_refused(home: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "examples.npz", x=np.zeros((2, 4, FEATURES + 1), dtype=np.float32))
    said = refused(
        "import", home / "stateful.onnx", "--examples", tmp_path / "examples.npz", "--models", tmp_path / "m"
    )
    assert f"the model takes ['batch', 'time', {FEATURES}]" in said
    assert not (tmp_path / "m" / "stateful").exists()


@pytest.mark.parametrize("lengths", [[3], ["a", "b"], [[1, 2]], [2, -1]])
def test_lengths_of_examples_that_are_none_are_refused(home: Path, tmp_path: Path, lengths: object) -> None:
    """Too few lengths, words, several a row, and negative ones."""
    file = tmp_path / "examples.npz"
    np.savez(file, x=np.zeros((2, 4, FEATURES), dtype=np.float32), lengths=np.array(lengths))
    assert "each of 2 rows" in refused("import", home / "stateful.onnx", "--examples", file, "--models", tmp_path / "m")


@pytest.mark.parametrize("damage", ["empty", "cut", "changed"])
def test_damaged_examples_are_one_sentence(home: Path, tmp_path: Path, damage: str) -> None:
    file = tmp_path / "examples.npz"
    np.savez_compressed(file, x=features(2, 400, seed=1))
    content = bytearray(file.read_bytes())
    content[100:220] = bytes(120 * [7])
    file.write_bytes({"empty": b"", "cut": content[:300], "changed": content}[damage])
    said = refused("import", home / "stateful.onnx", "--examples", file, "--models", tmp_path / "m")
    assert "examples.npz is no .npz file of arrays" in said


def test_fractions_for_ids_are_refused(home: Path, tmp_path: Path) -> None:
    """An id of 1.5 is not recorded as 1."""
    np.savez(tmp_path / "examples.npz", x=np.array([[1.5, 2.0]]))
    places = ["--examples", tmp_path / "examples.npz", "--models", tmp_path / "m"]
    assert "has fractions" in refused("import", home / "averaged.onnx", *places)


@pytest.mark.parametrize("name", ["../evil", "A B", "\u00e9", 65 * "a"])
def test_a_name_that_no_bundle_can_have_is_refused_first(home: Path, tmp_path: Path, name: str) -> None:
    said = refused("import", home / "missing.onnx", "--name", name, "--models", tmp_path / "m")
    assert "is no name of a bundle: at most 64 of a-z" in said


def test_the_name_of_a_file_in_other_letters_becomes_one_of_a_bundle(home: Path, tmp_path: Path) -> None:
    """Letters that a name cannot have are left out, and what was published is told as one object of JSON."""
    (tmp_path / "Modell \u00fc 2.onnx").write_bytes((home / "stateful.onnx").read_bytes())
    result = unroll("import", tmp_path / "Modell \u00fc 2.onnx", "--json", "--models", tmp_path / "m")
    assert json.loads(result.stdout)["path"] == str(tmp_path / "m" / "modell-2" / "1")


@pytest.mark.parametrize("what", ["module", "script", "noise", "empty"])
def test_files_without_weights_are_told_in_our_own_words(tmp_path: Path, what: str) -> None:
    """Nothing of the reader's own message, such as its colours or the advice to read the file unsafely."""
    file = tmp_path / "whole.pt"
    if what == "module":
        torch.save(torch.nn.LSTM(3, 4), file)  # noqa: TID251
    elif what == "script":
        torch.jit.script(torch.nn.Linear(2, 2)).save(file)
    else:
        file.write_bytes(bytes(range(256)) * 9 if what == "noise" else b"")
    said = refused("import", file, "--inspect")
    assert "holds no weights that can be read without running code: it must be a whole file of safetensors" in said
    assert "\x1b" not in said
    assert "weights_only" not in said


def test_an_inspection_writes_nothing(home: Path, tmp_path: Path) -> None:
    result = unroll("import", home / "averaged.onnx", "--inspect", "--models", tmp_path / "m")
    assert "LSTM" not in result.stdout
    assert "GRU of width 6, forward" in result.stdout
    assert "ReduceMean" in result.stdout
    facts = json.loads(unroll("import", home / "averaged.onnx", "--inspect", "--json").stdout)
    assert facts["has_lengths"]
    assert not facts["reads_chunks"]
    assert not (tmp_path / "m").exists()


def test_a_file_that_is_no_model_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "weights.pkl").write_bytes(b"")
    assert "a pickle can run any code" in refused("import", tmp_path / "weights.pkl", "--models", tmp_path / "m")
    with pytest.raises(BundleError):
        load_bundle(tmp_path / "m" / "weights" / "1")
