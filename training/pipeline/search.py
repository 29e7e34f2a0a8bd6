"""Hyperparameter search with Optuna: each trial is a run, scored on dev (`unroll search`).

A search is a folder. `study.db` has all trials, so that an interrupted search can be resumed; `trials.csv`,
`trials.png` and `best.toml` are rewritten after every trial. Unpromising trials are pruned.
"""

from __future__ import annotations

import csv
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import tomli_w
import torch

from service.distribution import install_hint
from service.errors import UnrollError
from training.config.recipe import Recipe, parse_recipe
from training.evaluation.dev_scorer import DevScorer
from training.fit.run_lock import locked_run
from training.fit.trainer import DevScore, Diverged, Interrupted
from training.networks.network import Network
from training.pipeline.run import fit, prepare_run, start_run
from training.pipeline.search_space import Choice, Range

if TYPE_CHECKING:
    import optuna

#: Number of trials that run all epochs before pruning starts.
NUM_UNPRUNED: Final = 4

Space = Sequence[Range | Choice]
Say = Callable[[str], None]


class SearchFault(UnrollError):
    """The search cannot run, or no trial has a score."""


@dataclass(frozen=True)
class Search:
    """A search: the recipe to start from, the search space, and the folder."""

    recipe: Recipe
    space: Space
    folder: Path
    device: torch.device

    def run(self, num_trials: int, say: Say) -> Path:
        """Run trials until the folder has `num_trials`; returns the file of the best recipe.

        Raises:
            SearchFault: Optuna is missing, or no trial has a score.
            RunBusy: another process searches in the folder.
            ConfigFault: a varied key or value is not valid in a recipe; DataFault: the data cannot be read.
        """
        optuna = _optuna()
        self._check_keys()
        with locked_run(self.folder):
            return self._run(optuna, num_trials, say)

    def _run(self, optuna: Any, num_trials: int, say: Say) -> Path:
        study = self._study(optuna)
        while (number := len(_done(study))) < num_trials:
            trial = study.ask()
            changes = {each.key: each.suggest(trial) for each in self.space}
            value = self._run_trial(trial, changes, say)
            study.tell(trial, value, None if value is not None else optuna.trial.TrialState.PRUNED)
            outcome = "pruned" if value is None else f"dev {value:.4g}"
            say(f"trial {number + 1}/{num_trials}: {_listed(changes)}: {outcome}")
            self._write_results(study)
        self._write_results(study)
        return self._best_recipe(study)

    def _check_keys(self) -> None:
        """Reject an invalid key or value before the first trial, not in each of them."""
        for each in self.space:
            edges = each.values if isinstance(each, Choice) else (each.low, each.high)
            for value in edges:
                self._changed({each.key: value})

    def _changed(self, changes: dict[str, Any], name: str = "") -> Recipe:
        values = self.recipe.model_dump(mode="json", exclude_none=True)
        return parse_recipe(values, "--vary", changes | ({"name": name} if name else {}))

    def _study(self, optuna: Any) -> optuna.Study:
        self.folder.mkdir(parents=True, exist_ok=True)
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        study: optuna.Study = optuna.create_study(
            study_name=self.recipe.name,
            storage=f"sqlite:///{self.folder.absolute() / 'study.db'}",
            direction="maximize",
            load_if_exists=True,
            sampler=optuna.samplers.TPESampler(seed=self.recipe.seed % 2**32),
            pruner=optuna.pruners.MedianPruner(n_startup_trials=NUM_UNPRUNED),
        )
        for trial in study.get_trials(deepcopy=False):
            if not trial.state.is_finished():  # it was running when the search was interrupted
                study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
        return study

    def _run_trial(self, trial: optuna.Trial, changes: dict[str, Any], say: Say) -> float | None:
        """Best dev score of a run with these values; None if it was pruned or diverged."""
        path = self.folder / f"trial-{trial.number:03d}"
        recipe = self._changed(changes, f"{self.recipe.name[:50]}-{trial.number:03d}")
        run = start_run(prepare_run(recipe), path, overwrite=True)
        data = run.task.training_set(recipe, run.vocabulary, run.data.train)
        scorer = DevScorer(run.task, recipe, run.vocabulary, run.data.dev)
        try:
            progress = fit(run, data, _reporting(scorer, trial), self.device)
        except _Pruned:
            return None
        except Diverged as error:
            say(str(error))
            return None
        except Interrupted as error:
            message = f"interrupted; repeat the command to continue with trial {trial.number + 1}"
            raise Interrupted(message, error.signal_number) from error
        finally:
            run.folder.checkpoint.unlink(missing_ok=True)
        return progress.best_score

    def _write_results(self, study: optuna.Study) -> None:
        trials = _done(study)
        keys = [each.key for each in self.space]
        with (self.folder / "trials.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["trial", *keys, "dev", "epochs", "state"])
            for trial in trials:
                values = [trial.params.get(key, "") for key in keys]
                score = "" if trial.value is None else trial.value
                epochs = len(trial.intermediate_values)
                writer.writerow([trial.number, *values, score, epochs, trial.state.name.lower()])
        if _completed(trials):
            _draw(study, self.folder / "trials.png")
            best = self._changed(study.best_params).model_dump(mode="json", exclude_none=True)
            (self.folder / "best.toml").write_text(tomli_w.dumps(best), encoding="utf-8")
            self._delete_weights_except(study.best_trial.number)

    def _delete_weights_except(self, number: int) -> None:
        for weights in self.folder.glob("trial-*/best.safetensors"):
            if weights.parent.name != f"trial-{number:03d}":
                weights.unlink()

    def _best_recipe(self, study: optuna.Study) -> Path:
        if not _completed(_done(study)):
            raise SearchFault(f"no trial in {self.folder} has a score; see trials.csv there")
        return self.folder / "best.toml"


class _Pruned(UnrollError):
    """The trial is unpromising compared with the others."""


def _reporting(score: Callable[[Network], DevScore], trial: optuna.Trial) -> Callable[[Network], DevScore]:
    """Dev scorer that reports each epoch to Optuna, which may prune the trial."""
    epochs = iter(range(1, 10**9))

    def reporting(network: Network) -> DevScore:
        found = score(network)
        trial.report(found.value, next(epochs))
        if trial.should_prune():
            raise _Pruned("unpromising compared with other trials")
        return found

    return reporting


def _done(study: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    """Finished trials; interrupted ones do not count."""
    return [t for t in study.get_trials(deepcopy=False) if t.state.is_finished() and t.state.name != "FAIL"]


def _completed(trials: Sequence[optuna.trial.FrozenTrial]) -> list[optuna.trial.FrozenTrial]:
    """Trials that ran all epochs: only these can be the best."""
    return [trial for trial in trials if trial.state.name == "COMPLETE"]


def _draw(study: optuna.Study, picture: Path) -> None:
    """Slice plot: the score against each varied key."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot
    from optuna.visualization.matplotlib import plot_slice

    with warnings.catch_warnings():
        # Its plots with matplotlib count as experimental, and the first trial alone spans no range of values.
        warnings.simplefilter("ignore")
        first = np.ravel(plot_slice(study, target_name="best dev score"))[0]  # one pair of axes, or an array of them
    first.figure.savefig(picture, dpi=100, bbox_inches="tight")
    pyplot.close(first.figure)


def _listed(changes: dict[str, Any]) -> str:
    return "  ".join(
        f"{key} {value:.3g}" if isinstance(value, float) else f"{key} {value}" for key, value in changes.items()
    )


def _optuna() -> Any:
    try:
        import optuna
    except ImportError as error:
        raise SearchFault(f"a search needs Optuna, which is not installed: {install_hint('search')}") from error
    return optuna
