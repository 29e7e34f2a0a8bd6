"""What is known of each word before its neighbours are looked at: a learned vector, and how it is spelt."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from training.network_config import ClassifierConfig, TaggerConfig
from training.networks.character_features import CharacterCNN, CharacterRNN
from training.networks.dropout import EmbeddingDropout, WordDropout


class WordDropouts(nn.Module):
    """Both ways of forgetting words while training: unknown here and there, and without a vector all over a batch."""

    def __init__(self, config: TaggerConfig | ClassifierConfig) -> None:
        super().__init__()
        self.words = WordDropout(config.word_dropout)
        self.types = EmbeddingDropout(config.embedding_dropout)

    def forward(self, embedding: nn.Embedding, ids: Tensor) -> Tensor:
        """`[batch, time]` of ids -> `[batch, time, width]`."""
        embedded: Tensor = self.types(embedding, self.words(ids))
        return embedded


def character_features(config: TaggerConfig | ClassifierConfig, vocabulary: int) -> CharacterCNN | CharacterRNN | None:
    """The part that reads characters, as the recipe asks."""
    if config.characters == "cnn":
        return CharacterCNN(vocabulary, config.character_size, config.character_hidden_size)
    if config.characters == "rnn":
        return CharacterRNN(vocabulary, config.character_size, config.character_hidden_size, config.cell)
    return None


def with_characters(embedded: Tensor, characters: Tensor, module: CharacterCNN | CharacterRNN | None) -> Tensor:
    """`[batch, time, width]` -> wider where characters are read: beside each word's vector that of its spelling."""
    return embedded if module is None else torch.cat([embedded, module(characters)], dim=2)


def feature_size(width: int, module: CharacterCNN | CharacterRNN | None) -> int:
    """The width of `with_characters`."""
    return width + (0 if module is None else module.output_size)
