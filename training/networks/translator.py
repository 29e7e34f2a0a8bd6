"""A sentence into another language: recurrent encoder, attention decoder.

The decoder's first layer reads the target so far and asks the attention; every further layer reads the first one's
output beside the context found (the arrangement of Wu et al. 2016, section 3). No layer waits for the attention of
the step before, so that in training whole sentences run through each layer at once. Two choices of a recipe cost some
of that: with `input_feeding` the first layer also reads what the step before made of its context (Luong et al. 2015,
section 3.3), and all goes step by step; with `coverage` the attention alone does, because it knows where it has looked.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.config.networks import TranslatorConfig
from training.networks.encoder_decoder import EncoderDecoder, tied_embedding
from training.networks.layers.attention import TRANSLATOR_ATTENTIONS, AdditiveAttention, Attention, attend
from training.networks.layers.cells import State, layer_state, recurrence, run_recurrence, state_names
from training.networks.layers.dropout import LockedDropout, WordDropout
from training.networks.layers.recurrent import RecurrentEncoder
from training.networks.layers.scheduled_sampling import mixed_inputs, share_true
from training.networks.network import NetworkGraph, StateShape, Tensors, float32, int64, recurrent_state
from training.preprocessing.batches import TranslationBatch
from training.preprocessing.padded_sequences import length_mask


class Source(NamedTuple):
    """What a decoder looks at: memory `[batch, time, memory]`, keys `[batch, time, key]`, mask `[batch, time]`."""

    memory: Tensor
    keys: Tensor
    mask: Tensor


class DecoderState(NamedTuple):
    """The decoder's state in its parts; without input feeding or coverage there is none of theirs."""

    recurrent: State
    feed: Tensor | None
    coverage: Tensor | None

    @property
    def tensors(self) -> State:
        """In the order of `Translator.state_shapes`."""
        return (*self.recurrent, *(part for part in (self.feed, self.coverage) if part is not None))


class Translator(EncoderDecoder):
    """A recurrent encoder; a decoder whose first layer attends and whose further layers read the context found.

    `max_source_tokens`, the end token counted, is how far into a source coverage is remembered.
    """

    def __init__(
        self, config: TranslatorConfig, source_vocabulary: int, target_vocabulary: int, max_source_tokens: int = 128
    ) -> None:
        super().__init__()
        self.config = config
        self.max_source_tokens = max_source_tokens
        width = config.decoder_hidden_size
        self.word_dropout = WordDropout(config.word_dropout)
        self.dropout = LockedDropout(config.dropout)
        self.source_embedding = tied_embedding(source_vocabulary, config.embedding_size)
        self.target_embedding = tied_embedding(target_vocabulary, config.embedding_size)
        self.encoder = RecurrentEncoder(
            config.cell,
            config.embedding_size,
            config.encoder_hidden_size,
            config.encoder_layers,
            config.bidirectional,
            config.dropout,
        )
        memory = self.encoder.output_size
        self.num_states = len(state_names(config.cell))
        self.bridge = nn.Linear(memory, self.num_states * config.decoder_layers * width)
        self.attention = _attention(config, memory)
        read = config.embedding_size * (2 if config.input_feeding else 1)
        sizes = [read] + [width + memory] * (config.decoder_layers - 1)
        self.decoder_layers = nn.ModuleList(recurrence(config.cell, size, width) for size in sizes)
        self.readout = nn.Linear(width + memory, config.embedding_size)
        self.output = nn.Linear(config.embedding_size, target_vocabulary)
        if config.tie_embeddings:
            self.output.weight = self.target_embedding.weight
        if config.scheduled_sampling != "none":
            self.register_buffer("num_updates", torch.zeros((), dtype=torch.int64))

    @property
    def state_shapes(self) -> dict[str, StateShape]:
        """What goes from step to step, by name and in order.

        `feed` is the last readout. `coverage` has a fixed width, so that it is a state like any other: places of the
        source beyond it are never taken for covered.
        """
        config = self.config
        shapes = recurrent_state(config.cell, config.decoder_layers, config.decoder_hidden_size)
        if config.input_feeding:
            shapes["feed"] = StateShape(1, config.embedding_size)
        if config.coverage:
            shapes["coverage"] = StateShape(1, self.max_source_tokens)
        return shapes

    def graphs(self) -> dict[str, NetworkGraph]:
        """`encoder`: tokens, lengths -> memory, memory_keys, first state; `decoder_step`: one token of each row."""
        memory_size, key_size = self.encoder.output_size, self.attention.key_size
        memory = float32("memory", "batch", "time", memory_size)
        keys = float32("memory_keys", "batch", "time", key_size)
        inputs = int64("tokens", "batch", "time"), int64("lengths", "batch")
        return {
            "encoder": NetworkGraph(self._encode, inputs, (memory, keys, *self.state_outputs())),
            "decoder_step": self._decoder_step_graph(memory_size, key_size, self.output.out_features),
        }

    def _encode(self, feeds: Tensors) -> Tensors:
        memory, keys, state = self.encode(feeds["tokens"], feeds["lengths"])
        return {"memory": memory, "memory_keys": keys, **self.next_state(state)}

    def encode(self, tokens: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor, State]:
        """`[batch, time]`, `[batch]` -> memory `[batch, time, memory]`, keys `[batch, time, key]`, first state.

        The recurrent part of the state is made from the encoder's final states by one tanh layer, all else is zero.
        """
        embedded = self.dropout(self.source_embedding(self.word_dropout(tokens)))
        outputs = self.encoder(embedded, lengths)
        final = torch.tanh(self.bridge(self.encoder.final(outputs, lengths)))
        parts = final.view(tokens.shape[0], self.num_states, self.config.decoder_layers, -1)
        state = tuple(parts[:, index].transpose(0, 1).contiguous() for index in range(self.num_states))
        further = list(self.state_shapes.values())[self.num_states :]
        empty = tuple(final.new_zeros(shape.layers, len(tokens), shape.width) for shape in further)
        memory = self.dropout(outputs)
        return memory, self.attention.key(memory), (*state, *empty)

    def decode(
        self, tokens: Tensor, memory: Tensor, memory_keys: Tensor, lengths: Tensor, state: State
    ) -> tuple[Tensor, Tensor, State]:
        source = Source(memory, memory_keys, length_mask(lengths, memory.shape[1]))
        embedded = self.dropout(self.target_embedding(self.word_dropout(tokens)))
        standing = self._parts_of(state)
        readouts, looks = [], []
        for words in embedded.split(1, dim=1) if self.config.input_feeding else (embedded,):
            readout, weights, standing = self._advance(words, source, standing)
            readouts.append(readout)
            looks.append(weights)
        logits: Tensor = self.output(self.dropout(torch.cat(readouts, dim=1)))
        return logits, torch.cat(looks, dim=1), standing.tensors

    def _parts_of(self, state: State) -> DecoderState:
        further = dict(zip(self.state_shapes, state, strict=True))
        return DecoderState(state[: self.num_states], further.get("feed"), further.get("coverage"))

    def _advance(self, words: Tensor, source: Source, state: DecoderState) -> tuple[Tensor, Tensor, DecoderState]:
        """`[batch, steps, embedding]` -> readouts `[batch, steps, embedding]`, weights `[batch, steps, time]`, state.

        With input feeding there is one step.
        """
        first, *further = self.decoder_layers
        inputs = words if state.feed is None else torch.cat([words, state.feed.transpose(0, 1)], dim=2)
        outputs, after = run_recurrence(first, inputs, layer_state(state.recurrent, 0))
        afters = [after]
        context, weights, coverage = self._look(outputs, source, state.coverage)
        for number, rnn in enumerate(further, start=1):
            inputs = torch.cat([self.dropout(outputs), context], dim=2)
            outputs, after = run_recurrence(rnn, inputs, layer_state(state.recurrent, number))
            afters.append(after)
        readout = torch.tanh(self.readout(torch.cat([self.dropout(outputs), context], dim=2)))
        recurrent = tuple(torch.cat(parts) for parts in zip(*afters, strict=True))
        feed = None if state.feed is None else readout.transpose(0, 1)
        return readout, weights, DecoderState(recurrent, feed, coverage)

    def _look(self, queries: Tensor, source: Source, coverage: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
        """`[batch, steps, query]` -> context `[batch, steps, memory]`, weights `[batch, steps, time]`, coverage."""
        if coverage is None:
            return *attend(self.attention.energies(queries, source.keys), source.memory, source.mask), None
        assert isinstance(self.attention, AdditiveAttention)
        time = source.memory.shape[1]
        found, looks = [], []
        for query in queries.split(1, dim=1):
            energies = self.attention.energies(query, source.keys, _widened(coverage[0], time))
            context, weights = attend(energies, source.memory, source.mask)
            coverage = coverage + _widened(weights, self.max_source_tokens).transpose(0, 1)
            found.append(context)
            looks.append(weights)
        return torch.cat(found, dim=1), torch.cat(looks, dim=1), coverage

    def loss(self, batch: TranslationBatch, carried: State = ()) -> tuple[Tensor, State]:
        """Mean over target tokens of -log p(token); while training with label smoothing and the loss of coverage.

        The target is read as it is (teacher forcing), unless scheduled sampling puts the network's own tokens in.
        """
        memory, keys, state = self.encode(batch.source, batch.source_lengths)
        inputs = batch.target_inputs
        if self.training and self.config.scheduled_sampling != "none":
            inputs = self._partly_own(inputs, memory, keys, batch.source_lengths, state)
        logits, weights, _ = self.decode(inputs, memory, keys, batch.source_lengths, state)
        smoothing = self.config.label_smoothing if self.training else 0.0
        targets = batch.target_outputs.flatten()
        loss = F.cross_entropy(logits.flatten(0, 1).float(), targets, ignore_index=0, label_smoothing=smoothing)
        if self.training and self.config.coverage_loss:
            loss = loss + self.config.coverage_loss * looked_twice(weights, batch.target_outputs != 0)
        return loss, ()

    def _partly_own(self, inputs: Tensor, memory: Tensor, keys: Tensor, lengths: Tensor, state: State) -> Tensor:
        """The inputs with as many tokens of the network's own as is due after so many updates."""
        config = self.config
        num_updates = self.get_buffer("num_updates")
        share = share_true(config.scheduled_sampling, int(num_updates), config.sampling_updates, config.sampling_floor)
        num_updates += 1

        def read(token: Tensor) -> Tensor:
            nonlocal state
            logits, _, state = self.step(token, memory, keys, lengths, state)
            return logits

        return mixed_inputs(inputs, share, read) if share < 1.0 else inputs


def looked_twice(weights: Tensor, is_target: Tensor) -> Tensor:
    """What attention gave to places that had some before, on average over the target (See et al. 2017, eq. 12).

    Args:
        weights: `[batch, steps, time]`.
        is_target: `[batch, steps]` of bool: steps that are not padding.
    """
    before = weights.cumsum(dim=1) - weights
    by_step = torch.minimum(weights, before).sum(dim=2)
    return (by_step * is_target).sum() / is_target.sum()


def _attention(config: TranslatorConfig, memory_size: int) -> Attention:
    sizes = config.decoder_hidden_size, memory_size, config.attention_size
    if config.coverage:
        return AdditiveAttention(*sizes, coverage=True)
    return TRANSLATOR_ATTENTIONS[config.attention](*sizes)


def _widened(values: Tensor, width: int) -> Tensor:
    """The last axis cut to `width`, or filled up with zeros."""
    return F.pad(values, (0, width - values.shape[-1]))
