"""Hard attention: one place for each word, and REINFORCE, which learns from rewards where to look."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from service.bundle.load import load_bundle
from service.inference.engines.open_bundle import open_bundle
from service.tasks.core.task import Picture
from service.tasks.seq2seq.captioning import Captioning, CaptioningParameters
from tests.tiny_pictures import shape_pictures
from tests.training.tiny_captioner import captioner, publish_captioner
from training.networks.layers.hard_attention import PlaceSampler, attend_to_one, reinforce_loss
from training.preprocessing.batches import CaptioningBatch

MEMORY = torch.eye(4).unsqueeze(0)


def test_it_looks_at_the_place_of_greatest_energy_and_never_at_padding() -> None:
    energies = torch.tensor([[[0.1, 2.0, -1.0, 5.0]]])
    mask = torch.tensor([[True, True, True, False]])
    context, weights = attend_to_one(energies, MEMORY, mask)
    assert weights.tolist() == [[[0, 1, 0, 0]]]
    assert context.tolist() == [[[0, 1, 0, 0]]]


def test_a_place_that_is_rewarded_is_learned() -> None:
    """A bandit with four places, one of which pays: its probability rises above 90 %, whatever the draws."""
    energies = torch.zeros(1, 1, 4, requires_grad=True)
    optimizer = torch.optim.SGD([energies], 1.0)
    torch.manual_seed(1)
    memory, mask = MEMORY.expand(16, 4, 4), torch.ones(16, 4, dtype=torch.bool)
    for _ in range(60):
        sampler = PlaceSampler(soft_share=0.0)
        context, _ = sampler(energies.expand(16, 1, 4), memory, mask)
        rewards = context[:, :, 2]
        expected = torch.full_like(rewards, 0.25)
        loss = reinforce_loss(sampler, rewards, expected, torch.ones(16, 1, dtype=torch.bool), 0.0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert float(torch.softmax(energies.detach(), dim=2)[0, 0, 2]) > 0.9


def test_the_gradient_is_that_of_the_expected_reward() -> None:
    """The mean of the estimates approaches the gradient of the expected reward, with a baseline and without."""
    energies = torch.tensor([[[0.5, -0.2, 0.1, 0.0]]], requires_grad=True)
    pay = torch.tensor([1.0, 0.0, -1.0, 2.0])
    (torch.softmax(energies, dim=2) @ pay).sum().backward()
    assert energies.grad is not None
    expected = energies.grad.clone()
    torch.manual_seed(1)
    for baseline in (0.0, 0.7):
        estimate = _estimated_gradient(energies, pay, baseline, rows=40_000)
        assert torch.allclose(estimate, expected, atol=0.02)


def _estimated_gradient(energies: Tensor, pay: Tensor, baseline: float, rows: int) -> Tensor:
    energies.grad = None
    sampler = PlaceSampler(soft_share=0.0)
    mask = torch.ones(rows, 4, dtype=torch.bool)
    context, _ = sampler(energies.expand(rows, 1, 4), MEMORY.expand(rows, 4, 4), mask)
    rewards = (context @ pay).detach()
    loss = reinforce_loss(sampler, rewards, torch.full_like(rewards, baseline), torch.ones_like(rewards) > 0, 0.0)
    loss.backward()
    assert energies.grad is not None
    return -energies.grad


def test_entropy_keeps_it_looking_around_and_padding_earns_nothing() -> None:
    """With the bonus alone energies become equal; a step of padding changes no gradient."""
    energies = torch.tensor([[[1.0, 0.0, 0.0, 0.0]], [[0.0, 3.0, 0.0, 0.0]]], requires_grad=True)
    sampler = PlaceSampler(soft_share=0.0)
    sampler(energies, MEMORY.expand(2, 4, 4), torch.ones(2, 4, dtype=torch.bool))
    nothing = torch.zeros(2, 1)
    reinforce_loss(sampler, nothing, nothing, torch.tensor([[True], [False]]), 1.0).backward()
    assert energies.grad is not None
    assert float(energies.grad[0, 0, 0]) > 0 > float(energies.grad[0, 0, 1])
    assert energies.grad[1].abs().sum() == 0


def test_a_row_that_attends_softly_has_the_gradient_of_soft_attention() -> None:
    """With a soft share of 1 contexts are those of `attend`, and no place was chosen that could be rewarded."""
    sampler = PlaceSampler(soft_share=1.0)
    energies = torch.tensor([[[1.0, 0.5, 0.0, -1.0]]])
    context, weights = sampler(energies, MEMORY, torch.ones(1, 4, dtype=torch.bool))
    assert torch.allclose(weights, torch.softmax(energies, dim=2))
    assert torch.allclose(context, weights @ MEMORY)
    assert sampler.log_probabilities[0].tolist() == [[0.0]]


def test_a_captioner_learns_where_to_look_from_rewards_alone() -> None:
    """Where every row draws its places, the energies have a gradient, which only the rewards can have given."""
    network = captioner(hard_attention=True, soft_share=0.0, dropout=0.0).train()
    for parameter in network.parameters():
        parameter.requires_grad_(True)
    draw = torch.Generator().manual_seed(1)
    pixels = torch.randint(0, 256, (3, 16, 24, 3), generator=draw, dtype=torch.uint8)
    tokens = torch.randint(4, 12, (3, 5), generator=draw)
    loss, _ = network.loss(CaptioningBatch(pixels, torch.zeros(3, dtype=torch.bool), tokens, tokens))
    loss.backward()
    assert network.attention.query.weight.grad is not None
    assert float(network.attention.query.weight.grad.abs().sum()) > 0


def test_the_service_shows_one_place_for_each_word(tmp_path: Path) -> None:
    """A bundle with hard attention needs nothing new of the service: its weights are 1 at one place, 0 elsewhere."""
    path = publish_captioner(captioner(hard_attention=True), tmp_path).path
    task, runner = Captioning(load_bundle(path)), open_bundle(path, device="cpu").runner
    (record,) = shape_pictures(1)
    example = task.preprocess(Picture(record.png), CaptioningParameters(return_attention=True, num_beams=1))
    (output,) = task.run(runner, [example])
    looks = task.plain_answer(example, output)["attention"]["weights"]
    assert looks
    assert all(sorted(row) == [0.0] * (len(row) - 1) + [1.0] for row in looks)
