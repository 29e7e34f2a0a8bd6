"""Contextual string embeddings (Akbik et al. 2018): hidden states of two character language models at each word.

A sentence is passed to them as a stream of characters: a line end, its words separated by blanks, a line end. The
state of the forward model is taken at a word's last character, that of the backward model at its first. Both models
are frozen; only a projection of their states is trained.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from training.networks.layers.cells import recurrence
from training.preprocessing.character_models import CharacterModels, ReaderShape
from training.preprocessing.padded_sequences import reverse_sequence


class CharacterStream(NamedTuple):
    """`characters` `[batch, stream]` of ids, `lengths` `[batch]`; where each word starts and ends, `[batch, time]`."""

    characters: Tensor
    lengths: Tensor
    first: Tensor
    last: Tensor


def character_stream(words: Tensor, blank_id: int, line_end_id: int) -> CharacterStream:
    """`[batch, time, characters]`, each word padded -> one stream for each sentence, padded at its end."""
    batch, time, _ = words.shape
    breaks = torch.full((time,), blank_id, device=words.device)
    breaks[0] = line_end_id
    before = torch.where(words[:, :, 0] > 0, breaks, 0).unsqueeze(2)
    grid = torch.cat([before, words], dim=2)
    row = torch.cat([grid.flatten(1), words.new_full((batch, 1), line_end_id)], dim=1)
    is_character = row > 0
    num_before = is_character.cumsum(dim=1)
    lengths, places = num_before[:, -1], num_before - 1
    longest = int(lengths.max())
    # Padding is scattered to an extra position after the end, which is cut off.
    targets = torch.where(is_character, places, longest)
    characters = row.new_zeros(batch, longest + 1).scatter(1, targets, row)[:, :longest]
    of_words = places[:, :-1].reshape(grid.shape)
    return CharacterStream(characters, lengths, of_words[:, :, 1], of_words[:, :, -1])


class FrozenLanguageModel(nn.Module):
    """The embedding and recurrent layer of a pretrained language model; not trained."""

    def __init__(self, shape: ReaderShape, characters: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(characters, shape.embedding_size, padding_idx=0)
        self.rnn = recurrence(shape.cell, shape.embedding_size, shape.hidden_size)
        self.requires_grad_(False)

    def forward(self, characters: Tensor, lengths: Tensor | None = None) -> Tensor:
        """`[batch, stream]` -> states `[batch, stream, hidden]`; with `lengths` it reads each row backwards."""
        embedded = self.embedding(characters)
        if lengths is None:
            states: Tensor = self.rnn(embedded)[0]
            return states
        return reverse_sequence(self.rnn(reverse_sequence(embedded, lengths))[0], lengths)


class ContextualFeatures(nn.Module):
    """A projection of both models' states at each word; `models` has their pretrained weights."""

    def __init__(self, models: CharacterModels, characters: int, size: int) -> None:
        super().__init__()
        self.blank_id, self.line_end_id = models.blank_id, models.line_end_id
        forward, backward = models.shapes["forward"], models.shapes["backward"]
        self.forward_reader = FrozenLanguageModel(forward, characters)
        self.backward_reader = FrozenLanguageModel(backward, characters)
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
        stream = character_stream(words, self.blank_id, self.line_end_id)
        forward = self.forward_reader(stream.characters)
        backward = self.backward_reader(stream.characters, stream.lengths)
        return torch.cat([_at(forward, stream.last), _at(backward, stream.first)], dim=2)


def _at(states: Tensor, places: Tensor) -> Tensor:
    """`[batch, stream, hidden]` at `[batch, time]` -> `[batch, time, hidden]`."""
    return states.gather(1, places.unsqueeze(2).expand(-1, -1, states.shape[2]))
