"""Text classifier: word and character features, recurrent encoder or none, pooling, linear output."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from training.config.networks import ClassifierConfig
from training.networks.inputs.word_features import WordDropouts, character_features, feature_size, with_characters
from training.networks.layers.cells import State
from training.networks.layers.dropout import sequence_dropout
from training.networks.layers.feed_forward import HiddenLayers, encoder_of
from training.networks.layers.pooling import Pooling
from training.networks.layers.recurrent import RecurrentEncoder
from training.networks.network import Network, NetworkGraph, StateShape, Tensors, float32, int64, recurrent_state
from training.preprocessing.batches import ClassificationBatch


class Classifier(Network):
    """One label for a text. Without a recurrence, hidden layers follow the pooling."""

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
        """Whether the label depends on the final recurrent state only, so that a text can be read in chunks."""
        return self.encoder.is_forward_only and self.pooling.kind == "last"

    @property
    def state_shapes(self) -> dict[str, StateShape]:
        config = self.config
        return recurrent_state(config.cell, config.layers, config.hidden_size) if self.reads_chunks else {}

    def graphs(self) -> dict[str, NetworkGraph]:
        """`classifier`: tokens, characters where they are read, lengths -> logits.

        A network that reads chunks also takes the state after the previous chunk and gives the next one.
        """
        reads_characters = self.character_features is not None
        characters = [int64("characters", "batch", "time", "chars")] if reads_characters else []
        inputs = [int64("tokens", "batch", "time"), *characters, int64("lengths", "batch"), *self.state_inputs()]
        outputs = [float32("logits", "batch", self.output.out_features), *self.state_outputs()]
        return {"classifier": NetworkGraph(self._classify, tuple(inputs), tuple(outputs))}

    def _classify(self, feeds: Tensors) -> Tensors:
        tokens, lengths, characters = feeds["tokens"], feeds["lengths"], feeds.get("characters")
        if not self.reads_chunks:
            return {"logits": self.logits(tokens, lengths, characters)}
        logits, state = self.read_chunk(tokens, lengths, self.state_of(feeds), characters)
        return {"logits": logits, **self.next_state(state)}

    def logits(self, tokens: Tensor, lengths: Tensor, characters: Tensor | None = None) -> Tensor:
        """`[batch, time]`, `[batch]`, `[batch, time, chars]` where characters are read -> `[batch, labels]`."""
        return self._logits_of(self.encoder(self._features(tokens, characters), lengths), lengths)

    def read_chunk(
        self, tokens: Tensor, lengths: Tensor, state: State, characters: Tensor | None = None
    ) -> tuple[Tensor, State]:
        """`logits` of all up to the end of a chunk, from the state after the previous one; and the next state."""
        assert isinstance(self.encoder, RecurrentEncoder)
        outputs, after = self.encoder.read_chunk(self._features(tokens, characters), lengths, state)
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
        """Mean over texts of -log p(label), with label smoothing if configured."""
        characters = batch.characters if self.character_features is not None else None
        logits = self.logits(batch.tokens, batch.lengths, characters).float()
        return F.cross_entropy(logits, batch.labels, label_smoothing=self.config.label_smoothing), ()
