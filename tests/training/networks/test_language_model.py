"""The language model's regularisation is active in training and has no effect in evaluation."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.training.exportable import CELLS, lively
from training.config.networks import Cell, LanguageModelConfig
from training.networks.language_model import LanguageModel
from training.networks.layers.losses.sampled_softmax import draw_probability, draw_words, sampled_cross_entropy
from training.networks.layers.recurrent import StatefulStack
from training.networks.layers.weight_drop import WeightDrop
from training.preprocessing.batches import LanguageBatch

VOCABULARY = 11
CPU = torch.device("cpu")
TEXT = torch.randint(4, VOCABULARY, (3, 8), generator=torch.Generator().manual_seed(3))
BATCH = LanguageBatch(TEXT[:, :-1], TEXT[:, 1:])


def made(**values: Any) -> LanguageModel:
    """A small language model without dropout, except for the given `values`."""
    config = LanguageModelConfig.model_validate(
        {"embedding_size": 6, "hidden_size": 6, "layers": 2, "dropout": 0.0, **values}
    )
    torch.manual_seed(1)
    return lively(LanguageModel(config, VOCABULARY))


def loss_of(network: LanguageModel, seed: int = 0) -> Tensor:
    torch.manual_seed(seed)
    return network.loss(BATCH)[0]


def test_a_plain_model_has_the_weights_that_it_always_had() -> None:
    """A plain model has a fixed set of parameter names, so existing checkpoints and run folders load."""
    names = {name.removesuffix("_l0") for name in made().state_dict()}
    stack = {f"stack.layers.{n}.{kind}_{way}" for n in (0, 1) for kind in ("weight", "bias") for way in ("ih", "hh")}
    assert names == {"embedding.weight", "output.weight", "output.bias"} | stack


@pytest.mark.parametrize("cell", CELLS)
def test_dropped_weights_are_those_of_a_cell_without_them(cell: Cell) -> None:
    """A recurrence with all hidden weights dropped equals one whose hidden weights are zero."""
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
    """After a training loss, evaluation is bit-identical to before: no dropped weight remains in the module."""
    network = made(cell=cell, weight_drop=0.5)
    before = loss_of(network.eval())
    first, second = loss_of(network.train(), 1), loss_of(network, 2)
    assert first != second
    assert torch.equal(loss_of(network.eval()), before)


def test_only_kept_weights_learn_and_the_mask_is_one_for_all_steps() -> None:
    """About half of the hidden weights get a gradient, with one mask for all steps of the window."""
    network = made(layers=1, weight_drop=0.5, hidden_size=40)
    weights = network.get_parameter("stack.layers.0.weight_hh_l0")
    loss_of(network).backward()
    assert weights.grad is not None
    assert float((weights.grad == 0).float().mean()) == pytest.approx(0.5, abs=0.05)


def test_weight_drop_says_what_it_cannot_do() -> None:
    """A module whose recurrent weights cannot be dropped is refused, not silently left whole."""
    with pytest.raises(ValueError, match="no recurrent cell with the module Linear"):
        WeightDrop(nn.Linear(2, 2), 0.5)


def test_tied_embeddings_of_another_size_are_projected() -> None:
    """Input and output embeddings share one matrix, with a projection between them only where sizes differ."""
    network = made(tie_embeddings=True, embedding_size=4)
    assert network.output.weight is network.embedding.weight
    assert network.projection is not None
    assert network.step(TEXT[:, 0], network.zero_state(3, CPU))[0].shape == (3, VOCABULARY)
    assert made(tie_embeddings=True).projection is None


def test_tied_embeddings_start_small() -> None:
    """Tied embeddings are scaled by the width, so an untrained model's loss is close to that of guessing."""
    config = LanguageModelConfig(embedding_size=64, hidden_size=64, tie_embeddings=True)
    network = LanguageModel(config, 500).eval()
    tokens = torch.randint(4, 500, (2, 30))
    with torch.no_grad():
        loss, _ = network.loss(LanguageBatch(tokens[:, :-1], tokens[:, 1:]))
    assert float(loss) == pytest.approx(float(torch.tensor(500.0).log()), abs=0.2)
    assert not network.embedding.weight[0].any()


def test_penalties_follow_their_formulas_and_are_off_in_evaluation() -> None:
    """The loss adds the weighted mean squares of outputs and of their differences between steps, in training only."""
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
    """Each kind of dropout makes two training losses differ, while two evaluation losses are equal."""
    network = made(**values)
    assert loss_of(network.train(), 1) != loss_of(network, 2)
    assert loss_of(network.eval(), 1) == loss_of(network, 2)


def test_the_softmax_can_read_through_a_locked_mask() -> None:
    """With `all`, the same units of the output are dropped at every step of a window."""
    network = made(dropout=0.5, input_dropout=0.0, layer_dropout=0.0, locked_dropout="all", hidden_size=30)
    dropped = network.read(BATCH.inputs, None, network.zero_state(3, CPU)).dropped == 0
    assert torch.equal(dropped, dropped[:, :1].expand_as(dropped))
    assert 0 < int(dropped[0, 0].sum()) < 30


def test_draws_follow_their_probabilities() -> None:
    """Ids are drawn with their stated probabilities, which decrease with the id and sum to one."""
    torch.manual_seed(0)
    shares = torch.bincount(draw_words(200_000, 50, CPU), minlength=50) / 200_000
    probabilities = draw_probability(torch.arange(50), 50)
    assert float(probabilities.sum()) == pytest.approx(1.0, abs=1e-5)
    torch.testing.assert_close(shares, probabilities, atol=0.004, rtol=0)


def test_a_sample_of_everything_is_the_whole_softmax() -> None:
    """With enough draws to include every word, the sampled loss is the cross entropy."""
    features, output = torch.randn(5, 4), nn.Linear(4, 20)
    targets = torch.tensor([1, 1, 19, 7, 0])
    loss = sampled_cross_entropy(features, targets, output, 20_000)
    torch.testing.assert_close(loss, F.cross_entropy(output(features), targets))


def test_a_sample_is_right_on_average() -> None:
    """The partition sum estimated from small samples equals the true one on average."""
    torch.manual_seed(0)
    features, output = torch.randn(1, 4), nn.Linear(4, 200)
    target = torch.tensor([150])
    logits = output(features)[0].detach()
    losses = torch.stack([sampled_cross_entropy(features, target, output, 30).detach() for _ in range(3000)])
    sums = torch.exp(losses + logits[150])
    torch.testing.assert_close(sums.mean(), logits.exp().sum(), rtol=0.03, atol=0)


def test_a_sampled_loss_is_for_training_alone() -> None:
    """The sampled softmax applies in training only, and dev is scored over the whole vocabulary."""
    sampled, whole = made(sampled_softmax=2), made()
    assert torch.equal(loss_of(sampled.eval()), loss_of(whole.eval()))
    assert loss_of(sampled.train()) < loss_of(whole.train())
