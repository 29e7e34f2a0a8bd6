"""The registry of cell writers. Their graphs are correct on every execution provider.

Recurrences run forward only, without `sequence_lens`: some providers ignore it silently and CUDA copies it from the
host at every run. A backward direction is ReverseSequence -> forward recurrence -> ReverseSequence, and the last valid
state is gathered. The only exception is the final state of an LSTM after a padded prompt: ONNX outputs the cell state
only at the last step, so `sequence_lens` is needed there.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from training.networks.layers.gru_reset_before import ResetBeforeGRU
from training.onnx_graph.parts.builder import GraphBuilder
from training.onnx_graph.parts.cell_writer import CellWriter, Operator, RecurrentValues
from training.onnx_graph.parts.sequences import reverse

#: The writer of each cell's module. torch's gate orders are i, f, g, o and r, z, n; ONNX's are i, o, f, c and z, r, h.
#: torch applies a GRU's reset gate after the recurrent product, ONNX by default before.
CELL_WRITERS: dict[type[nn.Module], CellWriter] = {
    nn.LSTM: Operator("LSTM", (0, 3, 1, 2), num_states=2),
    nn.GRU: Operator("GRU", (1, 0, 2), attributes={"linear_before_reset": 1}),
    ResetBeforeGRU: Operator("GRU", (1, 0, 2), attributes={"linear_before_reset": 0}),
    nn.RNN: Operator("RNN", (0,)),
}


def recurrence(
    graph: GraphBuilder, inputs: str, module: nn.Module, state: Sequence[str] = (), lengths: str = ""
) -> RecurrentValues:
    """One layer, one direction, over `inputs` `[time, batch, width]`, from zeros or from `state`.

    Raises:
        ValueError: there is no writer for this module.
    """
    if type(module) not in CELL_WRITERS:
        raise ValueError(f"there is no graph writer for the recurrent module {type(module).__name__}")
    return CELL_WRITERS[type(module)](graph, inputs, module, state, lengths)


def backward_recurrence(graph: GraphBuilder, inputs: str, lengths: str, module: nn.Module) -> str:
    """A recurrence from each row's last valid step to step 0; outputs `[time, batch, hidden]` in input order."""
    return reverse(graph, recurrence(graph, reverse(graph, inputs, lengths), module).outputs, lengths)
