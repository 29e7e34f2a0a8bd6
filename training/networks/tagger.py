"""Sequence tagger: word and character features, recurrent encoder, softmax or CRF; joint with a label for the text."""

from __future__ import annotations

from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

from service.bundle.hidden_output import HIDDEN_STATES
from training.config.networks import TaggerConfig
from training.networks.layers.cells import State
from training.networks.layers.crf import CRF
from training.networks.layers.pooling import Pooling
from training.networks.layers.recurrent import RecurrentEncoder
from training.networks.network import NetworkGraph, StateShape, Tensors, float32, recurrent_state
from training.networks.word_reader import WordReader, words_of
from training.preprocessing.batches import NO_LABEL, TaggingBatch
from training.preprocessing.character_models import CharacterModels
from training.preprocessing.padded_sequences import length_mask


class TaggerOutput(NamedTuple):
    """Unnormalised scores: `emissions` `[batch, time, labels]`, `text_logits` `[batch, text labels]` if joint.

    `hidden` `[batch, time, width]` is what the output layer reads, without dropout.
    """

    emissions: Tensor
    text_logits: Tensor | None
    hidden: Tensor

    @property
    def tensors(self) -> Tensors:
        """The outputs by name, without text_logits if they are None."""
        tensors = {"emissions": self.emissions, HIDDEN_STATES: self.hidden}
        return tensors if self.text_logits is None else {**tensors, "text_logits": self.text_logits}


class TextHead(nn.Module):
    """The label of the whole text, from the same hidden states as the tags (Zhang and Wang 2016)."""

    def __init__(self, config: TaggerConfig, size: int, labels: int) -> None:
        super().__init__()
        self.pooling = Pooling(config.text_pooling, size)
        self.dropout = nn.Dropout(config.dropout)
        self.output = nn.Linear(self.pooling.output_size, labels)

    def forward(self, encoder: RecurrentEncoder, outputs: Tensor, lengths: Tensor) -> Tensor:
        """`[batch, time, size]` -> `[batch, text labels]`."""
        logits: Tensor = self.output(self.dropout(self.pooling(encoder, outputs, lengths)))
        return logits


class Tagger(WordReader):
    """Word and character features, a recurrent encoder, a linear layer, and a CRF or a text head if configured."""

    def __init__(
        self,
        config: TaggerConfig,
        words: int,
        characters: int,
        labels: int,
        text_labels: int = 0,
        models: CharacterModels | None = None,
    ) -> None:
        super().__init__(config, words, characters, models)
        self.config = config
        self.output = nn.Linear(self.encoder.output_size, labels)
        self.crf = CRF(labels) if config.decoder == "crf" else None
        self.text_head = TextHead(config, self.encoder.output_size, text_labels) if config.joint else None

    @property
    def reads_chunks(self) -> bool:
        """Whether no output depends on later words, so that a text can be read in chunks."""
        pools_ahead = self.text_head is not None and self.text_head.pooling.kind != "last"
        reads_ahead = self.crf is not None or self.contextual is not None
        return self.encoder.is_forward_only and not reads_ahead and not pools_ahead

    @property
    def state_shapes(self) -> dict[str, StateShape]:
        config = self.config
        return recurrent_state(config.cell, config.layers, config.hidden_size) if self.reads_chunks else {}

    def transitions(self) -> Tensor | None:
        return None if self.crf is None else self.crf.transitions

    def graphs(self) -> dict[str, NetworkGraph]:
        """`tagger`: words, characters where they are read, lengths -> emissions, hidden states, text_logits if joint.

        A network that reads chunks also takes the state after the previous chunk and gives the next one.
        """
        outputs = [float32("emissions", "batch", "time", self.output.out_features)]
        if self.text_head is not None:
            outputs.append(float32("text_logits", "batch", self.text_head.output.out_features))
        hidden = float32(HIDDEN_STATES, "batch", "time", self.output.in_features)
        inputs = (*self.word_inputs(), *self.state_inputs())
        return {"tagger": NetworkGraph(self._tag, inputs, (*outputs, *self.state_outputs(), hidden))}

    def _tag(self, feeds: Tensors) -> Tensors:
        words, characters = words_of(feeds)
        if not self.reads_chunks:
            return self.read(words, characters, feeds["lengths"]).tensors
        reading, state = self.read_chunk(words, characters, feeds["lengths"], self.state_of(feeds))
        return {**reading.tensors, **self.next_state(state)}

    def read(self, words: Tensor, characters: Tensor, lengths: Tensor) -> TaggerOutput:
        """`[batch, time]`, `[batch, time, chars]`, `[batch]` -> the scores for whole texts."""
        return self._reading(self.encoder(self.word_features(words, characters), lengths), lengths)

    def emissions(self, words: Tensor, characters: Tensor, lengths: Tensor) -> Tensor:
        """The emission scores only, `[batch, time, labels]`."""
        return self.read(words, characters, lengths).emissions

    def read_chunk(
        self, words: Tensor, characters: Tensor, lengths: Tensor, state: State
    ) -> tuple[TaggerOutput, State]:
        """`read` one chunk, from the state after the previous chunk; also the state after this one."""
        outputs, after = self.encoder.read_chunk(self.word_features(words, characters), lengths, state)
        return self._reading(outputs, lengths), after

    def _reading(self, outputs: Tensor, lengths: Tensor) -> TaggerOutput:
        text_logits = None if self.text_head is None else self.text_head(self.encoder, outputs, lengths)
        return TaggerOutput(self.output(self.dropout(outputs)), text_logits, outputs)

    def loss(self, batch: TaggingBatch, carried: State = ()) -> tuple[Tensor, State]:
        """Mean over words of -log p(tag), or of the CRF's -log p(tags) per word; plus the text loss if joint."""
        reading = self.read(batch.words, batch.characters, batch.lengths)
        loss = self._tag_loss(reading.emissions.float(), batch)
        if reading.text_logits is not None:
            loss = loss + self.config.text_loss_weight * text_loss(reading.text_logits.float(), batch.text_labels)
        return loss, ()

    def _tag_loss(self, emissions: Tensor, batch: TaggingBatch) -> Tensor:
        if self.crf is not None:
            nll = self.crf.negative_log_likelihood(emissions, batch.tags, batch.lengths)
            return nll.sum() / batch.lengths.sum()
        mask = length_mask(batch.lengths, batch.words.shape[1])
        return F.cross_entropy(emissions[mask], batch.tags[mask])


def text_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean of -log p(label) over the labelled texts; 0 for a batch without any."""
    total = F.cross_entropy(logits, labels, ignore_index=NO_LABEL, reduction="sum")
    return total / (labels != NO_LABEL).sum().clamp(min=1)
