"""The experiments measure what they claim to measure."""

from __future__ import annotations

import math
from itertools import pairwise
from random import Random
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from service.tasks.transcription.decoder import Token
from training.data.records import SentencePair
from training.experiments.adding import BLIND_ERROR, adding_batch
from training.experiments.agreement import NUMBER, VERB, WORDS, agreement_batch
from training.experiments.cells import NUM_BLOCKS, recurrent_parameters, width_for
from training.experiments.copy_memory import BLANK, GO, blind_loss, copy_batch
from training.experiments.directions import wide_forward
from training.experiments.early import (
    EarlyClassifier,
    Sequences,
    Way,
    beginning_lengths,
    loss_of_batch,
    nearest_accuracies,
)
from training.experiments.gradients import gradient_norms, radius_probe
from training.experiments.harness.digits import WORDS as SPOKEN
from training.experiments.harness.fitting import Budget, fit, seeded
from training.experiments.harness.probe import Probe, num_parameters
from training.experiments.hello import FLOOR_WITHOUT_MEMORY, HELLO, OneHot, letters, spell
from training.experiments.seq2seq.attention import NETWORKS as DECODERS
from training.experiments.seq2seq.attention import _config, reversal_batch
from training.experiments.seq2seq.scan import num_actions, splits_of
from training.experiments.speech.fusion import FUSION, digit_lines
from training.experiments.speech.transducers import last_steps
from training.networks.layers.cells import recurrence
from training.networks.layers.recurrent import RecurrentLayer

#: What may stand after a verb, and how many actions it then makes.
WAYS = {"": 1, "left": 2, "twice": 3, "around left": 8}


@pytest.mark.parametrize(("inputs", "hidden"), [(32, 128), (1, 1), (7, 33)])
def test_a_gru_has_exactly_three_quarters_of_an_lstms_parameters(inputs: int, hidden: int) -> None:
    """A GRU layer has exactly three quarters of an LSTM layer's parameters, and an Elman layer a quarter."""
    sizes = {cell: num_parameters(recurrence(cell, inputs, hidden)) for cell in NUM_BLOCKS}
    assert 4 * sizes["gru"] == 3 * sizes["lstm"]
    assert 4 * sizes["rnn"] == sizes["lstm"]
    assert {cell: recurrent_parameters(cell, inputs, hidden) for cell in NUM_BLOCKS} == sizes


def test_equal_parameters_are_as_equal_as_whole_units_allow() -> None:
    """The chosen width has the parameter count closest to the target."""
    wanted = recurrent_parameters("lstm", 32, 128)
    width = width_for("gru", 32, wanted)
    miss = {each: abs(recurrent_parameters("gru", 32, each) - wanted) for each in (width - 1, width, width + 1)}
    assert min(miss, key=lambda each: miss[each]) == width
    assert abs(recurrent_parameters("lstm", 96, wide_forward(96, 64)) / recurrent_parameters("lstm", 96, 64) - 2) < 0.02


def test_hello_is_learnt_and_needs_a_memory() -> None:
    """With memory every letter is predicted; without it the loss stays at the floor of the ambiguous l."""
    network, seen = spell(HELLO.quick)
    says = network(letters("hell"))[0].argmax(dim=1)
    assert says.tolist() == letters("ello")[0].tolist()
    assert seen.losses[-1] < 0.01
    _, forgetful = spell(HELLO.quick, with_memory=False)
    assert pytest.approx(2 * math.log(2) / 4, abs=1e-4) == FLOOR_WITHOUT_MEMORY
    assert forgetful.losses[-1] == pytest.approx(FLOOR_WITHOUT_MEMORY, abs=0.01)
    assert min(forgetful.losses) >= FLOOR_WITHOUT_MEMORY - 1e-4


def test_hellos_numbers_are_those_of_the_textbook_equations() -> None:
    """The states and outputs shown equal a manual evaluation of h = tanh(W x + U h' + b) and logits = V h + c."""
    network, _ = spell(HELLO.quick)
    layer = network.encoder.layers[0]
    assert isinstance(layer, RecurrentLayer)
    weights: dict[str, Any] = {name: value.detach() for name, value in layer.forward_rnn.named_parameters()}
    bias = weights["bias_ih_l0"] + weights["bias_hh_l0"]
    hidden, logits = torch.zeros(4), []
    for letter in OneHot()(letters("hell"))[0]:
        hidden = torch.tanh(weights["weight_ih_l0"] @ letter + weights["weight_hh_l0"] @ hidden + bias)
        logits.append(network.output(hidden))
    steps = HELLO.run(HELLO.quick, lambda _line: None).tables[0]
    assert torch.allclose(torch.stack(logits), network(letters("hell"))[0], atol=1e-6)
    assert steps.rows[-1][1:5] == pytest.approx(hidden.tolist(), abs=1e-6)


def test_the_adding_problem_marks_two_numbers_and_asks_for_their_sum() -> None:
    """The adding problem marks one number per half, and always answering 1 has the baseline error of the figure."""
    inputs, sums = adding_batch(20_000, 10, torch.Generator().manual_seed(1))
    numbers, marks = inputs[..., 0], inputs[..., 1]
    assert (marks[:, :5].sum(dim=1) == 1).all()
    assert (marks[:, 5:].sum(dim=1) == 1).all()
    assert torch.allclose((numbers * marks).sum(dim=1), sums)
    assert float(F.mse_loss(torch.ones_like(sums), sums)) == pytest.approx(BLIND_ERROR, rel=0.03)


def test_copy_memory_shows_symbols_and_asks_for_them_after_the_signal() -> None:
    """The pause of copy memory has the configured length, and random answers have the baseline loss in the table."""
    inputs, targets = copy_batch(4, 5, 7, torch.Generator().manual_seed(1))
    assert inputs.shape == targets.shape == (4, 5 + 7 + 5)
    assert torch.equal(inputs[:, :5], targets[:, -5:])
    signal = (inputs[0] == GO).nonzero().item()
    assert signal == 5 + 7 - 1
    assert (inputs[:, 5:signal] == BLANK).all()
    knows_when = torch.full((1, 17, 9), -1e9)
    knows_when[:, :12, BLANK] = 0.0
    knows_when[:, 12:, :8] = 0.0
    assert float(F.cross_entropy(knows_when[0], targets[0])) == pytest.approx(blind_loss(5, 7))


@pytest.mark.parametrize("distance", [0, 1, 3, 30])
def test_a_verb_stands_at_its_distance_from_a_subject_of_its_number(distance: int) -> None:
    ids, plural = agreement_batch(30, distance, Random(1))
    for row, is_plural in zip(ids.tolist(), plural.tolist(), strict=True):
        assert row.index(NUMBER[VERB]) == distance + 2
        assert WORDS[row[1]].endswith("s") == bool(is_plural)


def test_gradient_norms_are_those_of_the_derivative() -> None:
    """Gradient norms of a one-unit network equal the chain rule's products of u (1 - h^2)."""
    with seeded(3) as generator:
        network = radius_probe("Elman, radius 0.9", 1)
        inputs, _ = adding_batch(1, 4, generator)
        norms = gradient_norms(network, "rnn", inputs, generator)
    states = network.encoder(inputs, torch.tensor([4]))[0, :, 0].detach()
    slopes = [0.9 * (1 - float(state) ** 2) for state in states]
    by_hand = [math.prod(slopes[len(slopes) - lag :]) for lag in range(5)]
    assert norms == pytest.approx(by_hand, rel=1e-5)


def test_only_the_memory_differs_between_attention_and_none() -> None:
    """Both decoders have equal parameter counts, and the one without attention sees only the final encoder state."""
    batch = reversal_batch(2, 5, 4, np.random.default_rng(1))
    networks = {name: kind(_config(8), 8, 8) for name, kind in DECODERS.items()}
    assert len({num_parameters(network) for network in networks.values()}) == 1
    memories = {name: each.encode(batch.source, batch.source_lengths)[0] for name, each in networks.items()}
    assert memories["attention"].shape[1] == 6
    assert memories["final state only"].shape[1] == 1
    assert torch.equal(batch.target_outputs[:, :-1], batch.source[:, :-1].flip(1))


def test_fit_says_when_training_broke_and_what_clipping_left() -> None:
    """With a learning rate that is too high, training ends early as diverged; with gradient clipping it completes."""

    def steep(clip_norm: float) -> bool:
        weight = nn.Linear(1, 1, bias=False)
        nn.init.constant_(weight.weight, 1.0)
        return fit(weight, lambda _step: weight.weight.square().sum(), Budget(200, 1.5, clip_norm, "sgd")).diverged

    assert steep(math.inf)
    assert not steep(0.1)


def test_the_forget_bias_is_what_was_asked_for() -> None:
    """Only the forget gate's quarter of the input bias is set to the requested value."""
    for wanted in (0.0, 1.0):
        probe = Probe("lstm", nn.Identity(), 2, 3, 1, forget_bias=wanted)
        bias = dict(probe.encoder.named_parameters())["layers.0.forward_rnn.bias_ih_l0"].detach()
        assert bias.tolist() == [0.0] * 3 + [wanted] * 3 + [0.0] * 6


@pytest.mark.parametrize(("follow", "least", "most"), [(1.0, 1.0, 1.0), (0.0, 0.05, 0.15)])
def test_digits_count_upwards_as_often_as_was_asked_for(follow: float, least: float, most: float) -> None:
    """Each digit is one more than the one before it, always or as often as chance has it."""
    (passage,) = digit_lines("train", FUSION.full, follow)
    lines = [[SPOKEN.index(word) for word in line.split()] for line in passage.text.strip().splitlines()]
    steps = [(after - before) % 10 for line in lines for before, after in pairwise(line)]
    assert least <= steps.count(1) / len(steps) <= most
    assert {len(line) for line in lines} == set(range(FUSION.full.shortest, FUSION.full.longest + 1))


def test_a_word_is_written_with_its_last_token() -> None:
    """Of letters that is the one before the blank, or the last one; of words the token itself."""
    letters_of = [Token(ord(letter), step, 0.0) for step, letter in enumerate("one two")]
    assert last_steps(letters_of, "one two", "character") == [2, 6]
    assert last_steps([Token(5, 3, 0.0), Token(6, 9, 0.0)], "one two", "word") == [3, 9]


def test_splits_of_commands_keep_apart_what_they_ask_for() -> None:
    """Train of the split by length is short and what is asked long; the new verb is in train alone, and often."""
    pairs = [
        SentencePair(f"{verb} {way}".strip(), "A " * size) for verb in ("run", "look") for way, size in WAYS.items()
    ]
    train, dev = pairs[:-1], pairs[-1:]
    splits = splits_of(train, dev, 4, "look")
    assert {num_actions(pair) > 4 for pair in splits["longer"].train} == {False}
    assert {num_actions(pair) > 4 for pair in splits["longer"].asked} == {True}
    assert {pair.source for pair in splits["new verb"].train if "look" in pair.source} == {"look"}
    assert {pair.source for pair in splits["new verb"].asked} == {f"look {way}" for way in WAYS if way}
    assert splits["random"] == (train, dev, dev)


def test_early_answers_do_not_see_what_comes_later() -> None:
    """After a share, both kinds of network answer as for the beginning alone; the forward one has all in one pass."""
    generator = torch.Generator().manual_seed(1)
    inputs, lengths = torch.randn(2, 9, 3, generator=generator), torch.tensor([9, 6])
    half = beginning_lengths(lengths, 0.5)
    assert half.tolist() == [5, 3]
    changed = inputs.clone()
    for row, length in enumerate(half.tolist()):
        changed[row, length:] = 7.0
    for bidirectional in (False, True):
        network = EarlyClassifier(3, 2, 4, bidirectional)
        torch.testing.assert_close(network(inputs, half), network(changed, half))
        assert not torch.allclose(network(inputs, lengths), network(changed, lengths))
    forward = EarlyClassifier(3, 2, 4, bidirectional=False)
    after = forward.after_each(inputs, lengths)
    torch.testing.assert_close(after[torch.arange(2), half - 1], forward(inputs, half))


def test_early_losses_are_after_the_end_and_after_every_frame() -> None:
    """Taught on wholes the loss is that of the last frame; taught after every frame, the mean over real frames."""
    inputs, lengths, labels = torch.randn(2, 3, 1), torch.tensor([3, 1]), torch.tensor([0, 1])
    network, batch = EarlyClassifier(1, 2, 4, bidirectional=False), Sequences(inputs, lengths, labels)
    whole = loss_of_batch(network, Way(bidirectional=False, beginnings=False), batch, 0.1)
    torch.testing.assert_close(whole, F.cross_entropy(network(inputs, lengths), labels))
    every = loss_of_batch(network, Way(bidirectional=False, beginnings=True), batch, 0.1)
    first = F.cross_entropy(network(inputs, torch.tensor([1, 1])), labels, reduction="none")
    later = [F.cross_entropy(network(inputs[:1], torch.tensor([n])), labels[:1]) for n in (2, 3)]
    torch.testing.assert_close(every, (first.sum() + sum(later)) / 4)


def test_the_nearest_beginning_gives_the_label() -> None:
    """A sequence that starts like one of train and ends like another has the label of the first after a quarter."""
    train = Sequences(torch.tensor([[0.0] * 8, [5.0] * 8])[:, :, None], torch.tensor([8, 8]), torch.tensor([0, 1]))
    asked = Sequences(torch.tensor([[0.0] * 2 + [5.0] * 6])[:, :, None], torch.tensor([8]), torch.tensor([1]))
    assert nearest_accuracies(train, asked) == [0.0, 0.0, 100.0, 100.0]
