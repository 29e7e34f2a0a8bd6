"""Gradient of one batch: loss, backward pass, norm and clipping."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Literal

import torch
from torch import Tensor, nn

from training.config.recipe import TrainingConfig
from training.fit.distributed import Workers
from training.networks.network import Network
from training.preprocessing.batches import Batch

Carried = tuple[Tensor, ...]

#: Nats per token. A uniform guess among a million words costs 14; saturated gates keep a loss this large finite.
MAX_LOSS: Final = 1000.0


@dataclass(frozen=True)
class Gradient:
    """Result of a batch: its mean loss, the gradient norm before clipping, and the state for the next batch."""

    loss: float
    norm: float
    carried: Carried

    @property
    def is_usable(self) -> bool:
        """Whether loss and norm are finite and bounded."""
        return self.loss < MAX_LOSS and math.isfinite(self.norm)


@contextmanager
def mixed_precision(device: torch.device, precision: Literal["fp32", "bf16"]) -> Iterator[None]:
    """Autocast to bfloat16 inside, if `precision` asks for it.

    oneDNN raises for a bfloat16 LSTM on CPUs without AVX-512: there torch's own kernels are used.
    """
    one_dnn: Any = torch.backends.mkldnn  # torch types these module properties as read-only
    was_enabled, is_half = one_dnn.enabled, precision == "bf16"
    lacks_lstm = device.type == "cpu" and not torch.ops.mkldnn._is_mkldnn_bf16_supported()
    one_dnn.enabled = was_enabled and not (is_half and lacks_lstm)
    try:
        with torch.autocast(device.type, torch.bfloat16, enabled=is_half):
            yield
    finally:
        one_dnn.enabled = was_enabled


def find_gradient(
    network: Network, batch: Batch | None, carried: Carried, config: TrainingConfig, workers: Workers
) -> Gradient:
    """Compute the clipped gradient of a batch into the parameters.

    With several workers, `batch` is this worker's share, None if it is empty; the gradient is that of the whole batch,
    equal on all workers.
    """
    network.zero_grad(set_to_none=True)
    device = next(network.parameters()).device
    value, num_terms = torch.zeros((), device=device), 0
    if batch is not None:
        num_terms = batch.num_terms
        with mixed_precision(device, config.precision):
            loss, carried = network.loss(batch.to(device), carried)
        loss.backward()
        value = loss.detach()
    mean = workers.combine(network, value, num_terms)
    norm = nn.utils.clip_grad_norm_(network.parameters(), config.clip_norm)
    return Gradient(float(mean), float(norm), carried)
