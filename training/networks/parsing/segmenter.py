"""Segmenter: characters of raw text -> inside a token, its end, or the end of a token and a sentence.

A bidirectional recurrence over characters (Straka et al. 2016).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from training.networks.layers.cells import State
from training.networks.layers.dropout import LockedDropout
from training.networks.layers.recurrent import RecurrentEncoder
from training.networks.network import Network, NetworkGraph, Tensors, float32, int64
from training.preprocessing.batches import NO_LABEL, SegmentationBatch

SEGMENTER = "segmenter"
#: Inside a token, the end of one, the end of one and of a sentence.
_CLASSES = 3


class Segmenter(Network):
    """A bidirectional GRU over characters.

    Args:
        size: of the state of one direction.
        character_size: of the embedding of a character.
        characters: the alphabet.
    """

    def __init__(self, size: int, character_size: int, dropout: float, characters: int) -> None:
        super().__init__()
        self.character_embedding = nn.Embedding(characters, character_size, padding_idx=0)
        self.dropout = LockedDropout(dropout)
        self.encoder = RecurrentEncoder("gru", character_size, size, 1, True)
        self.output = nn.Linear(self.encoder.output_size, _CLASSES)

    def graphs(self) -> dict[str, NetworkGraph]:
        """`segmenter`: characters and lengths -> logits of the classes of each character."""
        inputs = int64("characters", "batch", "time"), int64("lengths", "batch")
        return {SEGMENTER: NetworkGraph(self._run, inputs, (float32("boundary_logits", "batch", "time", _CLASSES),))}

    def _run(self, feeds: Tensors) -> Tensors:
        return {"boundary_logits": self.logits(feeds["characters"], feeds["lengths"])}

    def logits(self, characters: Tensor, lengths: Tensor) -> Tensor:
        """`[batch, time]`, `[batch]` -> `[batch, time, classes]`; values beyond a length are undefined."""
        read = self.dropout(self.character_embedding(characters))
        found: Tensor = self.output(self.dropout(self.encoder(read, lengths)))
        return found

    def loss(self, batch: SegmentationBatch, carried: State = ()) -> tuple[Tensor, State]:
        """Mean over the characters that have a class of -log p(class)."""
        logits = self.logits(batch.characters, batch.lengths)
        loss = nn.functional.cross_entropy(logits.flatten(0, 1), batch.classes.flatten(), ignore_index=NO_LABEL)
        return torch.as_tensor(loss), ()
