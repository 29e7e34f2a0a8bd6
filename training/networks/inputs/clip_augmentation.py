"""Clip augmentation: the random changes of images, the same for all frames of a clip.

A shift or a turn that differed from frame to frame would look like a movement.
"""

from __future__ import annotations

from torch import Tensor

from training.networks.inputs.image_augmentation import ImageAugmentation


class ClipAugmentation(ImageAugmentation):
    """Augments clips `[batch, time, 3, rows, columns]` with values in -1 to 1; beyond the edges is white."""

    def forward(self, clips: Tensor, may_mirror: Tensor) -> Tensor:
        """Each clip augmented independently; `may_mirror` is `[batch]` of bool."""
        shape = clips.shape
        # Changes of place are the same for every channel, and changes of colour for every row.
        moved = self._outlined(self._moved(clips.flatten(1, 2), may_mirror)).view(shape)
        coloured = self._coloured(moved.transpose(1, 2).flatten(2, 3)).view(shape[0], 3, shape[1], *shape[3:])
        return self._erased(coloured.transpose(1, 2).flatten(1, 2)).view(shape)
