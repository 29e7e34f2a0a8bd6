"""Signal augmentation: random speed, cropping, rotation, noise and masking during training.

All randomness comes from torch's generator, which checkpoints save, so that a resumed run continues the same way.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from training.config.signals import AugmentConfig
from training.networks.inputs.sound_augmentation import distorted

_AXES = 3


class SignalAugmentation(nn.Module):
    """`resample` augments raw samples or frames, `distort_samples` raw samples, `distort` scaled features."""

    def __init__(self, config: AugmentConfig) -> None:
        super().__init__()
        self.config = config

    def resample(self, values: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Crop each row at both ends and change its speed by linear interpolation; also the new lengths."""
        config = self.config
        if not config.speed and not config.crop:
            return values, lengths
        cut = config.crop * torch.rand(len(lengths), device=values.device) * lengths
        start = cut * torch.rand_like(cut)
        factor = 1.0 + config.speed * _uniform(len(lengths), device=values.device)
        resampled = ((lengths - cut) / factor).long().clamp(min=1)
        steps = torch.arange(int(resampled.max()), device=values.device)
        places = torch.minimum(start[:, None] + steps * factor[:, None], (lengths - 1)[:, None])
        return _interpolated(values, places), resampled

    def distort_samples(self, values: Tensor, lengths: Tensor, rate_hz: int) -> Tensor:
        """`[batch, time]` of samples -> the same shape, as heard elsewhere: see `sound_augmentation`."""
        return distorted(values, lengths, self.config, rate_hz) if self.config.distorts_sound else values

    def distort(self, features: Tensor, lengths: Tensor) -> Tensor:
        """`[batch, time, features]`, scaled to a standard deviation of 1 -> the same shape."""
        config = self.config
        if config.warp:
            features = warped(features, config.warp)
        if config.rotation_degrees:
            features = rotated(features, math.radians(config.rotation_degrees))
        if config.gain:
            rows, _, width = features.shape
            features = features * (1.0 + config.gain * _uniform(rows, 1, width, device=features.device))
        if config.offset:
            features = features + config.offset * self._offsets(features)
        if config.noise:
            features = features + config.noise * torch.randn_like(features)
        for _ in range(config.time_masks):
            features = features * self._time_mask(features, lengths)
        for _ in range(config.feature_masks):
            features = features * self._feature_mask(features)
        return features

    def _offsets(self, features: Tensor) -> Tensor:
        """`[batch, 1, features]`: half of the variance is common to all features of a row, as loudness is."""
        rows, _, width = features.shape
        common = torch.randn(rows, 1, 1, device=features.device)
        own = torch.randn(rows, 1, width, device=features.device)
        return (common + own) / math.sqrt(2.0)

    def _time_mask(self, features: Tensor, lengths: Tensor) -> Tensor:
        size = lengths * self.config.time_mask_part * torch.rand(len(lengths), device=features.device)
        start = (lengths - size) * torch.rand_like(size)
        return _mask(features.shape[1], start, size).unsqueeze(2)

    def _feature_mask(self, features: Tensor) -> Tensor:
        rows, _, width = features.shape
        size = min(self.config.feature_mask_size, width) * torch.rand(rows, device=features.device)
        start = (width - size) * torch.rand_like(size)
        return _mask(width, start, size).unsqueeze(1)


def warped(features: Tensor, most: float) -> Tensor:
    """Vocal tract length perturbation (Jaitly and Hinton 2013): stretch the feature axis by up to 1 +- `most`.

    The factor is the same at all steps of a row. Positions beyond the last feature take its value.
    """
    rows, _, width = features.shape
    factor = 1.0 + most * _uniform(rows, 1, device=features.device)
    places = (torch.arange(width, device=features.device) * factor).clamp(max=width - 1)
    return _interpolated(features.transpose(1, 2), places).transpose(1, 2)


def rotated(features: Tensor, most_radians: float) -> Tensor:
    """Every three features as a point in space, rotated about one random axis by one random angle for each row."""
    rows, time, width = features.shape
    if width % _AXES:
        raise ValueError(f"augment.rotation_degrees needs features in threes, there are {width}")
    axis = nn.functional.normalize(torch.randn(rows, _AXES, device=features.device), dim=1)
    angle = most_radians * _uniform(rows, 1, 1, device=features.device)
    x, y, z = axis.unbind(dim=1)
    zero = torch.zeros_like(x)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=1).view(rows, _AXES, _AXES)
    identity = torch.eye(_AXES, device=features.device)
    turn = identity + angle.sin() * cross + (1 - angle.cos()) * cross @ cross
    points = features.reshape(rows, time * (width // _AXES), _AXES)
    return (points @ turn).view(rows, time, width)


def _uniform(*shape: int, device: torch.device) -> Tensor:
    """Uniform between -1 and 1."""
    return 2.0 * torch.rand(shape, device=device) - 1.0


def _interpolated(values: Tensor, places: Tensor) -> Tensor:
    """`values` `[batch, time, ...]` at the fractional positions `[batch, steps]`."""
    below = places.floor().long()
    above = (below + 1).clamp(max=values.shape[1] - 1)
    rows = torch.arange(len(values), device=values.device)[:, None]
    part = (places - below).view(*places.shape, *[1] * (values.dim() - 2))
    return values[rows, below] * (1 - part) + values[rows, above] * part


def _mask(size: int, start: Tensor, width: Tensor) -> Tensor:
    """`[batch, size]`: 0 on the `width` positions from `start`, 1 elsewhere."""
    places = torch.arange(size, device=start.device)
    return ((places < start[:, None]) | (places >= (start + width)[:, None])).float()
