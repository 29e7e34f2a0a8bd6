"""The translator's decoder state and its training."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from service.bundle.tokenizer import BOS, EOS
from tests.training.exportable import lively, translator
from training.config.networks import TranslatorConfig
from training.config.recipe import ConfigFault, parse_recipe
from training.fit.gradient import mixed_precision
from training.networks.layers.cells import State
from training.networks.layers.scheduled_sampling import sampled_inputs, teacher_forcing_share
from training.networks.translator import Translator, coverage_loss
from training.preprocessing.batches import TranslationBatch

_SMALL = {"embedding_size": 6, "encoder_hidden_size": 4, "decoder_hidden_size": 8, "attention_size": 5}
_WORDS, _TIME = 20, 7
_CHOICES = [
    {"input_feeding": True},
    {"coverage": True},
    {"input_feeding": True, "coverage": True, "decoder_layers": 1},
    {"attention": "general"},
    {"attention": "plain_dot", "input_feeding": True},
]


def _translator(**choice: Any) -> Translator:
    config = TranslatorConfig.model_validate({**_SMALL, "dropout": 0.0, "label_smoothing": 0.0, **choice})
    return lively(Translator(config, _WORDS, _WORDS, max_source_tokens=5))


def _batch() -> TranslationBatch:
    drawn = torch.randint(4, _WORDS, (3, _TIME), generator=torch.Generator().manual_seed(1))
    begin, end = torch.full((3, 1), BOS), torch.full((3, 1), EOS)
    return TranslationBatch(drawn, torch.tensor([7, 5, 2]), torch.cat([begin, drawn], 1), torch.cat([drawn, end], 1))


def _sources(network: Translator, batch: TranslationBatch) -> tuple[tuple[Tensor, Tensor, Tensor], State]:
    memory, keys, state = network.encode(batch.source, batch.source_lengths)
    return (memory, keys, batch.source_lengths), state


@pytest.mark.parametrize("choice", _CHOICES, ids=str)
def test_step_by_step_equals_the_whole_target(choice: dict[str, Any]) -> None:
    """Teacher forcing equals decoding step by step: logits, attention weights and the next state."""
    network, batch = _translator(**choice).eval(), _batch()
    source, state = _sources(network, batch)
    logits, weights, after = network.decode(batch.target_inputs, *source, state)
    for step in range(_TIME + 1):
        by_step, look, state = network.step(batch.target_inputs[:, step], *source, state)
        torch.testing.assert_close(by_step, logits[:, step])
        torch.testing.assert_close(look, weights[:, step])
    for name, whole, last in zip(network.state_shapes, after, state, strict=True):
        torch.testing.assert_close(whole, last, msg=name)


def test_input_feeding_hands_the_readout_to_the_next_step() -> None:
    """A step depends on the fed-back readout, which is zero at the first step."""
    network, batch = _translator(input_feeding=True).eval(), _batch()
    source, (*recurrent, feed) = _sources(network, batch)
    assert not feed.any()
    logits, _, after = network.step(batch.target_inputs[:, 0], *source, (*recurrent, feed))
    assert after[-1].shape == (1, 3, _SMALL["embedding_size"])
    torch.testing.assert_close(network.output(after[-1][0]), logits)
    otherwise, _, _ = network.step(batch.target_inputs[:, 0], *source, (*recurrent, feed + 1.0))
    assert (otherwise - logits).abs().max() > 1e-2


def test_coverage_is_the_attention_so_far_and_changes_the_next() -> None:
    """The coverage state is the sum of all attention weights up to its width; with zero weights it has no effect."""
    network, batch = _translator(coverage=True).eval(), _batch()
    source, state = _sources(network, batch)
    _, weights, after = network.decode(batch.target_inputs, *source, state)
    torch.testing.assert_close(after[-1][0], weights.sum(dim=1)[:, :5])
    assert network.attention.coverage is not None
    torch.nn.init.zeros_(network.attention.coverage.weight)  # type: ignore[union-attr]
    _, blind, _ = network.decode(batch.target_inputs, *source, state)
    torch.testing.assert_close(weights[:, 0], blind[:, 0])
    assert (weights[:, 1:] - blind[:, 1:]).abs().max() > 1e-2


def test_coverage_starts_as_if_there_were_none() -> None:
    """Initial coverage weights are zero, so an untrained network has plain additive attention."""
    config = TranslatorConfig.model_validate({**_SMALL, "coverage": True})
    coverage = Translator(config, _WORDS, _WORDS).attention.coverage
    assert isinstance(coverage, torch.nn.Linear)
    assert not coverage.weight.any()


def test_looking_twice_costs_what_was_looked_at_twice() -> None:
    """The coverage loss is the overlap with earlier attention per target token, without padding."""
    weights = torch.tensor([[[1.0, 0.0], [0.75, 0.25], [0.0, 1.0], [1.0, 0.0]]])
    assert coverage_loss(weights, torch.tensor([[True, True, False, False]])) == pytest.approx(0.75 / 2)
    assert coverage_loss(weights, torch.tensor([[True, True, True, False]])) == pytest.approx((0.75 + 0.25) / 3)


def test_the_loss_of_coverage_is_for_training_alone() -> None:
    """The coverage loss is added in training only, so dev losses are comparable."""
    network, batch = _translator(coverage=True, coverage_loss=1.0), _batch()
    training, dev = network.train().loss(batch)[0], network.eval().loss(batch)[0]
    assert training > dev + 0.1


@pytest.mark.parametrize("schedule", ["linear", "inverse_sigmoid"])
def test_true_tokens_give_way_update_by_update(schedule: Any) -> None:
    """The teacher-forcing share starts near 1 and decreases with each update down to the floor."""
    shares = [teacher_forcing_share(schedule, update, 100, 0.25) for update in range(0, 2000, 50)]
    assert shares[0] > 0.98
    assert all(later <= earlier for earlier, later in pairwise(shares))
    assert shares[-1] == 0.25
    assert teacher_forcing_share("none", 10**6, 100, 0.25) == 1.0


def test_known_shares_of_true_tokens() -> None:
    """Linear decay is half-way after half its updates; the inverse sigmoid is 1/2 where exp(i / k) is k."""
    assert teacher_forcing_share("linear", 50, 100, 0.5) == pytest.approx(0.75)
    assert teacher_forcing_share("inverse_sigmoid", 230, 50, 0.0) == pytest.approx(50 / (50 + 99.484), abs=1e-3)


def test_own_tokens_are_drawn_from_what_stands_before() -> None:
    """Tokens are sampled given the preceding mixed token; the first token and padding stay, padding is never drawn."""
    inputs = torch.tensor([[BOS, 5, 6, 7], [BOS, 5, 0, 0]])
    seen: list[list[int]] = []

    def successor(token: Tensor) -> Tensor:
        seen.append(token.tolist())
        logits = torch.full((len(token), 12), -30.0)
        logits[:, 0] = 30.0
        return logits.scatter(1, (token + 2).unsqueeze(1), 20.0)

    assert sampled_inputs(inputs, 1.0, successor).equal(inputs)
    seen.clear()
    mixed = sampled_inputs(inputs, 0.0, successor)
    assert mixed.tolist() == [[BOS, BOS + 2, BOS + 4, BOS + 6], [BOS, BOS + 2, 0, 0]]
    assert seen == [[BOS, BOS], [BOS + 2, BOS + 2], [BOS + 4, 0]]


def test_scheduled_sampling_counts_updates_in_what_is_saved() -> None:
    """A resumed run keeps its teacher-forcing share, and scoring dev does not count as an update."""
    network, batch = _translator(scheduled_sampling="linear", sampling_updates=2, sampling_floor=0.0), _batch()
    for _ in range(3):
        network.train().loss(batch)[0].backward()
    network.eval().loss(batch)
    assert int(network.state_dict()["num_updates"]) == 3


def test_scheduled_sampling_changes_what_is_read_not_what_is_wanted() -> None:
    """Without teacher forcing the loss differs, and its gradient is finite everywhere."""
    batch = _batch()
    own = _translator(scheduled_sampling="linear", sampling_updates=1, sampling_floor=0.0).train()
    true = _translator().train()
    own.loss(batch)
    loss = own.loss(batch)[0]
    loss.backward()
    assert (loss - true.loss(batch)[0]).abs() > 1e-3
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in own.parameters())


@pytest.mark.parametrize("choice", _CHOICES, ids=str)
def test_half_precision_trains_every_weight(choice: dict[str, Any]) -> None:
    """Under bf16 autocast on a CPU, each weight gets a finite gradient."""
    network = _translator(**choice).train()
    with mixed_precision(torch.device("cpu"), "bf16"):
        loss = network.loss(_batch())[0]
    loss.backward()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in network.parameters())


def test_weights_of_older_translators_keep_their_names() -> None:
    """A default translator has the original weight names and state, so existing run folders load."""
    network = translator("lstm", "dot")
    heads = {name.split(".")[0] for name in network.state_dict()}
    assert heads == {
        *("source_embedding", "target_embedding", "encoder", "bridge"),
        *("attention", "decoder_layers", "readout", "output"),
    }
    assert set(dict(network.attention.named_parameters())) == {"key.weight", "query.weight", "query.bias"}
    assert list(network.state_shapes) == ["hidden", "cell"]


@pytest.mark.parametrize(
    ("choice", "fault"),
    [
        ({"attention": "plain_dot", "decoder_hidden_size": 9}, "needs decoder_hidden_size (9) to be what the encoder"),
        ({"attention": "dot", "coverage": True}, 'set attention to "additive"'),
        ({"coverage_loss": 0.5}, "coverage_loss needs coverage"),
    ],
)
def test_choices_that_do_not_go_together_are_refused(choice: dict[str, Any], fault: str) -> None:
    """Incompatible settings are refused with the offending keys and the allowed values."""
    values = {"name": "x", "task": "translation", "data": {"train": "x.tsv"}, "network": {**_SMALL, **choice}}
    with pytest.raises(ConfigFault) as raised:
        parse_recipe(values, "x.toml")
    assert fault in str(raised.value)
