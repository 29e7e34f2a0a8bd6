"""Counts of a load whose answers are known in advance: every one is compared."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from service.cli.bench.load.connection import Reply
from service.cli.bench.load.tally import OK, Tally
from tests.load.workload.dialects import Question

_NUM_SAMPLES = 3
_SAMPLE_CHARACTERS = 200


class CheckedTally(Tally):
    """A tally that also compares each answer with the expected one, outside of the measured window too."""

    def __init__(self, questions: Sequence[Question], read: Callable[[Any], Any]) -> None:
        super().__init__([question.payload for question in questions])
        self.questions = questions
        self.read = read
        self.wrong = 0
        self.checked = 0
        self.labels_equal = 0
        self.labels_compared = 0
        self.wrong_samples: list[str] = []

    def note(self, number: int, reply: Reply, counts: bool) -> None:
        if reply.status == OK:
            self._check(self.questions[number], reply.body)
        super().note(number, reply, counts)

    def tokens_of(self, number: int, reply: Reply) -> int:
        return self.questions[number].tokens

    def summary(self, seconds: float) -> dict[str, Any]:
        return {
            **super().summary(seconds),
            "checked": self.checked,
            "wrong": self.wrong,
            "agreement": self.labels_equal / self.labels_compared if self.labels_compared else None,
            "wrong_samples": self.wrong_samples,
        }

    def _check(self, question: Question, body: bytes) -> None:
        self.checked += 1
        try:
            found = self.read(json.loads(body))
        except (ValueError, LookupError, TypeError):
            found = "unreadable"
        self._compare_labels(question.expected, found)
        if found != question.expected:
            self.wrong += 1
            if len(self.wrong_samples) < _NUM_SAMPLES:
                self.wrong_samples.append(body[:_SAMPLE_CHARACTERS].decode("utf-8", "replace"))

    def _compare_labels(self, expected: Any, found: Any) -> None:
        """Count how many labels agree one by one, for graphs with lower precision."""
        if isinstance(expected, list):
            self.labels_compared += len(expected)
            pairs = zip(expected, found, strict=False) if isinstance(found, list) else ()
            self.labels_equal += sum(a == b for a, b in pairs)
