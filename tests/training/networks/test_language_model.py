"""The language model's menu: what regularises it while it trains, and leaves no trace afterwards."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.training.exportable import CELLS, lively
from training.config.networks import Cell, LanguageModelConfig
from training.networks.language_model import LanguageModel
from training.networks.layers.recurrent import StatefulStack
from training.networks.layers.sampled_softmax import draw_probability, draw_words, sampled_cross_entropy
from training.networks.layers.weight_drop import WeightDrop
from training.preprocessing.batches import LanguageBatch

VOCABULARY = 11
CPU = torch.device("cpu")
TEXT = torch.randint(4, VOCABULARY, (3, 8), generator=torch.Generator().manual_seed(3))
BATCH = LanguageBatch(TEXT[:, :-1], TEXT[:, 1:])


def made(**values: Any) -> LanguageModel:
    """A small one without any dropout, but for what `values` say."""
    config = LanguageModelConfig.model_validate(
        {"embedding_size": 6, "hidden_size": 6, "layers": 2, "dropout": 0.0, **values}
    )
    torch.manual_seed(1)
    return lively(LanguageModel(config, VOCABULARY))


def loss_of(network: LanguageModel, seed: int = 0) -> Tensor:
    torch.manual_seed(seed)
    return network.loss(BATCH)[0]


def test_a_plain_model_has_the_weights_that_it_always_had() -> None:
    """So that checkpoints and run folders of before keep loading."""
    names = {name.removesuffix("_l0") for name in made().state_dict()}
    stack = {f"stack.layers.{n}.{kind}_{way}" for n in (0, 1) for kind in ("weight", "bias") for way in ("ih", "hh")}
    assert names == {"embedding.weight", "output.weight", "output.bias"} | stack


@pytest.mark.parametrize("cell", CELLS)
def test_dropped_weights_are_those_of_a_cell_without_them(cell: Cell) -> None:
    """A recurrence whose hidden weights are all dropped, and one whose hidden weights are zero, say the same."""
    stack = lively(StatefulStack(cell, 4, 5, 1, weight_drop=1 - 1e-9))
    inputs, state = torch.randn(2, 6, 4), stack.zero_state(2, CPU)
    dropped = stack(inputs, state)[0].detach()
    whole = stack.eval()(inputs, state)[0].detach()
    with torch.no_grad():
        stack.get_parameter("layers.0.weight_hh_l0").zero_()
    torch.testing.assert_close(dropped, stack(inputs, state)[0])
    assert not torch.allclose(dropped, whole)


@pytest.mark.parametrize("cell", CELLS)
def test_weight_drop_leaves_the_weights_alone(cell: Cell) -> None:
    """After an update's loss, evaluation gives to the bit what it gave before: nothing dropped stays in the module."""
    network = made(cell=cell, weight_drop=0.5)
    before = loss_of(network.eval())
    first, second = loss_of(network.train(), 1), loss_of(network, 2)
    assert first != second
    assert torch.equal(loss_of(network.eval()), before)


def test_only_kept_weights_learn_and_the_mask_is_one_for_all_steps() -> None:
    """About half of the hidden weights get a gradient, the same ones however long the window is."""
    network = made(layers=1, weight_drop=0.5, hidden_size=40)
    weights = network.get_parameter("stack.layers.0.weight_hh_l0")
    loss_of(network).backward()
    assert weights.grad is not None
    assert float((weights.grad == 0).float().mean()) == pytest.approx(0.5, abs=0.05)


def test_weight_drop_says_what_it_cannot_do() -> None:
    """A module that is no cell's is refused: without a kernel, its weights would stay whole in silence."""
    with pytest.raises(ValueError, match="no recurrent cell with the module Linear"):
        WeightDrop(nn.Linear(2, 2), 0.5)


def test_tied_embeddings_of_another_size_are_projected() -> None:
    """One matrix for both ends, and a projection between them only where sizes differ."""
    network = made(tie_embeddings=True, embedding_size=4)
    assert network.output.weight is network.embedding.weight
    assert network.projection is not None
    assert network.step(TEXT[:, 0], network.zero_state(3, CPU))[0].shape == (3, VOCABULARY)
    assert made(tie_embeddings=True).projection is None


def test_tied_embeddings_start_small() -> None:
    """As logits they are scaled by the width: a new model is no more certain than guessing."""
    config = LanguageModelConfig(embedding_size=64, hidden_size=64, tie_embeddings=True)
    network = LanguageModel(config, 500).eval()
    tokens = torch.randint(4, 500, (2, 30))
    with torch.no_grad():
        loss, _ = network.loss(LanguageBatch(tokens[:, :-1], tokens[:, 1:]))
    assert float(loss) == pytest.approx(float(torch.tensor(500.0).log()), abs=0.2)
    assert not network.embedding.weight[0].any()


def test_penalties_follow_their_formulas_and_are_off_in_evaluation() -> None:
    """Squared outputs by the first, squared differences of neighbouring steps by the second."""
    network = made(activation_penalty=2.0, change_penalty=3.0)
    plain = loss_of(network.eval())
    outputs = network.read(BATCH.inputs, None, network.zero_state(3, CPU)).outputs
    change = (outputs[:, 1:] - outputs[:, :-1]).pow(2).mean()
    expected = plain + 2 * outputs.pow(2).mean() + 3 * change
    torch.testing.assert_close(loss_of(network.train()), expected)


@pytest.mark.parametrize(
    "values",
    [
        {"input_dropout": 0.5},
        {"layer_dropout": 0.5},
        {"embedding_dropout": 0.5},
        {"weight_drop": 0.5},
        {"dropout": 0.5, "locked_dropout": "all"},
        {"dropout": 0.5, "locked_dropout": "none"},
    ],
    ids=str,
)
def test_every_dropout_is_there_in_training_alone(values: dict[str, Any]) -> None:
    """Two updates differ, two evaluations do not."""
    network = made(**values)
    assert loss_of(network.train(), 1) != loss_of(network, 2)
    assert loss_of(network.eval(), 1) == loss_of(network, 2)


def test_the_softmax_can_read_through_a_locked_mask() -> None:
    """With `all`, the same numbers of a window's outputs fall at every step."""
    network = made(dropout=0.5, input_dropout=0.0, layer_dropout=0.0, locked_dropout="all", hidden_size=30)
    dropped = network.read(BATCH.inputs, None, network.zero_state(3, CPU)).dropped == 0
    assert torch.equal(dropped, dropped[:, :1].expand_as(dropped))
    assert 0 < int(dropped[0, 0].sum()) < 30


def test_draws_follow_their_probabilities() -> None:
    """Every id comes as often as said, the first ones most; the probabilities add up to one."""
    torch.manual_seed(0)
    shares = torch.bincount(draw_words(200_000, 50, CPU), minlength=50) / 200_000
    probabilities = draw_probability(torch.arange(50), 50)
    assert float(probabilities.sum()) == pytest.approx(1.0, abs=1e-5)
    torch.testing.assert_close(shares, probabilities, atol=0.004, rtol=0)


def test_a_sample_of_everything_is_the_whole_softmax() -> None:
    """With so many draws that each word is among them, the loss is the cross entropy."""
    features, output = torch.randn(5, 4), nn.Linear(4, 20)
    targets = torch.tensor([1, 1, 19, 7, 0])
    loss = sampled_cross_entropy(features, targets, output, 20_000)
    torch.testing.assert_close(loss, F.cross_entropy(output(features), targets))


def test_a_sample_is_right_on_average() -> None:
    """The sum over the vocabulary that a small sample stands for is the true one in the mean of many samples."""
    torch.manual_seed(0)
    features, output = torch.randn(1, 4), nn.Linear(4, 200)
    target = torch.tensor([150])
    logits = output(features)[0].detach()
    losses = torch.stack([sampled_cross_entropy(features, target, output, 30).detach() for _ in range(3000)])
    sums = torch.exp(losses + logits[150])
    torch.testing.assert_close(sums.mean(), logits.exp().sum(), rtol=0.03, atol=0)


def test_a_sampled_loss_is_for_training_alone() -> None:
    """Dev is scored over all words."""
    sampled, whole = made(sampled_softmax=2), made()
    assert torch.equal(loss_of(sampled.eval()), loss_of(whole.eval()))
    assert loss_of(sampled.train()) < loss_of(whole.train())
