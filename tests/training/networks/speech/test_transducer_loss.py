"""The transducer's loss against brute force over all alignments, its gradient, and padding."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from training.networks.layers.losses.transducer_loss import BLANK, transducer_loss

VOCABULARY = 4
STEPS = torch.tensor([3, 1, 4, 2])
LENGTHS = torch.tensor([2, 3, 0, 1])
#: One step and one target more than any row has: padding in every row.
NUM_STEPS, NUM_TARGETS = 5, 4


def lattices() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(2)
    shape = (len(STEPS), NUM_STEPS, NUM_TARGETS + 1, VOCABULARY)
    logits = torch.randn(shape, dtype=torch.float64, generator=generator) * 2
    return logits, torch.randint(1, VOCABULARY, (len(STEPS), NUM_TARGETS), generator=generator)


def likelihood_by_enumeration(logits: Tensor, targets: list[int], steps: int) -> float:
    """The sum over every order of `steps` blanks and the targets that ends with a blank, by definition."""
    probabilities = logits.softmax(dim=2)
    total = 0.0
    for places in itertools.combinations(range(steps - 1 + len(targets)), len(targets)):
        path, step, written = 1.0, 0, 0
        for place in range(steps + len(targets)):
            symbol = targets[written] if place in places else BLANK
            path *= float(probabilities[step, written, symbol])
            step, written = (step, written + 1) if place in places else (step + 1, written)
        total += path
    return total


def test_loss_is_that_of_all_alignments() -> None:
    """The loss of each row equals -log of the summed probability of its alignments, whatever the padding contains."""
    logits, targets = lattices()
    losses = transducer_loss(logits, targets, STEPS, LENGTHS)
    for row, (steps, length) in enumerate(zip(STEPS.tolist(), LENGTHS.tolist(), strict=True)):
        expected = -math.log(likelihood_by_enumeration(logits[row], targets[row, :length].tolist(), steps))
        assert float(losses[row]) == pytest.approx(expected, abs=1e-12)


def test_gradient_is_right() -> None:
    """The gradient of the logits agrees with finite differences, and is zero at every node that is padding."""
    logits, targets = lattices()
    logits.requires_grad_()
    assert torch.autograd.gradcheck(lambda given: transducer_loss(given, targets, STEPS, LENGTHS), (logits,))
    transducer_loss(logits, targets, STEPS, LENGTHS).sum().backward()
    assert logits.grad is not None
    is_step = torch.arange(NUM_STEPS).view(1, -1, 1) < STEPS.view(-1, 1, 1)
    is_node = is_step & (torch.arange(NUM_TARGETS + 1) <= LENGTHS.view(-1, 1, 1))
    assert not logits.grad[~is_node].any()
    assert logits.grad[is_node].abs().sum(dim=1).all()


def test_padding_has_no_say() -> None:
    """A row has the same loss alone as in a batch, even where the padding of the batch is not a number."""
    logits, targets = lattices()
    padded = logits.clone()
    for row, (steps, length) in enumerate(zip(STEPS.tolist(), LENGTHS.tolist(), strict=True)):
        padded[row, steps:], padded[row, :, length + 1 :] = math.nan, math.nan
    together = transducer_loss(padded, targets, STEPS, LENGTHS)
    for row, (steps, length) in enumerate(zip(STEPS.tolist(), LENGTHS.tolist(), strict=True)):
        part = slice(row, row + 1)
        alone = logits[part, :steps, : length + 1]
        loss = transducer_loss(alone, targets[part, :length], STEPS[part], LENGTHS[part])
        torch.testing.assert_close(loss[0], together[row], rtol=0, atol=1e-12)


@pytest.mark.parametrize("size", [1e4, -1e4])
def test_gradient_is_finite_for_extreme_logits(size: float) -> None:
    """Logits in the thousands give a finite loss and finite gradients in single precision."""
    logits = (torch.randn(2, 6, 4, 5, generator=torch.Generator().manual_seed(0)) * size).requires_grad_()
    loss = transducer_loss(logits, torch.ones(2, 3, dtype=torch.long), torch.tensor([6, 3]), torch.tensor([3, 1]))
    loss.sum().backward()
    assert loss.isfinite().all()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()
