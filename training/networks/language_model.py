"""Recurrent language model: embedding, recurrent layers, softmax over the next token."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from service.bundle.hidden_output import HIDDEN_STATES
from training.config.networks import LanguageModelConfig
from training.networks.layers.cells import State
from training.networks.layers.dropout import EmbeddingDropout, sequence_dropout
from training.networks.layers.losses.sampled_softmax import sampled_cross_entropy
from training.networks.layers.recurrent import StatefulStack
from training.networks.network import Network, NetworkGraph, StateShape, Tensors, float32, int64, recurrent_state
from training.preprocessing.batches import LanguageBatch


class StackOutput(NamedTuple):
    """Outputs of the last layer `[batch, time, hidden]`, before and after dropout, and the final state."""

    outputs: Tensor
    dropped: Tensor
    state: State


class LanguageModel(Network):
    """Predicts the next token; the recurrent state is passed in and returned."""

    reading_modules = ("embedding", "stack")

    def __init__(self, config: LanguageModelConfig, vocabulary: int) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(vocabulary, config.embedding_size, padding_idx=0)
        self.stack = StatefulStack(
            config.cell,
            config.embedding_size,
            config.hidden_size,
            config.layers,
            config.dropout if config.layer_dropout is None else config.layer_dropout,
            connection=config.connection,
            layer_norm=config.layer_norm,
            locked=config.locked_dropout != "none",
            weight_drop=config.weight_drop,
        )
        input_dropout = config.dropout if config.input_dropout is None else config.input_dropout
        self.embedding_dropout = EmbeddingDropout(config.embedding_dropout)
        self.input_dropout = sequence_dropout(input_dropout, config.locked_dropout != "none")
        self.dropout = sequence_dropout(config.dropout, config.locked_dropout == "all")
        is_projected = config.tie_embeddings and config.embedding_size != config.hidden_size
        self.projection = nn.Linear(config.hidden_size, config.embedding_size) if is_projected else None
        self.output = nn.Linear(config.embedding_size if is_projected else config.hidden_size, vocabulary)
        if config.tie_embeddings:
            self._tie()

    def _tie(self) -> None:
        """Share one matrix between embedding and output layer, initialised small enough for useful logits."""
        nn.init.normal_(self.embedding.weight, std=self.config.embedding_size**-0.5)
        with torch.no_grad():
            self.embedding.weight[0].zero_()
        self.output.weight = self.embedding.weight

    @property
    def state_shapes(self) -> dict[str, StateShape]:
        return recurrent_state(self.config.cell, self.config.layers, self.config.hidden_size)

    def graphs(self) -> dict[str, NetworkGraph]:
        """`prompt`: tokens, lengths, state -> logits, next state, hidden states; `step`: one token of each row.

        The hidden states are what the output layer reads; a step does not give them.
        """
        state, after, vocabulary = self.state_inputs(), self.state_outputs(), self.output.out_features
        tokens = int64("tokens", "batch", "time"), int64("lengths", "batch")
        prompt_logits = float32("logits", "batch", "time", vocabulary)
        step_logits = float32("logits", "batch", vocabulary)
        hidden = float32(HIDDEN_STATES, "batch", "time", self.output.in_features)
        return {
            "prompt": NetworkGraph(self._prompt, (*tokens, *state), (prompt_logits, *after, hidden)),
            "step": NetworkGraph(self._step, (int64("token", "batch"), *state), (step_logits, *after)),
        }

    def _prompt(self, feeds: Tensors) -> Tensors:
        reading = self.read(feeds["tokens"], feeds["lengths"], self.state_of(feeds))
        hidden = self.projected(reading.dropped)
        return {"logits": self.output(hidden), **self.next_state(reading.state), HIDDEN_STATES: hidden}

    def _step(self, feeds: Tensors) -> Tensors:
        logits, state = self.step(feeds["token"], self.state_of(feeds))
        return {"logits": logits, **self.next_state(state)}

    def zero_state(self, batch: int, device: torch.device) -> State:
        """The state before the first token."""
        return self.stack.zero_state(batch, device)

    def prompt(self, tokens: Tensor, lengths: Tensor | None, state: State) -> tuple[Tensor, State]:
        """`[batch, time]`, `[batch]`, `[layers, batch, hidden]` each -> logits `[batch, time, vocab]`, next state.

        The next state is that after each row's last valid token.
        """
        reading = self.read(tokens, lengths, state)
        return self.output(self.projected(reading.dropped)), reading.state

    def step(self, token: Tensor, state: State) -> tuple[Tensor, State]:
        """`[batch]` -> logits `[batch, vocab]`, next state."""
        logits, after = self.prompt(token.unsqueeze(1), None, state)
        return logits.squeeze(1), after

    def read(self, tokens: Tensor, lengths: Tensor | None, state: State) -> StackOutput:
        """Everything before the output layer; arguments as for `prompt`."""
        embedded = self.input_dropout(self.embedding_dropout(self.embedding, tokens))
        outputs, after = self.stack(embedded, state, lengths)
        return StackOutput(outputs, self.dropout(outputs), after)

    def projected(self, outputs: Tensor) -> Tensor:
        """The input of the output layer: `[..., hidden]`, projected to the embedding size where embeddings are tied."""
        return outputs if self.projection is None else self.projection(outputs)

    def loss(self, batch: LanguageBatch, carried: State = ()) -> tuple[Tensor, State]:
        """Mean over tokens of -log p(next token), and the detached state for the next window.

        Truncated backpropagation through time: the state is carried over, the gradient stops at the window's start.
        In training the loss includes the activation penalties, and may use a sampled softmax.
        """
        state = carried or self.zero_state(batch.inputs.shape[0], batch.inputs.device)
        reading = self.read(batch.inputs, None, state)
        features, targets = self.projected(reading.dropped).flatten(0, 1), batch.targets.flatten()
        if self.training and self.config.sampled_softmax:
            loss = sampled_cross_entropy(features, targets, self.output, self.config.sampled_softmax)
        else:
            loss = F.cross_entropy(self.output(features).float(), targets)
        loss = loss + self._penalties(reading) if self.training else loss
        return loss, tuple(part.detach() for part in reading.state)

    def _penalties(self, reading: StackOutput) -> Tensor | float:
        """Activation regularisation and temporal activation regularisation (AR and TAR, Merity et al. 2017)."""
        penalty: Tensor | float = 0.0
        if self.config.activation_penalty:
            penalty += self.config.activation_penalty * reading.dropped.float().pow(2).mean()
        if self.config.change_penalty:
            penalty += self.config.change_penalty * reading.outputs.float().diff(dim=1).pow(2).mean()
        return penalty
