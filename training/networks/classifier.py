"""One label for a text: word features, recurrent encoder or none, pooling, linear output."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from training.config.networks import ClassifierConfig
from training.networks.inputs.word_features import WordDropouts, character_features, feature_size, with_characters
from training.networks.layers.dropout import sequence_dropout
from training.networks.layers.feed_forward import HiddenLayers, encoder_of
from training.networks.layers.pooling import Pooling
from training.networks.layers.recurrent import RecurrentEncoder, State
from training.networks.network import Network
from training.preprocessing.batches import ClassificationBatch


class Classifier(Network):
    """Graph `classifier`: tokens, characters if read, lengths -> logits; with state in and out if it `reads_chunks`."""

    def __init__(self, config: ClassifierConfig, vocabulary: int, labels: int, characters: int = 0) -> None:
        super().__init__()
        self.config = config
        self.word_dropouts = WordDropouts(config)
        self.embedding = nn.Embedding(vocabulary, config.embedding_size, padding_idx=0)
        self.character_features = character_features(config, characters)
        self.embedding_dropout = sequence_dropout(config.dropout, config.locked_dropout)
        self.encoder = encoder_of(config, feature_size(config.embedding_size, self.character_features))
        self.pooling = Pooling(config.pooling, self.encoder.output_size)
        self.dropout = nn.Dropout(config.dropout)
        self.hidden = HiddenLayers(config, self.pooling.output_size)
        self.output = nn.Linear(self.hidden.output_size, labels)

    @property
    def reads_chunks(self) -> bool:
        """Whether the recurrent state is all that the label depends on, so that a text can be read in pieces."""
        return self.encoder.is_forward_only and self.pooling.kind == "last"

    def logits(self, tokens: Tensor, lengths: Tensor, characters: Tensor | None = None) -> Tensor:
        """`[batch, time]`, `[batch]`, `[batch, time, chars]` where characters are read -> `[batch, labels]`."""
        return self._logits_of(self.encoder(self._features(tokens, characters), lengths), lengths)

    def read_on(
        self, tokens: Tensor, lengths: Tensor, state: State, characters: Tensor | None = None
    ) -> tuple[Tensor, State]:
        """`logits` of all that was read up to the end of a chunk, from the state after the chunk before it."""
        assert isinstance(self.encoder, RecurrentEncoder)
        outputs, after = self.encoder.read_on(self._features(tokens, characters), lengths, state)
        return self._logits_of(outputs, lengths), after

    def _features(self, tokens: Tensor, characters: Tensor | None) -> Tensor:
        embedded = self.word_dropouts(self.embedding, tokens)
        if characters is not None:
            embedded = with_characters(embedded, characters, self.character_features)
        features: Tensor = self.embedding_dropout(embedded)
        return features

    def _logits_of(self, outputs: Tensor, lengths: Tensor) -> Tensor:
        logits: Tensor = self.output(self.dropout(self.hidden(self.pooling(self.encoder, outputs, lengths))))
        return logits

    def loss(self, batch: ClassificationBatch, carried: State = ()) -> tuple[Tensor, State]:
        """Mean over texts of -log p(label), smoothed if the recipe says so."""
        characters = batch.characters if self.character_features is not None else None
        logits = self.logits(batch.tokens, batch.lengths, characters).float()
        return F.cross_entropy(logits, batch.labels, label_smoothing=self.config.label_smoothing), ()
