"""Stacked recurrent layers over padded batches, unidirectional or bidirectional.

Every recurrence runs forward in time. The backward direction reverses each sequence within its length, runs forward,
and reverses the outputs, so that padding never precedes a token and the layer can be exported to an ONNX graph that is
correct on every execution provider.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Protocol

import torch
from torch import Tensor, nn

from training.config.networks import Cell, CellOrNone, Connection
from training.networks.layers.cells import State, layer_state, recurrence, run_recurrence, state_names
from training.networks.layers.dropout import sequence_dropout
from training.networks.layers.residual import ResidualConnection
from training.networks.layers.weight_drop import WeightDrop
from training.preprocessing.padded_sequences import last_step, reverse_sequence

#: One layer of a stack: runs inputs from a state, up to each row's own length where lengths are given.
LayerRun = Callable[[Tensor, State, Tensor | None], tuple[Tensor, State]]


class RecurrentLayer(nn.Module):
    """One recurrent layer, unidirectional or bidirectional."""

    def __init__(self, cell: Cell, input_size: int, hidden_size: int, bidirectional: bool) -> None:
        super().__init__()
        self.forward_rnn = recurrence(cell, input_size, hidden_size)
        self.backward_rnn = recurrence(cell, input_size, hidden_size) if bidirectional else None
        self.output_size = hidden_size * (2 if bidirectional else 1)

    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        """`[batch, time, input]` -> `[batch, time, hidden * directions]`; values beyond a length are undefined."""
        outputs: Tensor = self.forward_rnn(inputs)[0]
        if self.backward_rnn is None:
            return outputs
        backward: Tensor = self.backward_rnn(reverse_sequence(inputs, lengths))[0]
        return torch.cat([outputs, reverse_sequence(backward, lengths)], dim=2)

    def final(self, outputs: Tensor, lengths: Tensor) -> Tensor:
        """`[batch, hidden * directions]`: the final hidden state of each direction.

        That of the backward direction is at step 0.
        """
        if self.backward_rnn is None:
            return last_step(outputs, lengths)
        forward, backward = outputs.chunk(2, dim=2)
        return torch.cat([last_step(forward, lengths), backward[:, 0]], dim=1)


class RecurrentEncoder(nn.Module):
    """A stack of recurrent layers over whole sequences, with dropout between them.

    `connection` is the residual connection around every layer but the first, whose input has another width.
    `layer_norm` follows each layer. With `locked` dropout the mask is the same at every step.
    """

    def __init__(
        self,
        cell: Cell,
        input_size: int,
        hidden_size: int,
        layers: int,
        bidirectional: bool,
        dropout: float = 0.0,
        *,
        connection: Connection = "none",
        layer_norm: bool = False,
        locked: bool = True,
    ) -> None:
        super().__init__()
        self.output_size = hidden_size * (2 if bidirectional else 1)
        sizes = [input_size] + [self.output_size] * (layers - 1)
        self.layers = nn.ModuleList(RecurrentLayer(cell, size, hidden_size, bidirectional) for size in sizes)
        connections: list[Connection] = ["none", *[connection] * (layers - 1)]
        self.ends = nn.ModuleList(ResidualConnection(self.output_size, each, layer_norm) for each in connections)
        self.dropout = sequence_dropout(dropout, locked)

    @property
    def is_forward_only(self) -> bool:
        """Whether no output depends on later steps, so that a sequence can be read in chunks."""
        return all(layer.backward_rnn is None for layer in self._layers())

    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        """`[batch, time, input]` -> `[batch, time, output_size]`."""
        outputs = inputs
        for number, (layer, end) in enumerate(zip(self.layers, self.ends, strict=True)):
            read = self.dropout(outputs) if number else outputs
            outputs = end(read, layer(read, lengths))
        return outputs

    def read_chunk(self, inputs: Tensor, lengths: Tensor, state: State) -> tuple[Tensor, State]:
        """`forward` from a state with parts `[layers, batch, hidden]`; also the state after each row's last step.

        Only for an encoder that `is_forward_only`.
        """
        layers = [partial(run_recurrence, layer.forward_rnn) for layer in self._layers()]
        return run_stack(layers, inputs, state, lengths, self.dropout, self.ends)

    def final(self, outputs: Tensor, lengths: Tensor) -> Tensor:
        """`[batch, output_size]`: the final hidden state of the top layer."""
        return self._layers()[-1].final(outputs, lengths)

    def _layers(self) -> list[RecurrentLayer]:
        return [layer for layer in self.layers if isinstance(layer, RecurrentLayer)]


class EncoderTable(Protocol):
    """What the network tables of several tasks say of their encoder."""

    @property
    def cell(self) -> CellOrNone: ...
    @property
    def hidden_size(self) -> int: ...
    @property
    def layers(self) -> int: ...
    @property
    def bidirectional(self) -> bool: ...
    @property
    def connection(self) -> Connection: ...
    @property
    def layer_norm(self) -> bool: ...
    @property
    def dropout(self) -> float: ...
    @property
    def locked_dropout(self) -> bool: ...


def recurrent_encoder(config: EncoderTable, input_size: int) -> RecurrentEncoder:
    """The encoder that a network table asks for, over inputs of this size."""
    assert config.cell != "none", "a network without a recurrence has no such encoder"
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


class StatefulStack(nn.Module):
    """A stack of forward layers that takes and returns its state, as a language model needs.

    Residual connections and layer normalisation are those of `RecurrentEncoder`. During training, `weight_drop` is the
    rate of dropout on hidden-to-hidden weights, with a new mask for each window.
    """

    def __init__(
        self,
        cell: Cell,
        input_size: int,
        hidden_size: int,
        layers: int,
        dropout: float = 0.0,
        *,
        connection: Connection = "none",
        layer_norm: bool = False,
        locked: bool = True,
        weight_drop: float = 0.0,
    ) -> None:
        super().__init__()
        self.cell = cell
        sizes = [input_size] + [hidden_size] * (layers - 1)
        self.layers = nn.ModuleList(recurrence(cell, size, hidden_size) for size in sizes)
        connections: list[Connection] = ["none", *[connection] * (layers - 1)]
        self.ends = nn.ModuleList(ResidualConnection(hidden_size, each, layer_norm) for each in connections)
        self.dropout = sequence_dropout(dropout, locked)
        self.weight_drop = weight_drop
        self.hidden_size = hidden_size

    def zero_state(self, batch: int, device: torch.device) -> State:
        """The state before the first token."""
        shape = (len(self.layers), batch, self.hidden_size)
        return tuple(torch.zeros(shape, device=device) for _ in state_names(self.cell))

    def forward(self, inputs: Tensor, state: State, lengths: Tensor | None = None) -> tuple[Tensor, State]:
        """`[batch, time, input]` and a state -> `[batch, time, hidden]` and the state after each row's last step.

        Without `lengths` every row is `time` long.
        """
        return run_stack(self._layer_runs(), inputs, state, lengths, self.dropout, self.ends)

    def _layer_runs(self) -> list[LayerRun]:
        """The layers; during training with a new mask of weight drop."""
        if self.training and self.weight_drop:
            return [WeightDrop(layer, self.weight_drop) for layer in self.layers]
        return [partial(run_recurrence, layer) for layer in self.layers]


def run_stack(
    layers: Iterable[LayerRun],
    inputs: Tensor,
    state: State,
    lengths: Tensor | None,
    dropout: nn.Module,
    ends: Iterable[nn.Module],
) -> tuple[Tensor, State]:
    """Run stacked forward layers from `state`: the outputs, and the state after each row's last step.

    `ends` has the residual connection of each layer.
    """
    outputs, finals = inputs, []
    for number, (run, end) in enumerate(zip(layers, ends, strict=True)):
        inputs = dropout(outputs) if number else outputs
        outputs, after = run(inputs, layer_state(state, number), lengths)
        outputs = end(inputs, outputs)
        finals.append(after)
    return outputs, tuple(torch.cat(parts) for parts in zip(*finals, strict=True))
