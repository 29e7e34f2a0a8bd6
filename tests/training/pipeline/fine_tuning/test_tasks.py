"""Which tasks are fine-tuned from a bundle: the network that a run starts with answers as the bundle does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from service.bundle.load import load_bundle
from service.bundle.task_options import TaskName
from tests.training.exportable import classifier, draft_of, questions_of
from tests.training.pipeline.runs.test_signal_runs import publish, write
from tests.training.tiny_runs import own_recipe, tiny_overrides, tiny_recipe, write_files
from tests.training.trees.tiny_trees import write_trees
from training.config.recipe import ConfigFault, DataConfig, Recipe, parse_recipe
from training.fit.run_folder import RunFolder
from training.fit.schedule import layer_share, layers_from_the_top
from training.onnx_graph.weights import round_to_half
from training.pipeline.fine_tuning.derived import body_recipe, fine_tuning_recipe, start_values
from training.pipeline.fine_tuning.scores import NEW_DEV, parent_note
from training.pipeline.run import Run, prepare_run, publish_run, start_run, train_run, trained_network
from training.preprocessing.tensor_file import read_tensors
from training.publish.export import export_bundle
from training.publish.verify import verify_bundle
from training.tasks.catalogue import TASKS

CPU = torch.device("cpu")
SUPPORTED: tuple[TaskName, ...] = ("classification", "translation", "generation", "parsing")


def files_of(task: TaskName, folder: Path) -> tuple[Path, Path]:
    return write_trees(folder) if task == "parsing" else write_files(task, folder)


def first_run(task: TaskName, folder: Path) -> Run:
    """A run of one epoch from random weights."""
    train, dev = files_of(task, folder)
    if task != "parsing":
        return start_run(prepare_run(tiny_recipe(task, folder, epochs=1)), folder / "first")
    sizes = {f"network.{key}": value for key, value in {"hidden_size": 6, "arc_size": 5, "relation_size": 4}.items()}
    training = {f"training.{key}": value for key, value in {"epochs": 1, "threads": 1, "batch_size": 8}.items()}
    recipe = own_recipe("parsing", "tiny-parsing", str(train), str(dev), None, {**sizes, **training})
    return start_run(prepare_run(recipe), folder / "first")


@pytest.mark.parametrize("task", SUPPORTED)
def test_a_run_starts_where_the_bundle_stands(task: TaskName, tmp_path: Path) -> None:
    """The new network passes the bundle's own verification, and the parent has the bundle's scores on dev."""
    run = first_run(task, tmp_path)
    train_run(run, CPU)
    path = publish_run(run, tmp_path / "models", lambda _: None).path
    train, dev = files_of(task, tmp_path)
    start, data = start_values(path, {}), DataConfig(train=str(train), dev=str(dev))
    further = start_run(prepare_run(fine_tuning_recipe(data, start).recipe), tmp_path / "further")
    assert verify_bundle(path, further.network).passed
    note = parent_note(further.folder)
    assert note is not None
    scores = {score.measure: score.value for score in load_bundle(path).manifest.scores}
    assert note.before[NEW_DEV] == pytest.approx({name: scores[name] for name in note.before[NEW_DEV]}, rel=1e-3)
    assert further.recipe.training.learning_rate == run.recipe.training.learning_rate / 4


@pytest.mark.parametrize("kind", ["frames", "waveform"])
def test_signals_keep_their_scale(kind: str, tmp_path: Path) -> None:
    """It is read back from the graph too, for frames and for sound; texts are not fed to such a model."""
    path = publish(tmp_path, kind)
    first = RunFolder(tmp_path / "run").vocabulary().require_signal_scale()
    train = write(tmp_path / "data", kind)
    start = start_values(path, {})
    prepared = prepare_run(fine_tuning_recipe(DataConfig(train=str(train)), start).recipe)
    again = prepared.vocabulary.require_signal_scale()
    assert again.features == first.features
    assert again.mean == pytest.approx(first.mean, rel=1e-6)
    assert again.deviation == pytest.approx(first.deviation, rel=1e-6)
    assert verify_bundle(path, start_run(prepared, tmp_path / "further").network).passed
    texts, _ = write_files("classification", tmp_path)
    with pytest.raises(ConfigFault, match=r"mine reads signals, and .* holds something else"):
        fine_tuning_recipe(DataConfig(train=str(texts)), start)


def started(recipe: Recipe, **start: Any) -> Recipe:
    return parse_recipe({**recipe.model_dump(mode="json", exclude_none=True), "start": start}, "a test")


def test_other_tasks_say_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In one sentence, before anything is built."""
    run = first_run("classification", tmp_path)
    monkeypatch.setattr(TASKS["classification"], "fine_tunes", False, raising=False)
    with pytest.raises(ConfigFault, match="is for classification, which is not fine-tuned from a bundle yet"):
        prepare_run(started(run.recipe, model=str(run.folder.path)))


def test_a_run_without_weights_and_a_bundle_without_recipe_are_refused(tmp_path: Path) -> None:
    """There is nothing to start from."""
    run = first_run("classification", tmp_path)
    with pytest.raises(ConfigFault, match="has no trained weights yet: train it first"):
        prepare_run(started(run.recipe, model=str(run.folder.path)))
    network = classifier()
    path = export_bundle(network, draft_of(network), questions_of(network), tmp_path).path
    with pytest.raises(ConfigFault, match="does not hold the recipe of its training"):
        prepare_run(started(run.recipe, model=str(path)))


def test_keys_of_a_start_need_a_model(tmp_path: Path) -> None:
    """And replay is not for running text, which has data.also."""
    recipe = tiny_recipe("classification", tmp_path)
    with pytest.raises(ConfigFault, match=r"start.freeze needs start.model"):
        started(recipe, freeze="encoder")
    train, dev = write_files("generation", tmp_path)
    overrides = {**tiny_overrides("generation"), "start.model": "models/x/1", "start.replay": "old.txt"}
    with pytest.raises(ConfigFault, match=r"name the earlier texts in data.also"):
        own_recipe("generation", "tiny", str(train), str(dev), None, overrides)


def test_a_classifier_begins_with_the_layers_of_a_language_model(tmp_path: Path) -> None:
    """Of the same sizes, with its tokenizer; the output layers learn first, and a lower layer with each epoch."""
    language_model = first_run("generation", tmp_path)
    train_run(language_model, CPU)
    path = publish_run(language_model, tmp_path / "models", lambda _: None).path
    train, dev = write_files("classification", tmp_path)
    start, data = start_values(path, {}), DataConfig(train=str(train), dev=str(dev))
    quick = {"training.epochs": 2, "training.threads": 1, "training.ema_decay": 0.0}
    run = start_run(prepare_run(body_recipe("classification", data, start, "mine", quick).recipe), tmp_path / "run")
    theirs = round_to_half(trained_network(language_model.folder.path))
    layer = run.network.get_parameter("encoder.layers.0.forward_rnn.weight_hh_l0")
    assert torch.equal(layer, theirs.get_parameter("stack.layers.0.weight_hh_l0"))
    assert torch.equal(run.network.get_parameter("embedding.weight")[:4], theirs.get_parameter("embedding.weight")[:4])
    groups = layers_from_the_top(run.network)
    assert [layer is parameter for group in groups[1:2] for parameter in group].count(True) == 1
    assert [layer_share(run.recipe.training, depth, 1) for depth in range(3)] == pytest.approx([1, 0.4, 0])
    train_run(run, CPU)
    bundle = load_bundle(publish_run(run, tmp_path / "models", lambda _: None).path)
    assert bundle.manifest.training.parent is not None
    assert bundle.manifest.training.parent.name == "tiny-generation"
    first, last = (read_tensors(file)[0] for file in (run.folder.starting_weights, run.folder.checkpoint))
    assert torch.equal(first["embedding.weight"], last["network.embedding.weight"])
    assert not torch.equal(first["output.weight"], last["network.output.weight"])
    with pytest.raises(ConfigFault, match="is for generation, not for tagging"):
        body_recipe("tagging", data, start, "mine")
