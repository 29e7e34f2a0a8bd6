"""Layer ends: residual and highway connections, layer normalisation, and word dropout."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tests.training.exportable import lively
from training.config.networks import Connection
from training.networks.layers.dropout import EmbeddingDropout, LockedDropout, sequence_dropout
from training.networks.layers.recurrent import RecurrentEncoder
from training.networks.layers.residual import CLOSED_GATE_BIAS, ResidualConnection

INPUTS, OUTPUTS = (torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(seed)) for seed in (1, 2))
LENGTHS = torch.tensor([3, 2])


def test_a_plain_end_changes_nothing_and_learns_nothing() -> None:
    """A layer end without connection or normalisation is the identity and has no parameters."""
    end = ResidualConnection(4)
    assert torch.equal(end(INPUTS, OUTPUTS), OUTPUTS)
    assert not list(end.parameters())


def test_a_residual_end_adds_the_input() -> None:
    torch.testing.assert_close(ResidualConnection(4, "residual")(INPUTS, OUTPUTS), INPUTS + OUTPUTS)


def test_a_highway_mixes_input_and_output_by_its_gate() -> None:
    """The highway output is T * output + (1 - T) * input, and is initially close to the input."""
    end = ResidualConnection(4, "highway")
    assert end.gate is not None
    gate = torch.sigmoid(end.gate(INPUTS))
    torch.testing.assert_close(end(INPUTS, OUTPUTS), gate * OUTPUTS + (1 - gate) * INPUTS)
    assert end.gate.bias.tolist() == [CLOSED_GATE_BIAS] * 4


def test_normalised_outputs_have_mean_0_and_variance_1() -> None:
    """Layer normalisation follows the connection."""
    values = ResidualConnection(4, "residual", layer_norm=True)(INPUTS * 50, OUTPUTS)
    torch.testing.assert_close(values.mean(dim=2), torch.zeros(2, 3), atol=1e-5, rtol=0)
    torch.testing.assert_close(values.var(dim=2, unbiased=False), torch.ones(2, 3), atol=1e-3, rtol=0)


@pytest.mark.parametrize("connection", ["none", "residual", "highway"])
@pytest.mark.parametrize("layer_norm", [False, True])
def test_reading_on_is_reading_at_once(connection: Connection, layer_norm: bool) -> None:
    """From a zero state, a forward stack with layer ends gives the same outputs in chunks as for the whole."""
    encoder = lively(RecurrentEncoder("gru", 4, 5, 3, False, connection=connection, layer_norm=layer_norm)).eval()
    outputs, _ = encoder.read_chunk(INPUTS, LENGTHS, (torch.zeros(3, 2, 5),))
    for row, length in enumerate(LENGTHS.tolist()):
        torch.testing.assert_close(outputs[row, :length], encoder(INPUTS, LENGTHS)[row, :length])


def test_the_first_layer_has_no_way_past_it() -> None:
    """The first layer has no residual connection, as its input and output widths differ."""
    encoder = RecurrentEncoder("lstm", 4, 5, 3, True, connection="residual")
    assert [end.is_residual for end in encoder.ends if isinstance(end, ResidualConnection)] == [False, True, True]


def test_a_dropped_word_is_dropped_wherever_it_stands() -> None:
    """A dropped word's vector is zero in the whole batch and the others are scaled up; evaluation is unaffected."""
    torch.manual_seed(0)
    embedding, dropout = nn.Embedding(400, 3), EmbeddingDropout(0.4)
    ids = torch.arange(400).repeat(2, 1)
    first, second = dropout(embedding, ids)
    assert torch.equal(first, second)
    kept = (first != 0).any(dim=1)
    assert float(kept.float().mean()) == pytest.approx(0.6, abs=0.08)
    torch.testing.assert_close(first[kept], embedding.weight[kept] / 0.6)
    assert torch.equal(dropout.eval()(embedding, ids), embedding(ids))


def test_dropout_is_locked_or_not_as_the_recipe_says() -> None:
    """Locked dropout uses one mask for all steps; otherwise each element is dropped independently."""
    torch.manual_seed(0)
    ones = torch.ones(1, 50, 40)
    locked, free = (sequence_dropout(0.5, is_locked)(ones) != 0 for is_locked in (True, False))
    assert isinstance(sequence_dropout(0.5, locked=True), LockedDropout)
    assert torch.equal(locked[0, 0], locked[0, 1])
    assert not torch.equal(free[0, 0], free[0, 1])
