"""Training of a small network in one go: no run folder, no dev score, the weights of the last update."""

from __future__ import annotations

import logging
from collections.abc import Callable

import torch

from training.config.recipe import TrainingConfig
from training.fit.distributed import ALONE
from training.fit.gradient import find_gradient
from training.fit.schedule import learning_rate
from training.fit.trainer import build_optimizer
from training.networks.network import Network
from training.preprocessing.batching import TrainingSet

_LOG = logging.getLogger(__name__)


def fit_small(network: Network, data: TrainingSet, config: TrainingConfig, say: Callable[[str], None]) -> None:
    """Train all weights for `config.epochs` epochs; batches whose gradient is not finite are left out.

    Early stopping, averages and checkpoints of the configuration are not used. `say` gets the mean loss of each epoch.
    """
    network.train()
    optimizer = build_optimizer(network, config)
    total, step = config.epochs * len(data.epoch(0)), 0
    for epoch in range(config.epochs):
        losses = []
        for indices in data.epoch(epoch):
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(config, step, total, 1.0)
            gradient = find_gradient(network, data.batch(indices), (), config, ALONE)
            if gradient.is_usable:
                optimizer.step()
                losses.append(gradient.loss)
            else:
                _LOG.warning("update %d: the gradient is not finite, and is left out", step)
            step += 1
        mean = float(torch.tensor(losses).mean()) if losses else float("nan")
        say(f"epoch {epoch + 1} of {config.epochs}: loss {mean:.4f}")
    network.eval()
