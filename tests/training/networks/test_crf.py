"""The CRF's loss against brute force and against an independent implementation."""

from __future__ import annotations

import itertools

import pytest
import torch
import torchcrf
from torch import Tensor

from training.networks.layers.crf import CRF

LABELS = 3
LENGTHS = torch.tensor([4, 1, 3, 2])
TIME = 5  # one step more than the longest sentence: padding in every row


@pytest.fixture
def crf() -> CRF:
    torch.manual_seed(1)
    crf = CRF(LABELS).double()
    torch.nn.init.normal_(crf.transitions)
    return crf


def emissions_and_tags() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(2)
    emissions = torch.randn(len(LENGTHS), TIME, LABELS, dtype=torch.float64, generator=generator)
    return emissions, torch.randint(LABELS, (len(LENGTHS), TIME), generator=generator)


def path_score(crf: CRF, emissions: Tensor, tags: tuple[int, ...]) -> Tensor:
    """The path score by definition: start, emission, transition and end scores, term by term."""
    edge = crf.labels
    score = crf.transitions[edge, tags[0]] + crf.transitions[tags[-1], edge]
    score = score + sum(emissions[step, tag] for step, tag in enumerate(tags))
    return score + sum(crf.transitions[a, b] for a, b in itertools.pairwise(tags))


def test_loss_is_that_of_brute_force(crf: CRF) -> None:
    """The loss of each sentence equals -log p over all tag sequences, whatever the padding contains."""
    emissions, tags = emissions_and_tags()
    losses = crf.negative_log_likelihood(emissions, tags, LENGTHS)
    for row, length in enumerate(LENGTHS.tolist()):
        paths = itertools.product(range(LABELS), repeat=length)
        total = torch.logsumexp(torch.stack([path_score(crf, emissions[row], path) for path in paths]), dim=0)
        right = path_score(crf, emissions[row], tuple(tags[row, :length].tolist()))
        torch.testing.assert_close(losses[row], total - right, rtol=0, atol=1e-12)


def test_loss_is_that_of_an_independent_crf(crf: CRF) -> None:
    """The pytorch-crf package gives the same loss with the same transitions."""
    emissions, tags = emissions_and_tags()
    other = torchcrf.CRF(LABELS, batch_first=True).double()
    with torch.no_grad():
        other.start_transitions.copy_(crf.transitions[LABELS, :LABELS])
        other.end_transitions.copy_(crf.transitions[:LABELS, LABELS])
        other.transitions.copy_(crf.transitions[:LABELS, :LABELS])
    mask = torch.arange(TIME) < LENGTHS.unsqueeze(1)
    expected = -other(emissions, tags, mask=mask, reduction="none")
    torch.testing.assert_close(crf.negative_log_likelihood(emissions, tags, LENGTHS), expected)


def test_padding_has_no_say(crf: CRF) -> None:
    """A sentence has the same loss alone as in a padded batch."""
    emissions, tags = emissions_and_tags()
    together = crf.negative_log_likelihood(emissions, tags, LENGTHS)
    for row, length in enumerate(LENGTHS.tolist()):
        part = slice(row, row + 1)
        alone = crf.negative_log_likelihood(emissions[part, :length], tags[part, :length], LENGTHS[part])
        torch.testing.assert_close(alone[0], together[row], rtol=0, atol=1e-12)


def test_gradient_is_right(crf: CRF) -> None:
    """The gradient of the emissions agrees with finite differences and is zero at padding."""
    emissions, tags = emissions_and_tags()
    emissions.requires_grad_()
    assert torch.autograd.gradcheck(lambda given: crf.negative_log_likelihood(given, tags, LENGTHS), (emissions,))
    crf.negative_log_likelihood(emissions, tags, LENGTHS).sum().backward()
    assert emissions.grad is not None
    padding = torch.arange(TIME) >= LENGTHS.unsqueeze(1)
    assert not emissions.grad[padding].any()
    assert emissions.grad[~padding].all()


@pytest.mark.parametrize("size", [1e4, -1e4])
def test_gradient_is_finite_for_extreme_scores(size: float) -> None:
    """Emissions in the thousands give a finite loss and finite gradients."""
    crf = CRF(LABELS)
    emissions = (torch.randn(2, 6, LABELS, generator=torch.Generator().manual_seed(0)) * size).requires_grad_()
    loss = crf.negative_log_likelihood(emissions, torch.zeros(2, 6, dtype=torch.long), torch.tensor([6, 3])).sum()
    loss.backward()
    assert loss.isfinite()
    assert emissions.grad is not None
    assert emissions.grad.isfinite().all()
    assert crf.transitions.grad is not None
    assert crf.transitions.grad.isfinite().all()
