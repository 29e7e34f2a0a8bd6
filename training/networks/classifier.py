"""Text classifier: word and character features, recurrent encoder or none, pooling, linear output."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from service.bundle.hidden_output import EMBEDDING
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

    reading_modules = ("embedding", "character_features", "encoder")

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
        """`classifier`: tokens, characters where they are read, lengths -> logits, and the embedding.

        A network that reads chunks also takes the state after the previous chunk and gives the next one.
        """
        reads_characters = self.character_features is not None
        characters = [int64("characters", "batch", "time", "chars")] if reads_characters else []
        inputs = [int64("tokens", "batch", "time"), *characters, int64("lengths", "batch"), *self.state_inputs()]
        embedding = float32(EMBEDDING, "batch", self.output.in_features)
        outputs = [float32("logits", "batch", self.output.out_features), *self.state_outputs(), embedding]
        return {"classifier": NetworkGraph(self._classify, tuple(inputs), tuple(outputs))}

    def _classify(self, feeds: Tensors) -> Tensors:
        tokens, lengths, characters = feeds["tokens"], feeds["lengths"], feeds.get("characters")
        if not self.reads_chunks:
            vector = self.embed(tokens, lengths, characters)
            return {"logits": self.output(vector), EMBEDDING: vector}
        vector, state = self.embed_chunk(tokens, lengths, self.state_of(feeds), characters)
        return {"logits": self.output(vector), **self.next_state(state), EMBEDDING: vector}

    def logits(self, tokens: Tensor, lengths: Tensor, characters: Tensor | None = None) -> Tensor:
        """`[batch, time]`, `[batch]`, `[batch, time, chars]` where characters are read -> `[batch, labels]`."""
        logits: Tensor = self.output(self.dropout(self.embed(tokens, lengths, characters)))
        return logits

    def embed(self, tokens: Tensor, lengths: Tensor, characters: Tensor | None = None) -> Tensor:
        """What the output layer reads, `[batch, width]`; arguments as for `logits`."""
        return self._pooled(self.encoder(self._features(tokens, characters), lengths), lengths)

    def read_chunk(
        self, tokens: Tensor, lengths: Tensor, state: State, characters: Tensor | None = None
    ) -> tuple[Tensor, State]:
        """`logits` of all up to the end of a chunk, from the state after the previous one; and the next state."""
        vector, after = self.embed_chunk(tokens, lengths, state, characters)
        return self.output(self.dropout(vector)), after

    def embed_chunk(
        self, tokens: Tensor, lengths: Tensor, state: State, characters: Tensor | None = None
    ) -> tuple[Tensor, State]:
        """`embed` of all up to the end of a chunk; arguments as for `read_chunk`."""
        assert isinstance(self.encoder, RecurrentEncoder)
        outputs, after = self.encoder.read_chunk(self._features(tokens, characters), lengths, state)
        return self._pooled(outputs, lengths), after

    def _features(self, tokens: Tensor, characters: Tensor | None) -> Tensor:
        embedded = self.word_dropouts(self.embedding, tokens)
        if characters is not None:
            embedded = with_characters(embedded, characters, self.character_features)
        features: Tensor = self.embedding_dropout(embedded)
        return features

    def _pooled(self, outputs: Tensor, lengths: Tensor) -> Tensor:
        vector: Tensor = self.hidden(self.pooling(self.encoder, outputs, lengths))
        return vector

    def loss(self, batch: ClassificationBatch, carried: State = ()) -> tuple[Tensor, State]:
        """Mean over texts of -log p(label), with label smoothing if configured."""
        characters = batch.characters if self.character_features is not None else None
        logits = self.logits(batch.tokens, batch.lengths, characters).float()
        return F.cross_entropy(logits, batch.labels, label_smoothing=self.config.label_smoothing), ()
