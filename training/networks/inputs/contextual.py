"""Contextual string embeddings (Akbik et al. 2018): what two language models of characters think at each word.

A sentence is spelt as they have learnt text: a line end, its words with blanks between them, a line end. Each model is
asked when it has read a word: the forward one at the word's last character, the backward one at its first. Both are
frozen; what is learnt is a projection of their states.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from training.networks.layers.cells import recurrence
from training.preprocessing.character_models import CharacterModels, ReaderShape
from training.preprocessing.padded_sequences import reverse_sequence


class SpeltSentences(NamedTuple):
    """`characters` `[batch, stream]` of ids, `lengths` `[batch]`; where each word begins and ends, `[batch, time]`."""

    characters: Tensor
    lengths: Tensor
    first: Tensor
    last: Tensor


def spelt_sentences(words: Tensor, blank_id: int, line_end_id: int) -> SpeltSentences:
    """`[batch, time, characters]`, each word padded by itself -> each sentence in one piece, padded at its end."""
    batch, time, _ = words.shape
    breaks = torch.full((time,), blank_id, device=words.device)
    breaks[0] = line_end_id
    before = torch.where(words[:, :, 0] > 0, breaks, 0).unsqueeze(2)
    grid = torch.cat([before, words], dim=2)
    row = torch.cat([grid.flatten(1), words.new_full((batch, 1), line_end_id)], dim=1)
    is_there = row > 0
    num_before = is_there.cumsum(dim=1)
    lengths, places = num_before[:, -1], num_before - 1
    longest = int(lengths.max())
    # What is not there goes to a place of its own after the end, which is cut off.
    targets = torch.where(is_there, places, longest)
    characters = row.new_zeros(batch, longest + 1).scatter(1, targets, row)[:, :longest]
    of_words = places[:, :-1].reshape(grid.shape)
    return SpeltSentences(characters, lengths, of_words[:, :, 1], of_words[:, :, -1])


class FrozenReader(nn.Module):
    """A language model up to its states; nothing here is learnt."""

    def __init__(self, shape: ReaderShape, characters: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(characters, shape.embedding_size, padding_idx=0)
        self.rnn = recurrence(shape.cell, shape.embedding_size, shape.hidden_size)
        self.requires_grad_(False)

    def forward(self, characters: Tensor, lengths: Tensor | None = None) -> Tensor:
        """`[batch, stream]` -> states `[batch, stream, hidden]`; with `lengths` from each row's end to its start."""
        embedded = self.embedding(characters)
        if lengths is None:
            states: Tensor = self.rnn(embedded)[0]
            return states
        return reverse_sequence(self.rnn(reverse_sequence(embedded, lengths))[0], lengths)


class ContextualFeatures(nn.Module):
    """A vector for each word from both readers; `models` has their weights."""

    def __init__(self, models: CharacterModels, characters: int, size: int) -> None:
        super().__init__()
        self.blank_id, self.line_end_id = models.blank_id, models.line_end_id
        forward, backward = models.shapes["forward"], models.shapes["backward"]
        self.forward_reader = FrozenReader(forward, characters)
        self.backward_reader = FrozenReader(backward, characters)
        self.load_state_dict(models.weights, strict=False)
        self.projection = nn.Linear(forward.hidden_size + backward.hidden_size, size)
        self.output_size = size

    def forward(self, words: Tensor) -> Tensor:
        """`[batch, time, characters]` of ids -> `[batch, time, size]`."""
        projected: Tensor = self.projection(self.states(words))
        return projected

    @torch.no_grad()
    def states(self, words: Tensor) -> Tensor:
        """`[batch, time, characters]` -> `[batch, time, both hidden sizes]`."""
        spelt = spelt_sentences(words, self.blank_id, self.line_end_id)
        forward = self.forward_reader(spelt.characters)
        backward = self.backward_reader(spelt.characters, spelt.lengths)
        return torch.cat([_at(forward, spelt.last), _at(backward, spelt.first)], dim=2)


def _at(states: Tensor, places: Tensor) -> Tensor:
    """`[batch, stream, hidden]` at `[batch, time]` -> `[batch, time, hidden]`."""
    return states.gather(1, places.unsqueeze(2).expand(-1, -1, states.shape[2]))
