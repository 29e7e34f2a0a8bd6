"""Attention of a caption as brightness of the picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.tasks.inputs.png import PictureSize, read_png

_SIZE = PictureSize(128, 128)
#: Brightness where the attention is zero.
_DIM = 0.15


def draw_picture_attention(png: bytes, attention: Any, picture: Path) -> None:
    """Draw the picture, and beside it a copy per token whose brightness is the attention."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    pixels = read_png(png, _SIZE)
    num_panels = 1 + len(attention.tokens)
    figure, axes = pyplot.subplots(1, num_panels, figsize=(1.4 * num_panels, 1.8), layout="constrained", squeeze=False)
    axes[0, 0].imshow(pixels)
    for axis, token, weights in zip(axes[0, 1:], attention.tokens, attention.weights, strict=True):
        grid = np.array(weights).reshape(attention.rows, attention.columns)
        axis.imshow(lit(pixels, grid, float(grid.max())))
        axis.set_title(token.replace("$", r"\$"), fontsize=9)
    for axis in axes[0]:
        axis.set_axis_off()
    figure.savefig(picture, dpi=100)
    pyplot.close(figure)


def lit(pixels: NDArray[np.uint8], grid: NDArray[np.float64], largest: float) -> NDArray[np.float64]:
    """Brightness in proportion to the attention `[rows, columns]`, full where it is the largest."""
    tall, wide = -(-pixels.shape[0] // grid.shape[0]), -(-pixels.shape[1] // grid.shape[1])
    light = np.kron(grid / max(largest, 1e-9), np.ones((tall, wide)))[: pixels.shape[0], : pixels.shape[1]]
    return np.asarray(pixels / 255.0 * (_DIM + (1.0 - _DIM) * light[:, :, None]))
