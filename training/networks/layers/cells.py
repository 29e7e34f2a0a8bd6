"""The registry of recurrent cells: torch module, state, weight initialisation and how to run it.

A new cell is one entry of `CELLS` and one line of `training.config.networks.Cell`; its graph writer is an entry of
`training.onnx_graph.parts.cells.CELL_WRITERS`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from training.config.networks import Cell, CellOrNone
from training.networks.layers.gru_reset_before import ResetBeforeGRU, reset_before_gru
from training.preprocessing.padded_sequences import last_step

#: Recurrent state: `(hidden,)` for GRU and Elman, `(hidden, cell)` for LSTM, each `[layers, batch, width]`.
State = tuple[Tensor, ...]
#: Runs one layer: inputs `[batch, time, input]`, state parts `[1, batch, hidden]`, and lengths `[batch]` or None.
Run = Callable[[nn.Module, Tensor, State, Tensor | None], tuple[Tensor, State]]
#: Runs one layer with given weights, in the order of `WEIGHT_NAMES`: outputs, then each part of the next state.
Kernel = Callable[[Tensor, State, list[Tensor]], tuple[Tensor, ...]]

#: In the order of torch's kernels.
WEIGHT_NAMES = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
#: has_biases, num_layers, dropout between layers, train, bidirectional, batch_first
_ONE_LAYER = (True, 1, 0.0, True, False, True)


@dataclass(frozen=True)
class RecurrentCell:
    """One recurrent cell.

    Attributes:
        module: one layer in one direction, built and called like torch's own:
            `module(input_size, hidden_size, batch_first=True)`. Called without a state it starts from zeros.
        state_names: the parts of its state, as bundles name them.
        initialise: sets the initial weights.
        run: runs the module from a state; with lengths it returns the state after each row's last step.
        kernel: the same computation with given weights, which weight drop needs; None if not available.
    """

    module: type[nn.Module]
    state_names: tuple[str, ...]
    initialise: Callable[[nn.Module], None]
    run: Run
    kernel: Kernel | None = None


def run_output_state(module: nn.Module, inputs: Tensor, state: State, lengths: Tensor | None) -> tuple[Tensor, State]:
    """Run a cell whose only state is its output: the final state is the output at each row's last step."""
    outputs, after = module(inputs, state[0])
    return outputs, (after if lengths is None else last_step(outputs, lengths).unsqueeze(0),)


def run_packed(module: nn.Module, inputs: Tensor, state: State, lengths: Tensor | None) -> tuple[Tensor, State]:
    """Run a torch cell with more state than its output: packed sequences give the state at each row's last step."""
    outputs: Tensor
    if lengths is None:
        outputs, after = module(inputs, state)
        return outputs, after
    packed = pack_padded_sequence(inputs, lengths.cpu(), batch_first=True, enforce_sorted=False)
    packed_outputs, after = module(packed, state)
    outputs, _ = pad_packed_sequence(packed_outputs, batch_first=True, total_length=inputs.shape[1])
    return outputs, after


@torch.no_grad()
def orthogonal_weights(module: nn.Module) -> None:
    """Orthogonal recurrent matrices, one for each gate (Saxe et al. 2014), and biases of zero."""
    weights = module.get_parameter("weight_hh_l0")
    for block in weights.split(weights.shape[1]):
        nn.init.orthogonal_(block)
    module.get_parameter("bias_ih_l0").zero_()
    module.get_parameter("bias_hh_l0").zero_()


@torch.no_grad()
def open_forget_gate(module: nn.Module) -> None:
    """`orthogonal_weights`, and a forget gate bias of 1, so that gradients flow early (Jozefowicz et al. 2015)."""
    orthogonal_weights(module)
    bias = module.get_parameter("bias_ih_l0")
    bias.chunk(4)[1].fill_(1.0)  # torch's gate order is i, f, g, o


def _lstm(inputs: Tensor, state: State, weights: list[Tensor]) -> tuple[Tensor, ...]:
    return torch.lstm(inputs, state, weights, *_ONE_LAYER)


def _gru(inputs: Tensor, state: State, weights: list[Tensor]) -> tuple[Tensor, ...]:
    return torch.gru(inputs, state[0], weights, *_ONE_LAYER)


def _gru_before(inputs: Tensor, state: State, weights: list[Tensor]) -> tuple[Tensor, ...]:
    return reset_before_gru(inputs, state[0], weights)


def _elman(inputs: Tensor, state: State, weights: list[Tensor]) -> tuple[Tensor, ...]:
    return torch.rnn_tanh(inputs, state[0], weights, *_ONE_LAYER)


CELLS: dict[Cell, RecurrentCell] = {
    "lstm": RecurrentCell(nn.LSTM, ("hidden", "cell"), open_forget_gate, run_packed, _lstm),
    "gru": RecurrentCell(nn.GRU, ("hidden",), orthogonal_weights, run_output_state, _gru),
    "gru_before": RecurrentCell(ResetBeforeGRU, ("hidden",), orthogonal_weights, run_output_state, _gru_before),
    "rnn": RecurrentCell(nn.RNN, ("hidden",), orthogonal_weights, run_output_state, _elman),
}


def state_names(cell: CellOrNone) -> tuple[str, ...]:
    """The names of a cell's state tensors; empty for "none"."""
    return () if cell == "none" else CELLS[cell].state_names


def cell_of(module: nn.Module) -> RecurrentCell:
    """The registry entry of a module.

    Raises:
        ValueError: the module is not that of a registered cell.
    """
    for cell in CELLS.values():
        if type(module) is cell.module:
            return cell
    raise ValueError(f"there is no recurrent cell with the module {type(module).__name__}")


def recurrence(cell: Cell, input_size: int, hidden_size: int) -> nn.Module:
    """One layer in one direction, batch first, with the cell's initial weights."""
    module = CELLS[cell].module(input_size, hidden_size, batch_first=True)
    CELLS[cell].initialise(module)
    return module


def run_recurrence(
    module: nn.Module, inputs: Tensor, state: State, lengths: Tensor | None = None
) -> tuple[Tensor, State]:
    """One layer over `[batch, time, input]` from a state with parts `[1, batch, hidden]`.

    Returns:
        outputs `[batch, time, hidden]`, and the state after each row's last step. Without `lengths` every row is
        `time` long.
    """
    return cell_of(module).run(module, inputs, state, lengths)


def layer_state(state: State, number: int) -> State:
    """The state of one layer of a stack, each part `[1, batch, width]`."""
    return tuple(part[number : number + 1] for part in state)
