"""Tables and one picture of the cost curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.load.curves.point import Point
from tests.load.report.markdown import table

_HEADS = ("curve", "size", "CPU time", "for each", "memory")
_PANEL_INCHES = (4.8, 3.4)
#: Below one clock tick nothing was measured.
_LEAST_S = 1e-6


def tables(groups: Mapping[str, Sequence[Point]], machine: Mapping[str, str], command: str) -> str:
    """Markdown: one table for each group of curves."""
    parts = ["# What grows with what", "![Cost curves](curves.png)"]
    for title, points in groups.items():
        parts += [f"## {title}", table(_HEADS, [_line(point) for point in points])]
    facts = "; ".join(f"{name} {value}" for name, value in machine.items())
    parts += ["## How it was measured", _METHOD, f"{facts}.", f"    {command}"]
    return "\n\n".join(parts) + "\n"


def draw(groups: Mapping[str, Sequence[Point]], file: Path) -> None:
    """One panel for each group, both axes logarithmic: a cost in proportion to the size is a line of slope 1."""
    import matplotlib.pyplot as plt

    width, height = _PANEL_INCHES
    figure, panels = plt.subplots(1, len(groups), figsize=(width * len(groups), height), squeeze=False)
    for panel, (title, points) in zip(panels[0], groups.items(), strict=True):
        for what in dict.fromkeys(point.what for point in points):
            curve = [point for point in points if point.what == what and point.seconds >= _LEAST_S]
            panel.plot(
                [point.size for point in curve],
                [1000 * point.seconds for point in curve],
                marker="o",
                markersize=3,
                label=what,
            )
        panel.set(title=title, xscale="log", yscale="log", ylabel="CPU time, ms")
        panel.grid(alpha=0.3)
        panel.legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(file, dpi=110)
    plt.close(figure)


def _line(point: Point) -> list[str]:
    memory = f"{point.memory_mb:,.0f} MB" if point.memory_mb else ""
    return [point.what, f"{point.size:,}", _time(point.seconds), _time(point.seconds / point.size), memory]


def _time(seconds: float) -> str:
    if seconds < _LEAST_S:
        return f"{1e9 * seconds:.0f} ns"
    if seconds < 1000 * _LEAST_S:
        return f"{1e6 * seconds:.3g} µs"
    return f"{1000 * seconds:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"


_METHOD = """\
- CPU time of all threads of the server, so that other work on the machine changes little. Memory: resident, after it.
- Length: a tagger (bidirectional LSTM of 64) and a language model over 5,000 words (LSTM of 64), one request at a time,
  one lane, no prefix cache, limits raised.
- Vocabulary: the same networks with ever more words.
- Bundles: copies of a small tagger under different names; every one is asked once before anything is measured.
- Sessions: states of 512 bytes, ten sessions an owner; "use" is what a request does: lock, read, write, unlock. Their
  memory is that of the process which measures, with all that it has imported and measured before."""
