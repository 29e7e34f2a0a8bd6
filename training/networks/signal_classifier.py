"""One label for a sequence of numbers: front end, recurrent encoder or none, pooling, linear output."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from training.config.networks import ClassifierConfig
from training.networks.inputs.front_end import FrontEnd
from training.networks.layers.feed_forward import HiddenLayers, encoder_of
from training.networks.layers.pooling import Pooling
from training.networks.layers.recurrent import RecurrentEncoder, State
from training.networks.network import Network
from training.preprocessing.batches import SignalBatch


class SignalClassifier(Network):
    """Graph `classifier`: frames or samples, lengths -> logits; with state in and out where it `reads_chunks`."""

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
        """What the graph calls the signal."""
        return "samples" if self.front_end.spectrogram is not None else "frames"

    @property
    def reads_chunks(self) -> bool:
        """Whether the recurrent state is all that the label depends on, so that a signal can be read in pieces."""
        return self.front_end.is_stepwise and self.encoder.is_forward_only and self.pooling.kind == "last"

    def logits(self, values: Tensor, lengths: Tensor) -> Tensor:
        """`[batch, time, features]` or `[batch, time]`, `[batch]` -> `[batch, labels]`."""
        features, steps = self.front_end(values, lengths)
        return self._logits_of(self.encoder(features, steps), steps)

    def read_on(self, values: Tensor, lengths: Tensor, state: State) -> tuple[Tensor, State]:
        """`logits` of all that was read up to the end of a chunk, from the state after the chunk before it."""
        features, steps = self.front_end(values, lengths)
        assert isinstance(self.encoder, RecurrentEncoder)
        outputs, after = self.encoder.read_on(features, steps, state)
        return self._logits_of(outputs, steps), after

    def _logits_of(self, outputs: Tensor, lengths: Tensor) -> Tensor:
        logits: Tensor = self.output(self.dropout(self.hidden(self.pooling(self.encoder, outputs, lengths))))
        return logits

    def loss(self, batch: SignalBatch, carried: State = ()) -> tuple[Tensor, State]:
        """Mean over signals of -log p(label), smoothed if the recipe says so."""
        logits = self.logits(batch.values, batch.lengths).float()
        return F.cross_entropy(logits, batch.labels, label_smoothing=self.config.label_smoothing), ()
