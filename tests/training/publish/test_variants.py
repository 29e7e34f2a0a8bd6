"""Variants are published only if the dev score is preserved, and never leave a bundle half changed."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.bundle.load import load_bundle
from service.bundle.manifest import Variant
from service.bundle.task_options import TrainedTask
from service.errors import BundleError, UnrollError
from service.inference.runtime.device import OPENVINO_PROVIDER
from service.inference.runtime.ort_runner import OrtRunner, available_providers
from service.tasks.core.task import Array
from tests.allowed_skips import OTHER_RUNTIME
from tests.tiny_bundles import renew_digests
from tests.tiny_variants import FIGURES, add_tiny_variant
from tests.training.cli.test_commands import refused, unroll
from tests.training.exportable import language_model, tagger
from tests.training.tiny_runs import settings_of, write_files
from training.evaluation.step_loss import step_loss
from training.onnx_graph.writers import network_graphs
from training.publish import variants as quantise
from training.publish.paired_runner import PairedRunner
from training.publish.variants import VariantRefused, add_variant, loss_of_quality, uses_sequence_lens
from training.publish.verify import verify_bundle

GRAPHS: dict[TrainedTask, str] = {"tagging": "tagger", "classification": "classifier", "generation": "step"}
TASKS = list(GRAPHS)
EPOCHS: dict[TrainedTask, int] = {"tagging": 12, "classification": 2, "generation": 1}


def quietly(_sentence: str) -> None:
    """Discard messages."""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> dict[TrainedTask, Path]:
    """A bundle of each of these tasks, trained to confident predictions; to be copied only."""
    home = tmp_path_factory.mktemp("trained")
    for task in TASKS:
        train, dev = write_files(task, home / task)
        files = ["--train", train, "--dev", dev, "--examples-from-dev", "--name", task, "--device=cpu"]
        places = ["--runs", home / "runs", "--models", home / "models"]
        assert unroll("train", task, *files, *places, *settings_of(task, epochs=EPOCHS[task])).exit_code == 0
    return {task: home / "models" / task / "1" for task in TASKS}


@pytest.fixture
def copies(trained: dict[TrainedTask, Path], tmp_path: Path) -> dict[TrainedTask, Path]:
    """Copies of the bundles, to modify."""
    return {task: Path(shutil.copytree(path, tmp_path / task / "1")) for task, path in trained.items()}


def content(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


@pytest.mark.parametrize("task", TASKS)
def test_int8_is_measured_and_published_beside_fp32(copies: dict[TrainedTask, Path], task: TrainedTask) -> None:
    """The fp32 files are unchanged byte for byte, manifest and card have the scores, and the bundle verifies."""
    path = copies[task]
    before = content(path)
    unroll_said = unroll("export", "--int8", path)
    assert unroll_said.exit_code == 0, unroll_said.output
    assert unroll_said.stdout == f"accepted {path} in int8\n"
    after = content(path)
    assert after.keys() - before.keys() == {f"{GRAPHS[task]}.int8.onnx"}
    assert {name for name in before if before[name] != after[name]} == {"manifest.json", "README.md"}
    manifest = load_bundle(path).manifest
    variant = manifest.variants["int8"]
    assert variant.graphs == {GRAPHS[task]: f"{GRAPHS[task]}.int8.onnx"}
    assert variant.depends_on_batch == (task != "generation")
    assert variant.max_difference > 0.0
    assert variant.drop <= 0.5
    assert "| int8 |" in after["README.md"].decode()
    assert verify_bundle(path).passed


def test_a_form_that_scores_too_low_is_refused_with_the_figures(
    copies: dict[TrainedTask, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A variant below the required score is refused with its scores, and the bundle is unchanged."""
    path = copies["tagging"]
    before = content(path)
    scores = iter([90.0, 89.4])
    monkeypatch.setattr(quantise, "dev_score", lambda *_: ("accuracy", next(scores)))
    with pytest.raises(
        VariantRefused, match=r"not accepted\. int8: dev accuracy 89.4, fp32 90, lost 0.60 of 0.5 allowed"
    ):
        add_variant(path, "int8", quietly)
    assert content(path) == before
    assert not list(path.parents[1].glob(".staging/*"))


def test_a_form_that_answers_an_example_otherwise_is_refused(copies: dict[TrainedTask, Path]) -> None:
    path = copies["tagging"]
    examples = path / "examples.jsonl"
    rows = [json.loads(line) for line in examples.read_text(encoding="utf-8").splitlines()]
    rows[-1]["answer"]["tokens"][0]["tag"] = "OTHER"
    examples.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    renew_digests(path)
    with pytest.raises(VariantRefused, match=r"in int8 a recorded answer differs\. example \d: answer\.tokens"):
        add_variant(path, "int8", quietly)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [({"drop": 0.7}, "lost 0.70 of 0.5 allowed"), ({"drop": -3.0}, "")],
)
def test_verify_judges_the_figures_of_a_form(
    copies: dict[TrainedTask, Path], change: dict[str, Any], complaint: str
) -> None:
    """A variant that loses more than the allowed score fails verification, and one that gains passes."""
    path = add_tiny_variant(copies["classification"], "int8", "classifier", **change)
    report = verify_bundle(path)
    assert report.passed == (not complaint)
    assert complaint in report.summary()


def test_without_the_data_nothing_is_accepted(
    copies: dict[TrainedTask, Path], trained: dict[TrainedTask, Path]
) -> None:
    """A variant is refused without the data on which the bundle was scored."""
    path = copies["tagging"]
    source = trained["tagging"].parents[2] / "tagging" / "dev.conllu"
    text = source.read_text(encoding="utf-8")
    source.write_text(text.replace("cat", "dog"), encoding="utf-8")
    try:
        with pytest.raises(UnrollError, match="the data has changed since it was trained"):
            add_variant(path, "int8", quietly)
    finally:
        source.write_text(text, encoding="utf-8")


def test_the_command_wants_to_know_which_form(copies: dict[TrainedTask, Path]) -> None:
    assert "is a bundle already; add a faster variant with --int8 or --bf16" in refused("export", copies["tagging"])


def test_bf16_needs_its_provider(copies: dict[TrainedTask, Path]) -> None:
    if OPENVINO_PROVIDER in available_providers():
        pytest.skip(OTHER_RUNTIME)
    with pytest.raises(BundleError, match="make serve-env RUNTIME=openvino"):
        add_variant(copies["tagging"], "bf16", quietly)


@pytest.mark.openvino
@pytest.mark.usefixtures("_openvino")
def test_bf16_leaves_out_graphs_that_openvino_would_get_wrong(copies: dict[TrainedTask, Path]) -> None:
    """OpenVINO ignores the LSTM's lengths, so bf16 excludes the prefill graph and includes the step graph."""
    variant = add_variant(copies["generation"], "bf16", quietly)
    assert variant.graphs == {"step": "step.onnx"}
    assert add_variant(copies["tagging"], "bf16", quietly).graphs == {"tagger": "tagger.onnx"}


def test_lengths_given_to_an_operator_are_noticed() -> None:
    graphs = network_graphs(language_model("lstm"))
    assert uses_sequence_lens(graphs["prompt"].model())
    assert not uses_sequence_lens(graphs["step"].model())
    assert not uses_sequence_lens(network_graphs(tagger("lstm"))["tagger"].model())


def test_what_is_lost_of_a_loss_is_counted_in_perplexity() -> None:
    assert loss_of_quality("accuracy", 90.0, 89.5) == 0.5
    assert loss_of_quality("wer", 12.0, 12.5) == 0.5
    assert loss_of_quality("loss", 1.0, 1.0 + math.log(1.01)) == pytest.approx(1.0)
    assert loss_of_quality("loss", 1.1, 1.0) < 0.0


class Fixed:
    """A runner that always returns the same emissions."""

    def __init__(self, emissions: Array) -> None:
        self._emissions = emissions

    def run(self, graph: str, feeds: Any) -> dict[str, Array]:
        return {"emissions": self._emissions}


def test_padding_does_not_count_when_two_runners_are_compared() -> None:
    """Padding is excluded from the agreement of two runners: of three words, one is tagged differently."""
    one = np.zeros((2, 2, 3), dtype=np.float32)
    one[..., 0] = 1.0
    other = one.copy()
    other[0, 1] = [0.0, 9.0, 0.0]  # beyond the end of the first row
    other[1, 1] = [1.0, 1.5, 0.0]
    paired = PairedRunner(Fixed(one), Fixed(other))
    assert paired.run("tagger", {"lengths": np.array([1, 2])})["emissions"] is other
    assert paired.max_difference == 1.5
    assert paired.agreement == pytest.approx(200 / 3)


def test_the_loss_of_steps_is_that_of_the_whole(trained: dict[TrainedTask, Path]) -> None:
    """The loss of single steps on one stream equals that of the prefill graph on the whole text."""
    bundle = load_bundle(trained["generation"])
    runner = OrtRunner(bundle, "cpu")
    text = "the cat sees a dog."
    ids = np.array([bundle.tokenizers["text"].encode(text)])
    zeros = {part.name: np.zeros((part.layers, 1, part.width), np.float32) for part in bundle.manifest.state}
    logits = runner.run("prompt", {"tokens": ids, "lengths": np.array([ids.shape[1]]), **zeros})["logits"][0, :-1]
    logits = logits - logits.max(axis=1, keepdims=True)
    chosen = logits[np.arange(len(logits)), ids[0, 1:]] - np.log(np.exp(logits).sum(axis=1))
    assert step_loss(bundle, runner, [text], num_streams=1) == pytest.approx(-chosen.mean(), abs=1e-5)


def test_a_variant_names_graphs_that_are_there(copies: dict[TrainedTask, Path]) -> None:
    manifest = load_bundle(copies["tagging"]).manifest.model_dump()
    variant = Variant(graphs={"step": "step.int8.onnx"}, **FIGURES)
    with pytest.raises(ValueError, match="the variant int8 names graphs that a tagging has not"):
        type(load_bundle(copies["tagging"]).manifest).model_validate({**manifest, "variants": {"int8": variant}})
