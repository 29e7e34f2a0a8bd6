"""What stands before the recurrence of a network that reads numbers: features of sound, scaling, convolutions.

Whatever stands beyond a row's length is blanked before each part that would look at it, so that padding and neighbours
change nothing.
"""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.config.signals import AugmentConfig, SignalConfig
from training.networks.inputs.signal_augmentation import Augmentation
from training.preprocessing.padded_sequences import length_mask
from training.preprocessing.signal_scale import SignalScale
from training.preprocessing.spectrogram import Spectrogram, strided

#: Keeps a feature that hardly changes within an input from being blown up; features have a deviation of about 1.
VARIANCE_FLOOR = 1e-2


class FrontEnd(nn.Module):
    """`[batch, time, features]` of frames or `[batch, time]` of samples -> `[batch, steps, output_size]`."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, config: SignalConfig, augment: AugmentConfig, scale: SignalScale, dropout: float) -> None:
        super().__init__()
        self.config = config
        self.spectrogram = Spectrogram(config) if config.kind == "waveform" else None
        # Constants of the data, in float64 so that they are not rounded with the weights.
        self.register_buffer("mean", torch.tensor(scale.mean, dtype=torch.float64))
        self.register_buffer("deviation", torch.tensor(scale.deviation, dtype=torch.float64))
        self.augmentation = Augmentation(augment)
        sizes = (scale.num_features, *config.channels)
        self.convolutions = nn.ModuleList(
            StridedConvolution(*pair, config.kernel_size, config.stride) for pair in pairwise(sizes)
        )
        self.dropout = nn.Dropout(dropout)
        self.output_size = sizes[-1]

    @property
    def is_stepwise(self) -> bool:
        """Whether each step of the output depends on its own frame alone, so that reading can stop and go on."""
        return self.spectrogram is None and not self.convolutions and not self.config.normalise_each

    def forward(self, values: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Also the number of steps of each row."""
        if self.training:
            values, lengths = self.augmentation.resample(values, lengths)
        if self.spectrogram is not None:
            values, lengths = self.spectrogram(values, lengths)
        features = (values - self.mean.float()) / self.deviation.float()
        if self.config.normalise_each:
            features = normalised_each(features, lengths)
        if self.training:
            features = self.augmentation.distort(features, lengths)
        for convolution in self.convolutions:
            features, lengths = convolution(features, lengths)
            features = self.dropout(features)
        return features, lengths


class StridedConvolution(nn.Module):
    """Convolution over time and ReLU; every `stride`-th step is kept, the first among them."""

    def __init__(self, input_size: int, output_size: int, kernel_size: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.padding = ((kernel_size - 1) // 2, kernel_size // 2)
        self.convolution = nn.Conv1d(input_size, output_size, kernel_size, stride)

    def forward(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """`[batch, time, input]` -> `[batch, steps, output]`, and the number of steps of each row."""
        valid = features * length_mask(lengths, features.shape[1]).unsqueeze(2)
        padded = F.pad(valid.transpose(1, 2), self.padding)
        return F.relu(self.convolution(padded)).transpose(1, 2), strided(lengths, self.stride)


def normalised_each(features: Tensor, lengths: Tensor) -> Tensor:
    """Each feature of each row with mean 0 and deviation 1 over the row's own steps."""
    mask = length_mask(lengths, features.shape[1]).unsqueeze(2)
    count = lengths.view(-1, 1, 1)
    centred = features - (features * mask).sum(dim=1, keepdim=True) / count
    variance = (centred * centred * mask).sum(dim=1, keepdim=True) / count
    return centred / torch.sqrt(variance + VARIANCE_FLOOR)
