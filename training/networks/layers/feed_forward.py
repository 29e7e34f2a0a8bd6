"""The network without a recurrence, to see what a recurrence buys: features are pooled as they are read.

With mean pooling over words this is the deep averaging network of Iyyer et al. 2015.
"""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from training.config.networks import ClassifierConfig
from training.networks.layers.recurrent import RecurrentEncoder


class IdentityEncoder(nn.Module):
    """Stands where a recurrent encoder would: each step's features as they are."""

    is_forward_only = False

    def __init__(self, input_size: int) -> None:
        super().__init__()
        self.output_size = input_size

    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        """`[batch, time, input]`, unchanged."""
        return inputs


class HiddenLayers(nn.Module):
    """Linear and ReLU over the pooled vector, `layers` times; none where a recurrence has read already."""

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
    """What reads the features of a text or signal, as the recipe asks."""
    if config.cell == "none":
        return IdentityEncoder(input_size)
    return RecurrentEncoder(
        config.cell,
        input_size,
        config.hidden_size,
        config.layers,
        config.bidirectional,
        config.dropout,
        connection=config.connection,
        layer_norm=config.layer_norm,
        locked=config.locked_dropout,
    )
