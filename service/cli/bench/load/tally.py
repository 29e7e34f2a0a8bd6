"""Counts of a load: latencies of answers, refusals, errors by kind, tokens of streams, and unanswered requests."""

from __future__ import annotations

import json
import math
from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from service.cli.bench.load.connection import Reply

OK, TOO_MANY_REQUESTS, UNAVAILABLE = 200, 429, 503
PERCENTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "max": 1.0}
_EVENT = b"data:{"
_SAMPLE_CHARACTERS = 200


def percentile(values: Sequence[float], share: float) -> float | None:
    """Return the smallest value that at least `share` of `values` do not exceed; None without values."""
    return percentiles(values, [share])[0]


def percentiles(values: Sequence[float], shares: Sequence[float]) -> list[float | None]:
    """Several percentiles of the same values."""
    ordered = sorted(values)
    if not ordered:
        return [None] * len(shares)
    return [ordered[max(0, math.ceil(share * len(ordered)) - 1)] for share in shares]


def _seconds() -> array[float]:
    return array("d")


@dataclass
class Tally:
    """Counts replies. `payloads` are the requests on the wire, which are sent in turn; `streams`: of events."""

    payloads: Sequence[bytes]
    streams: bool = False
    latencies_s: array[float] = field(default_factory=_seconds)
    refusals_s: array[float] = field(default_factory=_seconds)
    #: Time to the first token, and between tokens, of answers that are streams.
    first_tokens_s: array[float] = field(default_factory=_seconds)
    between_tokens_s: array[float] = field(default_factory=_seconds)
    refusals_without_retry_after: int = 0
    tokens: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    #: The first message of each kind of error.
    samples: dict[str, str] = field(default_factory=dict)

    def note(self, number: int, reply: Reply, counts: bool) -> None:
        """Count the reply to request `number`; it enters the figures only if `counts` is true."""
        if not counts:
            return
        if reply.status == OK:
            self._note_answer(number, reply)
        elif reply.status in (TOO_MANY_REQUESTS, UNAVAILABLE):
            self.refusals_s.append(reply.latency_s)
            self.refusals_without_retry_after += not reply.has_retry_after
            self._sample(f"HTTP {reply.status}", reply.body)
        else:
            self.fail(_kind(reply), reply.body)

    def fail(self, what: str, body: bytes = b"") -> None:
        """Count an error by its kind, such as a lost connection."""
        self.errors[what] += 1
        self._sample(what, body)

    def tokens_of(self, number: int, reply: Reply) -> int:
        """Tokens of the answer to request `number`: the events of a stream."""
        return reply.body.count(_EVENT) if self.streams else 0

    def summary(self, seconds: float) -> dict[str, Any]:
        """Return the figures of a window of `seconds`."""
        return {
            "answered": len(self.latencies_s),
            "rate": len(self.latencies_s) / seconds if seconds else 0.0,
            "tokens_per_s": self.tokens / seconds if seconds else 0.0,
            **milliseconds("", self.latencies_s),
            "refused": len(self.refusals_s),
            **milliseconds("refused_", self.refusals_s),
            "refused_without_retry_after": self.refusals_without_retry_after,
            "errors": self.errors.total(),
            "error_kinds": dict(self.errors.most_common()),
        }

    def _note_answer(self, number: int, reply: Reply) -> None:
        if self.streams:
            fault = _fault_of_stream(reply.body)
            if fault:
                self.fail(fault, reply.body.rpartition(b"data:")[2])
                return
            self._note_times(reply.pieces)
        self.latencies_s.append(reply.latency_s)
        self.tokens += self.tokens_of(number, reply)

    def _note_times(self, pieces: Sequence[tuple[float, bytes]]) -> None:
        """Tokens that arrive in one piece have no time between them."""
        before_s: float | None = None
        for arrived_s, piece in pieces:
            num_tokens = piece.count(_EVENT)
            if not num_tokens:
                continue
            if before_s is None:
                self.first_tokens_s.append(arrived_s)
            else:
                self.between_tokens_s.append(arrived_s - before_s)
            self.between_tokens_s.extend([0.0] * (num_tokens - 1))
            before_s = arrived_s

    def _sample(self, kind: str, body: bytes) -> None:
        if body and kind not in self.samples:
            self.samples[kind] = _message(body)


def milliseconds(prefix: str, values_s: Sequence[float]) -> dict[str, float | None]:
    """The percentiles of times, by name such as `p99_ms`."""
    found = zip(PERCENTILES, percentiles(values_s, list(PERCENTILES.values())), strict=True)
    return {f"{prefix}{name}_ms": None if value is None else value * 1000 for name, value in found}


def _kind(reply: Reply) -> str:
    error_type = _object(reply.body).get("error_type")
    return f"HTTP {reply.status} {error_type}" if error_type else f"HTTP {reply.status}"


def _fault_of_stream(body: bytes) -> str:
    """Why a stream that began with 200 has no complete text; "" if it has."""
    last = _object(body.rpartition(b"data:")[2])
    if "error" in last:
        return f"error in a stream: {last.get('error_type') or 'unknown'}"
    return "" if last.get("generated_text") is not None else "a stream ended early"


def _message(body: bytes) -> str:
    message = _object(body).get("error") or body.decode("utf-8", "replace")
    return " ".join(str(message).split())[:_SAMPLE_CHARACTERS]


def _object(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
