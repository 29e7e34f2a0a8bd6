"""Known heads: plain requests whose head has been parsed and checked before, byte for byte.

A client sends the same head again and again; only the body differs, and with it `Content-Length`. Parsing and checking
a head costs more than looking it up.
"""

from __future__ import annotations

from typing import NamedTuple

from service.api.protocol import Headers, Match
from service.api.request_record import RememberedHeaders

_HEAD_END = b"\r\n\r\n"
#: Clients choose their heads, so there is a bound on what they take.
_MAX_HEADS, _MAX_HEAD_BYTES = 1024, 1024
#: Headers that differ from request to request: a head with one of them is not worth remembering.
_CHANGING = frozenset({b"x-request-id", b"traceparent", b"tracestate", b"idempotency-key"})


class KnownHead(NamedTuple):
    """A head that was found to be plain and valid. `num_body_bytes` is the declared length of the body.

    A probe has no match: it is known by its target.
    """

    match: Match | None
    headers: RememberedHeaders
    num_body_bytes: int
    target: bytes


class KnownHeads:
    """The heads of plain requests of all connections, by their bytes."""

    def __init__(self) -> None:
        self._heads: dict[bytes, KnownHead] = {}

    def __len__(self) -> int:
        return len(self._heads)

    def find(self, data: bytes) -> tuple[KnownHead, bytes] | None:
        """The head and the body, if `data` is one whole request with a known head."""
        end = data.find(_HEAD_END) + len(_HEAD_END)
        head = self._heads.get(data[:end])
        if head is None or len(data) - end != head.num_body_bytes:
            return None
        return head, data[end:]

    def learn(self, data: bytes, match: Match | None, headers: Headers, num_body_bytes: int, target: bytes) -> None:
        """Remember the head that `data` begins with, which has been parsed and checked."""
        head = data[: data.find(_HEAD_END) + len(_HEAD_END)]
        if len(head) > _MAX_HEAD_BYTES or any(name in _CHANGING for name, _ in headers) or not _is_whole(head, headers):
            return
        if len(self._heads) >= _MAX_HEADS:
            self._heads.clear()
        self._heads[head] = KnownHead(match, RememberedHeaders(headers), num_body_bytes, target)


def _is_whole(head: bytes, headers: Headers) -> bool:
    """Whether these bytes are what the headers were parsed from, and nothing else.

    The parser also takes empty lines before a request, and may take a line feed alone for the end of a line.
    """
    num_lines = len(headers) + 2  # the request line, and the empty one
    return head.startswith((b"POST ", b"GET ")) and head.count(b"\r\n") == head.count(b"\n") == num_lines
