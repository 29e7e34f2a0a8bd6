"""Translator: recurrent encoder, recurrent decoder with attention.

The decoder's first layer reads the target tokens and queries the attention; every further layer reads the output of
the layer below and the context (as in Wu et al. 2016, section 3). No layer depends on the attention of the previous
step, so that training runs whole sentences through each layer at once. Two options give that up: with `input_feeding`
the first layer also reads the previous step's attentional output (Luong et al. 2015, section 3.3), and everything runs
step by step; with `coverage` only the attention does, because it depends on its previous weights.

With `copying` a gate of each step mixes the softmax over the vocabulary with the attention over the words of the source
(See et al. 2017; the attention is the one that the context is read with).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.config.networks import TranslatorConfig
from training.networks.encoder_decoder import EncoderDecoder, tied_embedding
from training.networks.layers.attention import TRANSLATOR_ATTENTIONS, AdditiveAttention, Attention, CopyGate, attend
from training.networks.layers.cells import State, layer_state, recurrence, run_recurrence, state_names
from training.networks.layers.dropout import LockedDropout, WordDropout
from training.networks.layers.recurrent import RecurrentEncoder
from training.networks.layers.scheduled_sampling import sampled_inputs, teacher_forcing_share
from training.networks.network import NetworkGraph, StateShape, Tensors, float32, int64, recurrent_state
from training.preprocessing.batches import TranslationBatch
from training.preprocessing.padded_sequences import length_mask


class Source(NamedTuple):
    """The encoder's output: memory `[batch, time, memory]`, keys `[batch, time, key]`, mask `[batch, time]`."""

    memory: Tensor
    keys: Tensor
    mask: Tensor


class DecoderState(NamedTuple):
    """The parts of the decoder's state; `feed` and `coverage` are None unless configured."""

    recurrent: State
    feed: Tensor | None
    coverage: Tensor | None

    @property
    def tensors(self) -> State:
        """In the order of `Translator.state_shapes`."""
        return (*self.recurrent, *(part for part in (self.feed, self.coverage) if part is not None))


class Steps(NamedTuple):
    """Some decoder steps: readouts `[batch, steps, embedding]`, attention weights `[batch, steps, time]`.

    `generate_logit` `[batch, steps]` is of a decoder that copies; without copying it is None.
    """

    readouts: Tensor
    weights: Tensor
    generate_logit: Tensor | None


class Translator(EncoderDecoder):
    """A recurrent encoder, and a decoder whose first layer attends.

    `max_source_tokens`, including the end token, is the width of the coverage state.
    """

    reading_modules = ("source_embedding", "encoder")

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
        self.generate = nn.Linear(width + memory, 1) if config.copying else None
        if config.tie_embeddings:
            self.output.weight = self.target_embedding.weight
        if config.scheduled_sampling != "none":
            self.register_buffer("num_updates", torch.zeros((), dtype=torch.int64))

    @property
    def state_shapes(self) -> dict[str, StateShape]:
        """The decoder's state.

        `feed` is the previous attentional output. `coverage` has a fixed width, as all state has; source tokens beyond
        it are never counted as covered.
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
        further = (float32("generate_logit", "batch"),) if self.generate is not None else ()
        return {
            "encoder": NetworkGraph(self._encode, inputs, (memory, keys, *self.state_outputs())),
            "decoder_step": self._decoder_step_graph(memory_size, key_size, self.output.out_features, further),
        }

    def _encode(self, feeds: Tensors) -> Tensors:
        memory, keys, state = self.encode(feeds["tokens"], feeds["lengths"])
        return {"memory": memory, "memory_keys": keys, **self.next_state(state)}

    def encode(self, tokens: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor, State]:
        """`[batch, time]`, `[batch]` -> memory `[batch, time, memory]`, keys `[batch, time, key]`, first state.

        The recurrent part of the state is one tanh layer over the encoder's final states; the rest is zero.
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
        steps, after = self._decode(tokens, source, state)
        return self._logits(steps), steps.weights, after

    def _logits(self, steps: Steps) -> Tensor:
        logits: Tensor = self.output(self.dropout(steps.readouts))
        return logits

    def _decode(self, tokens: Tensor, source: Source, state: State) -> tuple[Steps, State]:
        """All steps of `tokens` `[batch, steps]`, at once or, with input feeding, one by one; and the state after."""
        embedded = self.dropout(self.target_embedding(self.word_dropout(tokens)))
        decoder_state = self._parts_of(state)
        parts = []
        for words in embedded.split(1, dim=1) if self.config.input_feeding else (embedded,):
            steps, decoder_state = self._advance(words, source, decoder_state)
            parts.append(steps)
        readouts = torch.cat([part.readouts for part in parts], dim=1)
        gates = [part.generate_logit for part in parts if part.generate_logit is not None]
        weights = torch.cat([part.weights for part in parts], dim=1)
        return Steps(readouts, weights, torch.cat(gates, dim=1) if gates else None), decoder_state.tensors

    def _decoder_step(self, feeds: Tensors) -> Tensors:
        source = Source(feeds["memory"], feeds["memory_keys"], length_mask(feeds["lengths"], feeds["memory"].shape[1]))
        steps, state = self._decode(feeds["token"].unsqueeze(1), source, self.state_of(feeds))
        outputs = {"logits": self._logits(steps).squeeze(1), "attention": steps.weights.squeeze(1)}
        if steps.generate_logit is not None:
            outputs["generate_logit"] = steps.generate_logit.squeeze(1)
        return {**outputs, **self.next_state(state)}

    def _parts_of(self, state: State) -> DecoderState:
        parts = dict(zip(self.state_shapes, state, strict=True))
        return DecoderState(state[: self.num_states], parts.get("feed"), parts.get("coverage"))

    def _advance(self, words: Tensor, source: Source, state: DecoderState) -> tuple[Steps, DecoderState]:
        """`[batch, steps, embedding]` -> as many steps, and the state after. With input feeding there is one step."""
        first, *further = self.decoder_layers
        inputs = words if state.feed is None else torch.cat([words, state.feed.transpose(0, 1)], dim=2)
        outputs, after = run_recurrence(first, inputs, layer_state(state.recurrent, 0))
        afters = [after]
        context, weights, coverage = self._attend(outputs, source, state.coverage)
        for number, rnn in enumerate(further, start=1):
            inputs = torch.cat([self.dropout(outputs), context], dim=2)
            outputs, after = run_recurrence(rnn, inputs, layer_state(state.recurrent, number))
            afters.append(after)
        found = torch.cat([self.dropout(outputs), context], dim=2)
        readout = torch.tanh(self.readout(found))
        generate_logit = None if self.generate is None else self.generate(found).squeeze(2)
        recurrent = tuple(torch.cat(parts) for parts in zip(*afters, strict=True))
        feed = None if state.feed is None else readout.transpose(0, 1)
        return Steps(readout, weights, generate_logit), DecoderState(recurrent, feed, coverage)

    def _attend(self, queries: Tensor, source: Source, coverage: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
        """`[batch, steps, query]` -> context `[batch, steps, memory]`, weights `[batch, steps, time]`, coverage."""
        if coverage is None:
            return *attend(self.attention.energies(queries, source.keys), source.memory, source.mask), None
        assert isinstance(self.attention, AdditiveAttention)
        time = source.memory.shape[1]
        contexts, all_weights = [], []
        for query in queries.split(1, dim=1):
            energies = self.attention.energies(query, source.keys, _with_width(coverage[0], time))
            context, weights = attend(energies, source.memory, source.mask)
            coverage = coverage + _with_width(weights, self.max_source_tokens).transpose(0, 1)
            contexts.append(context)
            all_weights.append(weights)
        return torch.cat(contexts, dim=1), torch.cat(all_weights, dim=1), coverage

    def loss(self, batch: TranslationBatch, carried: State = ()) -> tuple[Tensor, State]:
        """Mean over target tokens of -log p(token); in training with label smoothing and the coverage loss.

        Teacher forcing, or scheduled sampling if configured.
        """
        memory, keys, state = self.encode(batch.source, batch.source_lengths)
        inputs = batch.target_inputs
        if self.training and self.config.scheduled_sampling != "none":
            inputs = self._scheduled_inputs(inputs, memory, keys, batch.source_lengths, state)
        source = Source(memory, keys, length_mask(batch.source_lengths, memory.shape[1]))
        steps, _ = self._decode(inputs, source, state)
        loss = self._token_loss(steps, batch)
        if self.training and self.config.coverage_loss:
            loss = loss + self.config.coverage_loss * coverage_loss(steps.weights, batch.target_outputs != 0)
        return loss, ()

    def _token_loss(self, steps: Steps, batch: TranslationBatch) -> Tensor:
        logits = self._logits(steps)
        if steps.generate_logit is not None:
            gate = CopyGate(logits, steps.generate_logit, steps.weights)
            return gate.loss(batch.copy_ids, batch.target_outputs)
        smoothing = self.config.label_smoothing if self.training else 0.0
        targets = batch.target_outputs.flatten()
        return F.cross_entropy(logits.flatten(0, 1).float(), targets, ignore_index=0, label_smoothing=smoothing)

    def _scheduled_inputs(self, inputs: Tensor, memory: Tensor, keys: Tensor, lengths: Tensor, state: State) -> Tensor:
        """The target inputs with some tokens sampled from the network, as scheduled."""
        config = self.config
        num_updates = self.get_buffer("num_updates")
        share = teacher_forcing_share(
            config.scheduled_sampling, int(num_updates), config.sampling_updates, config.sampling_floor
        )
        num_updates += 1

        def read(token: Tensor) -> Tensor:
            nonlocal state
            logits, _, state = self.step(token, memory, keys, lengths, state)
            return logits

        return sampled_inputs(inputs, share, read) if share < 1.0 else inputs


def coverage_loss(weights: Tensor, is_target: Tensor) -> Tensor:
    """Mean over target steps of the attention to source tokens that were attended to before (See et al. 2017, eq. 12).

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


def _with_width(values: Tensor, width: int) -> Tensor:
    """The last axis cut to `width`, or padded with zeros."""
    return F.pad(values, (0, width - values.shape[-1]))
