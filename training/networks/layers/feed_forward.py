"""Feed-forward classifier parts (`cell = "none"`), a baseline for the recurrent ones: features are pooled directly.

With mean pooling over words this is the deep averaging network of Iyyer et al. 2015.
"""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from training.config.networks import ClassifierConfig
from training.networks.layers.recurrent import RecurrentEncoder, recurrent_encoder


class IdentityEncoder(nn.Module):
    """Takes the place of a recurrent encoder; returns the features of each step unchanged."""

    is_forward_only = False

    def __init__(self, input_size: int) -> None:
        super().__init__()
        self.output_size = input_size

    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        """`[batch, time, input]`, unchanged."""
        return inputs


class HiddenLayers(nn.Module):
    """Hidden layers (linear, ReLU) over the pooled vector of a feed-forward network; none after a recurrent encoder."""

    def __init__(self, config: ClassifierConfig, input_size: int) -> None:
        super().__init__()
        sizes = [input_size] + [config.hidden_size] * (config.layers if config.cell == "none" else 0)
        self.linears = nn.ModuleList(nn.Linear(*pair) for pair in pairwise(sizes))
        self.dropout = nn.Dropout(config.dropout)
        self.output_size = sizes[-1]

    def forward(self, vector: Tensor) -> Tensor:
        """`[batch, input]` -> `[batch, output_size]`."""
        for linear in self.linears:
            vector = linear(self.dropout(vector)).relu()
        return vector


def encoder_of(config: ClassifierConfig, input_size: int) -> RecurrentEncoder | IdentityEncoder:
    """The encoder that the configuration asks for."""
    if config.cell == "none":
        return IdentityEncoder(input_size)
    return recurrent_encoder(config, input_size)
