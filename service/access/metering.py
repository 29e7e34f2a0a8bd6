"""Metering: what a request uses is counted for whoever sent it, where it is known.

Engines and queues find the meter of the current request in a context variable, so that no protocol has to pass it on,
and keep it for what ends outside of the request's task.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import Protocol


class Meter(Protocol):
    """Counts for one caller. Call it in the event loop."""

    def charge(self, model: str, read_tokens: int = 0, written_tokens: int = 0, compute_s: float = 0.0) -> None:
        """Add what a request has used of a model."""
        ...


#: Of the request that is being answered; None if nobody counts.
meter_var: ContextVar[Meter | None] = ContextVar("meter", default=None)
