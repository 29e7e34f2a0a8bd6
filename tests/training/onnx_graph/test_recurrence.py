"""Recurrences written as ONNX, compared with torch's packed sequences."""

from __future__ import annotations

import io
import itertools
import warnings
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import onnxruntime as ort
import pytest
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from training.evaluation.torch_runner import one_thread
from training.networks.layers.cells import CELLS as ALL_CELLS
from training.networks.layers.recurrent import RecurrentEncoder, StatefulStack
from training.networks.network import float32, int64
from training.onnx_graph.parts.builder import GraphBuilder, serialized
from training.onnx_graph.parts.cell_writer import Operator
from training.onnx_graph.parts.cells import CELL_WRITERS, recurrence
from training.onnx_graph.parts.encoder import final_state, recurrent_encoder, stateful_stack
from training.onnx_graph.parts.sequences import time_major

INPUT, HIDDEN = 5, 7
BATCHES = ([1], [6], [3, 1], [2, 9, 9, 5])
#: Of each layer. Rounding differs between processors, by 2.1e-6 at most so far; the faults that are made below differ
#: by more than 1e-2.
TOLERANCE = 5e-6

Array = NDArray[np.float32]
#: Cells that torch has too; the other GRU has tests of its own.
CELLS = {cell: entry.module for cell, entry in ALL_CELLS.items() if cell != "gru_before"}


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Use one thread, which is fastest for networks this small."""
    with one_thread():
        yield


def session(graph: GraphBuilder) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    return ort.InferenceSession(serialized(graph.model()), options, providers=["CPUExecutionProvider"])


def random_weights(module: nn.Module, seed: int) -> None:
    """Weights large enough for every gate to affect the output."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.7)


def plain_torch(encoder: RecurrentEncoder, cell: str) -> nn.RNNBase:
    """torch's own stacked module with the same weights."""
    layers, bidirectional = len(encoder.layers), encoder.layers[0].backward_rnn is not None
    plain = CELLS[cell](INPUT, HIDDEN, num_layers=layers, bidirectional=bidirectional, batch_first=True)
    with torch.no_grad():
        for number, layer in enumerate(encoder.layers):
            directions = [("", layer.forward_rnn)] + ([("_reverse", layer.backward_rnn)] if bidirectional else [])
            for suffix, rnn in directions:
                for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
                    getattr(plain, f"{name}_l{number}{suffix}").copy_(getattr(rnn, f"{name}_l0"))
    return plain


def packed(plain: nn.RNNBase, inputs: torch.Tensor, lengths: list[int]) -> tuple[Array, Array]:
    """Outputs, zero beyond each length, and the top layer's final state `[batch, hidden * directions]`."""
    sequence = pack_padded_sequence(inputs, torch.tensor(lengths), batch_first=True, enforce_sorted=False)
    with torch.no_grad():
        outputs, state = plain(sequence)
    hidden = state[0] if isinstance(state, tuple) else state
    top = hidden[-2:] if plain.bidirectional else hidden[-1:]
    padded, _ = pad_packed_sequence(outputs, batch_first=True, total_length=inputs.shape[1])
    return padded.numpy(), torch.cat(list(top), dim=1).numpy()


def encoder_session(encoder: RecurrentEncoder) -> ort.InferenceSession:
    declared = [
        float32("outputs", "batch", "time", encoder.output_size),
        float32("final", "batch", encoder.output_size),
    ]
    graph = GraphBuilder("encoder", [float32("inputs", "batch", "time", INPUT), int64("lengths", "batch")], declared)
    inputs, lengths = graph.input("inputs"), graph.input("lengths")
    outputs = recurrent_encoder(graph, time_major(graph, inputs), lengths, encoder)
    final = final_state(graph, outputs, lengths, encoder.layers[-1])
    graph.output("outputs", time_major(graph, outputs))
    graph.output("final", final)
    return session(graph)


def largest_error(encoder: RecurrentEncoder, cell: str) -> float:
    """The largest difference between the graph and packed torch, over valid steps and final states."""
    graph, plain, error = encoder_session(encoder), plain_torch(encoder, cell), 0.0
    for lengths in BATCHES:
        inputs = torch.randn(len(lengths), max(lengths), INPUT, generator=torch.Generator().manual_seed(len(lengths)))
        feeds = {"inputs": inputs.numpy(), "lengths": np.array(lengths)}
        outputs, final = graph.run(["outputs", "final"], feeds)
        expected_outputs, expected_final = packed(plain, inputs, lengths)
        inside = np.arange(max(lengths)) < np.array(lengths)[:, None]
        error = max(error, np.abs(outputs[inside] - expected_outputs[inside]).max())
        error = max(error, np.abs(final - expected_final).max())
    return error


@pytest.mark.parametrize(("cell", "bidirectional", "layers"), list(itertools.product(CELLS, (False, True), (1, 2, 3))))
def test_an_encoder_equals_packed_torch(cell: str, bidirectional: bool, layers: int) -> None:
    """Portable graphs equal torch's packed sequences in outputs and final states, whatever the padding contains."""
    encoder = RecurrentEncoder(cell, INPUT, HIDDEN, layers, bidirectional)
    random_weights(encoder, seed=layers)
    assert largest_error(encoder, cell) < TOLERANCE * layers


@pytest.mark.parametrize(
    ("cell", "wrong_order"),
    [
        ("lstm", (0, 1, 2, 3)),  # torch's gate order without conversion
        ("lstm", (0, 1, 3, 2)),  # output and forget gate swapped
        ("gru", (0, 1, 2)),  # reset and update gate swapped
    ],
)
def test_a_swapped_gate_is_noticed(cell: str, wrong_order: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """Swapping two gates gives a large difference, so the comparison can fail."""
    right = CELL_WRITERS[CELLS[cell]]
    assert isinstance(right, Operator)
    monkeypatch.setitem(CELL_WRITERS, CELLS[cell], replace(right, gate_order=wrong_order))
    encoder = RecurrentEncoder(cell, INPUT, HIDDEN, 1, True)
    random_weights(encoder, seed=1)
    assert largest_error(encoder, cell) > 1e-2


def test_a_gru_with_the_default_reset_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """ONNX's default reset gate, which differs from torch's, gives a large difference."""
    original = GraphBuilder.nodes

    def without_attribute(self: GraphBuilder, operator: str, *inputs: str, num_outputs: int, **attributes: object):
        attributes.pop("linear_before_reset", None)
        return original(self, operator, *inputs, num_outputs=num_outputs, **attributes)

    monkeypatch.setattr(GraphBuilder, "nodes", without_attribute)
    encoder = RecurrentEncoder("gru", INPUT, HIDDEN, 1, False)
    random_weights(encoder, seed=1)
    assert largest_error(encoder, "gru") > 1e-2


@pytest.mark.parametrize(("cell", "layers"), list(itertools.product(ALL_CELLS, (1, 3))))
def test_state_after_a_padded_prompt_is_that_of_the_last_valid_step(cell: str, layers: int) -> None:
    """A stack returns each row's hidden and cell state after its last valid step, not after its padding."""
    stack = StatefulStack(cell, INPUT, HIDDEN, layers)
    random_weights(stack, seed=layers)
    lengths = [4, 1, 6]
    inputs = torch.randn(3, 6, INPUT)
    state = tuple(torch.randn(part.shape) for part in stack.zero_state(3, torch.device("cpu")))
    with torch.no_grad():
        outputs, after = stack(inputs, state, torch.tensor(lengths))
    names = [f"state_{number}" for number in range(len(state))]
    given = [float32(name, layers, "batch", HIDDEN) for name in names]
    graph = GraphBuilder(
        "stack",
        [float32("inputs", "batch", "time", INPUT), *given, int64("lengths", "batch")],
        [float32("outputs", "batch", "time", HIDDEN)] + [float32(f"next_{n}", layers, "batch", HIDDEN) for n in names],
    )
    values, lens = graph.input("inputs"), graph.input("lengths")
    results, next_state = stateful_stack(graph, time_major(graph, values), names, stack, lens)
    graph.output("outputs", time_major(graph, results))
    for name, value in zip(names, next_state, strict=True):
        graph.output(f"next_{name}", value)
    feeds = {"inputs": inputs.numpy(), "lengths": np.array(lengths)}
    feeds |= {name: part.numpy() for name, part in zip(names, state, strict=True)}
    found, *found_state = session(graph).run(None, feeds)
    inside = np.arange(6) < np.array(lengths)[:, None]
    np.testing.assert_allclose(found[inside], outputs.numpy()[inside], atol=TOLERANCE * layers)
    for part, expected in zip(found_state, after, strict=True):
        np.testing.assert_allclose(part, expected.numpy(), atol=TOLERANCE * layers)


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_agrees_with_the_exporter_of_torch(cell: str) -> None:
    """On a plain unpadded recurrence, the graph equals that of torch's TorchScript exporter."""
    rnn = CELLS[cell](INPUT, HIDDEN)
    random_weights(rnn, seed=2)
    inputs = torch.randn(6, 3, INPUT)
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch deprecates this exporter
        torch.onnx.export(rnn, (inputs,), file, input_names=["inputs"], dynamo=False, opset_version=17)
    theirs = ort.InferenceSession(file.getvalue()).run(None, {"inputs": inputs.numpy()})[0]
    graph = plain_graph()
    graph.output("outputs", recurrence(graph, graph.input("inputs"), rnn).outputs)
    ours = session(graph).run(None, {"inputs": inputs.numpy()})[0]
    np.testing.assert_allclose(ours, theirs, atol=TOLERANCE)


def plain_graph() -> GraphBuilder:
    return GraphBuilder(
        "plain", [float32("inputs", "time", "batch", INPUT)], [float32("outputs", "time", "batch", HIDDEN)]
    )


@pytest.mark.parametrize(
    "module",
    [
        nn.LSTM(INPUT, HIDDEN, num_layers=2),
        nn.LSTM(INPUT, HIDDEN, bidirectional=True),
        nn.LSTM(INPUT, HIDDEN, proj_size=3),
        nn.GRU(INPUT, HIDDEN, bias=False),
        nn.RNN(INPUT, HIDDEN, nonlinearity="relu"),
    ],
)
def test_what_cannot_be_written_is_refused(module: nn.Module) -> None:
    """A module that the ONNX operator computes differently raises an error."""
    graph = plain_graph()
    with pytest.raises(ValueError, match="one layer, one direction"):
        recurrence(graph, graph.input("inputs"), module)


def test_a_module_that_is_no_cell_is_refused() -> None:
    graph = plain_graph()
    with pytest.raises(ValueError, match="no graph writer for the recurrent module Linear"):
        recurrence(graph, graph.input("inputs"), nn.Linear(INPUT, HIDDEN))


def test_a_tensor_that_is_not_declared_is_refused() -> None:
    """A writer can neither read nor return a tensor that the network does not declare."""
    graph = plain_graph()
    with pytest.raises(ValueError, match="does not declare the tensor 'lengths'"):
        graph.input("lengths")
    with pytest.raises(ValueError, match="does not declare the tensor 'inputs'"):
        graph.output("inputs", "inputs")
