"""Input features of words: word embeddings, and features of their characters."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from training.config.networks import ClassifierConfig, WordReaderTable
from training.networks.inputs.character_features import CharacterCNN, CharacterRNN
from training.networks.inputs.contextual import ContextualFeatures
from training.networks.layers.dropout import EmbeddingDropout, WordDropout

#: The tables of networks that read words.
WordReaderConfig = WordReaderTable | ClassifierConfig
#: Modules that compute word vectors from character ids.
CharacterEncoder = CharacterCNN | CharacterRNN | ContextualFeatures


class WordDropouts(nn.Module):
    """Word dropout and embedding dropout."""

    def __init__(self, config: WordReaderConfig) -> None:
        super().__init__()
        self.words = WordDropout(config.word_dropout)
        self.types = EmbeddingDropout(config.embedding_dropout)

    def forward(self, embedding: nn.Embedding, ids: Tensor) -> Tensor:
        """`[batch, time]` of ids -> `[batch, time, width]`."""
        embedded: Tensor = self.types(embedding, self.words(ids))
        return embedded


def character_features(config: WordReaderConfig, vocabulary: int) -> CharacterCNN | CharacterRNN | None:
    """The character features that the configuration asks for."""
    if config.characters == "cnn":
        return CharacterCNN(vocabulary, config.character_size, config.character_hidden_size)
    if config.characters == "rnn":
        assert config.cell != "none"
        return CharacterRNN(vocabulary, config.character_size, config.character_hidden_size, config.cell)
    return None


def with_characters(embedded: Tensor, characters: Tensor, *modules: CharacterEncoder | None) -> Tensor:
    """`[batch, time, width]` -> each word's vector concatenated with the features of its characters."""
    read = [module(characters) for module in modules if module is not None]
    return torch.cat([embedded, *read], dim=2) if read else embedded


def feature_size(width: int, *modules: CharacterEncoder | None) -> int:
    """The width of `with_characters`."""
    return width + sum(module.output_size for module in modules if module is not None)
