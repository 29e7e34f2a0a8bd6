"""The GRU that resets before its recurrent product: its equations, its graph, and every kind of network."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from tests.training.exportable import classifier, draft_of, language_model, lively, questions_of, tagger, translator
from tests.training.onnx_graph.test_recurrence import BATCHES, HIDDEN, INPUT, encoder_session, random_weights
from training.networks.layers.gru_reset_before import ResetBeforeGRU
from training.networks.layers.recurrent import RecurrentEncoder
from training.networks.layers.weight_drop import WeightDrop
from training.publish.export import export_bundle

Array = np.ndarray


def by_the_equations(gru: nn.GRU, rows: Array) -> Array:
    """`[time, input]` -> `[time, hidden]`, element by element as in Cho et al. 2014, in float64."""
    weights = {name: value.detach().double().numpy() for name, value in gru.named_parameters()}
    of_input = [weights["weight_ih_l0"][part] for part in np.split(np.arange(3 * HIDDEN), 3)]
    of_state = [weights["weight_hh_l0"][part] for part in np.split(np.arange(3 * HIDDEN), 3)]
    biases = np.split(weights["bias_ih_l0"] + weights["bias_hh_l0"], 3)
    state, states = np.zeros(HIDDEN), []
    for row in rows.astype(np.float64):
        reset = 1 / (1 + np.exp(-(of_input[0] @ row + of_state[0] @ state + biases[0])))
        update = 1 / (1 + np.exp(-(of_input[1] @ row + of_state[1] @ state + biases[1])))
        new = np.tanh(of_input[2] @ row + of_state[2] @ (reset * state) + biases[2])
        state = (1 - update) * new + update * state
        states.append(state)
    return np.array(states)


def test_it_computes_the_published_equations() -> None:
    """The cell matches the published equations, and differs from torch's GRU with the same weights."""
    ours, torchs = ResetBeforeGRU(INPUT, HIDDEN, batch_first=True), nn.GRU(INPUT, HIDDEN, batch_first=True)
    random_weights(ours, seed=1)
    torchs.load_state_dict(ours.state_dict())
    inputs = torch.randn(2, 9, INPUT, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        outputs, after = ours(inputs)
        others, _ = torchs(inputs)
    for row in range(2):
        np.testing.assert_allclose(outputs[row], by_the_equations(ours, inputs[row].numpy()), atol=1e-6)
    assert torch.equal(after[0], outputs[:, -1])
    assert (outputs - others).abs().max() > 0.01


@pytest.mark.parametrize(("bidirectional", "layers"), [(False, 1), (True, 1), (True, 2)])
def test_a_graph_equals_the_equations_under_padding(bidirectional: bool, layers: int) -> None:
    """In a padded batch, bidirectional and stacked, the graph gives each row the result it has alone."""
    encoder = RecurrentEncoder("gru_before", INPUT, HIDDEN, layers, bidirectional)
    random_weights(encoder, seed=layers)
    graph = encoder_session(encoder)
    for lengths in BATCHES:
        inputs = torch.randn(len(lengths), max(lengths), INPUT, generator=torch.Generator().manual_seed(len(lengths)))
        found, final = graph.run(["outputs", "final"], {"inputs": inputs.numpy(), "lengths": np.array(lengths)})
        for row, length in enumerate(lengths):
            alone = inputs[row : row + 1, :length]
            with torch.no_grad():
                outputs = encoder(alone, torch.tensor([length]))
                last = encoder.final(outputs, torch.tensor([length]))
            np.testing.assert_allclose(found[row, :length], outputs[0], atol=4e-6)
            np.testing.assert_allclose(final[row], last[0], atol=4e-6)
            if not bidirectional:
                np.testing.assert_allclose(
                    found[row, :length], by_the_equations(encoder.layers[0].forward_rnn, alone[0].numpy()), atol=4e-6
                )


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda: tagger("gru_before", characters="rnn"), id="tagger"),
        pytest.param(lambda: tagger("gru_before", bidirectional=False), id="tagger-in-chunks"),
        pytest.param(lambda: classifier("gru_before", "last", bidirectional=False), id="classifier-in-chunks"),
        pytest.param(lambda: translator("gru_before"), id="translator"),
        pytest.param(lambda: language_model("gru_before"), id="language-model"),
    ],
)
def test_every_kind_of_network_is_published_with_it(make: Callable[[], nn.Module], tmp_path: Path) -> None:
    """Export verification passes in batches, alone and by steps, and graphs declare where the reset gate applies."""
    network = make()
    exported = export_bundle(network, draft_of(network), questions_of(network), tmp_path)
    assert exported.report.passed
    graphs = [onnx.load(file).graph for file in exported.path.glob("*.onnx")]
    found = [node for graph in graphs for node in graph.node if node.op_type == "GRU"]
    assert found
    for node in found:
        attributes = {attribute.name: attribute.i for attribute in node.attribute}
        assert attributes["linear_before_reset"] == 0


def test_its_weights_can_be_dropped() -> None:
    """Weight drop changes the output for a window, and the weights are restored afterwards."""
    gru = lively(ResetBeforeGRU(INPUT, HIDDEN, batch_first=True))
    inputs, before = torch.randn(1, 4, INPUT), torch.zeros(1, 1, HIDDEN)
    torch.manual_seed(1)
    dropped, _ = WeightDrop(gru, 0.5)(inputs, (before,))
    kept, _ = WeightDrop(gru, 0.0)(inputs, (before,))
    assert not torch.allclose(dropped, kept)
    torch.testing.assert_close(kept, gru(inputs, before)[0])
