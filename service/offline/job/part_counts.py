"""What a part of the output holds, counted: rows, errors by kind, labels."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from service.offline.answering.row_answers import RowAnswer

_NUMBER = re.compile(r"\b(?<!-)\d(?:[\w,.]*\w)?")
_QUOTED = re.compile(r"'[^']*'")
#: The most kinds of errors, and labels, that are counted apart.
_MAX_KINDS, _MAX_LABELS = 50, 10_000
_OTHERS = "others"


@dataclass
class PartCounts:
    """Rows, errors by kind, and labels by how often they were given."""

    rows: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    labels: Counter[str] = field(default_factory=Counter)

    @classmethod
    def of(cls, answers: Sequence[RowAnswer]) -> PartCounts:
        """The counts of a window's answers."""
        counts = cls(len(answers))
        for row in answers:
            if row.error is not None:
                _count(counts.errors, error_kind(row.error), 1, _MAX_KINDS)
            for label in row.labels:
                _count(counts.labels, label, 1, _MAX_LABELS)
        return counts

    def add(self, other: PartCounts) -> None:
        """Add the counts of another part."""
        self.rows += other.rows
        for mine, theirs, most in (
            (self.errors, other.errors, _MAX_KINDS),
            (self.labels, other.labels, _MAX_LABELS),
        ):
            for name, number in theirs.items():
                _count(mine, name, number, most)

    @property
    def num_errors(self) -> int:
        """Rows without an answer."""
        return sum(self.errors.values())

    def to_json(self) -> str:
        return json.dumps({"rows": self.rows, "errors": self.errors, "labels": self.labels}, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> PartCounts:
        found = json.loads(text)
        return cls(found["rows"], Counter(found["errors"]), Counter(found["labels"]))


def error_kind(message: str) -> str:
    """A message without what differs from row to row: its numbers, and what it quotes."""
    return _NUMBER.sub("N", _QUOTED.sub("'...'", message))


def _count(counter: Counter[str], name: str, number: int, most: int) -> None:
    counter[name if name in counter or len(counter) < most else _OTHERS] += number
