"""Dry run: memory and time of a run, measured on a few batches (`unroll train --dry-run`)."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from training.fit.distributed import ALONE
from training.fit.environment import torch_settings
from training.fit.gradient import find_gradient
from training.fit.schedule import start_averages
from training.fit.trainer import build_optimizer
from training.networks.build import build_network
from training.networks.network import Network
from training.pipeline.run import Prepared
from training.preprocessing.batches import Batch
from training.preprocessing.batching import TrainingSet

#: Timed updates. The first update also allocates memory and chooses kernels, and is not timed.
NUM_TIMED: Final = 5
#: Batches among which the largest is searched.
NUM_WEIGHED: Final = 200
MEBIBYTE: Final = 2**20


@dataclass(frozen=True)
class DryRun:
    """Estimated sizes and times of a run. Memory is that of tensors, without the libraries themselves."""

    num_parameters: int
    steps_per_epoch: int
    steps: int
    loss: float
    seconds_per_step: float
    weights_bytes: int
    optimizer_bytes: int
    activations_bytes: int

    @property
    def minutes(self) -> float:
        """All epochs, without scoring dev."""
        return self.steps * self.seconds_per_step / 60

    def summary(self) -> str:
        """The estimate as text."""
        total = self.weights_bytes + self.optimizer_bytes + self.activations_bytes
        parts = [
            (self.weights_bytes, "weights and gradients"),
            (self.optimizer_bytes, "optimiser and averages"),
            (self.activations_bytes, "activations of the largest batch"),
        ]
        shares = ", ".join(f"{part / MEBIBYTE:.1f} {name}" for part, name in parts)
        return "\n".join(
            (
                f"{self.num_parameters:,} weights; the first batch has a loss of {self.loss:.4g}",
                f"{self.steps_per_epoch:,} updates an epoch, {self.steps:,} in all epochs",
                f"{total / MEBIBYTE:.1f} MiB of tensors: {shares}",
                f"{self.seconds_per_step * 1000:.1f} ms an update, {self.minutes:.1f} minutes for all epochs; "
                "scoring dev comes on top",
            )
        )


def dry_run(prepared: Prepared, device: torch.device) -> DryRun:
    """Build the network, make a few updates and measure them. Writes nothing."""
    config = prepared.recipe.training
    network = build_network(prepared.task, prepared.recipe, prepared.vocabulary).to(device)
    data = prepared.task.training_set(prepared.recipe, prepared.vocabulary, prepared.data.train)
    epoch = data.epoch(0)
    with torch_settings(config.threads, config.deterministic):
        kept_bytes = _activations(network, largest_batch(data), device)
        optimizer = build_optimizer(network, config)
        losses, seconds = [], []
        carried: tuple[Tensor, ...] = ()
        for order in epoch[: NUM_TIMED + 1]:
            started = time.perf_counter()
            gradient = find_gradient(network, data.batch(order), carried, config, ALONE)
            optimizer.step()
            carried = gradient.carried
            losses.append(gradient.loss)
            seconds.append(time.perf_counter() - started)
    timed = seconds[1:] or seconds
    averages = start_averages(network, config)
    return DryRun(
        num_parameters=sum(parameter.numel() for parameter in network.parameters()),
        steps_per_epoch=len(epoch),
        steps=len(epoch) * config.epochs,
        loss=losses[0],
        seconds_per_step=sum(timed) / len(timed),
        weights_bytes=2 * sum(map(_bytes, network.parameters())),
        optimizer_bytes=sum(_bytes(value) for values in optimizer.state.values() for value in values.values())
        + sum(map(_bytes, averages.values())),
        activations_bytes=kept_bytes,
    )


def largest_batch(data: TrainingSet) -> Batch:
    """The batch with the most elements in the first epoch."""
    batches = [data.batch(order) for order in data.epoch(0)[:NUM_WEIGHED]]
    return max(batches, key=lambda batch: sum(tensor.numel() for tensor in vars(batch).values()))


def _activations(network: Network, batch: Batch, device: torch.device) -> int:
    """Bytes that a forward pass keeps for the backward pass. The random state is preserved."""
    kept: dict[int, int] = {}
    own = {parameter.untyped_storage().data_ptr() for parameter in network.parameters()}
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []), _watched(kept):
        loss, _ = network.loss(batch.to(device))
    loss.backward()
    network.zero_grad(set_to_none=True)
    return sum(size for address, size in kept.items() if address not in own)


@contextmanager
def _watched(kept: dict[int, int]) -> Iterator[None]:
    """Inside, `kept` collects address and size of every storage saved for the backward pass."""

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        yield


def _bytes(value: object) -> int:
    return value.numel() * value.element_size() if isinstance(value, Tensor) else 0
