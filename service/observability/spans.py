"""Finished requests and their stages as plain values, and the interface of tracers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple, Protocol

from service.observability.trace_context import Trace

Attributes = Mapping[str, str | int | float | bool]

_NO_ATTRIBUTES: Attributes = MappingProxyType({})
_NO_EVENTS: Mapping[str, float] = MappingProxyType({})


class Stage(NamedTuple):
    """A part of a request. Times are `time.monotonic()`; `events` are points in time within it."""

    name: str
    started_s: float
    ended_s: float
    attributes: Attributes = _NO_ATTRIBUTES
    events: Mapping[str, float] = _NO_EVENTS


class TracedRequest(NamedTuple):
    """A finished request. `is_fault`: it failed, and not because of the client."""

    trace: Trace
    name: str
    started_s: float
    ended_s: float
    attributes: Attributes
    is_fault: bool
    stages: Sequence[Stage]


class Tracer(Protocol):
    """Assigns requests to traces, and exports their spans when they have finished."""

    def begin(self, caller: Trace | None, name: str) -> Trace:
        """The trace of an arriving request: its caller's or a new one, sampled or not."""

    def finish(self, request: TracedRequest) -> None:
        """Export the spans of a request if it is sampled. Does not block."""

    def close(self) -> None:
        """Send what is left. It waits, but for two seconds at most."""
