"""DropConnect on the hidden-to-hidden weights of a recurrence (Merity et al. 2018)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from training.networks.layers.cells import WEIGHT_NAMES, State, cell_of


class WeightDrop:
    """Runs a recurrence with dropout on its hidden-to-hidden weights, one mask for all steps of a window.

    The masked weights are passed to the cell's kernel; those of the module stay unchanged.
    """

    def __init__(self, module: nn.Module, rate: float) -> None:
        """Raises ValueError for a module that is not a registered cell, or whose cell has no kernel."""
        kernel = cell_of(module).kernel
        if kernel is None:
            raise ValueError(f"there is no weight drop for a {type(module).__name__}")
        self._kernel = kernel
        self._module = module
        self._rate = rate

    def __call__(self, inputs: Tensor, state: State, lengths: Tensor | None = None) -> tuple[Tensor, State]:
        """Like `run_recurrence` over rows that are all `time` long, as windows of training are."""
        assert lengths is None
        weights: list[Tensor] = [self._module.get_parameter(name) for name in WEIGHT_NAMES]
        weights[1] = F.dropout(weights[1], self._rate)
        outputs, *after = self._kernel(inputs, state, weights)
        return outputs, tuple(after)
