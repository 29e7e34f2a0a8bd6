"""The interface of cell writers, and the writer of cells that ONNX has an operator for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import torch
from onnx import TensorProto
from torch import nn

from training.onnx_graph.parts.builder import GraphBuilder
from training.onnx_graph.parts.sequences import last_valid


class RecurrentValues(NamedTuple):
    """`outputs` `[time, batch, hidden]`, and the parts of the final state, `[1, batch, hidden]` each.

    With lengths that is the state after each row's last valid step, otherwise that after the last step of the batch.
    """

    outputs: str
    state: tuple[str, ...]


class CellWriter(Protocol):
    """Writes one layer in one direction over `inputs` `[time, batch, width]`.

    `state` has the parts of the initial state, `[1, batch, hidden]` each; the default is zeros.
    """

    def __call__(
        self, graph: GraphBuilder, inputs: str, module: nn.Module, state: Sequence[str] = (), lengths: str = ""
    ) -> RecurrentValues: ...


def last_output(graph: GraphBuilder, outputs: str, lengths: str) -> str:
    """The state `[1, batch, hidden]` after each row's last valid step, of a cell whose only state is its output."""
    return graph.node("Unsqueeze", last_valid(graph, outputs, lengths), graph.integers(0))


@dataclass(frozen=True)
class Operator:
    """The writer of a cell that ONNX has an operator for.

    Attributes:
        gate_order: for each gate in ONNX's order its index in torch's.
        num_states: the number of parts of the state. With one, the state is the output.
    """

    name: str
    gate_order: tuple[int, ...]
    num_states: int = 1
    attributes: Mapping[str, int] = field(default_factory=dict)

    def __call__(
        self, graph: GraphBuilder, inputs: str, module: nn.Module, state: Sequence[str] = (), lengths: str = ""
    ) -> RecurrentValues:
        """Raises ValueError for options of torch's modules that no recipe sets, as several layers or a projection."""
        assert isinstance(module, nn.RNNBase)
        needs_lens = lengths and self.num_states > 1
        sequence_lens = graph.node("Cast", lengths, to=TensorProto.INT32) if needs_lens else ""
        node_inputs = (inputs, *self._weights(graph, module), sequence_lens, *state)
        attributes = {"hidden_size": module.hidden_size, **self.attributes}
        node_outputs = graph.nodes(self.name, *node_inputs, num_outputs=1 + self.num_states, **attributes)
        outputs, after = graph.node("Squeeze", node_outputs[0], graph.integers(1)), node_outputs[1:]
        if lengths and not needs_lens:
            after = (last_output(graph, outputs, lengths),)
        return RecurrentValues(outputs, after)

    def _weights(self, graph: GraphBuilder, module: nn.RNNBase) -> tuple[str, str, str]:
        """W `[1, gates * hidden, width]`, R `[1, gates * hidden, hidden]`, B `[1, 2 * gates * hidden]`."""
        is_single = module.num_layers == 1 and not module.bidirectional
        if not is_single or module.proj_size or not module.bias or module.mode == "RNN_RELU":
            raise ValueError("a recurrence must have one layer, one direction, biases, no projection and no ReLU")
        names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
        of_input, of_hidden, *biases = (self._reordered(module.get_parameter(name)) for name in names)
        return graph.weight(of_input[None]), graph.weight(of_hidden[None]), graph.weight(torch.cat(biases)[None])

    def _reordered(self, parameter: torch.Tensor) -> torch.Tensor:
        gates = parameter.detach().chunk(len(self.gate_order))
        return torch.cat([gates[index] for index in self.gate_order])
