"""Hard attention: a decoder looks at one place, chosen by REINFORCE in training (Xu et al. 2015, section 4.1).

The choice of a place has no gradient. The energies learn from rewards instead (Williams 1992): a place is drawn, and
its log-probability is pushed up by as much as its word was more probable than a baseline expected. What a place changes
in later words is neglected: with their sum as the reward, a short training hardly learns where to look.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.networks.layers.attention import masked_energies


def attend_to_one(energies: Tensor, memory: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """The memory at the place of greatest energy, and weights that are 1 there; shapes as in `attend`."""
    places = masked_energies(energies, mask).argmax(dim=2)
    weights = F.one_hot(places, memory.shape[1]).to(memory.dtype)
    return torch.matmul(weights, memory), weights


class PlaceSampler:
    """Draws the places that one batch looks at, and keeps what `reinforce_loss` needs of each step.

    A share of the rows attends softly instead, which lowers the variance of the gradient.

    Attributes:
        log_probabilities: `[batch, 1]` of each step's place; zero for rows that attend softly.
        entropies: `[batch, 1]` of each step's distribution over places.
    """

    def __init__(self, soft_share: float) -> None:
        self._soft_share = soft_share
        self._is_soft: Tensor | None = None
        self.log_probabilities: list[Tensor] = []
        self.entropies: list[Tensor] = []

    def __call__(self, energies: Tensor, memory: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """One step, `energies` `[batch, 1, time]`; what it gives is as of `attend`."""
        logs = torch.log_softmax(masked_energies(energies, mask), dim=2)
        soft = logs.exp()
        if self._is_soft is None:
            self._is_soft = torch.rand(len(memory), 1, device=memory.device) < self._soft_share
        places = torch.multinomial(soft.detach().squeeze(1), 1)
        drawn = F.one_hot(places, memory.shape[1]).to(memory.dtype)
        weights = torch.where(self._is_soft.unsqueeze(2), soft, drawn)
        chosen = logs.squeeze(1).gather(1, places)
        self.log_probabilities.append(chosen.masked_fill(self._is_soft, 0.0))
        self.entropies.append(-(soft * logs.clamp(min=-1e4)).sum(dim=2))
        return torch.matmul(weights, memory), weights


class RewardBaseline(nn.Module):
    """The reward that is expected of each step, from the decoder's state before it (Mnih and Gregor 2014)."""

    def __init__(self, state_size: int) -> None:
        super().__init__()
        self.output = nn.Linear(state_size, 1)

    def forward(self, states: Tensor) -> Tensor:
        """`[batch, steps, state]` -> `[batch, steps]`. The decoder does not learn from the baseline's loss."""
        expected: Tensor = self.output(states.detach()).squeeze(2)
        return expected


def reinforce_loss(
    sampler: PlaceSampler, rewards: Tensor, expected: Tensor, is_token: Tensor, entropy_weight: float
) -> Tensor:
    """Mean over tokens: the policy's loss, the baseline's error (Huber), and an entropy bonus for looking around.

    Args:
        rewards: `[batch, steps]`, the log-probability of the token that each place was drawn for.
        expected: `[batch, steps]`, the baseline.
        is_token: `[batch, steps]` of bool, false on padding.
    """
    rewards = rewards.detach()
    chosen, entropies = (torch.cat(parts, dim=1) for parts in (sampler.log_probabilities, sampler.entropies))
    policy = -(rewards - expected.detach()) * chosen
    errors = F.smooth_l1_loss(expected, rewards, reduction="none")
    losses = policy + errors - entropy_weight * entropies
    return (losses * is_token).sum() / is_token.sum()
