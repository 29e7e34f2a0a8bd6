"""Residual and highway connections around a recurrent layer, and layer normalisation after it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from training.config.networks import Connection

#: Initial bias of a highway gate: nearly closed, so that a deep stack starts close to the identity.
CLOSED_GATE_BIAS = -1.0


class ResidualConnection(nn.Module):
    """`normalise(connect(inputs, outputs))`, the same at every step.

    `residual` adds the layer's input to its output (He et al. 2016); `highway` mixes the two by a gate computed from
    the input (Srivastava et al. 2015). Layer normalisation is that of Ba et al. 2016.
    """

    def __init__(self, size: int, connection: Connection = "none", layer_norm: bool = False) -> None:
        super().__init__()
        self.is_residual = connection == "residual"
        self.gate = nn.Linear(size, size) if connection == "highway" else None
        self.norm = nn.LayerNorm(size) if layer_norm else None
        if self.gate is not None:
            nn.init.constant_(self.gate.bias, CLOSED_GATE_BIAS)

    def forward(self, inputs: Tensor, outputs: Tensor) -> Tensor:
        """Both `[batch, time, size]`, or inputs of any width where there is no connection."""
        if self.is_residual:
            outputs = inputs + outputs
        if self.gate is not None:
            outputs = inputs + torch.sigmoid(self.gate(inputs)) * (outputs - inputs)
        return outputs if self.norm is None else self.norm(outputs)
