"""Trace Context of the W3C: which trace a request belongs to, as the caller says in its headers."""

from __future__ import annotations

import re
from typing import NamedTuple

#: Version, trace, span of the caller, flags. Versions to come may add fields behind these.
_TRACEPARENT = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-[\x20-\x7e]*)?")
_FIRST_VERSION, _INVALID_VERSION = b"00", b"ff"
_NO_TRACE, _NO_SPAN = b"0" * 32, b"0" * 16
_SAMPLED = 0x01
_MAX_STATE_BYTES = 512


class Trace(NamedTuple):
    """The place of one request in a trace. Ids are lower-case hex, as they travel; those that there are not are empty.

    Attributes:
        is_sampled: the trace is kept somewhere, so that it is worth pointing at.
        parent_id: the span of the caller.
        span_id: our own span, where we make one.
        state: what tracing systems tell each other; it is only passed on.
    """

    trace_id: str
    is_sampled: bool
    parent_id: str = ""
    span_id: str = ""
    state: str = ""

    @property
    def exemplar(self) -> dict[str, str] | None:
        """What a histogram says of the request; None if there is nothing to find."""
        return {"trace_id": self.trace_id} if self.is_sampled else None


def parse_traceparent(traceparent: bytes, tracestate: bytes = b"") -> Trace | None:
    """The trace that the headers name; None if they break a rule, for then a request is as good as without them."""
    match = _TRACEPARENT.fullmatch(traceparent.strip(b" \t"))
    if match is None:
        return None
    version, trace_id, parent_id, flags, more = match.groups()
    if version == _INVALID_VERSION or trace_id == _NO_TRACE or parent_id == _NO_SPAN:
        return None
    if version == _FIRST_VERSION and more is not None:
        return None
    is_sampled = bool(int(flags, 16) & _SAMPLED)
    state = tracestate.decode("latin-1") if len(tracestate) <= _MAX_STATE_BYTES else ""
    return Trace(trace_id.decode(), is_sampled, parent_id.decode(), state=state)
