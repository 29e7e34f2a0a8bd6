"""What the error analysis of a task hands to the report: errors, confusions, and attention to draw."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from training.evaluation.analysis.errors import ErrorCase, label_errors


class AttentionPicture(NamedTuple):
    """The attention of one record: the title over it, and the function that draws it into a file."""

    title: str
    draw: Callable[[Path], None]


class Table(NamedTuple):
    """Figures under a title, such as the scores of each speaker."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Findings:
    """All errors among `num_records` predictions; `confusions` are pairs of a gold and a predicted label."""

    num_records: int
    cases: Sequence[ErrorCase]
    confusions: Sequence[tuple[str, str]] = ()
    attention: Sequence[AttentionPicture] = ()
    tables: Sequence[Table] = ()


def label_findings(rows: Sequence[tuple[str, str, str]]) -> Findings | None:
    """From the name or text of each record, its label and the predicted one; None where there are no records."""
    if not rows:
        return None
    return Findings(len(rows), label_errors(rows), [(gold, predicted) for _, gold, predicted in rows])
