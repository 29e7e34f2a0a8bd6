"""Attention of a caption as brightness of the frames of a clip: a row for each token."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.tasks.inputs.clips.facts import evenly
from training.evaluation.analysis.picture_attention import lit


def draw_clip_attention(frames: NDArray[np.uint8], attention: Any, picture: Path) -> None:
    """Draw the frames that were read, and below them a copy per token whose brightness is the attention.

    Within a row the brightness is relative to the largest weight among all its frames.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    weights = np.array(attention.weights)
    read = frames[list(evenly(len(frames), weights.shape[1]))]
    rows = [np.concatenate(list(read / 255.0), axis=1)]
    for of_token in weights:
        grids = of_token.reshape(len(read), attention.rows, attention.columns)
        parts = zip(read, grids, strict=True)
        rows.append(np.concatenate([lit(frame, grid, float(of_token.max())) for frame, grid in parts], axis=1))
    figure, axis = pyplot.subplots(figsize=(0.7 * len(read) + 1.5, 0.7 * len(rows)), layout="constrained")
    axis.imshow(np.concatenate(rows, axis=0))
    axis.set_xticks([])
    height = read.shape[1]
    axis.set_yticks([(number + 1.5) * height for number in range(len(weights))], attention.tokens, parse_math=False)
    figure.savefig(picture, dpi=100)
    pyplot.close(figure)
