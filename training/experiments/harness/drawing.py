"""Draws panels to one SVG, with a colour-blind safe palette and a marker and dash pattern for each line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from training.experiments.harness.outcome import Panel

#: The palette of Okabe and Ito (2008), the colours with most contrast first.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#000000", "#E69F00", "#56B4E9")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (3, 1)), (0, (1, 1)))
#: Legends are below the axes, so that they hide no curve.
PANEL_INCHES = (4.6, 4.2)
LEVEL_COLOUR = "#555555"
#: Lines with more points have no markers, which would hide the curve.
MAX_MARKERS = 20


def draw(panels: Sequence[Panel], picture: Path) -> None:
    """Draw the panels side by side; the file is deterministic."""
    # Imported here: matplotlib is slow to import, and listing experiments draws nothing.
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    # Keep text as text: smaller files, searchable and accessible to screen readers.
    style: Any = {
        "svg.fonttype": "none",
        "svg.hashsalt": picture.stem,
        "font.size": 9,
        "axes.spines.top": False,
        "axes.spines.right": False,
    }
    width, height = PANEL_INCHES
    with pyplot.rc_context(style):
        figure, axes = pyplot.subplots(
            1, len(panels), figsize=(width * len(panels), height), layout="constrained", squeeze=False
        )
        for axis, panel in zip(axes[0], panels, strict=True):
            _draw_panel(axis, panel)
        picture.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(picture, dpi=110, metadata={"Date": None} if picture.suffix == ".svg" else None)
        pyplot.close(figure)


def _draw_panel(axis: Any, panel: Panel) -> None:
    axis.set_title(panel.title, fontsize=10)
    axis.set_xlabel(panel.x_label)
    axis.set_ylabel(panel.y_label)
    axis.grid(alpha=0.25, axis="y" if panel.bars else "both")
    if panel.log_x:
        axis.set_xscale("log", base=2)
        _plain_ticks(axis, panel)
    if panel.log_y:
        axis.set_yscale("log")
    axis.minorticks_off()
    _draw_lines(axis, panel)
    _draw_bars(axis, panel)
    _draw_levels(axis, panel)
    if panel.y_limits is not None:
        axis.set_ylim(*panel.y_limits)
    if panel.lines:
        axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2, fontsize=8, frameon=False)


def _plain_ticks(axis: Any, panel: Panel) -> None:
    """Ticks at the measured points, written as 64 instead of 2^6."""
    points = sorted({x for line in panel.lines for x in line.xs})
    axis.set_xticks(points, [f"{point:g}" for point in points])


def _draw_lines(axis: Any, panel: Panel) -> None:
    for number, line in enumerate(panel.lines):
        kind = number % len(COLOURS)
        axis.errorbar(
            line.xs,
            line.ys,
            yerr=line.spread,
            label=line.label,
            color=COLOURS[kind],
            linestyle=DASHES[kind],
            marker=MARKERS[kind] if len(line.xs) <= MAX_MARKERS else None,
            markersize=4,
            linewidth=1.5,
            capsize=2,
        )


def _draw_bars(axis: Any, panel: Panel) -> None:
    if not panel.bars:
        return
    heights = [height for height, _ in panel.bars.values()]
    spreads = [spread for _, spread in panel.bars.values()]
    axis.bar(range(len(heights)), heights, yerr=spreads, color=COLOURS[0], capsize=3, width=0.65)
    axis.set_xticks(range(len(heights)), list(panel.bars), fontsize=7)


def _draw_levels(axis: Any, panel: Panel) -> None:
    """Draw labelled horizontal lines."""
    for label, level in panel.levels.items():
        axis.axhline(level, color=LEVEL_COLOUR, linewidth=1, linestyle=(0, (1, 2)))
        axis.annotate(
            label,
            (1, level),
            xycoords=axis.get_yaxis_transform(),
            xytext=(0, -9),
            textcoords="offset points",
            ha="right",
            fontsize=7,
            color=LEVEL_COLOUR,
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 0.5},
        )
