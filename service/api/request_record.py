"""What is known about one request: its id, its trace, its headers, and what came of it."""

from __future__ import annotations

import itertools
import re
import secrets
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from service.observability.metrics import NO_MODEL
from service.observability.timings import Timings
from service.observability.trace_context import Trace, parse_traceparent

REQUEST_ID_HEADER = "X-Request-Id"
TIMEOUT_HEADER = "X-Request-Timeout-Ms"

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:-]{1,128}")

# Ids that we make are unique because of what is random in each process, and counted within it.
_PROCESS_ID = secrets.token_hex(12)
_COUNTER = itertools.count(1)


class KnownHeaders(NamedTuple):
    """The request headers that mean something here, as they came; empty where one is absent."""

    content_type: bytes = b""
    content_length: bytes = b""
    request_id: bytes = b""
    timeout_ms: bytes = b""
    authorization: bytes = b""
    traceparent: bytes = b""
    tracestate: bytes = b""

    @classmethod
    def of(cls, headers: Iterable[tuple[bytes, bytes]]) -> KnownHeaders:
        """Found in one pass over names in lower case; of a header that is repeated the last counts."""
        return cls(**{_FIELDS[name]: value for name, value in headers if name in _FIELDS})


_FIELDS = {
    b"content-type": "content_type",
    b"content-length": "content_length",
    REQUEST_ID_HEADER.lower().encode(): "request_id",
    TIMEOUT_HEADER.lower().encode(): "timeout_ms",
    b"authorization": "authorization",
    b"traceparent": "traceparent",
    b"tracestate": "tracestate",
}


class StreamTimes(NamedTuple):
    """When a stream was prepared, queued, joined a batch, gave its first token and ended, by `time.monotonic()`.

    A time that did not come is 0. The first token is known of streamed texts only.
    """

    begun_s: float
    queued_s: float
    joined_s: float
    first_token_s: float
    ended_s: float
    num_tokens: int


@dataclass(slots=True)
class RequestRecord:
    """What log, metrics and traces will say about a request; routes fill it in as they learn more.

    Attributes:
        route: the path's template, never the path itself: what labels and span names may hold.
        outcome: ok, cancelled, or the `error_type` of the answer.
        rejection: why no model ran for it, more exactly than `outcome` says; empty if one did.
        timings: of a prediction; all stages ended at `timed_s`.
        stream_times: of a generated text.
        begun_s: when its text began to be prepared for a stream.
        texts: what was sent, where that may be logged.
    """

    request_id: str
    route: str
    headers: KnownHeaders
    trace: Trace | None = None
    model: str = NO_MODEL
    version: str = ""
    task: str = NO_MODEL
    outcome: str = "ok"
    rejection: str = ""
    status: int = 0
    timings: Timings | None = None
    timed_s: float = 0.0
    begun_s: float = 0.0
    stream_times: StreamTimes | None = None
    texts: Sequence[str] = ()
    started_s: float = field(default_factory=time.monotonic)

    @classmethod
    def of(cls, route: str, headers: Iterable[tuple[bytes, bytes]]) -> RequestRecord:
        """The record of a request that has just arrived."""
        known = KnownHeaders.of(headers)
        trace = parse_traceparent(known.traceparent, known.tracestate) if known.traceparent else None
        return cls(request_id_of(known.request_id), route, known, trace)

    @property
    def id_header(self) -> tuple[bytes, bytes]:
        """What every answer carries."""
        return REQUEST_ID_HEADER.lower().encode(), self.request_id.encode()

    @property
    def identity(self) -> dict[str, str]:
        """What every line has that is written on its behalf."""
        if self.trace is None:
            return {"request_id": self.request_id}
        fields = {"request_id": self.request_id, "trace_id": self.trace.trace_id}
        return fields | {"span_id": self.trace.span_id} if self.trace.span_id else fields

    @property
    def exemplar(self) -> dict[str, str] | None:
        """What a histogram says of this request."""
        return None if self.trace is None else self.trace.exemplar

    def note_timings(self, timings: Timings) -> None:
        """A prediction is there, just now."""
        self.timings, self.timed_s = timings, time.monotonic()


def request_id_of(given: bytes) -> str:
    """The caller's id if it is a plain one, else a new one: ids are written to logs and headers."""
    if given and _REQUEST_ID.fullmatch(given):
        return given.decode("ascii")
    return f"{_PROCESS_ID}{next(_COUNTER):08x}"
