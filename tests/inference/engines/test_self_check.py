"""A bundle's recorded examples are verified on load, and a failure names the example and field."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from service.bundle.load import EXAMPLES_FILE, read_manifest
from service.bundle.task_options import TaskName
from service.bundle.write import write_manifest
from service.errors import ParityFailed
from service.inference.engines.open_bundle import open_bundle
from service.inference.engines.self_check import self_check
from service.tasks.recorded import TOLERANCE
from tests.tiny_bundles import NAMES, copy_bundle, renew_digests, write_tiny_bundle

FP32_TOLERANCE = TOLERANCE["fp32"]

Change = Callable[[dict[str, Any]], None]


def edit_last_example(bundle: Path, change: Change) -> None:
    """Change the last recorded example and update the digests."""
    file = bundle / EXAMPLES_FILE
    *others, last = file.read_text(encoding="utf-8").splitlines()
    example = json.loads(last)
    change(example)
    file.write_text("\n".join([*others, json.dumps(example)]), encoding="utf-8")
    renew_digests(bundle)


@pytest.mark.parametrize("task", NAMES)
def test_an_honest_bundle_passes(tiny_models: Path, task: TaskName) -> None:
    opened = open_bundle(tiny_models / NAMES[task] / "1", "cpu", 1)
    self_check(opened, tolerance=1e-6)
    assert len(opened.bundle.examples) == 2


def by(amount: float) -> Change:
    def change(example: dict[str, Any]) -> None:
        example["answer"]["score"] += amount

    return change


@pytest.mark.parametrize(
    ("task", "change", "complaint"),
    [
        ("classification", by(5 * FP32_TOLERANCE), "example 2: answer.score"),
        ("classification", lambda example: example["answer"].update(label="other?"), "example 2: answer.label"),
        ("classification", lambda example: example.update(inputs=""), "example 2 could not be answered: the text is"),
        ("classification", lambda example: example.update(parameters={"k": 1}), "example 2 could not be answered"),
        ("tagging", lambda example: example["answer"]["tokens"].pop(), "example 2: answer.tokens: expected 3 items"),
        ("translation", lambda example: example["answer"].update(text="x"), "example 2: answer.text"),
        (
            "generation",
            lambda example: example["answer"].update(generated_text="x"),
            "example 2: answer.generated_text",
        ),
    ],
)
def test_a_bundle_that_answers_otherwise_is_refused(
    tmp_path: Path, tiny_models: Path, task: TaskName, change: Change, complaint: str
) -> None:
    path = copy_bundle(tiny_models / NAMES[task] / "1", tmp_path)
    edit_last_example(path, change)
    with pytest.raises(ParityFailed, match=complaint):
        self_check(open_bundle(path, "cpu", 1))


@pytest.mark.parametrize(("task", "count"), [("classification", 3), ("tagging", 5)])
def test_no_two_labels_can_trade_places(tmp_path: Path, tiny_models: Path, task: TaskName, count: int) -> None:
    """Also where every digest is right, and neither label is in a recorded answer."""
    path = copy_bundle(tiny_models / NAMES[task] / "1", tmp_path)
    manifest = read_manifest(path)
    assert len(manifest.labels) == count
    for first, second in combinations(range(count), 2):
        labels = list(manifest.labels)
        labels[first], labels[second] = labels[second], labels[first]
        write_manifest(path, manifest.model_copy(update={"labels": tuple(labels)}))
        with pytest.raises(ParityFailed, match=r"example [12]: "):
            self_check(open_bundle(path, "cpu", 1))


@pytest.mark.parametrize("scores", [{}, {"logits": {}}, {"logits": {"greeting": 1.0}}, [], "x", {"logits": None}])
def test_label_scores_that_do_not_fit_are_refused(tmp_path: Path, tiny_models: Path, scores: Any) -> None:
    path = copy_bundle(tiny_models / "tiny-classifier" / "1", tmp_path)
    edit_last_example(path, lambda example: example.update(label_scores=scores))
    with pytest.raises(ParityFailed, match="example 2: label_scores"):
        self_check(open_bundle(path, "cpu", 1))


def test_examples_without_label_scores_are_those_of_older_bundles(tmp_path: Path, tiny_models: Path) -> None:
    path = copy_bundle(tiny_models / "tiny-classifier" / "1", tmp_path)
    edit_last_example(path, lambda example: example.pop("label_scores"))
    opened = open_bundle(path, "cpu", 1)
    self_check(opened)
    assert opened.bundle.examples[-1].label_scores is None


def test_the_last_digits_may_differ(tmp_path: Path, tiny_models: Path) -> None:
    """Differences in the last digits are accepted, because other machines round differently."""
    path = copy_bundle(tiny_models / "tiny-classifier" / "1", tmp_path)
    edit_last_example(path, by(FP32_TOLERANCE / 2))
    opened = open_bundle(path, "cpu", 1)
    self_check(opened)
    with pytest.raises(ParityFailed):
        self_check(opened, tolerance=FP32_TOLERANCE / 4)


def test_changed_weights_are_noticed(tmp_path: Path, tiny_models: Path) -> None:
    """Changed weights with a matching digest are detected by the recorded answers."""
    path = copy_bundle(tiny_models / "tiny-classifier" / "1", tmp_path)
    other = write_tiny_bundle(tmp_path / "other", "classification", seed=1)
    shutil.copy(other / "classifier.onnx", path / "classifier.onnx")
    renew_digests(path)
    with pytest.raises(ParityFailed):
        self_check(open_bundle(path, "cpu", 1))
