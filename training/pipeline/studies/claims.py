"""Which process runs which trial of a study: claims, signs of life, and trials of dead processes that are run again.

Optuna's own heartbeat needs a database; this one works with every storage, a journal on a shared disk included. It
compares no clocks: a trial is given up when its counter has not moved for a while by the clock of who watches it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from training.fit.run_lock import runs_here, still_runs, this_process
from training.pipeline.studies.storage import errors_of_clients

if TYPE_CHECKING:
    import optuna

#: Seconds between two signs of life of a trial, and without one until it is given up.
BEAT_EVERY_S: Final = 15.0
SILENT_FOR_S: Final = 120.0
#: How often a trial is run again whose process died.
MOST_RETRIES: Final = 2

_BEAT, _PROCESS, _RETRY, _FIRST = "unroll:beat", "unroll:process", "unroll:retry", "unroll:retry of"


@dataclass
class Claims:
    """Hands out the trials of a study, `total` over all processes."""

    study: optuna.Study
    total: int
    silent_for_s: float = SILENT_FOR_S
    _seen: dict[int, tuple[int, float]] = field(default_factory=dict)

    def next(self) -> optuna.Trial | None:
        """A trial for this process to run; None where there is none to take now."""
        import optuna

        state = optuna.trial.TrialState
        trials = self.study.get_trials(deepcopy=False)
        wanted = [t for t in trials if t.state in (state.COMPLETE, state.PRUNED, state.RUNNING)]
        if len(wanted) >= self.total:
            return None
        trial = self.study.ask()
        before = [t for t in self.study.get_trials(deepcopy=False) if t.number < trial.number]
        if sum(t.state != state.FAIL for t in before) >= self.total:  # others asked at the same time
            self.study.tell(trial, state=state.FAIL)
            return None
        trial.set_user_attr(_PROCESS, this_process())
        return trial

    def running(self) -> list[optuna.trial.FrozenTrial]:
        """The trials that processes run, or ran until they died."""
        return [t for t in self.study.get_trials(deepcopy=False) if t.state.name == "RUNNING"]

    def give_up_dead(self) -> Iterator[str]:
        """Fail the trials whose process is dead and enqueue their values again; yields a sentence for each."""
        for trial in self.running():
            if not self._is_dead(trial):
                continue
            tries = int(trial.user_attrs.get(_RETRY, 0))
            if not self._fail(trial.number):  # another process was faster
                continue
            if tries < MOST_RETRIES:
                first = trial.user_attrs.get(_FIRST, trial.number)
                self.study.enqueue_trial(trial.params, user_attrs={_RETRY: tries + 1, _FIRST: first})
            outcome = "its values are tried again" if tries < MOST_RETRIES else "given up after its last retry"
            yield f"trial {trial.number} died with its process: {outcome}"

    def fail_all_running(self) -> None:
        """Fail every running trial: for a study that this process alone works on."""
        for trial in self.running():
            self._fail(trial.number)

    def _fail(self, number: int) -> bool:
        """Mark a trial failed; false where it had ended already."""
        import optuna

        try:
            self.study.tell(number, state=optuna.trial.TrialState.FAIL)
        except (ValueError, optuna.exceptions.UpdateFinishedTrialError):
            return False
        return True

    def _is_dead(self, trial: optuna.trial.FrozenTrial) -> bool:
        holder = trial.user_attrs.get(_PROCESS, {})
        if runs_here(holder):
            return not still_runs(holder)
        beat, now = int(trial.user_attrs.get(_BEAT, 0)), time.monotonic()
        before, since = self._seen.get(trial.number, (-1, now))
        if beat != before:
            self._seen[trial.number] = (beat, now)
            return False
        return now - since > self.silent_for_s


@contextmanager
def alive(trial: optuna.Trial) -> Iterator[None]:
    """Give signs of life of a trial inside."""
    ended = threading.Event()

    def beat() -> None:
        count = 0
        while not ended.wait(BEAT_EVERY_S):
            count += 1
            with suppress(*_lost()):  # the next one may get through
                trial.set_user_attr(_BEAT, count)

    beating = threading.Thread(target=beat, daemon=True)
    beating.start()
    try:
        yield
    finally:
        ended.set()
        beating.join()


def _lost() -> tuple[type[Exception], ...]:
    import optuna

    return (optuna.exceptions.OptunaError, OSError, RuntimeError, *errors_of_clients())


def per_trial_sampler(seed: int) -> Any:
    """A TPE sampler whose random numbers depend on seed and trial: no two processes draw the same values."""
    from optuna.samplers import BaseSampler, TPESampler

    class PerTrial(BaseSampler):  # type: ignore[misc]
        """TPE, begun anew for each trial from the history of the study."""

        def __init__(self) -> None:
            self._of: tuple[int, TPESampler] = (-1, TPESampler(seed=seed))

        def _sampler(self, number: int) -> TPESampler:
            if self._of[0] != number:
                # Running trials of other processes count as poor, so that their surroundings are left to them.
                self._of = number, TPESampler(seed=(seed * 1_000_003 + number) % 2**32, constant_liar=True)
            return self._of[1]

        def infer_relative_search_space(self, study: Any, trial: Any) -> Any:
            return self._sampler(trial.number).infer_relative_search_space(study, trial)

        def sample_relative(self, study: Any, trial: Any, search_space: Any) -> Any:
            return self._sampler(trial.number).sample_relative(study, trial, search_space)

        def sample_independent(self, study: Any, trial: Any, param_name: str, param_distribution: Any) -> Any:
            return self._sampler(trial.number).sample_independent(study, trial, param_name, param_distribution)

    return PerTrial()
