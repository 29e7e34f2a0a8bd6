"""What is known about one request: its id, its headers, and what came of it."""

from __future__ import annotations

import itertools
import re
import secrets
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from service.inference.predict_engine import Timings
from service.metrics import NO_MODEL

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
}


@dataclass(slots=True)
class RequestRecord:
    """What the log and the metrics will say about a request; routes fill it in as they learn more."""

    request_id: str
    path: str
    headers: KnownHeaders
    model: str = NO_MODEL
    version: str = ""
    task: str = NO_MODEL
    outcome: str = "ok"
    status: int = 0
    timings: Timings | None = None
    started_s: float = field(default_factory=time.monotonic)

    @classmethod
    def of(cls, path: str, headers: Iterable[tuple[bytes, bytes]]) -> RequestRecord:
        """The record of a request that has just come."""
        known = KnownHeaders.of(headers)
        return cls(_request_id(known.request_id), path, known)

    @property
    def id_header(self) -> tuple[bytes, bytes]:
        """What every answer carries."""
        return REQUEST_ID_HEADER.lower().encode(), self.request_id.encode()


def _request_id(given: bytes) -> str:
    """The caller's id if it is a plain one, else a new one: ids are written to logs and headers."""
    if given and _REQUEST_ID.fullmatch(given):
        return given.decode("ascii")
    return f"{_PROCESS_ID}{next(_COUNTER):08x}"
