"""W3C Trace Context: the trace of a request, from its `traceparent` and `tracestate` headers."""

from __future__ import annotations

import re
from typing import NamedTuple

#: Version, trace, span of the caller, flags. Future versions may append fields.
_TRACEPARENT = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-[\x20-\x7e]*)?")
_FIRST_VERSION, _INVALID_VERSION = b"00", b"ff"
_NO_TRACE, _NO_SPAN = b"0" * 32, b"0" * 16
_SAMPLED = 0x01
_MAX_STATE_BYTES = 512


class Trace(NamedTuple):
    """The place of one request in a trace. Ids are lower-case hex as in the headers, and empty if absent.

    Attributes:
        is_sampled: the trace is recorded.
        parent_id: the span of the caller.
        span_id: our own span, if there is one.
        state: `tracestate`, which is passed on unchanged.
    """

    trace_id: str
    is_sampled: bool
    parent_id: str = ""
    span_id: str = ""
    state: str = ""

    @property
    def exemplar(self) -> dict[str, str] | None:
        """The exemplar of the request in a histogram; None if the trace is not recorded."""
        return {"trace_id": self.trace_id} if self.is_sampled else None


def parse_traceparent(traceparent: bytes, tracestate: bytes = b"") -> Trace | None:
    """The trace named in the headers; None if they are invalid, since invalid headers must be ignored."""
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
