"""Log-mel spectrogram: the logarithm of the power in each mel band, in equal steps of time.

A step is one frame of a discrete Fourier transform, written as a convolution with windowed cosines and sines, so that
it exports to a few ONNX operators. Step `t` covers the window around sample `t * samples_per_step`; both
ends are padded with silence. A sound of `n` samples has `ceil(n / samples_per_step)` steps.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from training.config.signals import SignalConfig
from training.preprocessing.mel_scale import mel_of, triangles
from training.preprocessing.padded_sequences import length_mask

#: Added to the power before the logarithm: far below microphone noise, far above rounding errors.
POWER_FLOOR = 1e-5


class Spectrogram(nn.Module):
    """`[batch, time]` of samples -> `[batch, steps, mel_bands]`. It has no trainable parameters."""

    basis: Tensor
    filters: Tensor

    def __init__(self, config: SignalConfig) -> None:
        super().__init__()
        window = config.samples_per_window
        self.step = config.samples_per_step
        self.padding = (window // 2, window - 1 - window // 2)
        # In float64, so that exporting weights in half precision does not round it.
        self.register_buffer("basis", torch.from_numpy(fourier_basis(window)))
        self.register_buffer("filters", torch.from_numpy(mel_filters(config)))

    def forward(self, samples: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """The bands, and the number of steps of each row."""
        silent = samples * length_mask(lengths, samples.shape[1])
        padded = F.pad(silent, self.padding).unsqueeze(1)
        waves = F.conv1d(padded, self.basis.float().unsqueeze(1), stride=self.step)
        cosines, sines = waves.chunk(2, dim=1)
        power = cosines * cosines + sines * sines
        bands = torch.log(power.transpose(1, 2) @ self.filters.float() + POWER_FLOOR)
        return bands, strided(lengths, self.step)


def strided(lengths: Tensor, stride: int) -> Tensor:
    """Lengths after keeping every `stride`-th step."""
    return torch.div(lengths - 1, stride, rounding_mode="floor") + 1


def fourier_basis(window: int) -> NDArray[np.float64]:
    """`[2 * bins, window]`: cosines, then sines, under a Hann window. The transform is padded to a power of two."""
    size = _transform_size(window)
    angles = 2 * np.pi * np.outer(np.arange(size // 2 + 1), np.arange(window)) / size
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * (np.arange(window) + 0.5) / window)
    return np.asarray(np.concatenate([np.cos(angles), -np.sin(angles)]) * hann)


def mel_filters(config: SignalConfig) -> NDArray[np.float64]:
    """`[bins, mel_bands]`: triangles that overlap by half, of equal width and straight on the mel scale."""
    size = _transform_size(config.samples_per_window)
    bins_mel = mel_of(np.arange(size // 2 + 1) * config.sample_rate_hz / size)
    return triangles(bins_mel, np.linspace(mel_of(np.array(config.lowest_hz)), bins_mel[-1], config.mel_bands + 2))


def _transform_size(window: int) -> int:
    return int(2 ** np.ceil(np.log2(window)))
