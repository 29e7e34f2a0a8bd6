"""Hyperparameter search: values are tried, poor trials pruned, interrupted searches resumed, and a recipe written."""

from __future__ import annotations

import csv
import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from service.errors import UnrollError
from tests.training.tiny_runs import tiny_recipe
from training.config.recipe import ConfigFault, Recipe, load_recipe
from training.evaluation.dev_scorer import DevScorer
from training.fit.trainer import DevScore, Diverged, Interrupted
from training.networks.network import Network
from training.pipeline import search
from training.pipeline.search import Search, SearchFault
from training.pipeline.search_space import parse_space
from training.pipeline.studies.identity import StudyDiffers


def make_search(folder: Path, *vary: str, **changes: Any) -> Search:
    recipe = tiny_recipe("classification", folder / "data", trackers=[], **{"epochs": 1, **changes})
    return Search(recipe, parse_space(vary), folder / "search", torch.device("cpu"))


def scores_by(monkeypatch: pytest.MonkeyPatch, judge: Callable[[Recipe], float]) -> list[Recipe]:
    """Replace dev scores by a function of the recipe; returns the recipes of the trials in order."""
    tried: list[Recipe] = []

    def score(self: DevScorer, _network: Network) -> DevScore:
        if not tried or tried[-1] is not self._recipe:
            tried.append(self._recipe)
        return DevScore(judge(self._recipe))

    monkeypatch.setattr(DevScorer, "__call__", score)
    return tried


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "search" / "trials.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_the_best_values_become_a_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The table has every trial with its values, and the best trial's recipe loads under the original name."""
    tried = scores_by(monkeypatch, lambda recipe: -abs(recipe.training.learning_rate - 0.01) - recipe.training.momentum)
    searched = make_search(tmp_path, "training.learning_rate=1e-3..1e-1:log", "training.momentum=0.1,0.5")
    said: list[str] = []
    best = load_recipe(searched.run(5, said.append))
    rows = rows_of(tmp_path)
    assert len(rows) == len(tried) == len(said) == 5
    assert [float(row["training.learning_rate"]) for row in rows] == [r.training.learning_rate for r in tried]
    winner = max(rows, key=lambda row: float(row["dev"]))
    assert best.training.learning_rate == float(winner["training.learning_rate"])
    assert best.training.momentum == float(winner["training.momentum"])
    assert best.name == searched.recipe.name
    assert {p.parent.name for p in tmp_path.rglob("best.safetensors")} == {f"trial-{int(winner['trial']):03d}"}
    assert (tmp_path / "search" / "trials.png").stat().st_size > 1000


def test_a_stopped_search_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Finished trials are kept, an interrupted one is repeated, and the total is the requested number."""
    tried = scores_by(monkeypatch, lambda recipe: recipe.training.momentum)

    def stop(*_: object) -> None:
        raise Interrupted("stopped and saved; go on with: unroll resume x", 2)

    with monkeypatch.context() as patch:
        make_search(tmp_path, "training.momentum=0.1..0.9").run(2, lambda _: None)
        patch.setattr(search, "fit", stop)
        with pytest.raises(Interrupted, match="repeat the command to continue with trial 3"):
            make_search(tmp_path, "training.momentum=0.1..0.9").run(4, lambda _: None)
    first = rows_of(tmp_path)
    make_search(tmp_path, "training.momentum=0.1..0.9").run(4, lambda _: None)
    assert len(tried) == 4
    assert rows_of(tmp_path)[:2] == first
    assert len(rows_of(tmp_path)) == 4


def test_a_trial_that_falls_behind_is_cut_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a few complete trials, one with worse scores is pruned after its first epoch."""
    values = iter([5.0] * 8 + [1.0] * 8)
    scores_by(monkeypatch, lambda _: next(values))
    make_search(tmp_path, "training.momentum=0.1..0.9", epochs=2).run(5, lambda _: None)
    *whole, last = rows_of(tmp_path)
    assert [(row["epochs"], row["state"]) for row in whole] == [("2", "complete")] * 4
    assert (last["epochs"], last["state"], last["dev"]) == ("1", "pruned", "1.0")


def test_a_trial_that_diverges_after_an_epoch_is_not_the_best(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A trial that diverges after its first epoch is in the table with that score, but is never the best."""

    def diverge(_run: object, _data: object, score: Callable[[Network], DevScore], _device: object) -> None:
        score(torch.nn.Identity())  # type: ignore[arg-type]
        raise Diverged("the loss is not a number")

    scores_by(monkeypatch, lambda _: 1.0)
    monkeypatch.setattr(search, "fit", diverge)
    with pytest.raises(SearchFault, match=r"no trial .* has a score"):
        make_search(tmp_path, "training.momentum=0.1..0.9").run(1, lambda _: None)
    assert [(row["state"], row["dev"]) for row in rows_of(tmp_path)] == [("pruned", "1.0")]


def test_values_that_blow_up_are_a_result_too(tmp_path: Path) -> None:
    """A diverging trial does not end the search, and a search in which all trials diverge reports it."""
    searched = make_search(tmp_path, "training.learning_rate=1e9,1e10", optimizer="sgd", clip_norm=1e9)
    with pytest.raises(SearchFault, match=r"no trial .* has a score"):
        searched.run(2, lambda _: None)


@pytest.mark.parametrize(
    ("vary", "reason"),
    [
        ("training.learning_rat=1e-3..1e-2", "did you mean learning_rate"),
        ("network.cell=lstm,gruu", "network.cell is 'gruu'"),
    ],
)
def test_mistakes_are_told_before_the_first_trial(vary: str, reason: str, tmp_path: Path) -> None:
    """A misspelt key and an invalid value are reported before any training or writing."""
    with pytest.raises(ConfigFault, match=reason):
        make_search(tmp_path, vary).run(2, lambda _: None)
    assert not (tmp_path / "search").exists()


def test_without_optuna_there_is_a_plain_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without optuna the error names the package to install."""
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(UnrollError, match=r"pip install -e '\.\[search\]'"):
        make_search(tmp_path, "seed=1,2").run(1, lambda _: None)


def test_machines_work_on_one_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second machine adds its trials to those of the first, in a folder of its own, and finds the same best."""
    scores_by(monkeypatch, lambda recipe: recipe.training.momentum)
    here, there = (make_search(tmp_path / name, "training.momentum=0.1..0.9") for name in ("a", "b"))
    storage = str(tmp_path / "study.journal")
    here, there = (dataclasses.replace(each, storage=storage) for each in (here, there))
    here.run(2, lambda _: None)
    best = there.run(4, lambda _: None)
    assert here.run(4, lambda _: None).read_text().splitlines()[0] == best.read_text().splitlines()[0]
    rows = rows_of(tmp_path / "b")
    assert rows == rows_of(tmp_path / "a")
    assert len({row["training.momentum"] for row in rows}) == 4
    assert load_recipe(best).training.momentum == max(float(row["training.momentum"]) for row in rows)


def test_trials_of_something_else_are_not_mixed_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another recipe, other data and other choices are refused before a trial, with both values."""
    scores_by(monkeypatch, lambda _: 1.0)
    make_search(tmp_path, "network.cell=lstm,gru").run(1, lambda _: None)
    with pytest.raises(StudyDiffers, match=r"training.weight_decay is 0.25 here and 0.0 in the study"):
        make_search(tmp_path, "network.cell=lstm,gru", weight_decay=0.25).run(2, lambda _: None)
    with pytest.raises(StudyDiffers, match=r"--vary network.cell has lstm, rnn here and lstm, gru in the study"):
        make_search(tmp_path, "network.cell=lstm,rnn").run(2, lambda _: None)
    searched = make_search(tmp_path, "network.cell=lstm,gru")
    file = Path(searched.recipe.data.train)
    file.write_text(file.read_text() + "a cat,cat\n")
    with pytest.raises(StudyDiffers, match=r"train/train.csv has sha256 \w+ here and \w+ in the study"):
        searched.run(2, lambda _: None)
