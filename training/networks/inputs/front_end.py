"""The front end of a signal classifier: spectrogram, scaling, strided convolutions.

Padding is set to zero before each part that would read it, so that a row's features do not depend on its batch.
"""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.config.signals import AugmentConfig, SignalConfig
from training.networks.inputs.signal_augmentation import SignalAugmentation
from training.preprocessing.padded_sequences import length_mask
from training.preprocessing.scales.signal_scale import SignalScale
from training.preprocessing.spectrogram import Spectrogram, strided

#: Lower bound of a feature's variance within a row, which limits how much a nearly constant feature is amplified.
VARIANCE_FLOOR = 1e-2


class FrontEnd(nn.Module):
    """`[batch, time, features]` of frames or `[batch, time]` of samples -> `[batch, steps, output_size]`."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, config: SignalConfig, augment: AugmentConfig, scale: SignalScale, dropout: float) -> None:
        super().__init__()
        self.config = config
        self.spectrogram = Spectrogram(config) if config.kind == "waveform" else None
        # float64, so that rounding weights to half precision keeps them exact.
        self.register_buffer("mean", torch.tensor(scale.mean, dtype=torch.float64))
        self.register_buffer("deviation", torch.tensor(scale.deviation, dtype=torch.float64))
        self.augmentation = SignalAugmentation(augment)
        sizes = (scale.num_features, *config.channels)
        self.convolutions = nn.ModuleList(
            StridedConvolution(*pair, config.kernel_size, config.stride) for pair in pairwise(sizes)
        )
        self.dropout = nn.Dropout(dropout)
        self.output_size = sizes[-1]

    @property
    def is_stepwise(self) -> bool:
        """Whether each output step depends on its own frame only, so that a signal can be read in chunks."""
        return self.spectrogram is None and not self.convolutions and not self.config.normalise_each

    def forward(self, values: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """The features, and the number of steps of each row."""
        if self.training:
            values, lengths = self.augmentation.resample(values, lengths)
            if self.spectrogram is not None:
                values = self.augmentation.distort_samples(values, lengths, self.config.sample_rate_hz)
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
    """Convolution over time with a stride, and ReLU; step 0 is always kept."""

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
    """Features normalised to mean 0 and variance 1 over the steps of each row."""
    mask = length_mask(lengths, features.shape[1]).unsqueeze(2)
    count = lengths.view(-1, 1, 1)
    centred = features - (features * mask).sum(dim=1, keepdim=True) / count
    variance = (centred * centred * mask).sum(dim=1, keepdim=True) / count
    return centred / torch.sqrt(variance + VARIANCE_FLOOR)
