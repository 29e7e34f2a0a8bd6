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
    size = (0.7 * (1 + len(read)), 0.75 * (1 + len(weights)))
    figure, axes = pyplot.subplots(1 + len(weights), len(read), figsize=size, layout="constrained", squeeze=False)
    for column, frame in enumerate(read):
        axes[0, column].imshow(frame)
        for row, token in enumerate(attention.tokens, start=1):
            grid = weights[row - 1, column].reshape(attention.rows, attention.columns)
            axes[row, column].imshow(lit(frame, grid, float(weights[row - 1].max())))
            if not column:
                axes[row, column].set_title(token.replace("$", r"\$"), fontsize=9, loc="left")
    for axis in axes.flat:
        axis.set_axis_off()
    figure.savefig(picture, dpi=100)
    pyplot.close(figure)
