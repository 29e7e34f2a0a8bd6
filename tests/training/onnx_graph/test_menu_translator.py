"""The menu of translators: every attention exports, verifies, and answers over HTTP, alone and in batches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from fastapi.testclient import TestClient
from onnxruntime import InferenceSession

from service.bundle.load import load_bundle
from service.bundle.tokenizer import BOS, EOS
from service.inference.runtime.ort_runner import OrtRunner, session_options
from service.server.app import create_app
from service.settings import Settings
from tests.conftest import wait_until
from tests.training.exportable import CELLS, draft_of, questions_of, words_tokenizer
from tests.training.menus import TRANSLATORS, menu_translator
from training.publish.export import export_bundle
from training.publish.int8 import RECURRENT, int8_graph
from training.publish.verify_inputs import VerificationInputs

COPYING = [name for name in TRANSLATORS if name.startswith("copying")]
_TEXTS = ("the cat", "a big red bird flew over the old tree", "a dog ran to the mat", "the red mat")


@pytest.fixture(scope="module")
def menu(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of each translator, verified against torch by steps and at once before publishing."""
    root = tmp_path_factory.mktemp("translators")
    for name in TRANSLATORS:
        network = menu_translator(name)
        export_bundle(network, draft_of(network, name), questions_of(network), root, half=len(name) % 2 == 0)
    return root


@pytest.fixture(scope="module")
def client(menu: Path) -> Any:
    app = create_app(Settings(models_dir=menu))
    with TestClient(app) as client:
        wait_until(app.state.loading.done)
        yield client


def _translations(client: TestClient, name: str, texts: list[str], **parameters: Any) -> list[dict[str, Any]]:
    answer = client.post("/predict", json={"model": name, "inputs": texts, "parameters": parameters})
    assert answer.status_code == 200, answer.text
    predictions: list[dict[str, Any]] = answer.json()["predictions"]
    return predictions


def test_every_dish_of_the_menu_proves_itself_when_loaded(client: TestClient) -> None:
    """The service is ready only if each bundle reproduces its recorded answers, one of them with two beams."""
    assert client.get("/health/ready").status_code == 200
    assert {model["name"] for model in client.get("/models").json()["models"]} == set(TRANSLATORS)


@pytest.mark.parametrize("name", TRANSLATORS)
def test_beams_find_the_same_alone_and_in_company(client: TestClient, name: str) -> None:
    """Beam search translates each sentence alike alone and in a batch of sentences of different lengths."""
    together = _translations(client, name, list(_TEXTS), num_beams=3, return_attention=True)
    for text, found in zip(_TEXTS, together, strict=True):
        (alone,) = _translations(client, name, [text], num_beams=3, return_attention=True)
        assert alone["text"] == found["text"]
        assert alone["score"] == pytest.approx(found["score"], abs=1e-4)
        assert np.allclose(alone["attention"]["weights"], found["attention"]["weights"], atol=1e-4)


@pytest.mark.parametrize("name", COPYING)
def test_unknown_words_of_the_source_are_copied(client: TestClient, menu: Path, name: str) -> None:
    """The recorded answers of a bundle that copies have an unknown word, whose place in the input is told."""
    recorded = load_bundle(menu / name / "1").examples[-1]
    text = recorded.inputs
    (found,) = _translations(client, name, [text], **recorded.parameters)
    assert found["text"] == recorded.answer["text"]
    assert found["copied"] == recorded.answer["copied"]
    spans = [(found["text"][c["start"] : c["end"]], text[c["source_start"] : c["source_end"]]) for c in found["copied"]]
    assert all(written == given.lower() for written, given in spans)
    assert {"timbuktu", "zebras", "okapis", "quaggas"} & {written for written, _ in spans}
    assert "<unk>" not in found["text"]


@pytest.mark.parametrize("name", [name for name in TRANSLATORS if name not in COPYING])
def test_one_beam_is_greedy(client: TestClient, menu: Path, name: str) -> None:
    """Beam search with one beam equals greedy decoding with the step graph."""
    path = menu / name / "1"
    bundle = load_bundle(path)
    for text, found in zip(_TEXTS, _translations(client, name, list(_TEXTS), num_beams=1), strict=True):
        ids = [*bundle.tokenizers["source"].encode(text), EOS]
        tokens = _greedy(OrtRunner(bundle, "cpu", threads=1), bundle.manifest.state, ids, bundle.manifest.limits)
        assert found["text"] == bundle.tokenizers["target"].decode(tokens)


@pytest.mark.parametrize("name", [name for name, (cell, _, fed, _, _) in TRANSLATORS.items() if fed and cell in CELLS])
def test_a_fed_step_runs_in_eight_bits(menu: Path, name: str) -> None:
    """Input feeding is bounded, so the recurrence is quantised to int8, and outputs stay close."""
    graph = onnx.load(menu / name / "1" / "decoder_step.onnx")
    quantised = int8_graph(graph, is_step=True)
    assert not RECURRENT & {node.op_type for node in quantised.graph.node}
    spec = load_bundle(menu / name / "1").manifest.graphs["decoder_step"]
    feeds = VerificationInputs({"token": words_tokenizer().vocabulary_size}).feeds(spec, batch=3, time=6)
    sessions = [InferenceSession(model.SerializeToString(), session_options(1)) for model in (graph, quantised)]
    exact, near = (session.run(None, feeds) for session in sessions)
    assert all(np.allclose(a, b, atol=0.1) for a, b in zip(exact, near, strict=True))


def _greedy(runner: OrtRunner, specs: Any, ids: list[int], limits: Any) -> list[int]:
    lengths = np.array([len(ids)])
    encoded = runner.run("encoder", {"tokens": np.array([ids]), "lengths": lengths})
    source = {name: encoded[name] for name in ("memory", "memory_keys")} | {"lengths": lengths}
    state, token, written = encoded, BOS, []
    for _ in range(min(limits.max_new_tokens, 2 * (len(ids) - 1) + 20)):
        feeds = {spec.name: state[spec.next_name] for spec in specs}
        state = runner.run("decoder_step", {"token": np.array([token]), **source, **feeds})
        logits = state["logits"][0]
        token = int(logits[EOS:].argmax()) + EOS
        if token == EOS:
            break
        written.append(token)
    return written
