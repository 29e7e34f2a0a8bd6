"""Classifier of audio and sensor signals: front end, recurrent encoder or none, pooling, linear output."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from service.bundle.hidden_output import EMBEDDING
from training.config.networks import ClassifierConfig
from training.networks.inputs.front_end import FrontEnd
from training.networks.layers.cells import State
from training.networks.layers.feed_forward import HiddenLayers, encoder_of
from training.networks.layers.pooling import Pooling
from training.networks.layers.recurrent import RecurrentEncoder
from training.networks.network import Network, NetworkGraph, StateShape, Tensors, float32, int64, recurrent_state
from training.preprocessing.batches import SignalBatch


class SignalClassifier(Network):
    """One label for a signal. Without a recurrence, hidden layers follow the pooling."""

    def __init__(self, config: ClassifierConfig, front_end: FrontEnd, labels: int) -> None:
        super().__init__()
        self.config = config
        self.front_end = front_end
        self.encoder = encoder_of(config, front_end.output_size)
        self.pooling = Pooling(config.pooling, self.encoder.output_size)
        self.dropout = nn.Dropout(config.dropout)
        self.hidden = HiddenLayers(config, self.pooling.output_size)
        self.output = nn.Linear(self.hidden.output_size, labels)

    @property
    def input_name(self) -> str:
        """The name of the graph's input."""
        return "samples" if self.front_end.spectrogram is not None else "frames"

    @property
    def reads_chunks(self) -> bool:
        """Whether the label depends on the final recurrent state only, so that a signal can be read in chunks."""
        return self.front_end.is_stepwise and self.encoder.is_forward_only and self.pooling.kind == "last"

    @property
    def state_shapes(self) -> dict[str, StateShape]:
        config = self.config
        return recurrent_state(config.cell, config.layers, config.hidden_size) if self.reads_chunks else {}

    def graphs(self) -> dict[str, NetworkGraph]:
        """`classifier`: frames or samples, lengths -> logits, and the embedding.

        A network that reads chunks also takes the state after the previous chunk and gives the next one.
        """
        features = () if self.front_end.spectrogram is not None else (len(self.front_end.mean),)
        values = float32(self.input_name, "batch", "time", *features)
        embedding = float32(EMBEDDING, "batch", self.output.in_features)
        outputs = [float32("logits", "batch", self.output.out_features), *self.state_outputs(), embedding]
        inputs = [values, int64("lengths", "batch"), *self.state_inputs()]
        return {"classifier": NetworkGraph(self._classify, tuple(inputs), tuple(outputs))}

    def _classify(self, feeds: Tensors) -> Tensors:
        values = feeds[self.input_name]
        if not self.reads_chunks:
            vector = self.embed(values, feeds["lengths"])
            return {"logits": self.output(vector), EMBEDDING: vector}
        vector, state = self.embed_chunk(values, feeds["lengths"], self.state_of(feeds))
        return {"logits": self.output(vector), **self.next_state(state), EMBEDDING: vector}

    def logits(self, values: Tensor, lengths: Tensor) -> Tensor:
        """`[batch, time, features]` or `[batch, time]`, `[batch]` -> `[batch, labels]`."""
        logits: Tensor = self.output(self.dropout(self.embed(values, lengths)))
        return logits

    def embed(self, values: Tensor, lengths: Tensor) -> Tensor:
        """What the output layer reads, `[batch, width]`; arguments as for `logits`."""
        features, steps = self.front_end(values, lengths)
        return self._pooled(self.encoder(features, steps), steps)

    def read_chunk(self, values: Tensor, lengths: Tensor, state: State) -> tuple[Tensor, State]:
        """`logits` of all up to the end of a chunk, from the state after the previous one; and the next state."""
        vector, after = self.embed_chunk(values, lengths, state)
        return self.output(self.dropout(vector)), after

    def embed_chunk(self, values: Tensor, lengths: Tensor, state: State) -> tuple[Tensor, State]:
        """`embed` of all up to the end of a chunk; arguments as for `read_chunk`."""
        features, steps = self.front_end(values, lengths)
        assert isinstance(self.encoder, RecurrentEncoder)
        outputs, after = self.encoder.read_chunk(features, steps, state)
        return self._pooled(outputs, steps), after

    def _pooled(self, outputs: Tensor, lengths: Tensor) -> Tensor:
        vector: Tensor = self.hidden(self.pooling(self.encoder, outputs, lengths))
        return vector

    def loss(self, batch: SignalBatch, carried: State = ()) -> tuple[Tensor, State]:
        """Mean over signals of -log p(label), with label smoothing if configured."""
        logits = self.logits(batch.values, batch.lengths).float()
        return F.cross_entropy(logits, batch.labels, label_smoothing=self.config.label_smoothing), ()
