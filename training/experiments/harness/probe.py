"""A minimal recurrent network: input module, one recurrent layer, linear output at each step."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from training.config.networks import Cell
from training.networks.layers.recurrent import RecurrentEncoder

ProbeName = Literal["Elman", "GRU", "LSTM, forget bias 0", "LSTM, forget bias 1"]

#: The cells of the memory experiments, with their forget bias: 1 is the initial value of our LSTM, 0 is common.
CELLS_OF: dict[ProbeName, tuple[Cell, float]] = {
    "Elman": ("rnn", 0.0),
    "GRU": ("gru", 0.0),
    "LSTM, forget bias 0": ("lstm", 0.0),
    "LSTM, forget bias 1": ("lstm", 1.0),
}


class Probe(nn.Module):
    """`inputs` is an embedding, or the identity for inputs that are vectors."""

    def __init__(
        self,
        cell: Cell,
        inputs: nn.Module,
        input_size: int,
        hidden_size: int,
        num_outputs: int,
        *,
        forget_bias: float = 1.0,
        bidirectional: bool = False,
    ) -> None:
        super().__init__()
        self.inputs = inputs
        self.encoder = RecurrentEncoder(cell, input_size, hidden_size, 1, bidirectional)
        self.output = nn.Linear(self.encoder.output_size, num_outputs)
        for name, parameter in self.encoder.named_parameters():
            if cell == "lstm" and "bias_ih" in name:
                nn.init.constant_(parameter[hidden_size : 2 * hidden_size], forget_bias)

    def forward(self, sequences: Tensor) -> Tensor:
        """`[batch, time, ...]`, all of one length -> `[batch, time, outputs]`."""
        vectors = self.inputs(sequences)
        lengths = torch.full((vectors.shape[0],), vectors.shape[1])
        outputs: Tensor = self.output(self.encoder(vectors, lengths))
        return outputs


def num_parameters(network: nn.Module) -> int:
    """The number of parameters."""
    return sum(parameter.numel() for parameter in network.parameters())
