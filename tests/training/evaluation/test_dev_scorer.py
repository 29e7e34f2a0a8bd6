"""Dev scores, and that no text in dev can end a run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from service.bundle.manifest import Limits
from service.bundle.task_options import TrainedTask
from tests.training.tiny_runs import TASKS, tiny_recipe
from training.config.recipe import ConfigFault, Recipe
from training.data.records import LabelledText, Passage, Record, SentencePair, TaggedSentence
from training.evaluation.dev_scorer import DevScorer
from training.fit.checkpoint import Progress, RunState, save_checkpoint, save_weights
from training.fit.trainer import DevScore, build_optimizer
from training.networks.network import Network
from training.pipeline.run import Prepared, Run, prepare_run, publish_run, start_run
from training.tasks.catalogue import training_task

#: Longer than the limits below, or blank to the service.
ODD: dict[TrainedTask, Record] = {
    "tagging": TaggedSentence(("\u00a0", *["cat"] * 30), ("NEW", *["NOUN"] * 30)),
    "classification": LabelledText("cat " * 400, "new"),
    "translation": SentencePair("the cat " * 400, "tier"),
    "generation": Passage("the cat sees " * 400),
}


def prepared(task: TrainedTask, path: Path, limits: Limits | None = None) -> tuple[Recipe, Prepared, Network]:
    recipe = tiny_recipe(task, path / "data")
    recipe = recipe.model_copy(update={"limits": limits or recipe.limits})
    ready = prepare_run(recipe)
    return recipe, ready, start_run(ready, path / "run").network


def score(task: TrainedTask, path: Path, odd: Sequence[Record] = (), limits: Limits | None = None) -> DevScore:
    recipe, ready, network = prepared(task, path, limits)
    return DevScorer(ready.task, recipe, ready.vocabulary, [*odd, *ready.data.dev])(network)


@pytest.mark.parametrize(
    ("task", "names"),
    [
        ("tagging", {"loss", "accuracy"}),
        ("classification", {"loss", "accuracy", "f1"}),
        ("translation", {"loss", "bleu", "chrf", "exact"}),
        ("generation", {"loss"}),
    ],
)
def test_each_task_has_its_measures(task: TrainedTask, names: set[str], tmp_path: Path) -> None:
    """The first measure selects the best epoch, higher is better; a language model is selected by its loss."""
    found = score(task, tmp_path)
    assert found.measures.keys() == names
    first = {"tagging": "accuracy", "classification": "accuracy", "translation": "bleu"}.get(task)
    assert found.value == (found.measures[first] if first else -found.measures["loss"])
    assert len(found.samples) >= 1


@pytest.mark.parametrize("task", TASKS)
def test_scoring_leaves_no_trace(task: TrainedTask, tmp_path: Path) -> None:
    """Scoring leaves weights, mode and random state unchanged, and a second score is equal."""
    recipe, ready, network = prepared(task, tmp_path)
    network.train()
    scorer = DevScorer(ready.task, recipe, ready.vocabulary, ready.data.dev)
    weights = {name: value.clone() for name, value in network.state_dict().items()}
    before = torch.get_rng_state()
    first = scorer(network)
    assert torch.equal(torch.get_rng_state(), before)
    assert network.training
    assert all(torch.equal(value, weights[name]) for name, value in network.state_dict().items())
    assert scorer(network) == first


@pytest.mark.parametrize("task", TASKS)
def test_a_text_beyond_the_limits_does_not_end_a_run(task: TrainedTask, tmp_path: Path) -> None:
    """Long texts, blank words and labels unseen in train are scored or reported as refused."""
    found = score(task, tmp_path, [ODD[task]], Limits(max_input_tokens=6, max_new_tokens=5))
    assert found.measures["loss"] > 0
    assert task == "generation" or " -> refused: " in found.samples[0]


def test_a_mistake_is_shown_beside_what_is_right(tmp_path: Path) -> None:
    """Samples show the correct tag next to a wrong prediction."""
    (sample, *_) = score("tagging", tmp_path).samples
    assert "(not " in sample


def _chosen_by(recipe: Recipe, measure: str) -> Recipe:
    return recipe.model_copy(update={"training": recipe.training.model_copy(update={"chosen_by": measure})})


@pytest.mark.parametrize(("measure", "sign"), [("exact", 1), ("chrf", 1), ("loss", -1)])
def test_a_recipe_chooses_what_chooses_the_best_epoch(measure: str, sign: int, tmp_path: Path) -> None:
    """`training.chosen_by` names the measure of the dev score; of a loss the lower is better."""
    recipe, ready, network = prepared("translation", tmp_path)
    found = DevScorer(ready.task, _chosen_by(recipe, measure), ready.vocabulary, ready.data.dev)(network)
    assert found.value == sign * found.measures[measure]
    deciding = ready.task.deciding_measure({"bleu": 1.0, **found.measures}, measure)
    assert deciding == measure
    assert ready.task.deciding_measure({"bleu": 1.0}, "exact") == "bleu"


def test_a_measure_that_a_task_does_not_have_cannot_choose(tmp_path: Path) -> None:
    """The error names the key, the measure and those that are allowed, before anything is trained."""
    recipe, ready, _ = prepared("translation", tmp_path)
    with pytest.raises(ConfigFault, match=r"training.chosen_by: translation does not measure 'f1'.*bleu, chrf, exact"):
        DevScorer(ready.task, _chosen_by(recipe, "f1"), ready.vocabulary, ready.data.dev)


def test_measures_may_be_taken_of_a_part_of_dev(tmp_path: Path) -> None:
    """`evaluate_records` takes records from all of dev; the loss still covers the whole of dev."""
    recipe, ready, network = prepared("classification", tmp_path)
    part = recipe.model_copy(update={"training": recipe.training.model_copy(update={"evaluate_records": 2})})
    whole, quick = (DevScorer(ready.task, r, ready.vocabulary, ready.data.dev)(network) for r in (recipe, part))
    assert quick.measures["loss"] == whole.measures["loss"]
    assert quick.measures["accuracy"] in (0, 50, 100)
    assert [sample.partition(" -> ")[0] for sample in quick.samples] == [ready.data.dev[0][0], ready.data.dev[4][0]]


@pytest.mark.parametrize("task", TASKS)
def test_proofs_fit_the_limits(task: TrainedTask, tmp_path: Path) -> None:
    """A bundle with narrow limits is published; its dev examples are truncated to the limits."""
    recipe = tiny_recipe(task, tmp_path / "data", epochs=1)
    recipe = recipe.model_copy(update={"limits": Limits(max_input_tokens=5, max_new_tokens=3)})
    questions: list[Any] = training_task(recipe).questions(recipe, [ODD[task]])
    assert 1 <= len(questions[0].inputs) <= 5
    assert questions[0].parameters.get("max_new_tokens", 3) == 3
    exported = publish_run(untrained(recipe, tmp_path / "run"), tmp_path / "models", lambda _: None)
    assert exported.report.passed


def untrained(recipe: Recipe, path: Path) -> Run:
    """A run whose initial weights are saved as its best."""
    run = start_run(prepare_run(recipe), path)
    optimizer = build_optimizer(run.network, recipe.training)
    state = RunState(network=run.network, optimizer=optimizer, averages={}, carried=(), progress=Progress())
    save_checkpoint(run.folder.checkpoint, state)
    save_weights(run.folder.best_weights, run.network)
    return run
