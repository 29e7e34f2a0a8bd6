"""Character features of words: a vector from the characters of each word, by convolution or recurrence."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from training.config.networks import Cell
from training.networks.layers.recurrent import RecurrentLayer


class CharacterCNN(nn.Module):
    """Convolution over characters, ReLU, max pooling over the word (Ma and Hovy 2016).

    Padding is set to zero after the ReLU, so that it is never the maximum.
    """

    def __init__(self, vocabulary: int, embedding_size: int, channels: int, kernel_size: int = 3) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, embedding_size, padding_idx=0)
        self.convolution = nn.Conv1d(embedding_size, channels, kernel_size, padding=kernel_size // 2)
        self.output_size = channels

    def forward(self, characters: Tensor) -> Tensor:
        """`[batch, time, characters]` of ids -> `[batch, time, channels]`."""
        batch, time, length = characters.shape
        flat = characters.reshape(batch * time, length)
        features = torch.relu(self.convolution(self.embedding(flat).transpose(1, 2)))
        inside = (flat != 0).unsqueeze(1).to(features.dtype)
        return (features * inside).amax(dim=2).reshape(batch, time, -1)


class CharacterRNN(nn.Module):
    """The final hidden states of a bidirectional layer over the characters (Lample et al. 2016)."""

    def __init__(self, vocabulary: int, embedding_size: int, hidden_size: int, cell: Cell) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, embedding_size, padding_idx=0)
        self.layer = RecurrentLayer(cell, embedding_size, hidden_size, bidirectional=True)
        self.output_size = self.layer.output_size

    def forward(self, characters: Tensor) -> Tensor:
        """`[batch, time, characters]` of ids -> `[batch, time, 2 * hidden]`. Padding words count as one character."""
        batch, time, length = characters.shape
        flat = characters.reshape(batch * time, length)
        lengths = (flat != 0).sum(dim=1).clamp(min=1)
        outputs = self.layer(self.embedding(flat), lengths)
        return self.layer.final(outputs, lengths).reshape(batch, time, -1)
