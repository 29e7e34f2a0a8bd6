"""Lemmatizer: characters and part of speech of a word -> characters of its lemma, by attention and copying.

A sequence-to-sequence network over characters (Bergmanis and Goldwater 2018), with the tag as in Kanerva et al. (2018).
A gate mixes the softmax over the alphabet with the attention over the characters of the word (See et al. 2017), as most
characters of a lemma stand in the form.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from training.networks.layers.attention import AdditiveAttention, CopyGate, attend
from training.networks.layers.cells import State, recurrence, run_recurrence
from training.networks.layers.dropout import LockedDropout
from training.networks.layers.recurrent import RecurrentEncoder
from training.networks.network import Network, NetworkGraph, Tensors, float32, int64
from training.preprocessing.batches import LemmaBatch
from training.preprocessing.padded_sequences import length_mask

LEMMA_ENCODER, LEMMA_DECODER = "lemma_encoder", "lemma_decoder"
#: Sizes beside that of the recurrence, which matter little.
_CHARACTER_SIZE, _TAG_SIZE = 32, 16


class LemmaMemory(NamedTuple):
    """What the decoder looks at: `characters`, `lengths`, `tags` of the words; memory and keys `[batch, time, ...]`."""

    characters: Tensor
    lengths: Tensor
    tags: Tensor
    memory: Tensor
    keys: Tensor


class Lemmatizer(Network):
    """A bidirectional GRU over a word, and a GRU that writes its lemma.

    Args:
        size: of the decoder's state, and of both directions of the encoder together; even.
        characters: the alphabet, of words and lemmas alike.
        tags: parts of speech.
    """

    def __init__(self, size: int, dropout: float, characters: int, tags: int) -> None:
        super().__init__()
        self.size = size
        self.character_embedding = nn.Embedding(characters, _CHARACTER_SIZE, padding_idx=0)
        self.tag_embedding = nn.Embedding(tags, _TAG_SIZE)
        self.dropout = LockedDropout(dropout)
        read = _CHARACTER_SIZE + _TAG_SIZE
        self.encoder = RecurrentEncoder("gru", read, size // 2, 1, True)
        memory = self.encoder.output_size
        self.bridge = nn.Linear(memory, size)
        self.attention = AdditiveAttention(size, memory, size // 2)
        self.decoder = recurrence("gru", read, size)
        self.readout = nn.Linear(size + memory, size // 2)
        self.output = nn.Linear(size // 2, characters)
        self.generate = nn.Linear(size + memory, 1)

    def graphs(self) -> dict[str, NetworkGraph]:
        """`lemma_encoder`: characters, tags, lengths -> memory, keys, first state; `lemma_decoder`: one character."""
        width = self.size
        words = (
            int64("characters", "batch", "time"),
            int64("tags", "batch"),
            int64("lengths", "batch"),
        )
        memory = float32("memory", "batch", "time", self.encoder.output_size)
        keys = float32("memory_keys", "batch", "time", self.attention.key_size)
        state, next_state = (float32(name, 1, "batch", width) for name in ("hidden", "next_hidden"))
        scores = float32("probabilities", "batch", self.output.out_features)
        step_inputs = int64("letter", "batch"), *words, memory, keys, state
        return {
            LEMMA_ENCODER: NetworkGraph(self._encode, words, (memory, keys, next_state)),
            LEMMA_DECODER: NetworkGraph(self._step, step_inputs, (scores, next_state)),
        }

    def _encode(self, feeds: Tensors) -> Tensors:
        source, state = self.encode(feeds["characters"], feeds["lengths"], feeds["tags"])
        return {"memory": source.memory, "memory_keys": source.keys, "next_hidden": state[0]}

    def _step(self, feeds: Tensors) -> Tensors:
        names = ("characters", "lengths", "tags", "memory", "memory_keys")
        source = LemmaMemory(*(feeds[name] for name in names))
        gate, state = self.decode(feeds["letter"].unsqueeze(1), source, (feeds["hidden"],))
        return {"probabilities": _mixture(gate, source.characters).squeeze(1), "next_hidden": state[0]}

    def encode(self, characters: Tensor, lengths: Tensor, tags: Tensor) -> tuple[LemmaMemory, State]:
        """`[batch, time]`, `[batch]`, `[batch]` -> what the decoder looks at, and its first state."""
        read = self.dropout(self._with_tags(characters, tags))
        outputs = self.encoder(read, lengths)
        state = torch.tanh(self.bridge(self.encoder.final(outputs, lengths))).unsqueeze(0)
        memory = self.dropout(outputs)
        return LemmaMemory(characters, lengths, tags, memory, self.attention.key(memory)), (state,)

    def decode(self, letters: Tensor, source: LemmaMemory, state: State) -> tuple[CopyGate, State]:
        """The steps that read `letters` `[batch, steps]`, all at once; and the state after them."""
        read = self.dropout(self._with_tags(letters, source.tags))
        outputs, after = run_recurrence(self.decoder, read, state)
        mask = length_mask(source.lengths, source.memory.shape[1])
        context, weights = attend(self.attention.energies(outputs, source.keys), source.memory, mask)
        found = torch.cat([self.dropout(outputs), context], dim=2)
        logits = self.output(self.dropout(torch.tanh(self.readout(found))))
        return CopyGate(logits, self.generate(found).squeeze(2), weights), after

    def _with_tags(self, characters: Tensor, tags: Tensor) -> Tensor:
        """`[batch, steps]`, `[batch]` -> `[batch, steps, width]`: the tag stands beside every character."""
        of_tags = self.tag_embedding(tags).unsqueeze(1).expand(-1, characters.shape[1], -1)
        return torch.cat([self.character_embedding(characters), of_tags], dim=2)

    def loss(self, batch: LemmaBatch, carried: State = ()) -> tuple[Tensor, State]:
        """Mean over the characters of lemmas, their ends included, of -log p(character)."""
        source, state = self.encode(batch.characters, batch.lengths, batch.tags)
        gate, _ = self.decode(batch.letters, source, state)
        return gate.loss(batch.characters, batch.targets), ()


def _mixture(gate: CopyGate, characters: Tensor) -> Tensor:
    """`[batch, steps, alphabet]`: the probability of each character, written or copied from `[batch, time]`."""
    share = torch.sigmoid(gate.generate_logit).unsqueeze(2)
    letters = nn.functional.one_hot(characters, gate.logits.shape[2]).to(gate.weights.dtype)
    return share * gate.logits.softmax(dim=2) + (1 - share) * torch.matmul(gate.weights, letters)
