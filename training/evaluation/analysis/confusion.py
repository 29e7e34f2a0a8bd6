"""Confusion matrix of labels, as a table and a picture."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

#: Labels in the picture, those with the most errors; the table has all.
MAX_DRAWN: Final = 40
#: Up to this many labels, counts are written into the cells.
MAX_NUMBERED: Final = 20
#: The predicted label of a refused input.
NOTHING: Final = "(refused)"


@dataclass(frozen=True)
class Confusion:
    """`counts[i, j]`: how often gold label i was predicted as label j."""

    labels: tuple[str, ...]
    counts: NDArray[np.int64]

    @classmethod
    def of(cls, pairs: Iterable[tuple[str, str]]) -> Confusion:
        """Count pairs of a gold and a predicted label; labels are sorted."""
        counted = Counter((gold or NOTHING, predicted or NOTHING) for gold, predicted in pairs)
        labels = tuple(sorted({label for pair in counted for label in pair}))
        number = {label: i for i, label in enumerate(labels)}
        counts = np.zeros((len(labels), len(labels)), dtype=np.int64)
        for (gold, predicted), count in counted.items():
            counts[number[gold], number[predicted]] = count
        return cls(labels, counts)

    def mistakes(self) -> list[tuple[str, str, int]]:
        """Gold label, predicted label and count of each error, the most frequent first."""
        rows, columns = np.nonzero(self.counts)
        found = [(self.labels[i], self.labels[j], int(self.counts[i, j])) for i, j in zip(rows, columns, strict=True)]
        return sorted((each for each in found if each[0] != each[1]), key=lambda each: (-each[2], each[:2]))

    def worst(self, limit: int) -> Confusion:
        """The submatrix of the `limit` labels with the most errors, sorted."""
        right = self.counts.diagonal()
        errors = self.counts.sum(axis=0) + self.counts.sum(axis=1) - 2 * right
        kept = np.sort(np.argsort(-errors, kind="stable")[:limit])
        return Confusion(tuple(self.labels[i] for i in kept), self.counts[np.ix_(kept, kept)])

    def write_table(self, path: Path) -> None:
        """Write CSV: a row per gold label, a column per predicted label."""
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["gold \\ predicted", *self.labels])
            writer.writerows([label, *map(int, row)] for label, row in zip(self.labels, self.counts, strict=True))

    def draw(self, picture: Path) -> None:
        """Draw a heat map of the shares of each gold label."""
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot

        shown = self.worst(MAX_DRAWN)
        size = 2.5 + 0.32 * len(shown.labels)
        shares = shown.counts / np.maximum(1, shown.counts.sum(axis=1, keepdims=True))
        figure, axis = pyplot.subplots(figsize=(size, size), layout="constrained")
        axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        axis.set_xticks(range(len(shown.labels)), shown.labels, rotation=90, fontsize=7)
        axis.set_yticks(range(len(shown.labels)), shown.labels, fontsize=7)
        axis.set_xlabel("predicted")
        axis.set_ylabel("gold")
        if len(shown.labels) <= MAX_NUMBERED:
            for (i, j), count in np.ndenumerate(shown.counts):
                if count:
                    colour = "white" if shares[i, j] > 0.5 else "black"
                    axis.text(j, i, str(count), ha="center", va="center", fontsize=6, color=colour)
        figure.savefig(picture, dpi=120)
        pyplot.close(figure)


def label_pairs(gold: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]]) -> list[tuple[str, str]]:
    """Gold and predicted tags of all words of all sentences, in pairs."""
    return [pair for a, b in zip(gold, predicted, strict=True) for pair in zip(a, b, strict=True)]
