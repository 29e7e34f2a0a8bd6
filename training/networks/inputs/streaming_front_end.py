"""Causal front end of speech recognition: log-mel features, running mean, strided convolutions, with streaming state.

Output step t depends on the input before the end of its own `values_per_step` samples or frames, and on nothing later.
What the next chunk needs of this one is the state: the last samples, sums of the running mean, and the last features
before each convolution. A sound read in chunks of whole steps therefore gives the same features as at once.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.config.signals import AugmentConfig, SignalConfig
from training.networks.inputs.front_end import normalised_each
from training.networks.inputs.signal_augmentation import SignalAugmentation
from training.networks.network import StateShape, Tensors
from training.preprocessing.padded_sequences import length_mask
from training.preprocessing.scales.signal_scale import SignalScale
from training.preprocessing.spectrogram import POWER_FLOOR, fourier_basis, mel_filters

#: The running mean begins as if so many frames with the mean of train had been read.
PRIOR_FRAMES = 100.0
#: Where the running mean has so many frames, it goes on with half the sum and half the count: a stream without end
#: follows its microphone, and no count outgrows the whole numbers of float32.
MOST_FRAMES = 65_536


class Features(NamedTuple):
    """`values` `[batch, steps, size]`, the steps of each row, and the state after them (empty without a state)."""

    values: Tensor
    steps: Tensor
    state: Tensors


class StreamingFrontEnd(nn.Module):
    """`[batch, time, features]` of frames or `[batch, time]` of samples -> `[batch, steps, output_size]`."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, config: SignalConfig, augment: AugmentConfig, scale: SignalScale, dropout: float) -> None:
        super().__init__()
        self.config = config
        self.spectrogram = CausalSpectrogram(config) if config.kind == "waveform" else None
        # float64, so that rounding weights to half precision keeps them exact.
        self.register_buffer("mean", torch.tensor(scale.mean, dtype=torch.float64))
        self.register_buffer("deviation", torch.tensor(scale.deviation, dtype=torch.float64))
        self.augmentation = SignalAugmentation(augment)
        sizes = (scale.num_features, *config.channels)
        self.convolutions = nn.ModuleList(
            CausalConvolution(*pair, config.kernel_size, config.stride) for pair in pairwise(sizes)
        )
        self.dropout = nn.Dropout(dropout)
        self.output_size = sizes[-1]

    @property
    def frames_per_step(self) -> int:
        """Frames of one output step."""
        return self.config.frames_per_step

    @property
    def values_per_step(self) -> int:
        """Samples or frames of one output step."""
        return self.config.values_per_step

    @property
    def state_shapes(self) -> dict[str, StateShape]:
        """What is carried from chunk to chunk, `[layers, batch, width]` each."""
        shapes = {}
        if self.spectrogram is not None and self.spectrogram.overlap:
            shapes["audio"] = StateShape(1, self.spectrogram.overlap)
        if self.config.running_mean:
            shapes |= {"norm_sum": StateShape(1, len(self.mean)), "norm_count": StateShape(1, 1)}
        for number, part in enumerate(self.convolutions, start=1):
            assert isinstance(part, CausalConvolution)
            if part.overlap:
                shapes[f"conv{number}"] = StateShape(part.overlap, part.convolution.in_channels)
        return shapes

    def zero_state(self, batch: int) -> Tensors:
        """The state before the first chunk."""
        return {
            name: torch.zeros(shape.layers, batch, shape.width, device=self.mean.device)
            for name, shape in self.state_shapes.items()
        }

    def forward(self, values: Tensor, lengths: Tensor, state: Tensors | None = None) -> Features:
        """Features of a chunk that follows `state`; of a whole input without one."""
        if self.training:
            values, lengths = self.augmentation.resample(values, lengths)
            if self.spectrogram is not None:
                values = self.augmentation.distort_samples(values, lengths, self.config.sample_rate_hz)
        state = self.zero_state(len(values)) if state is None else state
        steps = torch.div(lengths + self.values_per_step - 1, self.values_per_step, rounding_mode="floor")
        after: Tensors = {}
        values = _whole_steps(values, lengths, self.values_per_step)
        if self.spectrogram is not None:
            values = self.spectrogram(values, lengths, state, after)
        features = (values - self.mean.float()) / self.deviation.float()
        num_frames = steps * self.frames_per_step
        features = self._normalised(features, num_frames, state, after)
        if self.training:
            features = self.augmentation.distort(features, num_frames)
        for number, convolution in enumerate(self.convolutions, start=1):
            features = convolution(features, num_frames, f"conv{number}", state, after)
            num_frames = torch.div(num_frames, self.config.stride, rounding_mode="floor")
            features = self.dropout(features)
        return Features(features, steps, after)

    def _normalised(self, features: Tensor, num_frames: Tensor, state: Tensors, after: Tensors) -> Tensor:
        if self.config.normalise_each:
            return normalised_each(features, num_frames)
        if not self.config.running_mean:
            return features
        before, count = state["norm_sum"].transpose(0, 1), state["norm_count"][0]
        counts = count + torch.arange(1, features.shape[1] + 1, device=features.device)
        is_late = (counts > MOST_FRAMES).unsqueeze(2)
        halved = (before + features.masked_fill(is_late, 0.0).sum(dim=1, keepdim=True)) / 2
        sums = torch.cumsum(torch.cat([before, features], dim=1), dim=1)[:, 1:] - is_late * halved
        after["norm_sum"] = kept_before(torch.cat([before, sums], dim=1), num_frames + 1, 1).transpose(0, 1)
        after["norm_count"] = _at_most(count + num_frames[:, None])[None]
        return features - sums / (_at_most(counts) + PRIOR_FRAMES).unsqueeze(2)


def _at_most(counts: Tensor) -> Tensor:
    """Counts of the running mean, from those since its last halving; a chunk has less than half of `MOST_FRAMES`."""
    return counts - (counts > MOST_FRAMES) * (MOST_FRAMES / 2)


class CausalSpectrogram(nn.Module):
    """Log-mel spectrogram whose frames end where they are given out: frame t covers the samples up to `(t + 1) * step`.

    `overlap` is the number of samples that a window shares with what came before its own step.
    """

    basis: Tensor
    filters: Tensor

    def __init__(self, config: SignalConfig) -> None:
        super().__init__()
        self.step = config.samples_per_step
        self.overlap = max(0, config.samples_per_window - self.step)
        # In float64, so that exporting weights in half precision does not round it.
        self.register_buffer("basis", torch.from_numpy(fourier_basis(config.samples_per_window)))
        self.register_buffer("filters", torch.from_numpy(mel_filters(config)))

    def forward(self, samples: Tensor, lengths: Tensor, state: Tensors, after: Tensors) -> Tensor:
        """`[batch, time]` -> `[batch, frames, mel_bands]`."""
        if self.overlap:
            samples = torch.cat([state["audio"][0], samples], dim=1)
            after["audio"] = kept_before(samples.unsqueeze(2), lengths + self.overlap, self.overlap).transpose(1, 2)
            after["audio"] = after["audio"].transpose(0, 1)
        waves = F.conv1d(samples.unsqueeze(1), self.basis.float().unsqueeze(1), stride=self.step)
        cosines, sines = waves.chunk(2, dim=1)
        power = cosines * cosines + sines * sines
        return torch.log(power.transpose(1, 2) @ self.filters.float() + POWER_FLOOR)


class CausalConvolution(nn.Module):
    """Convolution over time with a stride, and ReLU, that looks back `overlap` frames and never ahead."""

    def __init__(self, input_size: int, output_size: int, kernel_size: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.overlap = max(0, kernel_size - stride)
        self.convolution = nn.Conv1d(input_size, output_size, kernel_size, stride)

    def forward(self, features: Tensor, num_frames: Tensor, name: str, state: Tensors, after: Tensors) -> Tensor:
        """`[batch, frames, input]` -> `[batch, frames / stride, output]`."""
        if self.overlap:
            features = torch.cat([state[name].transpose(0, 1), features], dim=1)
            after[name] = kept_before(features, num_frames + self.overlap, self.overlap).transpose(0, 1)
        return F.relu(self.convolution(features.transpose(1, 2))).transpose(1, 2)


def kept_before(values: Tensor, ends: Tensor, size: int) -> Tensor:
    """`[batch, size, width]`: the last `size` steps before `ends` of each row of `[batch, time, width]`."""
    index = ends[:, None] - size + torch.arange(size, device=ends.device)
    return values.gather(1, index.unsqueeze(2).expand(-1, -1, values.shape[2]))


def _whole_steps(values: Tensor, lengths: Tensor, per_step: int) -> Tensor:
    """Zero beyond each row's length, and padded so that the last step of the longest row is whole."""
    mask = length_mask(lengths, values.shape[1])
    values = values * (mask if values.dim() == 2 else mask.unsqueeze(2))
    missing = -values.shape[1] % per_step
    return F.pad(values, (0, missing) if values.dim() == 2 else (0, 0, 0, missing))
