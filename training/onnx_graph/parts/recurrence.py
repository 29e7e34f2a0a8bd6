"""LSTM, GRU and Elman recurrences in a form that every execution provider computes right.

Recurrences run forward only, without `sequence_lens`: some providers ignore it silently and CUDA copies it from the
host at every run. A backward direction is ReverseSequence -> forward recurrence -> ReverseSequence, and the last valid
state is gathered. The one exception is the state an LSTM hands over after a padded prompt: ONNX gives the cell only at
the last step, so there `sequence_lens` says where that is.

Inside a graph sequences are time-major, `[time, batch, width]`: onnxruntime refuses the batch-major layout.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from onnx import TensorProto
from torch import nn

from training.networks.layers.gru_reset_before import ResetBeforeGRU
from training.onnx_graph.parts.builder import GraphBuilder

#: For each gate in ONNX's order, its place in torch's: LSTM i,o,f,c from i,f,g,o; GRU z,r,h from r,z,n.
GATE_ORDER: Mapping[str, tuple[int, ...]] = {"LSTM": (0, 3, 1, 2), "GRU": (1, 0, 2), "RNN": (0,)}


class RecurrentValues(NamedTuple):
    """What a recurrence gives: `outputs` `[time, batch, hidden]`, and the state at its end.

    The parts of `state` are `[1, batch, hidden]`: hidden, and cell for LSTM. Without `sequence_lens` the end is the
    last step of the padded batch, not of each row.
    """

    outputs: str
    state: tuple[str, ...]


def recurrence(
    graph: GraphBuilder, inputs: str, module: nn.RNNBase, state: Sequence[str] = (), sequence_lens: str = ""
) -> RecurrentValues:
    """One layer, one direction, over `inputs` `[time, batch, width]`, from zeros or from `state`.

    Raises:
        ValueError: the module has several layers or directions, or a projection.
    """
    operator = operator_of(module)
    attributes: dict[str, object] = {"hidden_size": module.hidden_size}
    if operator == "GRU":
        # torch applies the reset gate after the recurrent product; ONNX's default is before.
        attributes["linear_before_reset"] = 0 if isinstance(module, ResetBeforeGRU) else 1
    if isinstance(module, nn.RNN) and module.nonlinearity == "relu":
        attributes["activations"] = ["Relu"]
    num_outputs = 3 if operator == "LSTM" else 2
    inputs_of_node = (inputs, *recurrent_weights(graph, module), sequence_lens, *state)
    outputs, *after = graph.nodes(operator, *inputs_of_node, num_outputs=num_outputs, **attributes)
    return RecurrentValues(graph.node("Squeeze", outputs, graph.integers(1)), tuple(after))


def operator_of(module: nn.RNNBase) -> str:
    """The ONNX operator for a torch recurrence of one layer and one direction."""
    if module.num_layers != 1 or module.bidirectional or module.proj_size:
        raise ValueError("a recurrence must have one layer, one direction and no projection")
    return "LSTM" if isinstance(module, nn.LSTM) else "GRU" if isinstance(module, nn.GRU) else "RNN"


def recurrent_weights(graph: GraphBuilder, module: nn.RNNBase) -> tuple[str, str, str]:
    """The operator's W `[1, gates * hidden, width]`, R `[1, gates * hidden, hidden]`, B `[1, 2 * gates * hidden]`."""
    order = GATE_ORDER[operator_of(module)]
    input_weight = graph.weight(_reordered(module, "weight_ih_l0", order)[None])
    hidden_weight = graph.weight(_reordered(module, "weight_hh_l0", order)[None])
    if not module.bias:
        return input_weight, hidden_weight, ""
    biases = torch.cat([_reordered(module, "bias_ih_l0", order), _reordered(module, "bias_hh_l0", order)])
    return input_weight, hidden_weight, graph.weight(biases[None])


def _reordered(module: nn.RNNBase, parameter: str, order: tuple[int, ...]) -> torch.Tensor:
    gates = module.get_parameter(parameter).detach().chunk(len(order))
    return torch.cat([gates[index] for index in order])


def reverse(graph: GraphBuilder, values: str, lengths: str) -> str:
    """Turn round the valid part of each row of `[time, batch, width]`; padding stays at the end. Its own inverse."""
    return graph.node("ReverseSequence", values, lengths, time_axis=0, batch_axis=1)


def backward_recurrence(graph: GraphBuilder, inputs: str, lengths: str, module: nn.RNNBase) -> str:
    """A recurrence from each row's last valid step to its first: `[time, batch, hidden]`, in the order of the input."""
    return reverse(graph, recurrence(graph, reverse(graph, inputs, lengths), module).outputs, lengths)


def last_valid(graph: GraphBuilder, outputs: str, lengths: str) -> str:
    """`[batch, width]`: row b of `[time, batch, width]` at step `lengths[b] - 1`."""
    last = graph.node("Unsqueeze", graph.node("Sub", lengths, graph.integer(1)), graph.integers(1))
    num_rows = graph.node("Squeeze", graph.node("Shape", lengths), graph.integers(0))
    rows = graph.node("Range", graph.integer(0), num_rows, graph.integer(1))
    index = graph.node("Concat", last, graph.node("Unsqueeze", rows, graph.integers(1)), axis=1)
    return graph.node("GatherND", outputs, index)


def first(graph: GraphBuilder, outputs: str) -> str:
    """`[batch, width]`: step 0 of `[time, batch, width]`, where a backward recurrence ends."""
    return graph.node("Gather", outputs, graph.integer(0), axis=0)


def time_major(graph: GraphBuilder, values: str) -> str:
    """`[batch, time, width]` to `[time, batch, width]`, and back: the swap is its own inverse."""
    return graph.node("Transpose", values, perm=[1, 0, 2])


def time_major_ids(graph: GraphBuilder, ids: str) -> str:
    """`[batch, time]` -> `[time, batch]`."""
    return graph.node("Transpose", ids, perm=[1, 0])


def as_sequence_lens(graph: GraphBuilder, lengths: str) -> str:
    """Lengths in the element type that recurrent operators want."""
    return graph.node("Cast", lengths, to=TensorProto.INT32)
