"""The record of one request: its id, trace and headers, and its outcome."""

from __future__ import annotations

import itertools
import re
import secrets
import time
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from service.access.caller import Caller
from service.observability.metrics import NO_MODEL
from service.observability.timings import Timings
from service.observability.trace_context import Trace, parse_traceparent

REQUEST_ID_HEADER = "X-Request-Id"
TIMEOUT_HEADER = "X-Request-Timeout-Ms"
#: Requests with the same value get the same version of a model whose traffic is split.
AFFINITY_HEADER = "X-Affinity-Key"

_REQUEST_ID_NAME = REQUEST_ID_HEADER.lower().encode()
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:-]{1,128}")

# Generated ids are unique: a random part for each process, then a counter.
_PROCESS_ID = secrets.token_hex(12)
_COUNTER = itertools.count(1)


class KnownHeaders(NamedTuple):
    """The request headers that the service reads, as received; empty where one is absent.

    A timeout that is absent is None: an empty one is invalid.
    """

    content_type: bytes = b""
    content_length: bytes = b""
    request_id: bytes = b""
    timeout_ms: bytes | None = None
    authorization: bytes = b""
    api_key: bytes = b""
    traceparent: bytes = b""
    tracestate: bytes = b""
    accept_encoding: bytes = b""
    inference_header_length: bytes = b""
    affinity: bytes = b""
    content_encoding: bytes = b""
    forwarded_for: bytes = b""
    forwarded: bytes = b""

    @property
    def is_forwarded(self) -> bool:
        """Whether a proxy names a client."""
        return bool(self.forwarded_for or self.forwarded)

    @classmethod
    def of(cls, headers: Iterable[tuple[bytes, bytes]]) -> KnownHeaders:
        """Find them by their names in lower case; the last of a repeated header counts."""
        if isinstance(headers, RememberedHeaders):
            return headers.known
        return cls._make(map(dict(headers).get, _NAMES, _DEFAULTS))


#: In the order of the fields.
_NAMES = (
    b"content-type",
    b"content-length",
    REQUEST_ID_HEADER.lower().encode(),
    TIMEOUT_HEADER.lower().encode(),
    b"authorization",
    b"x-api-key",
    b"traceparent",
    b"tracestate",
    b"accept-encoding",
    b"inference-header-content-length",
    AFFINITY_HEADER.lower().encode(),
    b"content-encoding",
    b"x-forwarded-for",
    b"forwarded",
)
_DEFAULTS = tuple(KnownHeaders())


class RememberedHeaders(list[tuple[bytes, bytes]]):
    """The headers of many requests that were sent alike: what the service reads of them is found once."""

    def __init__(self, headers: Iterable[tuple[bytes, bytes]]) -> None:
        super().__init__(headers)
        self.known = KnownHeaders.of(list(self))


class StreamTimes(NamedTuple):
    """When a generation was prepared, queued, joined a batch, gave its first token and ended, by `time.monotonic()`.

    A time is 0 if that did not happen. The time of the first token is known for streams only.
    """

    begun_s: float
    queued_s: float
    joined_s: float
    first_token_s: float
    ended_s: float
    num_tokens: int


class RequestRecord:
    """What logs, metrics and traces report about a request; routes fill it in.

    Most requests leave most attributes as they are, so the class has these values and not each record.

    Attributes:
        route: the template of the path, never the path itself, so that clients cannot create label values.
        protocol: its label in the metrics; empty for pages and probes.
        client: the address of the client, as trusted proxies tell it; empty if it is not known.
        caller: who has sent it, by its API key; None without keys.
        is_admitted: whether it counts among the open requests of its caller.
        path: the path itself, cut and escaped, where nothing is served at it or not by this method: for the log alone.
        outcome: ok, cancelled, or the `error_type` of the response.
        rejection: why no model ran, in more detail than `outcome`; empty if one did.
        grpc_status: the status of a call of gRPC, such as OK; `status` has that of HTTP beside it.
        timings: of a prediction, whose last stage ended at `timed_s`.
        stream_times: of a generation.
        begun_s: when a generation began to be prepared.
        texts: the beginning of the inputs, if the settings allow to log them.
    """

    protocol: str = ""
    client: str = ""
    caller: Caller | None = None
    is_admitted: bool = False
    trace: Trace | None = None
    path: str = ""
    model: str = NO_MODEL
    version: str = ""
    task: str = NO_MODEL
    outcome: str = "ok"
    rejection: str = ""
    status: int = 0
    grpc_status: str = ""
    timings: Timings | None = None
    timed_s: float = 0.0
    begun_s: float = 0.0
    stream_times: StreamTimes | None = None
    texts: Sequence[str] = ()

    def __init__(self, request_id: str, route: str, headers: KnownHeaders) -> None:
        self.request_id = request_id
        self.route = route
        self.headers = headers
        self.started_s = time.monotonic()

    @classmethod
    def of(cls, route: str, headers: Iterable[tuple[bytes, bytes]]) -> RequestRecord:
        """The record of a request that has just arrived."""
        known = KnownHeaders.of(headers)
        record = cls(request_id_of(known.request_id), route, known)
        if known.traceparent:
            record.trace = parse_traceparent(known.traceparent, known.tracestate)
        return record

    @property
    def id_header(self) -> tuple[bytes, bytes]:
        """The response header with the request id."""
        return _REQUEST_ID_NAME, self.request_id.encode()

    @property
    def headers_out(self) -> list[tuple[bytes, bytes]]:
        """The response headers with the request id, and with what the caller's limits still allow."""
        own = _REQUEST_ID_NAME, self.request_id.encode()
        return [own] if self.caller is None else [own, *self.caller.limit_headers()]

    @property
    def identity(self) -> dict[str, str]:
        """The fields of every log line that is written while the request is answered."""
        if self.trace is None:
            return {"request_id": self.request_id}
        fields = {"request_id": self.request_id, "trace_id": self.trace.trace_id}
        return fields | {"span_id": self.trace.span_id} if self.trace.span_id else fields

    @property
    def exemplar(self) -> dict[str, str] | None:
        """The exemplar of this request in a histogram."""
        return None if self.trace is None else self.trace.exemplar

    def note_timings(self, timings: Timings) -> None:
        """Keep the timings of a prediction that has just ended."""
        self.timings, self.timed_s = timings, time.monotonic()


def request_id_of(given: bytes) -> str:
    """The client's id if it is safe to write to logs and headers, else a new one."""
    if given and _REQUEST_ID.fullmatch(given):
        return given.decode("ascii")
    return f"{_PROCESS_ID}{next(_COUNTER):08x}"
