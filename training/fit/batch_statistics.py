"""Statistics of batch normalisation that fit the weights which are scored and exported (Izmailov et al. 2018, 3.2).

The running statistics of training belong to the weights of the last updates, not to their averages, and trail behind
them while the learning rate is high.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Final, Literal

import torch
from torch import Tensor, nn

from training.fit.gradient import mixed_precision
from training.networks.network import Network
from training.preprocessing.batches import Batch

#: Batches of train that statistics are taken from.
NUM_BATCHES: Final = 30

BatchNorm = nn.modules.batchnorm._BatchNorm


def batch_norms(network: nn.Module) -> list[BatchNorm]:
    """The layers of a network that keep running statistics of its batches."""
    return [each for each in network.modules() if isinstance(each, BatchNorm) and each.track_running_stats]


@contextmanager
def fitting_statistics(
    network: Network, batches: Iterable[Batch], precision: Literal["fp32", "bf16"]
) -> Iterator[None]:
    """Inside, batch normalisation has the mean statistics of `batches`; restores its own afterwards.

    Inputs are as in use: neither augmented nor dropped, so no random numbers are drawn.
    """
    layers = batch_norms(network)
    own = [_statistics(layer) for layer in layers]
    try:
        if layers:
            _take_statistics(network, layers, batches, precision)
        yield
    finally:
        for layer, values in zip(layers, own, strict=True):
            layer.load_state_dict(values, strict=False)


@torch.no_grad()
def _take_statistics(
    network: Network, layers: list[BatchNorm], batches: Iterable[Batch], precision: Literal["fp32", "bf16"]
) -> None:
    """Replace the statistics of `layers` by the mean of those of the batches."""
    was_training, momenta = network.training, [layer.momentum for layer in layers]
    network.eval()
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # the plain mean of all batches
        layer.train()
    try:
        device = next(network.parameters()).device
        for batch in batches:
            with mixed_precision(device, precision):
                network.loss(batch.to(device), ())
    finally:
        network.train(was_training)
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum


def _statistics(layer: BatchNorm) -> dict[str, Tensor]:
    """A copy of the running mean, the running variance and the number of batches."""
    return {name: value.clone() for name, value in layer.named_buffers()}
