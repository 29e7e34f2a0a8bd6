"""A sentence into another language: recurrent encoder, attention decoder.

The decoder's first layer reads the target so far and asks the attention; every further layer reads the first one's
output beside the context found (the arrangement of Wu et al. 2016, section 3). No layer waits for the attention of
the step before, so that in training whole sentences run through each layer at once.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.batches import TranslationBatch
from training.network_config import TranslatorConfig
from training.networks.attention import ATTENTIONS, attend
from training.networks.dropout import LockedDropout, WordDropout
from training.networks.network import Network
from training.networks.recurrent import (
    STATE_NAMES,
    RecurrentEncoder,
    State,
    layer_state,
    length_mask,
    recurrence,
    run_recurrence,
)


class Translator(Network):
    """Graphs `encoder`: tokens, lengths -> memory, keys, state; `decoder_step`: one token and a state -> the next."""

    def __init__(self, config: TranslatorConfig, source_vocabulary: int, target_vocabulary: int) -> None:
        super().__init__()
        self.config = config
        width = config.decoder_hidden_size
        self.word_dropout = WordDropout(config.word_dropout)
        self.dropout = LockedDropout(config.dropout)
        self.source_embedding = embedding(source_vocabulary, config.embedding_size)
        self.target_embedding = embedding(target_vocabulary, config.embedding_size)
        self.encoder = RecurrentEncoder(
            config.cell,
            config.embedding_size,
            config.encoder_hidden_size,
            config.encoder_layers,
            config.bidirectional,
            config.dropout,
        )
        memory = self.encoder.output_size
        self.num_states = len(STATE_NAMES[config.cell])
        self.bridge = nn.Linear(memory, self.num_states * config.decoder_layers * width)
        self.attention = ATTENTIONS[config.attention](width, memory, config.attention_size)
        sizes = [config.embedding_size] + [width + memory] * (config.decoder_layers - 1)
        self.decoder_layers = nn.ModuleList(recurrence(config.cell, size, width) for size in sizes)
        self.readout = nn.Linear(width + memory, config.embedding_size)
        self.output = nn.Linear(config.embedding_size, target_vocabulary)
        if config.tie_embeddings:
            self.output.weight = self.target_embedding.weight

    def encode(self, tokens: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor, State]:
        """`[batch, time]`, `[batch]` -> memory `[batch, time, memory]`, keys `[batch, time, attention]`, first state.

        Each state tensor is `[layers, batch, width]`, made from the encoder's final states by one tanh layer.
        """
        embedded = self.dropout(self.source_embedding(self.word_dropout(tokens)))
        outputs = self.encoder(embedded, lengths)
        final = torch.tanh(self.bridge(self.encoder.final(outputs, lengths)))
        parts = final.view(tokens.shape[0], self.num_states, self.config.decoder_layers, -1)
        state = tuple(parts[:, index].transpose(0, 1).contiguous() for index in range(self.num_states))
        memory = self.dropout(outputs)
        return memory, self.attention.key(memory), state

    def decode(
        self, tokens: Tensor, memory: Tensor, memory_keys: Tensor, lengths: Tensor, state: State
    ) -> tuple[Tensor, Tensor, State]:
        """Any number of target steps at once.

        Args:
            tokens: `[batch, steps]`, the target so far.
            memory, memory_keys, lengths: what `encode` gave, and the source lengths `[batch]`.
            state: the decoder's state before the first of these steps.

        Returns:
            logits `[batch, steps, vocab]`, attention weights `[batch, steps, time]`, and the state after.
        """
        mask = length_mask(lengths, memory.shape[1])
        outputs = self.dropout(self.target_embedding(self.word_dropout(tokens)))
        first, *further = self.decoder_layers
        outputs, after = run_recurrence(first, outputs, layer_state(state, 0))
        afters = [after]
        context, weights = attend(self.attention.energies(outputs, memory_keys), memory, mask)
        for number, rnn in enumerate(further, start=1):
            inputs = torch.cat([self.dropout(outputs), context], dim=2)
            outputs, after = run_recurrence(rnn, inputs, layer_state(state, number))
            afters.append(after)
        readout = torch.tanh(self.readout(torch.cat([self.dropout(outputs), context], dim=2)))
        logits: Tensor = self.output(self.dropout(readout))
        return logits, weights, tuple(torch.cat(parts) for parts in zip(*afters, strict=True))

    def step(
        self, token: Tensor, memory: Tensor, memory_keys: Tensor, lengths: Tensor, state: State
    ) -> tuple[Tensor, Tensor, State]:
        """One step: `token` `[batch]` -> logits `[batch, vocab]`, attention `[batch, time]`, the next state."""
        logits, weights, after = self.decode(token.unsqueeze(1), memory, memory_keys, lengths, state)
        return logits.squeeze(1), weights.squeeze(1), after

    def loss(self, batch: TranslationBatch, carried: State = ()) -> tuple[Tensor, State]:
        """Mean over target tokens of -log p(token), with label smoothing while training; teacher forcing."""
        memory, keys, state = self.encode(batch.source, batch.source_lengths)
        logits, _, _ = self.decode(batch.target_inputs, memory, keys, batch.source_lengths, state)
        smoothing = self.config.label_smoothing if self.training else 0.0
        targets = batch.target_outputs.flatten()
        loss = F.cross_entropy(logits.flatten(0, 1).float(), targets, ignore_index=0, label_smoothing=smoothing)
        return loss, ()


def embedding(vocabulary: int, size: int) -> nn.Embedding:
    """Small enough to serve as the output layer too: variance 1 / size."""
    table = nn.Embedding(vocabulary, size, padding_idx=0)
    with torch.no_grad():
        table.weight.normal_(0.0, size**-0.5)[0].zero_()
    return table
