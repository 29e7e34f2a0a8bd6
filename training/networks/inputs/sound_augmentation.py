"""Augmentation of raw sound during training: rooms, noise, babble, telephone lines, volume and clipping.

A recording is heard as `level * (line(room(speech)) + noise)`, clipped. Rooms and lines are products of spectra, and
noise is drawn as one, for the rows that are chosen only: the cost is a part of that of a training step. All randomness
comes from torch's generator, which checkpoints save.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from training.config.signals import AugmentConfig
from training.preprocessing.padded_sequences import length_mask

#: Transforms have a length that is a multiple of this, which keeps them fast.
_BLOCK = 4096
#: Sound falls by 60 dB, a factor of 1000, in the reverberation time.
_DECAY = math.log(1000.0)
_SHORTEST_ROOM_S, _FIRST_ECHO_S, _DIRECT_OVER_ECHOES_DB = 0.08, 0.002, (0.0, 15.0)
_LOW_EDGE_HZ, _HIGH_EDGE_HZ, _STEEPNESS = (150.0, 400.0), (2800.0, 3700.0), 10
_CLIPPED_AT = (0.2, 0.8)
#: Noise often ends before the sound does: what follows is silence, as at the end of an input that is served.
_NOISELESS_END_S, _ENDS_EARLY = 0.5, 0.5
_BABBLERS = 3
_TINY = 1e-10


def distorted(values: Tensor, lengths: Tensor, config: AugmentConfig, rate_hz: int) -> Tensor:
    """`[batch, time]` of samples between -1 and 1 -> the same shape; zero beyond each row's length."""
    heard = values
    if config.reverberation or config.telephone:
        heard = _transmitted(heard, config, rate_hz)
    if config.sound_noise:
        heard = _with_noise(heard, values, lengths, config, rate_hz)
    if config.volume_db:
        gain_db = config.volume_db * _between(-1.0, 1.0, len(values), values)
        heard = (heard * 10 ** (gain_db / 20)[:, None]).clamp(-1.0, 1.0)
    if config.clipping:
        peak = heard.abs().amax(dim=1)
        at = peak * _between(*_CLIPPED_AT, len(values), values)
        limit = torch.where(_chosen(config.clipping, values), at, peak)[:, None]
        heard = torch.minimum(torch.maximum(heard, -limit), limit)
    return heard * length_mask(lengths, values.shape[1])


def _transmitted(values: Tensor, config: AugmentConfig, rate_hz: int) -> Tensor:
    """Through rooms and telephone lines, each for its share of the rows."""
    in_room, by_phone = _chosen(config.reverberation, values), _chosen(config.telephone, values)
    changed = in_room | by_phone
    if not changed.any():
        return values
    size = _transform_size(values.shape[1] + round(config.longest_reverberation_s * rate_hz))
    spectrum = torch.fft.rfft(values[changed], size)
    rooms, lines = in_room[changed], by_phone[changed]
    if rooms.any():
        spectrum[rooms] *= torch.fft.rfft(_impulse_responses(int(rooms.sum()), values, config, rate_hz), size)
    if lines.any():
        spectrum[lines] *= _bands(int(lines.sum()), spectrum.shape[1], values, rate_hz)
    heard = values.clone()
    heard[changed] = torch.fft.irfft(spectrum, size)[:, : values.shape[1]]
    return heard


def _impulse_responses(rows: int, values: Tensor, config: AugmentConfig, rate_hz: int) -> Tensor:
    """`[rows, samples]`: the direct sound, then echoes that decay."""
    longest_s = config.longest_reverberation_s
    reverberation_s = _between(_SHORTEST_ROOM_S, longest_s, rows, values)[:, None]
    time_s = torch.arange(round(longest_s * rate_hz), device=values.device) / rate_hz
    echoes = torch.randn(rows, len(time_s), device=values.device) * torch.exp(-_DECAY * time_s / reverberation_s)
    echoes *= time_s >= _FIRST_ECHO_S
    level = 10 ** (-_between(*_DIRECT_OVER_ECHOES_DB, rows, values) / 20)
    echoes *= (level / echoes.square().sum(dim=1).sqrt())[:, None]
    echoes[:, 0] = 1.0
    return echoes


def _bands(rows: int, width: int, values: Tensor, rate_hz: int) -> Tensor:
    """`[rows, width]`: the gain of telephone lines at each frequency up to half the rate."""
    frequency = torch.linspace(0, rate_hz / 2, width, device=values.device)
    low, high = (_between(*edges, rows, values)[:, None] for edges in (_LOW_EDGE_HZ, _HIGH_EDGE_HZ))
    upward: Tensor = (frequency / low) ** _STEEPNESS
    downward: Tensor = (frequency / high) ** _STEEPNESS
    return upward / (1 + upward) / (1 + downward)


def _with_noise(heard: Tensor, values: Tensor, lengths: Tensor, config: AugmentConfig, rate_hz: int) -> Tensor:
    """Coloured noise, or other rows talking at once, at a random distance below the power of each row's own sound."""
    noisy, babbles = _chosen(config.sound_noise, values), _chosen(config.babble, values)
    if not noisy.any():
        return heard
    rows = int(noisy.sum())
    noise = _coloured(rows, values.shape[1], values)
    if len(values) > 1 and (noisy & babbles).any():
        others = (values.roll(shift, 0)[noisy & babbles] for shift in range(1, min(_BABBLERS, len(values) - 1) + 1))
        noise[babbles[noisy]] = torch.stack(list(others)).sum(dim=0)
    power = values[noisy].square().sum(dim=1) / lengths[noisy]
    ratio_db = _between(config.lowest_snr_db, config.highest_snr_db, rows, values)
    noise *= (power * 10 ** (-ratio_db / 10) / (noise.square().mean(dim=1) + _TINY)).sqrt()[:, None]
    noise *= length_mask(_noise_lengths(lengths[noisy], rate_hz), values.shape[1])
    with_noise = heard.clone()
    with_noise[noisy] += noise
    return with_noise


def _coloured(rows: int, time: int, values: Tensor) -> Tensor:
    """`[rows, time]` of white, pink or brown noise."""
    size = _transform_size(time)
    spectrum = torch.randn(rows, size // 2 + 1, dtype=torch.complex64, device=values.device)
    frequency = torch.arange(spectrum.shape[1], device=values.device).clamp(min=size // 256).float()
    shapes = torch.stack([torch.ones_like(frequency), frequency.rsqrt(), frequency.reciprocal()])
    spectrum *= shapes[torch.randint(len(shapes), (rows,), device=values.device)]
    noise: Tensor = torch.fft.irfft(spectrum, size, norm="forward")
    return noise[:, :time]


def _noise_lengths(lengths: Tensor, rate_hz: int) -> Tensor:
    silent_s = _NOISELESS_END_S * torch.rand(len(lengths), device=lengths.device)
    return (lengths - rate_hz * silent_s * _chosen(_ENDS_EARLY, lengths)).long()


def _transform_size(samples: int) -> int:
    return _BLOCK * -(-samples // _BLOCK)


def _between(low: float, high: float, rows: int, like: Tensor) -> Tensor:
    return low + (high - low) * torch.rand(rows, device=like.device)


def _chosen(share: float, like: Tensor) -> Tensor:
    """`[batch]`: True for a random share of the rows."""
    return torch.rand(len(like), device=like.device) < share
