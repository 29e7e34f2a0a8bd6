"""What is told of a request that is over, as plain values, and who is told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple, Protocol

from service.observability.trace_context import Trace

Attributes = Mapping[str, str | int | float | bool]

_NO_ATTRIBUTES: Attributes = MappingProxyType({})
_NO_EVENTS: Mapping[str, float] = MappingProxyType({})


class Stage(NamedTuple):
    """A part of a request. Times are `time.monotonic()`; `events` are moments within it."""

    name: str
    started_s: float
    ended_s: float
    attributes: Attributes = _NO_ATTRIBUTES
    events: Mapping[str, float] = _NO_EVENTS


class TracedRequest(NamedTuple):
    """A request that is over. `is_fault` says that it failed, and not by its caller's doing."""

    trace: Trace
    name: str
    started_s: float
    ended_s: float
    attributes: Attributes
    is_fault: bool
    stages: Sequence[Stage]


class Tracer(Protocol):
    """Gives requests their place in a trace, and makes spans of them when they are over."""

    def begin(self, caller: Trace | None, name: str) -> Trace:
        """The place of a request that has come: in its caller's trace, or in a new one; sampled, or not."""

    def finish(self, request: TracedRequest) -> None:
        """Send a request's spans, if it is sampled. It does not wait for anybody."""

    def close(self) -> None:
        """Send what is left. It waits, but for two seconds at most."""
