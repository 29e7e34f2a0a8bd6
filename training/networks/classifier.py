"""One label for a text: recurrent encoder, pooling, linear output."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from training.batches import ClassificationBatch
from training.config import ClassifierConfig
from training.networks.dropout import LockedDropout, WordDropout
from training.networks.network import Network
from training.networks.pooling import Pooling
from training.networks.recurrent import RecurrentEncoder, State


class Classifier(Network):
    """Graph `classifier`: tokens, lengths -> logits; with state in and out where it `reads_chunks`."""

    def __init__(self, config: ClassifierConfig, vocabulary: int, labels: int) -> None:
        super().__init__()
        self.config = config
        self.word_dropout = WordDropout(config.word_dropout)
        self.embedding = nn.Embedding(vocabulary, config.embedding_size, padding_idx=0)
        self.embedding_dropout = LockedDropout(config.dropout)
        self.encoder = RecurrentEncoder(
            config.cell, config.embedding_size, config.hidden_size, config.layers, config.bidirectional, config.dropout
        )
        self.pooling = Pooling(config.pooling, self.encoder.output_size)
        self.dropout = nn.Dropout(config.dropout)
        self.output = nn.Linear(self.encoder.output_size, labels)

    @property
    def reads_chunks(self) -> bool:
        """Whether the recurrent state is all that the label depends on, so that a text can be read in pieces."""
        return self.encoder.is_forward_only and self.pooling.kind == "last"

    def logits(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """`[batch, time]`, `[batch]` -> `[batch, labels]`."""
        return self._logits_of(self.encoder(self._embedded(tokens), lengths), lengths)

    def read_on(self, tokens: Tensor, lengths: Tensor, state: State) -> tuple[Tensor, State]:
        """`logits` of all that was read up to the end of a chunk, from the state after the chunk before it."""
        outputs, after = self.encoder.read_on(self._embedded(tokens), lengths, state)
        return self._logits_of(outputs, lengths), after

    def _embedded(self, tokens: Tensor) -> Tensor:
        embedded: Tensor = self.embedding_dropout(self.embedding(self.word_dropout(tokens)))
        return embedded

    def _logits_of(self, outputs: Tensor, lengths: Tensor) -> Tensor:
        logits: Tensor = self.output(self.dropout(self.pooling(self.encoder, outputs, lengths)))
        return logits

    def loss(self, batch: ClassificationBatch, carried: State = ()) -> tuple[Tensor, State]:
        """Mean over texts of -log p(label), smoothed if the recipe says so."""
        logits = self.logits(batch.tokens, batch.lengths).float()
        return F.cross_entropy(logits, batch.labels, label_smoothing=self.config.label_smoothing), ()
