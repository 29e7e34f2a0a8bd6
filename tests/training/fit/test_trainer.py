"""The training loop: resuming is exact, and a run stops for the right reason."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from service.bundle.task_options import TrainedTask
from tests.conftest import wait_until
from tests.training.interrupting import interrupt
from tests.training.tiny_runs import TASKS, tiny_recipe
from training.config.recipe import Recipe
from training.evaluation.dev_scorer import DevScorer
from training.fit import run_folder
from training.fit.checkpoint import Progress
from training.fit.schedule import share_kept, start_averages, update_averages
from training.fit.trainer import DevScore, Diverged, Interrupted, Trainer
from training.networks.network import Network
from training.pipeline.run import open_run, prepare_run, start_run
from training.preprocessing.batches import Batch
from training.preprocessing.batching import Order, TrainingSet
from training.preprocessing.tensor_file import read_tensors

Score = Callable[[Network], DevScore]
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _frequent_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """Log every second step."""
    monkeypatch.setattr(run_folder, "LOG_EVERY_STEPS", 2)


@pytest.fixture(autouse=True)
def _own_random_numbers() -> Iterator[None]:
    """Train on one thread, and restore the random state, as runs seed torch."""
    state = torch.get_rng_state()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
    torch.set_rng_state(state)


@dataclass
class Calling:
    """A training set that calls `then` before it yields batch number `at` (from 1)."""

    data: TrainingSet
    at: int
    then: Callable[[], None]
    count: int = 0

    def epoch(self, number: int) -> list[Order]:
        return self.data.epoch(number)

    def batch(self, indices: Order) -> Batch:
        self.count += 1
        if self.count == self.at:
            self.then()
        return self.data.batch(indices)


def make_trainer(recipe: Recipe, path: Path, score: Score | None = None, at: int = 0, then: Any = None) -> Trainer:
    """The trainer of a new or existing run in `path`; dev is scored by its loss by default."""
    resuming = path.exists()
    run = open_run(path) if resuming else start_run(prepare_run(recipe), path)
    scorer = DevScorer(run.task, run.recipe, run.vocabulary, run.data.dev)

    def by_loss(network: Network) -> DevScore:
        loss = scorer.loss(network)
        return DevScore(-loss, {"loss": loss})

    data = Calling(run.task.training_set(run.recipe, run.vocabulary, run.data.train), at, then)
    trainer = Trainer(run.network, data, run.recipe.training, run.folder, score or by_loss, CPU)
    if resuming:
        trainer.resume(run.folder.checkpoint)
    return trainer


def rows_of(path: Path, kind: str) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in (path / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    return [{key: value for key, value in row.items() if key != "minutes"} for row in rows if row["kind"] == kind]


def without_time(progress: Progress) -> dict[str, Any]:
    return progress.model_dump(exclude={"seconds"})


def assert_same_run(first: Path, second: Path) -> None:
    """Weights, averages, optimizer, random state and all logged numbers are bit-identical."""
    for name in ("last.safetensors", "best.safetensors"):
        (left, _), (right, _) = read_tensors(first / name), read_tensors(second / name)
        assert left.keys() == right.keys()
        assert [key for key in left if not torch.equal(left[key], right[key])] == []
    for kind in ("epoch", "step"):
        assert rows_of(first, kind) == rows_of(second, kind)
        assert rows_of(first, kind)


def terminate() -> None:
    interrupt(signal.SIGTERM)


def terminating_score(trainer: Trainer) -> Score:
    """The score of `trainer`, with a signal sent while the first epoch is scored."""
    inner = trainer._score

    def score(network: Network) -> DevScore:
        if trainer.progress.epoch == 0:
            terminate()
        return inner(network)

    return score


@pytest.mark.parametrize("task", TASKS)
class TestResume:
    """A stopped and resumed run equals an uninterrupted one."""

    def recipe(self, task: TrainedTask, path: Path, **changes: Any) -> Recipe:
        """A tiny recipe with weight averaging; dropout is on by default in every task."""
        return tiny_recipe(task, path / "data", epochs=3, ema_decay=0.9, **changes)

    def resume_and_compare(self, recipe: Recipe, path: Path) -> None:
        torch.manual_seed(99)  # a new process has a different random state
        resumed = make_trainer(recipe, path / "stopped").fit()
        straight = make_trainer(recipe, path / "straight").fit()
        assert without_time(resumed) == without_time(straight)
        assert straight.finished
        assert_same_run(path / "straight", path / "stopped")

    def test_after_an_epoch(self, task: TrainedTask, tmp_path: Path) -> None:
        """A signal during dev scoring: the epoch is finished and saved, and the next one is unchanged."""
        recipe = self.recipe(task, tmp_path)
        stopping = make_trainer(recipe, tmp_path / "stopped")
        stopping._score = terminating_score(stopping)
        with pytest.raises(Interrupted):
            stopping.fit()
        assert (stopping.progress.epoch, stopping.progress.batch) == (1, 0)
        self.resume_and_compare(recipe, tmp_path)

    def test_within_an_epoch(self, task: TrainedTask, tmp_path: Path) -> None:
        """A signal during an update: the update is finished and saved, and the next batch follows."""
        recipe = self.recipe(task, tmp_path)
        stopping = make_trainer(recipe, tmp_path / "stopped", at=3, then=terminate)
        with pytest.raises(Interrupted):
            stopping.fit()
        assert (stopping.progress.epoch, stopping.progress.batch) == (0, 3)
        self.resume_and_compare(recipe, tmp_path)

    def test_after_a_crash(self, task: TrainedTask, tmp_path: Path) -> None:
        """A process that dies between updates resumes from its last checkpoint, without duplicate log lines."""
        recipe = self.recipe(task, tmp_path, optimizer="sgd", learning_rate=0.1)

        def crash() -> None:
            raise ConnectionError("power cut")

        epoch = len(make_trainer(recipe, tmp_path / "measured")._data.epoch(0))
        crashing = make_trainer(recipe, tmp_path / "stopped", at=epoch + 4, then=crash)
        with pytest.raises(ConnectionError):
            crashing.fit()
        with pytest.raises(ConnectionError):
            make_trainer(recipe, tmp_path / "stopped", at=1, then=crash).fit()
        self.resume_and_compare(recipe, tmp_path)


def test_resume_within_an_epoch_of_carried_state_in_half_precision(tmp_path: Path) -> None:
    """Carried state keeps its number format when resuming."""
    recipe = tiny_recipe("generation", tmp_path / "data", precision="bf16", epochs=1)
    with pytest.raises(Interrupted):
        make_trainer(recipe, tmp_path / "stopped", at=4, then=terminate).fit()
    resumed = make_trainer(recipe, tmp_path / "stopped")
    assert resumed.state.carried
    resumed.fit()
    make_trainer(recipe, tmp_path / "straight").fit()
    assert_same_run(tmp_path / "straight", tmp_path / "stopped")


def test_resume_keeps_patience_and_rate(tmp_path: Path) -> None:
    """Early stopping and the plateau rate are unaffected by an interruption."""
    recipe = tiny_recipe("classification", tmp_path / "data", epochs=9, patience=3, schedule="plateau")

    def never_better(_network: Network) -> DevScore:
        return DevScore(1.0)

    with pytest.raises(Interrupted):
        make_trainer(recipe, tmp_path / "stopped", never_better, at=12, then=terminate).fit()
    resumed = make_trainer(recipe, tmp_path / "stopped", never_better).fit()
    straight = make_trainer(recipe, tmp_path / "straight", never_better).fit()
    assert without_time(resumed) == without_time(straight)
    assert (straight.epoch, straight.best_epoch, straight.rate_factor) == (4, 1, 0.125)


def test_a_finished_run_has_nothing_to_resume(tmp_path: Path) -> None:
    """Resuming a finished run makes no update and changes no weight."""
    recipe = tiny_recipe("classification", tmp_path / "data", epochs=1)
    make_trainer(recipe, tmp_path / "run").fit()
    before, _ = read_tensors(tmp_path / "run" / "last.safetensors")
    progress = make_trainer(recipe, tmp_path / "run").fit()
    after, _ = read_tensors(tmp_path / "run" / "last.safetensors")
    assert progress.finished
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_names_itself_and_the_way_on(number: signal.Signals, tmp_path: Path) -> None:
    """The message has the shell-quoted resume command, and signal handlers are restored."""
    recipe = tiny_recipe("classification", tmp_path / "data")
    before = signal.getsignal(number)
    trainer = make_trainer(recipe, tmp_path / "my run", at=2, then=lambda: interrupt(number))
    with pytest.raises(Interrupted) as caught:
        trainer.fit()
    assert caught.value.signal_number == number
    assert f"unroll resume '{tmp_path}/my run'" in str(caught.value)
    assert signal.getsignal(number) is before


def test_a_second_signal_acts_at_once(tmp_path: Path) -> None:
    """A second signal stops the run without waiting for the end of the update."""
    recipe = tiny_recipe("classification", tmp_path / "data")

    def twice() -> None:
        interrupt(signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        wait_until(lambda: False)  # the second signal ends the wait

    with pytest.raises(KeyboardInterrupt):
        make_trainer(recipe, tmp_path / "run", at=2, then=twice).fit()
    assert not (tmp_path / "run" / "last.safetensors").exists()


def test_a_signal_in_the_last_epoch_is_not_swallowed(tmp_path: Path) -> None:
    """A signal during the last dev scoring still stops the command, and resuming has nothing left to train."""
    recipe = tiny_recipe("classification", tmp_path / "data", epochs=1)
    trainer = make_trainer(recipe, tmp_path / "run")
    trainer._score = terminating_score(trainer)
    with pytest.raises(Interrupted):
        trainer.fit()
    assert make_trainer(recipe, tmp_path / "run", at=1, then=lambda: pytest.fail("an update was made")).fit().finished


def broken_loss(trainer: Trainer, step: int, broken: Callable[[Tensor], Tensor]) -> None:
    """From update `step` on, the network's loss is passed through `broken`."""
    network = trainer.state.network
    inner = network.loss

    def loss(batch: Any, carried: tuple[Tensor, ...] = ()) -> tuple[Tensor, tuple[Tensor, ...]]:
        value, after = inner(batch, carried)
        return (broken(value) if trainer.progress.step >= step else value), after

    network.loss = loss  # type: ignore[method-assign]


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (lambda loss: loss * float("nan"), "the loss is nan"),
        (lambda loss: loss * float("inf"), "the loss is inf"),
        (lambda loss: loss * 1e6, r"the loss is \d\.\d+e\+0\d"),
        (lambda loss: (loss - loss.detach()).sqrt(), "gradient norm (inf|nan)"),
    ],
    ids=["nan", "infinite", "absurd", "infinite gradient"],
)
def test_divergence_stops_with_a_hint(broken: Callable[[Tensor], Tensor], said: str, tmp_path: Path) -> None:
    """Divergence stops the run before the update, and the error has the cause, the step and the settings to change."""
    recipe = tiny_recipe("classification", tmp_path / "data", learning_rate=0.25, clip_norm=3.0)
    trainer = make_trainer(recipe, tmp_path / "run")
    broken_loss(trainer, 2, broken)
    with pytest.raises(Diverged, match=said) as caught:
        trainer.fit()
    for hint in ("at step 2 (epoch 1)", "training.learning_rate (now 0.2", "training.clip_norm (now 3.0)"):
        assert hint in str(caught.value)
    assert all(parameter.isfinite().all() for parameter in trainer.state.network.parameters())


def test_the_gradient_norm_is_logged_before_clipping(tmp_path: Path) -> None:
    """Logged gradient norms exceed the bound, while the update respects it."""
    recipe = tiny_recipe(
        "classification", tmp_path / "data", epochs=1, schedule="constant", clip_norm=1e-3,
        optimizer="sgd", momentum=0.0, learning_rate=1.0,
    )  # fmt: skip
    trainer = make_trainer(recipe, tmp_path / "run", at=2, then=terminate)
    before = torch.nn.utils.parameters_to_vector(trainer.state.network.parameters()).detach()
    with pytest.raises(Interrupted):
        trainer.fit()
    after = torch.nn.utils.parameters_to_vector(trainer.state.network.parameters()).detach()
    (row,) = rows_of(tmp_path / "run", "step")
    assert row["gradient_norm"] > 10e-3
    assert 0 < float((after - before).norm()) <= 2.01e-3


def test_training_stops_when_dev_no_longer_gets_better(tmp_path: Path) -> None:
    """Early stopping after `patience` epochs without gain, counted from the best one, whose weights are kept."""
    recipe = tiny_recipe("classification", tmp_path / "data", epochs=9, patience=2)
    weights: list[Tensor] = []
    values = iter([1.0, 0.5, 3.0, 2.0, 3.0, 9.0])

    def score(network: Network) -> DevScore:
        weights.append(network.get_parameter("output.weight").detach().clone())
        return DevScore(next(values))

    progress = make_trainer(recipe, tmp_path / "run", score).fit()
    assert (progress.epoch, progress.best_epoch, progress.best_score) == (5, 3, 3.0)
    best, _ = read_tensors(tmp_path / "run" / "best.safetensors")
    assert torch.equal(best["output.weight"], weights[2])
    assert not torch.equal(best["output.weight"], weights[4])
    assert [row["best"] for row in rows_of(tmp_path / "run", "epoch")] == [True, False, True, False, False]


def test_state_is_carried_through_an_epoch_and_no_further(tmp_path: Path) -> None:
    """The first window of each epoch starts without state, and every other one from the previous window's state."""
    recipe = tiny_recipe("generation", tmp_path / "data", epochs=2)
    trainer = make_trainer(recipe, tmp_path / "run", lambda _: DevScore(1.0))
    network, inner = trainer.state.network, trainer.state.network.loss
    handed_in: list[tuple[Tensor, ...]] = []
    handed_back: list[tuple[Tensor, ...]] = [()]

    def loss(batch: Any, carried: tuple[Tensor, ...] = ()) -> tuple[Tensor, tuple[Tensor, ...]]:
        value, after = inner(batch, carried)
        handed_in.append(carried)
        handed_back.append(after)
        return value, after

    network.loss = loss  # type: ignore[method-assign]
    steps = trainer.fit().step
    first_windows = [number for number in range(steps) if handed_in[number] == ()]
    assert len(first_windows) == 2
    others = [number for number in range(steps) if number not in first_windows]
    assert all(handed_in[number] is handed_back[number] for number in others)


def test_the_rate_falls_on_a_plateau(tmp_path: Path) -> None:
    """The rate is halved after every second epoch without gain, and unchanged by epochs with gain."""
    recipe = tiny_recipe(
        "classification", tmp_path / "data", epochs=5, patience=9, schedule="plateau", plateau_epochs=2,
        learning_rate=0.08,
    )  # fmt: skip
    values = iter([1.0, 2.0, 2.0, 2.0, 2.0])
    make_trainer(recipe, tmp_path / "run", lambda _: DevScore(next(values))).fit()
    steps = rows_of(tmp_path / "run", "step")
    rate = {1 + (row["step"] - 1) // 5: row["learning_rate"] for row in steps}
    assert rate == pytest.approx({1: 0.08, 2: 0.08, 3: 0.08, 4: 0.08, 5: 0.04})


def test_averages_are_scored_and_the_network_goes_on_with_its_own(tmp_path: Path) -> None:
    """Dev is scored with the averaged weights, and the network's own weights are restored afterwards."""
    recipe = tiny_recipe("classification", tmp_path / "data", epochs=2, ema_decay=0.5)
    expected: dict[str, Tensor] = {}
    seen: list[bool] = []

    def score(network: Network) -> DevScore:
        seen.append(all(torch.equal(value, expected[name]) for name, value in network.named_parameters()))
        return DevScore(1.0)

    trainer = make_trainer(recipe, tmp_path / "run", score)
    network = trainer.state.network
    expected.update(start_averages(network, recipe.training))
    inner = trainer.state.optimizer.step

    def step(*arguments: Any) -> Any:
        done = inner(*arguments)
        update_averages(expected, network, share_kept(recipe.training, trainer.progress.step, 10))
        return done

    trainer.state.optimizer.step = step  # type: ignore[method-assign]
    trainer.fit()
    assert seen == [True, True]
    assert not torch.equal(network.get_parameter("output.weight"), expected["output.weight"])


def test_a_checkpoint_is_written_now_and_then(tmp_path: Path) -> None:
    """With a checkpoint period near zero, every update is saved."""
    recipe = tiny_recipe("classification", tmp_path / "data", checkpoint_every_s=1e-9, epochs=1)
    saved: list[int] = []

    def look(_network: Network) -> DevScore:
        _, metadata = read_tensors(tmp_path / "run" / "last.safetensors")
        saved.append(json.loads(metadata["progress"])["batch"])
        return DevScore(1.0)

    make_trainer(recipe, tmp_path / "run", look).fit()
    assert saved == [5]


@pytest.mark.parametrize("task", TASKS)
def test_every_task_learns(task: TrainedTask, tmp_path: Path) -> None:
    """In every task, a few epochs bring the dev loss clearly below that of the first."""
    recipe = tiny_recipe(task, tmp_path / "data", epochs=8, patience=8, learning_rate=0.05)
    make_trainer(recipe, tmp_path / "run").fit()
    losses = [row["dev_loss"] for row in rows_of(tmp_path / "run", "epoch")]
    assert losses[-1] < 0.85 * losses[0]
