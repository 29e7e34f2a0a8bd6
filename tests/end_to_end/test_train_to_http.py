"""From labelled files to HTTP: the service's answers equal torch's for every task."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from typer.testing import CliRunner

from service.bundle.load import Bundle, load_bundle
from service.bundle.task_options import TaskName
from service.tasks.catalogue import answer, task_of
from service.tasks.recorded import differences
from tests.conftest import running_service
from tests.training.tiny_runs import TASKS, settings_of, write_files
from training.cli.commands import app
from training.evaluation.torch_runner import TorchRunner, one_thread
from training.onnx_graph.weights import round_to_half
from training.pipeline.run import trained_network

TOLERANCE = 1e-4

#: Inputs as a client sends them, most of them not in the training data.
QUESTIONS: dict[TaskName, list[tuple[Any, dict[str, Any]]]] = {
    "tagging": [("The dog sees a cat, doesn't it?", {}), (["a", "BIRD", "hears", "naïve", "👍"], {}), ("cat", {})],
    "classification": [("the bird hears a dog", {"top_k": 3}), ("something else altogether", {}), ("!", {"top_k": 1})],
    "translation": [
        ("the cat sees a bird", {"num_beams": 1, "return_attention": True}),
        ("a dog hears the dog sees a cat", {"num_beams": 3, "length_penalty": 0.5}),
        ("an unknown zebra", {"max_new_tokens": 4}),
    ],
    "generation": [
        ("The cat ", {"max_new_tokens": 30, "details": True}),
        ("A dog sees\n", {"max_new_tokens": 20, "do_sample": True, "temperature": 0.7, "top_k": 5, "seed": 7}),
        ("Ünknown", {"max_new_tokens": 10, "repetition_penalty": 1.2}),
    ],
}


def unroll(*arguments: str | Path) -> str:
    """Run a training command that must succeed, and return its stdout."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files, runs and models of all four tasks, trained with the command line."""
    home = tmp_path_factory.mktemp("trained")
    for task in TASKS:
        train, dev = write_files(task, home / task)
        unroll(
            "train", task, "--train", train, "--dev", dev, "--name", f"tiny-{task}", "--device", "cpu",
            "--runs", home / "runs", "--models", home / "models", *settings_of(task, epochs=3, learning_rate=0.03),
        )  # fmt: skip
    return home


@pytest.fixture(scope="session")
def served(trained: Path) -> Iterator[TestClient]:
    """A service with all four bundles loaded, checked and warmed up."""
    with running_service(trained / "models") as client:
        yield client


def bundle_of(trained: Path, task: TaskName) -> Bundle:
    return load_bundle(trained / "models" / f"tiny-{task}" / "1")


def torchs_answer(trained: Path, task: TaskName, inputs: Any, parameters: dict[str, Any]) -> Any:
    """Return the answer of the trained network, with weights rounded as stored in the bundle."""
    network = round_to_half(trained_network(trained / "runs" / f"tiny-{task}"))
    with one_thread():
        found = answer(task_of(bundle_of(trained, task)), TorchRunner(network), inputs, parameters)
    return found.model_dump(mode="json")


def http_answer(client: TestClient, task: TaskName, inputs: Any, parameters: dict[str, Any]) -> Any:
    """Return the HTTP answer to one input."""
    body = {"model": f"tiny-{task}", "inputs": inputs, "parameters": parameters}
    response = client.post("/generate" if task == "generation" else "/predict", json=body | _listed(task, inputs))
    assert response.status_code == 200, response.text
    return response.json() if task == "generation" else response.json()["predictions"][0]


def _listed(task: TaskName, inputs: Any) -> dict[str, Any]:
    """Wrap in a list for `/predict`, where words and sentences would be ambiguous; `/generate` takes a single input."""
    return {} if task == "generation" else {"inputs": [inputs]}


def test_the_service_is_ready(served: TestClient) -> None:
    """Every published bundle passes its self-check and is listed with its score and baseline."""
    assert served.get("/health/ready").status_code == 200
    listed = {model["name"]: model for model in served.get("/models").json()["models"]}
    assert listed.keys() == {f"tiny-{task}" for task in TASKS}


@pytest.mark.parametrize("task", TASKS)
def test_http_answers_are_torchs_answers(task: TaskName, trained: Path, served: TestClient) -> None:
    """HTTP answers equal torch's for text, words, unknown words, beams, attention and sampling."""
    for inputs, parameters in QUESTIONS[task]:
        expected = torchs_answer(trained, task, inputs, parameters)
        assert differences(expected, http_answer(served, task, inputs, parameters), TOLERANCE) == []


@pytest.mark.parametrize("task", TASKS)
def test_http_answers_are_the_recorded_examples(task: TaskName, trained: Path, served: TestClient) -> None:
    """HTTP answers equal the examples that torch recorded in the bundle at export."""
    examples = bundle_of(trained, task).examples
    assert len(examples) >= 1
    for example in examples:
        found = http_answer(served, task, example.inputs, dict(example.parameters))
        assert differences(example.answer, found, TOLERANCE) == []


@pytest.mark.parametrize("task", ["tagging", "classification", "translation"])
def test_a_whole_batch_over_http_is_torchs_one_by_one(task: TaskName, trained: Path, served: TestClient) -> None:
    """Each answer of a batch with inputs of different lengths equals torch's answer to that input alone."""
    inputs = [text for text, _ in QUESTIONS[task] if isinstance(text, str)] * 3
    response = served.post("/predict", json={"model": f"tiny-{task}", "inputs": inputs})
    assert response.status_code == 200, response.text
    expected = [torchs_answer(trained, task, text, {}) for text in inputs]
    assert differences(expected, response.json()["predictions"], TOLERANCE) == []


def test_a_stream_over_http_is_torchs_text(trained: Path, served: TestClient) -> None:
    """The concatenated tokens of a stream equal the text that torch generates."""
    inputs, parameters = "The dog ", {"max_new_tokens": 25}
    body = {"model": "tiny-generation", "inputs": inputs, "parameters": parameters}
    with served.stream("POST", "/generate_stream", json=body) as response:
        lines = [line for line in response.iter_lines() if line.startswith("data:")]
    events = [json.loads(line.removeprefix("data:")) for line in lines]
    expected = torchs_answer(trained, "generation", inputs, parameters)["generated_text"]
    assert "".join(event["token"]["text"] for event in events) == expected
    assert events[-1]["generated_text"] == expected


@pytest.mark.parametrize("task", TASKS)
def test_published_bundles_verify_against_their_run(task: TaskName, trained: Path) -> None:
    """`verify` passes every check, including the comparison with torch."""
    bundle = trained / "models" / f"tiny-{task}" / "1"
    facts = json.loads(unroll("verify", bundle, "--run", trained / "runs" / f"tiny-{task}", "--json"))
    assert facts["passed"]
    assert facts["checks"]
    assert all(difference <= TOLERANCE for difference in facts["checks"].values())


@pytest.mark.parametrize(
    ("task", "measures"),
    [
        ("tagging", ("accuracy",)),
        ("classification", ("accuracy", "f1")),
        ("translation", ("bleu", "chrf")),
        ("generation", ("loss", "perplexity")),
    ],
)
def test_evaluating_gives_the_scores_of_the_manifest(task: TaskName, measures: tuple[str, ...], trained: Path) -> None:
    """`evaluate` on the dev file reproduces the scores in the bundle, each with a baseline."""
    (dev,) = (trained / task).glob("dev.*")
    found = json.loads(unroll("evaluate", trained / "models" / f"tiny-{task}" / "1", dev, "--json"))
    recorded = {score.measure: score for score in bundle_of(trained, task).manifest.scores}
    assert set(measures) <= recorded.keys()
    for name, score in recorded.items():
        assert found[name] == pytest.approx(score.value, abs=1e-4)
        assert score.baseline is not None


@pytest.mark.parametrize("task", TASKS)
def test_a_finished_run_is_resumed_to_the_same_bundle(task: TaskName, trained: Path, tmp_path: Path) -> None:
    """`resume` of a finished run trains nothing and publishes identical graphs and answers."""
    unroll("resume", trained / "runs" / f"tiny-{task}", "--models", tmp_path, "--device", "cpu")
    again, first = load_bundle(tmp_path / f"tiny-{task}" / "1"), bundle_of(trained, task)
    changing = {"manifest.json", "README.md"}
    assert again.manifest.files.keys() == first.manifest.files.keys()
    assert {k: v for k, v in again.manifest.files.items() if k not in changing} == {
        k: v for k, v in first.manifest.files.items() if k not in changing
    }
    assert again.examples == first.examples


def test_what_was_learnt_arrives(trained: Path) -> None:
    """The served tagger is far more accurate than chance."""
    scores = {score.measure: score.value for score in bundle_of(trained, "tagging").manifest.scores}
    assert scores["accuracy"] > 70
