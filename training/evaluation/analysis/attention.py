"""Attention of a translation as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from service.bundle.word_joiners import JOINER


def draw_attention(attention: Any, picture: Path) -> None:
    """Draw the weights as a heat map: a row per target token, a column per source token; rows sum to 1."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    source, target = attention.source_tokens, attention.target_tokens
    figure, axis = pyplot.subplots(figsize=(1.5 + 0.34 * len(source), 1.5 + 0.3 * len(target)), layout="constrained")
    axis.imshow(attention.weights, cmap="Greys", vmin=0, vmax=1, aspect="auto")
    axis.set_xticks(range(len(source)), _plain(source), rotation=60, ha="right", fontsize=8)
    axis.set_yticks(range(len(target)), _plain(target), fontsize=8)
    figure.savefig(picture, dpi=120)
    pyplot.close(figure)


def _plain(tokens: list[str]) -> list[str]:
    """Tokens as axis labels, without joiners, for which fonts have no glyph: `$` would start a formula."""
    return [token.strip(JOINER).replace("$", r"\$") for token in tokens]
