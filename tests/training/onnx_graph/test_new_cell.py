"""A custom cell needs one entry for torch and one for ONNX; it then trains and exports like the others.

The cell is the minimal gated unit (Zhou et al. 2016), a loop in torch and a Scan in ONNX.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import onnx
import pytest
import torch
from onnx import TensorProto, helper
from torch import Tensor, nn

from tests.training.exportable import classifier, draft_of, language_model, questions_of, tagger, translator
from tests.training.tiny_captioner import captioner, publish_captioner
from tests.training.tiny_series import forecaster, publish_forecaster
from training.networks.layers.cells import CELLS, RecurrentCell, run_output_state
from training.networks.network import Network
from training.onnx_graph.parts.builder import GraphBuilder
from training.onnx_graph.parts.cell_writer import RecurrentValues, last_output
from training.onnx_graph.parts.cells import CELL_WRITERS
from training.onnx_graph.parts.layers import linear
from training.onnx_graph.writers import network_graphs
from training.preprocessing.batches import LanguageBatch
from training.publish.export import export_bundle
from training.publish.int8 import int8_graph


class MinimalGatedUnit(nn.Module):
    """One layer, unidirectional, batch first: `state += forget * (tanh(W x + U (forget * state)) - state)`."""

    def __init__(self, input_size: int, hidden_size: int, batch_first: bool = True) -> None:
        super().__init__()
        self.hidden_size = hidden_size
        self.inputs = nn.Linear(input_size, 2 * hidden_size)
        self.forget = nn.Linear(hidden_size, hidden_size, bias=False)
        self.candidate = nn.Linear(hidden_size, hidden_size, bias=False)

    def forward(self, inputs: Tensor, before: Tensor | None = None) -> tuple[Tensor, Tensor]:
        state = inputs.new_zeros(inputs.shape[0], self.hidden_size) if before is None else before[0]
        outputs = []
        for step in self.inputs(inputs).unbind(dim=1):
            to_forget, to_candidate = step.chunk(2, dim=1)
            forget = torch.sigmoid(to_forget + self.forget(state))
            state = state + forget * (torch.tanh(to_candidate + self.candidate(forget * state)) - state)
            outputs.append(state)
        return torch.stack(outputs, dim=1), state.unsqueeze(0)


def small_weights(module: nn.Module) -> None:
    for parameter in module.parameters():
        nn.init.uniform_(parameter, -0.5, 0.5)


def write_unit(
    graph: GraphBuilder, inputs: str, module: nn.Module, state: Sequence[str] = (), lengths: str = ""
) -> RecurrentValues:
    """A Scan over steps whose body reads the recurrent weights from the outer graph."""
    assert isinstance(module, MinimalGatedUnit)
    projected = linear(graph, inputs, module.inputs)
    before = graph.node("Squeeze", state[0], graph.integers(0)) if state else _zeros(graph, inputs, module.hidden_size)
    weights = [graph.weight(layer.weight.detach().T.contiguous()) for layer in (module.forget, module.candidate)]
    last, outputs = graph.nodes(
        "Scan", before, projected, num_outputs=2, num_scan_inputs=1, body=_body(module.hidden_size, *weights)
    )
    after = last_output(graph, outputs, lengths) if lengths else graph.node("Unsqueeze", last, graph.integers(0))
    return RecurrentValues(outputs, (after,))


def _zeros(graph: GraphBuilder, inputs: str, width: int) -> str:
    shape = graph.node("Concat", graph.node("Shape", inputs, start=1, end=2), graph.integers(width), axis=0)
    return graph.node("Expand", graph.scalar(0.0), shape)


def _body(width: int, forget: str, candidate: str) -> onnx.GraphProto:
    """`state`, `step` -> the next state, twice: as the carried state and as the step's output."""
    nodes = [
        helper.make_node("Split", ["step"], ["f_x", "n_x"], axis=1, num_outputs=2),
        helper.make_node("MatMul", ["state", forget], ["f_h"]),
        helper.make_node("Add", ["f_x", "f_h"], ["f_sum"]),
        helper.make_node("Sigmoid", ["f_sum"], ["f"]),
        helper.make_node("Mul", ["f", "state"], ["kept"]),
        helper.make_node("MatMul", ["kept", candidate], ["n_h"]),
        helper.make_node("Add", ["n_x", "n_h"], ["n_sum"]),
        helper.make_node("Tanh", ["n_sum"], ["n"]),
        helper.make_node("Sub", ["n", "state"], ["change"]),
        helper.make_node("Mul", ["f", "change"], ["moved"]),
        helper.make_node("Add", ["state", "moved"], ["next"]),
        helper.make_node("Identity", ["next"], ["given"]),
    ]
    given = [_value("state", width), _value("step", 2 * width)]
    return helper.make_graph(nodes, "unit", given, [_value("next", width), _value("given", width)])


def _value(name: str, width: int) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, width])


@pytest.fixture(autouse=True)
def _registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Register both entries under the name of a built-in cell, as the configuration accepts no other."""
    unit = RecurrentCell(MinimalGatedUnit, ("hidden",), small_weights, run_output_state)
    monkeypatch.setitem(CELLS, "gru", unit)
    monkeypatch.setitem(CELL_WRITERS, MinimalGatedUnit, write_unit)


def units(network: nn.Module) -> int:
    assert not any(isinstance(module, nn.RNNBase) for module in network.modules())
    return sum(isinstance(module, MinimalGatedUnit) for module in network.modules())


def test_it_learns() -> None:
    """A few updates on one window lower the loss, and every weight of the cell gets a gradient."""
    torch.manual_seed(0)
    network = language_model("gru")
    assert units(network) == 2
    tokens = torch.randint(4, 9, (3, 12))
    batch = LanguageBatch(tokens[:, :-1], tokens[:, 1:])
    optimizer = torch.optim.Adam(network.parameters(), lr=0.02)
    losses = []
    for _ in range(20):
        loss, _ = network.loss(batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
    assert all(bool(parameter.grad.abs().sum() > 0) for parameter in network.stack.parameters())


@pytest.mark.parametrize(
    ("make", "num_units"),
    [
        pytest.param(lambda: tagger("gru", characters="rnn"), 6, id="tagger"),
        pytest.param(lambda: tagger("gru", bidirectional=False), 2, id="tagger-in-chunks"),
        pytest.param(lambda: classifier("gru", "last"), 2, id="classifier"),
        pytest.param(lambda: translator("gru"), 4, id="translator"),
        pytest.param(lambda: language_model("gru"), 2, id="language-model"),
    ],
)
@pytest.mark.parametrize("half", [False, True])
def test_a_network_of_it_is_published(make: Callable[[], Network], num_units: int, half: bool, tmp_path: Path) -> None:
    """onnxruntime equals torch in batches, alone, by steps and in chunks, including half precision."""
    network = make()
    assert units(network) == num_units
    exported = export_bundle(network, draft_of(network), questions_of(network), tmp_path, half=half)
    assert exported.report.passed
    assert exported.report.checks["torch"] < 1e-5
    stored = [onnx.load(path) for path in exported.path.glob("*.onnx")]
    assert sum(node.op_type == "Scan" for model in stored for node in model.graph.node) >= num_units


def test_captioners_and_forecasters_of_it_are_published(tmp_path: Path) -> None:
    assert units(captioner(cell="gru")) == units(forecaster(cell="gru")) == 1
    assert publish_captioner(captioner(cell="gru"), tmp_path).report.passed
    assert publish_forecaster(forecaster(cell="gru"), tmp_path).is_dir()


def test_what_it_does_not_have_is_refused() -> None:
    """A cell without a kernel refuses weight drop, and one without an operator refuses int8."""
    model = language_model("gru")
    model.stack.weight_drop = 0.5
    with pytest.raises(ValueError, match="no weight drop for a MinimalGatedUnit"):
        model.loss(LanguageBatch(torch.tensor([[4, 5]]), torch.tensor([[5, 6]])))
    with pytest.raises(ValueError, match="'step' has no recurrence that can run in int8"):
        int8_graph(network_graphs(model)["step"].model(), is_step=True)
