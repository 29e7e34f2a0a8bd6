"""What a soak has asked and found: requests by kind, and every fault, of which the first of a sort are kept to show."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Literal

#: Sorts of faults: a wrong answer, a status of 500 or more, another status than expected, no answer.
Sort = Literal["wrong answer", "server error", "unexpected status", "no answer"]
SORTS: tuple[Sort, ...] = ("wrong answer", "server error", "unexpected status", "no answer")
_KEPT_PER_SORT = 5
_MAX_CHARACTERS = 400


@dataclass
class Findings:
    """Counts of one soak."""

    requests: Counter[str] = field(default_factory=Counter)
    faults: Counter[Sort] = field(default_factory=Counter)
    #: Wrong answers by kind.
    wrong: Counter[str] = field(default_factory=Counter)
    shown: dict[Sort, list[str]] = field(default_factory=dict)

    def fault(self, sort: Sort, kind: str, sentence: str) -> None:
        """Count one fault, and keep its sentence if few of its sort are known."""
        self.faults[sort] += 1
        self.wrong[kind] += sort == "wrong answer"
        kept = self.shown.setdefault(sort, [])
        if len(kept) < _KEPT_PER_SORT:
            kept.append(f"{kind}: {sentence}"[:_MAX_CHARACTERS])

    @property
    def num_requests(self) -> int:
        return self.requests.total()
