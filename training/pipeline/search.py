"""Hyperparameter search with Optuna: each trial is a run, scored on dev (`unroll search`).

A search is a folder. `study.db` has all trials, so that an interrupted search can be resumed; `trials.csv`,
`trials.png` and `best.toml` are rewritten after every trial. Unpromising trials are pruned. With another storage
(`--storage`) several processes, on one or several machines, work on one study.
"""

from __future__ import annotations

import csv
import os
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
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
from training.pipeline.studies.claims import Claims, alive, per_trial_sampler
from training.pipeline.studies.identity import Identity
from training.pipeline.studies.storage import open_storage, storage_in_words
from training.preprocessing.load_records import load_data
from training.tasks.catalogue import training_task

if TYPE_CHECKING:
    import optuna

#: Number of trials that run all epochs before pruning starts.
NUM_UNPRUNED: Final = 4
#: Seconds between two looks at the trials of other processes.
WAIT_S: Final = 1.0

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
    storage: str = ""

    def run(self, num_trials: int, say: Say) -> Path:
        """Run trials until the folder has `num_trials`; returns the file of the best recipe.

        Raises:
            SearchFault: Optuna is missing, or no trial has a score.
            RunBusy: another process searches in the folder.
            ConfigFault: a varied key or value is not valid in a recipe; DataFault: the data cannot be read.
        """
        optuna = self.check()
        # With a storage of its own the study is shared, and the folder may be.
        with nullcontext() if self.storage else locked_run(self.folder), storage_in_words(self._where):
            return self._run(optuna, num_trials, say)

    def check(self) -> Any:
        """The module of Optuna. Raises what `run` raises before its first trial."""
        optuna = _optuna()
        self._check_keys()
        return optuna

    @property
    def _where(self) -> str:
        return self.storage or str(self.folder / "study.db")

    def _run(self, optuna: Any, num_trials: int, say: Say) -> Path:
        study = self._study(optuna)
        identity = Identity(self.recipe, self._digests(), self.space)
        claims = Claims(study, num_trials)
        if not self.storage:  # trials that were running when the search was interrupted
            claims.fail_all_running()
        waited_for = 0
        while len(_done(study)) < num_trials:
            identity.check(study)
            for sentence in claims.give_up_dead():
                say(sentence)
            trial = claims.next()
            if trial is not None:
                self._take(optuna, study, trial, num_trials, say)
                continue
            if (running := len(claims.running())) not in (0, waited_for):
                say(f"waiting for {running} {'trial' if running == 1 else 'trials'} that other processes run")
                waited_for = running
            time.sleep(WAIT_S)
        self._write_results(study)
        return self._best_recipe(study)

    def _take(self, optuna: Any, study: optuna.Study, trial: optuna.Trial, num_trials: int, say: Say) -> None:
        """Run one trial and tell its outcome."""
        changes = {each.key: each.suggest(trial) for each in self.space}
        try:
            with alive(trial):
                value = self._run_trial(trial, changes, say)
            study.tell(trial, value, None if value is not None else optuna.trial.TrialState.PRUNED)
        except (optuna.exceptions.UpdateFinishedTrialError, ValueError) as error:
            if not study.trials[trial.number].state.is_finished():
                raise
            say(f"trial {trial.number} was taken for dead and is run again elsewhere; its result is dropped ({error})")
            return
        except Interrupted:
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
            raise
        outcome = "pruned" if value is None else f"dev {value:.4g}"
        say(f"trial {len(_done(study))}/{num_trials}: {_listed(changes)}: {outcome}")
        self._write_results(study)

    def _digests(self) -> dict[str, str]:
        return dict(load_data(training_task(self.recipe), self.recipe).source.splits)

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
            storage=open_storage(self._where),
            direction="maximize",
            load_if_exists=True,
            sampler=per_trial_sampler(self.recipe.seed),
            pruner=optuna.pruners.MedianPruner(n_startup_trials=NUM_UNPRUNED),
        )
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
        with _replaced(self.folder / "trials.csv") as path, path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["trial", *keys, "dev", "epochs", "state"])
            for trial in trials:
                values = [trial.params.get(key, "") for key in keys]
                score = "" if trial.value is None else trial.value
                epochs = len(trial.intermediate_values)
                writer.writerow([trial.number, *values, score, epochs, trial.state.name.lower()])
        if _completed(trials):
            with _replaced(self.folder / "trials.png") as path:
                _draw(study, path)
            best = self._changed(study.best_params).model_dump(mode="json", exclude_none=True)
            with _replaced(self.folder / "best.toml") as path:
                path.write_text(tomli_w.dumps(best), encoding="utf-8")
            self._delete_weights({trial.number for trial in trials} - {study.best_trial.number})

    def _delete_weights(self, numbers: set[int]) -> None:
        for number in numbers:
            (self.folder / f"trial-{number:03d}" / "best.safetensors").unlink(missing_ok=True)

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


@contextmanager
def _replaced(path: Path) -> Iterator[Path]:
    """A file to write that then takes the place of `path`, which other processes may read and write as well."""
    partial = path.with_name(f".{os.getpid()}-{path.name}")
    yield partial
    partial.replace(path)


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
