"""Usage: requests, tokens and seconds of compute by key and model, counted since the start of the process."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple


class Usage(NamedTuple):
    """What one key has used of one model.

    Attributes:
        requests: that have ended, however they ended.
        read_tokens: of inputs and prompts.
        written_tokens: of generated and translated texts and captions.
        compute_s: its part of the runs it took part in: a run of 10 ms with 5 inputs is 2 ms for each.
    """

    requests: int = 0
    read_tokens: int = 0
    written_tokens: int = 0
    compute_s: float = 0.0

    def minus(self, other: Usage) -> Usage:
        """What has been added to the other."""
        return Usage(
            self.requests - other.requests,
            self.read_tokens - other.read_tokens,
            self.written_tokens - other.written_tokens,
            self.compute_s - other.compute_s,
        )


class UsageCounter:
    """The running counts of one key and model."""

    __slots__ = ("compute_s", "read_tokens", "requests", "written_tokens")

    def __init__(self) -> None:
        self.requests = self.read_tokens = self.written_tokens = 0
        self.compute_s = 0.0

    def reading(self) -> Usage:
        """The counts at this moment."""
        return Usage(self.requests, self.read_tokens, self.written_tokens, self.compute_s)


class UsageLedger:
    """All counts. Written in the event loop, read from any thread."""

    def __init__(self) -> None:
        self._counters: dict[tuple[str, str], UsageCounter] = {}

    def of(self, key: str, model: str) -> UsageCounter:
        """The counts of a key and a model, to be added to."""
        return self._counters.setdefault((key, model), UsageCounter())

    def readings(self) -> Iterator[tuple[str, str, Usage]]:
        """Key, model and counts, for all that there are now."""
        for (key, model), counter in list(self._counters.items()):
            yield key, model, counter.reading()
