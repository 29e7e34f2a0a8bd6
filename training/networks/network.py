"""What every network is to the training loop."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from torch import Tensor, nn

from training.networks.layers.recurrent import State


class Network(nn.Module):
    """A torch module that knows its own loss."""

    @abstractmethod
    def loss(self, batch: Any, carried: State = ()) -> tuple[Tensor, State]:
        """Mean loss of a batch in nats, and what to hand in with the next one: nothing, or a recurrent state."""
