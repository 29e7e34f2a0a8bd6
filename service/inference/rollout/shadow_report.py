"""The shadow report: how a candidate's answers compare with those that callers got. Each process counts its own."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, Field

from service.inference.rollout.comparison import Comparison

#: Pairs of labels that are counted apart; all others together.
_MAX_PAIRS = 1000
_MAX_LISTED_PAIRS = 50
_OTHERS = ("other labels", "other labels")
#: Durations from which the percentiles are computed, and examples that are kept: the most recent ones.
_MAX_DURATIONS = 2000
_MAX_EXAMPLES = 20


class Latency(BaseModel):
    """Time in the graph of the most recent requests, in milliseconds. Waiting is left out: a shadow waits longer."""

    mean_ms: float
    p50_ms: float
    p95_ms: float


class Difference(BaseModel):
    """How often one version said `answer` where the candidate said `candidate`."""

    answer: str
    candidate: str
    count: int


class ShadowComparison(BaseModel):
    """One version beside the candidate."""

    version: str
    candidate: str
    compared: int = Field(description="inputs that both have answered")
    agreed: int = Field(description="those with the same label, tags or text, or forecasts or arrays within 1 %")
    agreement: float | None = Field(description="share of these, 0 to 1")
    failed: int = Field(description="requests that the candidate did not answer")
    dropped: int = Field(description="requests that were not repeated because too many were waiting")
    mean_score_distance: float | None = Field(description="absolute difference of the scores; relative for numbers")
    latency: Latency | None
    candidate_latency: Latency | None
    differences: list[Difference] = Field(description="most frequent first")
    errors: dict[str, int] = Field(description="why the candidate failed, by kind")
    examples: list[dict[str, Any]] = Field([], description="recent inputs with different answers; with log_texts only")


class ShadowReport(BaseModel):
    """Shadow traffic of a model."""

    name: str
    candidate: str | None = Field(description="the version that gets it now; null: none does")
    share: float | None = None
    comparisons: list[ShadowComparison] = []


@dataclass
class ShadowTally:
    """The counts of one version and its candidate."""

    version: str
    candidate: str
    num_compared: int = 0
    num_agreed: int = 0
    num_failed: int = 0
    num_dropped: int = 0
    differences: Counter[tuple[str, str]] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    _distance_sum: float = 0.0
    _num_distances: int = 0
    _durations: deque[tuple[float, float]] = field(default_factory=lambda: deque(maxlen=_MAX_DURATIONS))
    _examples: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=_MAX_EXAMPLES))

    def add(self, comparison: Comparison, example: dict[str, Any] | None = None) -> None:
        """Count one input; `example` is kept where the answers differ."""
        self.num_compared += 1
        self.num_agreed += comparison.agrees
        if comparison.score_distance is not None:
            self._distance_sum += comparison.score_distance
            self._num_distances += 1
        for pair in comparison.differences:
            is_counted = pair in self.differences or len(self.differences) < _MAX_PAIRS
            self.differences[pair if is_counted else _OTHERS] += 1
        if example is not None and not comparison.agrees:
            self._examples.append(example)

    def add_durations(self, run_ms: float, candidate_ms: float) -> None:
        """Keep the time in the graph of one request, of both."""
        self._durations.append((run_ms, candidate_ms))

    def plain(self) -> dict[str, Any]:
        """All counts as values of JSON, for another worker to add."""
        return {
            "pair": [self.version, self.candidate],
            "counts": [self.num_compared, self.num_agreed, self.num_failed, self.num_dropped],
            "differences": [[*pair, count] for pair, count in self.differences.items()],
            "errors": dict(self.errors),
            "distances": [self._distance_sum, self._num_distances],
            "durations": list(self._durations),
            "examples": list(self._examples),
        }

    def absorb(self, plain: Mapping[str, Any]) -> None:
        """Add the counts of another tally of the same pair, as `plain` gives them."""
        compared, agreed, failed, dropped = plain["counts"]
        self.num_compared += compared
        self.num_agreed += agreed
        self.num_failed += failed
        self.num_dropped += dropped
        for answer, candidate, count in plain["differences"]:
            self.differences[answer, candidate] += count
        self.errors.update(plain["errors"])
        self._distance_sum += plain["distances"][0]
        self._num_distances += plain["distances"][1]
        self._durations.extend((run_ms, candidate_ms) for run_ms, candidate_ms in plain["durations"])
        self._examples.extend(plain["examples"])

    def report(self) -> ShadowComparison:
        """What is known so far."""
        pairs = self.differences.most_common(_MAX_LISTED_PAIRS)
        return ShadowComparison(
            version=self.version,
            candidate=self.candidate,
            compared=self.num_compared,
            agreed=self.num_agreed,
            agreement=self.num_agreed / self.num_compared if self.num_compared else None,
            failed=self.num_failed,
            dropped=self.num_dropped,
            mean_score_distance=self._distance_sum / self._num_distances if self._num_distances else None,
            latency=_latency([run_ms for run_ms, _ in self._durations]),
            candidate_latency=_latency([run_ms for _, run_ms in self._durations]),
            differences=[Difference(answer=one, candidate=other, count=count) for (one, other), count in pairs],
            errors=dict(self.errors),
            examples=list(self._examples),
        )


def _latency(durations_ms: Sequence[float]) -> Latency | None:
    if not durations_ms:
        return None
    ordered = sorted(durations_ms)
    p50, p95 = (ordered[min(len(ordered) - 1, int(share * len(ordered)))] for share in (0.5, 0.95))
    return Latency(mean_ms=round(sum(ordered) / len(ordered), 3), p50_ms=p50, p95_ms=p95)
