"""Image augmentation: random mirroring, affine transforms, colour changes and erasing during training.

All randomness comes from torch's generator, which checkpoints save, so that a resumed run continues the same way.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.config.pictures import PictureConfig

_WHITE = 1.0


class ImageAugmentation(nn.Module):
    """Augments images `[batch, 3, rows, columns]` with values in -1 to 1; beyond the edges is white."""

    def __init__(self, config: PictureConfig) -> None:
        super().__init__()
        self.config = config

    def forward(self, pictures: Tensor, may_mirror: Tensor) -> Tensor:
        """Each image augmented independently; `may_mirror` is `[batch]` of bool."""
        return self._erased(self._coloured(self._outlined(self._moved(pictures, may_mirror))))

    def _moved(self, pictures: Tensor, may_mirror: Tensor) -> Tensor:
        """Mirror, rotate, scale and shift in one bilinear interpolation."""
        config, rows = self.config, len(pictures)
        if not (config.mirror or config.rotation_degrees or config.scale or config.shift):
            return pictures
        angle = math.radians(config.rotation_degrees) * _uniform(rows)
        factor = 1.0 + config.scale * _uniform(rows)
        mirrored = (torch.rand(rows) < config.mirror) & may_mirror.cpu()
        side = torch.where(mirrored, -1.0, 1.0)
        turn = torch.stack([factor * angle.cos(), -factor * angle.sin(), factor * angle.sin(), factor * angle.cos()], 1)
        turn = turn.view(rows, 2, 2)
        turn[:, :, 0] *= side[:, None]
        offset = 2.0 * config.shift * _uniform(rows, 2, 1)
        places = torch.cat([turn, offset], dim=2).to(pictures.device)
        grid = F.affine_grid(places, list(pictures.shape), align_corners=False)
        return F.grid_sample(pictures - _WHITE, grid, align_corners=False) + _WHITE

    def _outlined(self, pictures: Tensor) -> Tensor:
        """Darken edges by a random share of their contrast, as if drawn with a pen; channels are three for a frame."""
        if not self.config.outline:
            return pictures
        rows = len(pictures)
        strength = torch.rand(rows, 1, 1, 1) * (torch.rand(rows, 1, 1, 1) < self.config.outline)
        grey = pictures.unflatten(1, (-1, 3)).mean(dim=2)
        contrast = F.max_pool2d(grey, 3, 1, 1) + F.max_pool2d(-grey, 3, 1, 1)
        return pictures - (strength.to(pictures.device) * contrast).repeat_interleave(3, dim=1)

    def _coloured(self, pictures: Tensor) -> Tensor:
        config, rows = self.config, len(pictures)
        if config.grey:
            is_grey = (torch.rand(rows, 1, 1, 1) < config.grey).to(pictures.device)
            pictures = torch.where(is_grey, pictures.mean(dim=1, keepdim=True), pictures)
        if not (config.brightness or config.colour):
            return pictures.clamp(-1.0, 1.0)
        stretch = 1.0 + config.colour * _uniform(rows, 3, 1, 1).to(pictures.device)
        moved = 2.0 * config.brightness * _uniform(rows, 1, 1, 1).to(pictures.device)
        return (pictures * stretch + moved).clamp(-1.0, 1.0)

    def _erased(self, pictures: Tensor) -> Tensor:
        """Fill a rectangle of random size and position with a random grey (random erasing)."""
        if not self.config.erase:
            return pictures
        rows, _, height, width = pictures.shape
        inside = self._interval(rows, height).unsqueeze(2) & self._interval(rows, width).unsqueeze(1)
        patch = _uniform(rows, 1, 1, 1).to(pictures.device)
        return torch.where(inside.unsqueeze(1).to(pictures.device), patch, pictures)

    def _interval(self, rows: int, size: int) -> Tensor:
        """`[rows, size]` of bool: true on one random interval of each row."""
        length = self.config.erase * size * torch.rand(rows, 1)
        start = (size - length) * torch.rand(rows, 1)
        places = torch.arange(size)
        return (places >= start) & (places < start + length)


def _uniform(*shape: int) -> Tensor:
    """Uniform between -1 and 1."""
    return 2.0 * torch.rand(shape) - 1.0
