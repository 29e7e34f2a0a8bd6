"""Counts of a load client: latencies of correct answers, refusals, errors, and unanswered requests."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.load.workload.dialects import Question

OK, TOO_MANY_REQUESTS, UNAVAILABLE = 200, 429, 503
_NUM_SAMPLES = 3
_SAMPLE_CHARACTERS = 200


def percentile(values: Sequence[float], share: float) -> float | None:
    """Return the smallest value that at least `share` of `values` do not exceed; None without values."""
    ordered = sorted(values)
    if not ordered:
        return None
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


@dataclass(frozen=True)
class Reply:
    """One HTTP answer: its latency runs from when the request was sent, or from when it should have been."""

    status: int
    body: bytes
    latency_s: float
    has_retry_after: bool


@dataclass
class Tally:
    """Counts replies. Every answer is compared with the expected one, also outside the measured window."""

    questions: Sequence[Question]
    read: Callable[[Any], Any]
    latencies_s: list[float] = field(default_factory=list)
    refusals_s: list[float] = field(default_factory=list)
    refusals_without_retry_after: int = 0
    tokens: int = 0
    wrong: int = 0
    checked: int = 0
    labels_equal: int = 0
    labels_compared: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    samples: list[str] = field(default_factory=list)

    def note(self, number: int, reply: Reply, counts: bool) -> None:
        """Check the reply to question `number`; it enters the figures only if `counts` is true."""
        question = self.questions[number]
        if reply.status == OK:
            self._check(question, reply.body)
            if counts:
                self.latencies_s.append(reply.latency_s)
                self.tokens += question.tokens
        elif not counts:
            return
        elif reply.status in (TOO_MANY_REQUESTS, UNAVAILABLE):
            self.refusals_s.append(reply.latency_s)
            self.refusals_without_retry_after += not reply.has_retry_after
        else:
            self.fail(f"HTTP {reply.status} {reply.body[:80]!r}")

    def fail(self, what: str) -> None:
        """Count an error without a reply, such as a lost connection."""
        self.errors[what] += 1

    def summary(self, seconds: float) -> dict[str, Any]:
        """Return the figures of a window of `seconds`."""
        return {
            "answered": len(self.latencies_s),
            "rate": len(self.latencies_s) / seconds,
            "tokens_per_s": self.tokens / seconds,
            **_milliseconds("", self.latencies_s),
            "refused": len(self.refusals_s),
            **_milliseconds("refused_", self.refusals_s),
            "refused_without_retry_after": self.refusals_without_retry_after,
            "errors": self.errors.total(),
            "error_kinds": dict(self.errors.most_common(_NUM_SAMPLES)),
            "checked": self.checked,
            "wrong": self.wrong,
            "agreement": self.labels_equal / self.labels_compared if self.labels_compared else None,
            "samples": self.samples,
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
            if len(self.samples) < _NUM_SAMPLES:
                self.samples.append(body[:_SAMPLE_CHARACTERS].decode("utf-8", "replace"))

    def _compare_labels(self, expected: Any, found: Any) -> None:
        """Count how many labels agree one by one, for graphs with lower precision."""
        if isinstance(expected, list):
            self.labels_compared += len(expected)
            pairs = zip(expected, found, strict=False) if isinstance(found, list) else ()
            self.labels_equal += sum(a == b for a, b in pairs)


def _milliseconds(prefix: str, values_s: Sequence[float]) -> dict[str, float | None]:
    shares = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "max": 1.0}
    found = {name: percentile(values_s, share) for name, share in shares.items()}
    return {f"{prefix}{name}_ms": None if value is None else value * 1000 for name, value in found.items()}
