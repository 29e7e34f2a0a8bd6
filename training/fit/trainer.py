"""Training loop: updates, dev score, early stopping, checkpoints. Independent of the task.

for each epoch:
    for each batch:
        rate by the schedule -> loss -> gradient -> clip -> update -> averages
    score on dev -> keep the best -> early stopping
"""

from __future__ import annotations

import shlex
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor

from service.errors import UnrollError
from training.config.recipe import TrainingConfig
from training.fit.batch_statistics import NUM_BATCHES, fitting_statistics
from training.fit.checkpoint import Progress, RunState, load_checkpoint, save_checkpoint, save_weights
from training.fit.distributed import ALONE, Workers
from training.fit.gradient import Gradient, find_gradient
from training.fit.run_folder import RunFolder
from training.fit.schedule import (
    copied_weights,
    has_stopped_gaining,
    layer_share,
    layers_from_the_top,
    learning_rate,
    share_kept,
    start_averages,
    update_averages,
)
from training.networks.network import Network
from training.preprocessing.batches import Batch
from training.preprocessing.batching import Order, TrainingSet


@dataclass(frozen=True)
class DevScore:
    """Dev score of the network: higher values are better; `measures` and `samples` are for people."""

    value: float
    measures: dict[str, float] = field(default_factory=dict)
    samples: tuple[str, ...] = ()


class Diverged(UnrollError):
    """The loss is NaN, infinite or too large to recover."""


class Interrupted(UnrollError):
    """Ctrl-C or SIGTERM arrived; the run is saved and can be resumed. `signal_number` is the signal."""

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message)
        self.signal_number = signal_number


class Trainer:
    """Trains one network. `fit` returns on early stopping or after the last epoch."""

    def __init__(
        self,
        network: Network,
        data: TrainingSet,
        config: TrainingConfig,
        folder: RunFolder,
        score: Callable[[Network], DevScore],
        device: torch.device,
        workers: Workers = ALONE,
    ) -> None:
        """Raises UnrollError where `workers` cannot divide batches of this size evenly."""
        workers.check_batch_size(config.batch_size)
        self._workers = workers
        self._data = data
        self._config = config
        self._folder = folder
        self._score = score
        self._device = device
        network.to(device)
        workers.start(network)
        optimizer = build_optimizer(network, config)
        averages = start_averages(network, config)
        self.state = RunState(network=network, optimizer=optimizer, averages=averages, carried=(), progress=Progress())
        self._signal: int | None = None

    @property
    def progress(self) -> Progress:
        return self.state.progress

    def resume(self, checkpoint: Path) -> None:
        """Resume from a checkpoint, with exactly the updates that would have followed."""
        self.state = load_checkpoint(checkpoint, self.state, self._workers)
        self._folder.rewind(self.progress)

    def fit(self) -> Progress:
        """Train to the end.

        Raises:
            Diverged: the loss is NaN, infinite or too large.
            Interrupted: a signal arrived; the checkpoint is written.
        """
        with self._catching_signals():
            while self.progress.epoch < self._config.epochs and not self._stale():
                self._train_epoch()
                self._finish_epoch()
                self._stop_if_asked()
        self.progress.finished = True
        self._save()
        return self.progress

    def _stale(self) -> bool:
        return self.progress.stale_epochs >= self._config.patience

    def _train_epoch(self) -> None:
        batches = self._data.epoch(self.progress.epoch)
        total_steps = len(batches) * self._config.epochs
        self.state.network.train()
        saved_at = time.monotonic()
        with self._folder.progress_bar(self.progress, len(batches), self._config.epochs) as bar:
            for order in batches[self.progress.batch :]:
                started = time.monotonic()
                gradient, rate = self._update(order, total_steps)
                self.progress.seconds += time.monotonic() - started
                bar.advance(gradient.loss, gradient.norm, rate)
                self._stop_if_asked()
                if any(self._workers.most(time.monotonic() - saved_at > self._config.checkpoint_every_s)):
                    self._save()
                    saved_at = time.monotonic()

    def _update(self, order: Order, total_steps: int) -> tuple[Gradient, float]:
        """One step of gradient descent; returns the gradient and the learning rate."""
        state, config, progress = self.state, self._config, self.progress
        rate = learning_rate(config, progress.step, total_steps, progress.rate_factor)
        for group in state.optimizer.param_groups:
            group["lr"] = rate * layer_share(config, group.get("depth", 0), progress.epoch)
        share = self._workers.share(order)
        batch = self._data.batch(share) if len(share) else None
        gradient = find_gradient(state.network, batch, state.carried, config, self._workers)
        self._check(gradient, rate)
        state.carried = gradient.carried
        state.optimizer.step()
        if state.averages:
            kept = share_kept(config, progress.step, total_steps, progress.averaging_from or 0)
            update_averages(state.averages, state.network, kept)
        progress.batch += 1
        progress.step += 1
        progress.epoch_loss += (gradient.loss - progress.epoch_loss) / progress.batch
        return gradient, rate

    def _check(self, gradient: Gradient, rate: float) -> None:
        if not gradient.is_usable:
            raise Diverged(
                f"the loss is {gradient.loss:.4g}, the gradient norm {gradient.norm:.4g} at step {self.progress.step} "
                f"(epoch {self.progress.epoch + 1}); try a smaller training.learning_rate (now {rate:.2g}; "
                f"`unroll find-lr` looks for one) or training.clip_norm (now {self._config.clip_norm})"
            )

    def _finish_epoch(self) -> None:
        progress = self.progress
        started = time.monotonic()
        score = self._workers.from_first(self._score_averages)
        progress.seconds += time.monotonic() - started
        progress.dev_scores.append(score.value)
        better = self._is_better(score)
        if better:
            progress.best_score, progress.best_epoch, progress.stale_epochs = score.value, progress.epoch + 1, 0
        else:
            progress.stale_epochs += 1
            self._lower_rate()
        self._folder.log_epoch(progress, score.measures, score.samples, better)
        self._average_if_stuck()
        progress.epoch += 1
        progress.batch, progress.epoch_loss = 0, 0.0
        self.state.carried = ()
        self._save()

    def _score_averages(self) -> DevScore:
        """The dev score of the averaged weights, which are saved if it is the best one."""
        network = self.state.network
        with (
            averaged_weights(network, self.state.averages),
            fitting_statistics(network, self._some_batches(), self._config.precision),
        ):
            score = self._score(network)
            if self._is_better(score):
                save_weights(self._folder.best_weights, network)
        return score

    def _some_batches(self) -> Iterator[Batch]:
        """Batches of train, made only where they are asked for."""
        for order in self._data.epoch(self.progress.epoch)[:NUM_BATCHES]:
            yield self._data.batch(order)

    def _is_better(self, score: DevScore) -> bool:
        best = self.progress.best_score
        return best is None or score.value > best

    def _lower_rate(self) -> None:
        if self._config.schedule == "plateau" and self.progress.stale_epochs % self._config.plateau_epochs == 0:
            self.progress.rate_factor *= self._config.plateau_factor

    def _average_if_stuck(self) -> None:
        """Start the averages of `asgd` once dev has stopped improving, and reset early stopping."""
        progress, config = self.progress, self._config
        if config.average != "asgd" or progress.averaging_from is not None:
            return
        if has_stopped_gaining(progress.dev_scores, config.average_patience):
            progress.averaging_from, progress.stale_epochs = progress.step, 0
            self.state.averages = copied_weights(self.state.network)

    def _save(self) -> None:
        save_checkpoint(self._folder.checkpoint, self.state, self._workers)

    def _stop_if_asked(self) -> None:
        (number,) = self._workers.most(self._signal or 0)
        if number:
            self._save()
            command = f"unroll resume {shlex.quote(str(self._folder.original))}"
            raise Interrupted(f"stopped and saved; continue with: {command}", number)

    @contextmanager
    def _catching_signals(self) -> Iterator[None]:
        """The first signal stops the loop after the current update; a second one acts at once."""

        def note(number: int, _frame: FrameType | None) -> None:
            self._signal = number
            for each, handler in previous.items():
                signal.signal(each, handler)

        previous = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        for number in previous:
            signal.signal(number, note)
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)


@contextmanager
def averaged_weights(network: Network, averages: dict[str, Tensor]) -> Iterator[None]:
    """Inside, the network has the averaged weights; restores its own afterwards."""
    own = {name: value.detach().clone() for name, value in network.named_parameters()} if averages else {}
    network.load_state_dict(averages, strict=False)
    try:
        yield
    finally:
        network.load_state_dict(own, strict=False)


def build_optimizer(network: Network, config: TrainingConfig) -> torch.optim.Optimizer:
    """Adam, AdamW or SGD with momentum. The schedule sets the rate before every update."""
    rate, decay = config.learning_rate, config.weight_decay
    parameters: list[dict[str, Any]] = [{"params": list(network.parameters())}]
    if config.layer_decay < 1 or config.unfreeze == "gradual":
        layers = layers_from_the_top(network)
        parameters = [{"params": layer, "depth": depth} for depth, layer in enumerate(layers)]
    if config.optimizer == "sgd":
        return torch.optim.SGD(parameters, rate, momentum=config.momentum, weight_decay=decay)
    kind = torch.optim.AdamW if config.optimizer == "adamw" else torch.optim.Adam
    return kind(parameters, rate, betas=(0.9, config.beta2), weight_decay=decay)


def fit_small(network: Network, data: TrainingSet, config: TrainingConfig, say: Callable[[str], None]) -> None:
    """Train a network in one go, without a run folder and dev scores; the weights are those of the last update.

    Batches whose gradient is not finite are left out. Early stopping, averages and checkpoints of the configuration are
    not used. `say` gets the mean loss of each epoch.
    """
    network.train()
    optimizer = build_optimizer(network, config)
    total, step = config.epochs * len(data.epoch(0)), 0
    for epoch in range(config.epochs):
        losses = []
        for indices in data.epoch(epoch):
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(config, step, total, 1.0)
            step += 1
            gradient = find_gradient(network, data.batch(indices), (), config, ALONE)
            if gradient.is_usable:
                optimizer.step()
                losses.append(gradient.loss)
        mean = float(torch.tensor(losses).mean()) if losses else float("nan")
        say(f"epoch {epoch + 1} of {config.epochs}: loss {mean:.4f}")
    network.eval()
