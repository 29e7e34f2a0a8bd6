"""DropConnect on the hidden-to-hidden weights of a recurrence (Merity et al. 2018)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.networks.layers.gru_reset_before import ResetBeforeGRU, reset_before_gru

#: What each torch module calls with its weights: handing them over here leaves the module's own untouched.
_KERNELS: dict[type[nn.Module], Callable[..., tuple[Tensor, ...]]] = {
    nn.LSTM: torch.lstm,
    nn.GRU: torch.gru,
    nn.RNN: torch.rnn_tanh,
    ResetBeforeGRU: reset_before_gru,
}


class WeightDrop:
    """A recurrence that lost some hidden-to-hidden weights, the same ones at every step of a window.

    It is called like the module that it stands for, which keeps its weights: they are what is saved and exported.
    """

    def __init__(self, rnn: nn.Module, rate: float) -> None:
        """Raises ValueError for a recurrence whose kernel is not known."""
        if type(rnn) not in _KERNELS:
            raise ValueError(f"there is no weight drop for a {type(rnn).__name__}")
        self._rnn = rnn
        self._rate = rate

    def __call__(self, inputs: Tensor, before: Any) -> tuple[Tensor, Any]:
        """`[batch, time, input]` and the state as torch spells it -> outputs and the state after the last step."""
        rnn = self._rnn
        weights: list[Tensor] = [
            rnn.get_parameter(name) for name in ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
        ]
        weights[1] = F.dropout(weights[1], self._rate)
        # has_biases, num_layers, dropout between layers, train, bidirectional, batch_first
        outputs, *after = _KERNELS[type(rnn)](inputs, before, weights, True, 1, 0.0, True, False, True)
        return outputs, tuple(after) if len(after) == 2 else after[0]
