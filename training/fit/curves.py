"""Training curves: a picture of loss, gradient norm and dev measures, and a table of epochs."""

from __future__ import annotations

import csv
import gc
import json
from pathlib import Path
from typing import Any


def draw_curves(metrics: Path, picture: Path) -> None:
    """Draw `metrics.jsonl` as a PNG, from the first complete epoch on."""
    # Imported here: matplotlib is slow to import.
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    rows = [json.loads(line) for line in metrics.read_text(encoding="utf-8").splitlines()]
    steps = [row for row in rows if row["kind"] == "step"]
    epochs = [row for row in rows if row["kind"] == "epoch"]
    if not epochs:
        return
    names = [name for name in epochs[-1] if name.startswith("dev_")]
    figure, axes = pyplot.subplots(1, 2 + len(names), figsize=(4 * (2 + len(names)), 3.2), layout="constrained")
    _plot(axes[0], steps, "step", "loss", "training loss, nats (thick: mean of an epoch)", linewidth=0.8)
    _plot(axes[0], epochs, "step", "loss", "training loss, nats (thick: mean of an epoch)", linewidth=2.5)
    _plot(axes[1], steps, "step", "gradient_norm", "gradient norm before clipping")
    for axis, name in zip(axes[2:], names, strict=True):
        _plot(axis, epochs, "epoch", name, name.replace("_", " "))
    figure.savefig(picture, dpi=100)
    pyplot.close(figure)
    # Figures contain reference cycles: without this collection a run grew by 4.5 MiB per epoch.
    del figure, axes
    gc.collect()


def write_table(metrics: Path, table: Path) -> None:
    """Write the epochs of `metrics.jsonl` as CSV."""
    rows = [json.loads(line) for line in metrics.read_text(encoding="utf-8").splitlines()]
    epochs = [row for row in rows if row["kind"] == "epoch"]
    columns = list(dict.fromkeys(name for row in epochs for name in row if name != "kind"))
    with table.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(epochs)


def _plot(axis: Any, rows: list[dict[str, Any]], x: str, y: str, title: str, linewidth: float = 1.2) -> None:
    points = [(row[x], row[y]) for row in rows if y in row]
    axis.plot([point[0] for point in points], [point[1] for point in points], linewidth=linewidth)
    axis.set_title(title, fontsize=9)
    axis.set_xlabel(x, fontsize=8)
    axis.grid(alpha=0.3)
