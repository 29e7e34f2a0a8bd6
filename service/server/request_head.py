"""Rules for the head of an HTTP/1.1 request (RFC 9112) beyond those of the parser, and the errors of requests.

The parser refuses what cannot be read. What can be read in two ways is refused here, because a proxy before the service
may read it in the other one: a second `Host`, a coding other than `chunked`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from service.api.error_table import Failure
from service.server.open_connections import EndReason, RoomReason

MAX_HEADERS = 100
MAX_TARGET_BYTES = 8 * 1024

#: The headers that decide where a request ends, for whom it is, and whether its body waits for a response.
_FRAMING_HEADERS = frozenset({b"content-length", b"expect", b"host", b"transfer-encoding"})
#: Left out where an upgrade is ignored, which RFC 9110 allows a server at any time.
_UPGRADE_HEADERS = frozenset({b"upgrade", b"http2-settings"})

_HOST = re.compile(rb"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~!$&'()*+;=%-]*)(:[0-9]*)?")
_SHORTEST_LENGTH_THAT_IS_TOO_LARGE = 19


class Refused(Exception):
    """Stops the parser: the connection ends after `failure` as its last response, and is counted as `reason`."""

    def __init__(self, failure: Failure, reason: EndReason = "refused") -> None:
        super().__init__(failure.message)
        self.failure = failure
        self.reason = reason


def malformed(reason: str) -> Refused:
    """400 for a request that is not HTTP/1.1."""
    return Refused(Failure(400, "malformed_request", f"this is not a valid HTTP/1.1 request: {reason}"))


def headers_too_large(limit: str) -> Refused:
    """431; `limit` is what is allowed."""
    return Refused(Failure(431, "headers_too_large", f"the headers are too large: at most {limit} are allowed"))


def target_too_long() -> Refused:
    """414 for the request target, which is path and query."""
    message = f"the request target is too long: at most {MAX_TARGET_BYTES} bytes are allowed"
    return Refused(Failure(414, "target_too_long", message))


def body_too_large(max_bytes: int) -> Refused:
    """413 for a declared length."""
    return Refused(Failure(413, "body_too_large", f"the body is larger than {max_bytes} bytes"))


def too_late(what: str) -> Refused:
    """408 for a client that was too slow; `what` it did not send."""
    return Refused(Failure(408, "request_timeout", f"{what} did not arrive in time"), "timeout")


def no_room(reason: RoomReason) -> Refused:
    """503 for too many connections, 429 for too many bytes of request bodies."""
    retry = {"Retry-After": "1"}
    if reason == "too_many_connections":
        message = "too many connections are open at this moment"
        return Refused(Failure(503, "overloaded", message, headers=retry), reason)
    message = "too many bytes of request bodies are held at this moment"
    return Refused(Failure(429, "overloaded", message, headers=retry), reason)


def too_many_websockets(max_each: int) -> Refused:
    """429 for one WebSocket too many of a client, all of whose others are being answered."""
    message = f"{max_each} WebSockets of your address are open, which is as many as one client may have"
    return Refused(Failure(429, "overloaded", message, headers={"Retry-After": "1"}), "too_many_connections")


def check_head(method: bytes, version: str, headers: Iterable[tuple[bytes, bytes]]) -> tuple[int, bool, bool]:
    """The declared length of the body, whether it comes in chunks, and whether its client waits for 100 Continue.

    The length of a body in chunks is not declared. `headers` have names in lower case.

    Raises:
        Refused: the head breaks a rule, or can be read in more than one way.
    """
    hosts, lengths, codings, waits = [], b"", [], False
    for name, value in headers:
        if name in _FRAMING_HEADERS:
            if name == b"host":
                hosts.append(value)
            elif name == b"content-length":
                lengths = lengths or value  # the parser refuses a second one
            elif name == b"transfer-encoding":
                codings.append(value)
            else:
                waits = waits or value.lower() == b"100-continue"
    if version != "1.1" or method == b"CONNECT":
        _check_version(method, version)
    if len(hosts) != 1 or not _HOST.fullmatch(hosts[0]):
        _check_host(version, hosts)
    if codings:
        _check_codings(version, codings)
    return (_declared_bytes(lengths) if lengths else 0), bool(codings), waits


def head_without_upgrade(method: bytes, url: bytes, version: str, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The same head, as sent by a client that does not ask for another protocol."""
    lines = [b"%b %b HTTP/%b" % (method, url, version.encode())]
    for name, value in headers:
        kept = _without_upgrade_tokens(value) if name == b"connection" else value
        if name not in _UPGRADE_HEADERS and (kept or name != b"connection"):
            lines.append(b"%b: %b" % (name, kept))
    return b"\r\n".join([*lines, b"", b""])


def _without_upgrade_tokens(value: bytes) -> bytes:
    tokens = [token.strip() for token in value.split(b",")]
    return b", ".join(token for token in tokens if token.lower() not in _UPGRADE_HEADERS)


def _check_version(method: bytes, version: str) -> None:
    if version not in ("1.0", "1.1"):
        message = f"HTTP/{version} is not spoken here: use HTTP/1.1"
        raise Refused(Failure(505, "http_version_not_supported", message))
    if method == b"CONNECT":
        raise Refused(Failure(405, "method_not_allowed", "CONNECT is not allowed: this is not a proxy"))


def _check_host(version: str, hosts: list[bytes]) -> None:
    if not hosts and version == "1.1":
        raise malformed("it has no Host header")
    if len(hosts) > 1:
        raise malformed(f"it has {len(hosts)} Host headers, and only one is allowed")
    if hosts and not _HOST.fullmatch(hosts[0].strip()):
        raise malformed("its Host header is not a host name with an optional port")


def _check_codings(version: str, codings: list[bytes]) -> None:
    """Only `chunked`, once: what else a proxy takes for a coding decides where the next request begins."""
    if len(codings) > 1:
        raise malformed(f"it has {len(codings)} Transfer-Encoding headers, and only one is allowed")
    if codings[0].strip().lower() != b"chunked":
        raise malformed("the only Transfer-Encoding allowed is chunked")
    if version == "1.0":
        raise malformed("HTTP/1.0 has no Transfer-Encoding")


def _declared_bytes(value: bytes) -> int:
    """The declared length, by all of its digits: leading zeros do not make a body shorter."""
    digits = value.strip().lstrip(b"0")
    if digits and not digits.isdigit():
        raise malformed("its Content-Length is not a number")
    return int(digits[:_SHORTEST_LENGTH_THAT_IS_TOO_LARGE] or b"0")
