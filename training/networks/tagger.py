"""A tag for every word: word and character features, recurrent encoder, softmax or CRF."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.batches import TaggingBatch
from training.config import TaggerConfig
from training.networks.character_features import CharacterCNN, CharacterRNN
from training.networks.crf import CRF
from training.networks.dropout import LockedDropout, WordDropout
from training.networks.network import Network
from training.networks.recurrent import RecurrentEncoder, State, length_mask


class Tagger(Network):
    """Graph `tagger`: words, characters, lengths -> emissions; with state in and out where it `reads_chunks`."""

    def __init__(self, config: TaggerConfig, words: int, characters: int, labels: int) -> None:
        super().__init__()
        self.config = config
        self.word_dropout = WordDropout(config.word_dropout)
        self.word_embedding = nn.Embedding(words, config.word_size, padding_idx=0)
        self.character_features = character_features(config, characters)
        feature_size = config.word_size + (self.character_features.output_size if self.character_features else 0)
        self.dropout = LockedDropout(config.dropout)
        self.encoder = RecurrentEncoder(
            config.cell, feature_size, config.hidden_size, config.layers, config.bidirectional, config.dropout
        )
        self.output = nn.Linear(self.encoder.output_size, labels)
        self.crf = CRF(labels) if config.decoder == "crf" else None

    @property
    def reads_chunks(self) -> bool:
        """Whether a word's tag depends on nothing that comes after it, so that a text can be read in pieces."""
        return self.encoder.is_forward_only and self.crf is None

    def emissions(self, words: Tensor, characters: Tensor, lengths: Tensor) -> Tensor:
        """`[batch, time]`, `[batch, time, chars]`, `[batch]` -> `[batch, time, labels]`, not normalised."""
        return self._emissions_of(self.encoder(self._features(words, characters), lengths))

    def read_on(self, words: Tensor, characters: Tensor, lengths: Tensor, state: State) -> tuple[Tensor, State]:
        """`emissions` of a chunk, from the state after the chunk before; also the state after this one."""
        outputs, after = self.encoder.read_on(self._features(words, characters), lengths, state)
        return self._emissions_of(outputs), after

    def _features(self, words: Tensor, characters: Tensor) -> Tensor:
        features = self.word_embedding(self.word_dropout(words))
        if self.character_features is not None:
            features = torch.cat([features, self.character_features(characters)], dim=2)
        dropped: Tensor = self.dropout(features)
        return dropped

    def _emissions_of(self, outputs: Tensor) -> Tensor:
        emissions: Tensor = self.output(self.dropout(outputs))
        return emissions

    def loss(self, batch: TaggingBatch, carried: State = ()) -> tuple[Tensor, State]:
        """Mean over words of -log p(tag), or over sentences' words of the CRF's -log p(tags)."""
        emissions = self.emissions(batch.words, batch.characters, batch.lengths).float()
        if self.crf is not None:
            nll = self.crf.negative_log_likelihood(emissions, batch.tags, batch.lengths)
            return nll.sum() / batch.lengths.sum(), ()
        mask = length_mask(batch.lengths, batch.words.shape[1])
        return F.cross_entropy(emissions[mask], batch.tags[mask]), ()


def character_features(config: TaggerConfig, vocabulary: int) -> CharacterCNN | CharacterRNN | None:
    """The part that reads characters, as the recipe asks."""
    if config.characters == "cnn":
        return CharacterCNN(vocabulary, config.character_size, config.character_hidden_size)
    if config.characters == "rnn":
        return CharacterRNN(vocabulary, config.character_size, config.character_hidden_size, config.cell)
    return None
