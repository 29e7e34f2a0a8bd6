"""Trials of one study for several processes: each is run once, and those of dead processes again."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest

from training.fit.run_lock import this_process
from training.pipeline.studies.claims import MOST_RETRIES, Claims, per_trial_sampler
from training.pipeline.studies.storage import open_storage

STORAGES = ("study.journal", "study.db")
Opening = Callable[[], optuna.Study]


@pytest.fixture(params=STORAGES)
def opening(request: pytest.FixtureRequest, tmp_path: Path) -> Opening:
    """Opens one study as another process would: each time with a storage of its own."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)

    def open_study() -> optuna.Study:
        storage, sampler = open_storage(str(tmp_path / request.param)), per_trial_sampler(7)
        return optuna.create_study(
            study_name="s", storage=storage, sampler=sampler, load_if_exists=True, direction="maximize"
        )

    open_study()
    return open_study


def states(study: optuna.Study) -> list[str]:
    return [trial.state.name for trial in study.get_trials(deepcopy=False)]


def die(study: optuna.Study) -> int:
    """Begin a trial as a process that then dies."""
    trial = study.ask()
    trial.suggest_float("x", 0, 1)
    trial.set_user_attr("unroll:process", {**this_process(), "pid": 2**30})
    return trial.number


def test_processes_at_once_run_each_trial_once(opening: Opening) -> None:
    """Four workers on one study finish exactly the number that was asked for, each with values of its own."""
    taken: list[tuple[int, float]] = []

    def work() -> None:
        study = opening()
        claims = Claims(study, 12)
        while (trial := claims.next()) is not None:
            taken.append((trial.number, trial.suggest_float("x", 0, 1)))
            study.tell(trial, 0.5)

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    study = opening()
    assert states(study).count("COMPLETE") == len(taken) == 12
    assert len({number for number, _ in taken}) == len({value for _, value in taken}) == 12
    assert Claims(study, 12).next() is None


def test_the_trial_of_a_dead_process_is_run_again_once(opening: Opening) -> None:
    """Two others see the death; the trial is failed, and its values are tried again by one of them alone."""
    number = die(opening())
    one, other = Claims(opening(), 1), Claims(opening(), 1)
    said = [*one.give_up_dead(), *other.give_up_dead()]
    assert said == [f"trial {number} died with its process: its values are tried again"]
    trials = [trial for claims in (one, other) if (trial := claims.next())]
    assert len(trials) == 1
    again, first = trials[0], opening().trials[number]
    assert again.suggest_float("x", 0, 1) == first.params["x"]
    assert states(opening()) == ["FAIL", "RUNNING"]


def test_a_trial_that_kills_its_processes_is_given_up(opening: Opening) -> None:
    """Values that end every process that tries them are not tried for ever."""
    study = opening()
    die(study)
    claims = Claims(study, 1)
    for _ in range(MOST_RETRIES):
        assert [sentence.endswith("tried again") for sentence in claims.give_up_dead()] == [True]
        die(study)
    assert [sentence.endswith("given up after its last retry") for sentence in claims.give_up_dead()] == [True]
    assert set(states(study)) == {"FAIL"}


def test_silence_on_another_machine_is_noticed_without_its_clock(opening: Opening) -> None:
    """A trial of another machine is left alone while its counter moves, and given up once it does not."""
    study = opening()
    trial = study.ask()
    trial.set_user_attr("unroll:process", {"pid": 1, "host": "elsewhere", "boot": "other"})
    claims = Claims(opening(), 1, silent_for_s=0.0)
    for count in (1, 2):
        trial.set_user_attr("unroll:beat", count)
        assert not list(claims.give_up_dead())
    assert len(list(claims.give_up_dead())) == 1


def test_a_living_process_of_this_machine_keeps_its_trial(opening: Opening) -> None:
    """The process of a trial is asked for by its number where it runs on this machine, however silent it is."""
    study = opening()
    study.ask().set_user_attr("unroll:process", {**this_process(), "pid": 1})
    claims = Claims(study, 1, silent_for_s=0.0)
    assert not [*claims.give_up_dead(), *claims.give_up_dead()]
