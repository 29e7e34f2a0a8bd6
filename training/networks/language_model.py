"""The next token, for ever: embedding, recurrent layers, softmax."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.batches import LanguageBatch
from training.network_config import LanguageModelConfig
from training.networks.dropout import LockedDropout
from training.networks.network import Network
from training.networks.recurrent import State, StatefulStack


class LanguageModel(Network):
    """Graphs `prompt`: many tokens and a state -> logits and the next state; `step`: the same for one token."""

    def __init__(self, config: LanguageModelConfig, vocabulary: int) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(vocabulary, config.embedding_size, padding_idx=0)
        self.stack = StatefulStack(
            config.cell, config.embedding_size, config.hidden_size, config.layers, config.dropout
        )
        self.embedding_dropout = LockedDropout(config.dropout)
        self.dropout = nn.Dropout(config.dropout)
        self.output = nn.Linear(config.hidden_size, vocabulary)
        if config.tie_embeddings:
            self.output.weight = self.embedding.weight

    def zero_state(self, batch: int, device: torch.device) -> State:
        """The state before any text."""
        return self.stack.zero_state(batch, device)

    def prompt(self, tokens: Tensor, lengths: Tensor | None, state: State) -> tuple[Tensor, State]:
        """`[batch, time]`, `[batch]`, `[layers, batch, hidden]` each -> logits `[batch, time, vocab]`, next state.

        The state returned is the one after each row's last valid token.
        """
        outputs, after = self.stack(self.embedding_dropout(self.embedding(tokens)), state, lengths)
        return self.output(self.dropout(outputs)), after

    def step(self, token: Tensor, state: State) -> tuple[Tensor, State]:
        """`[batch]` -> logits `[batch, vocab]`, next state."""
        logits, after = self.prompt(token.unsqueeze(1), None, state)
        return logits.squeeze(1), after

    def loss(self, batch: LanguageBatch, carried: State = ()) -> tuple[Tensor, State]:
        """Mean over tokens of -log p(next token), and the state to carry into the next window, cut from the graph.

        Truncated backpropagation through time: the state flows on, the gradient stops at the window's start.
        """
        state = carried or self.zero_state(batch.inputs.shape[0], batch.inputs.device)
        logits, after = self.prompt(batch.inputs, None, state)
        loss = F.cross_entropy(logits.flatten(0, 1).float(), batch.targets.flatten())
        return loss, tuple(part.detach() for part in after)
