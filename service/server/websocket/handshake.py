"""The opening handshake of WebSocket (RFC 6455, section 4.2): which requests ask for it, and what they are answered."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import unquote

from websockets.utils import accept_key

from service.api.error_table import Failure
from service.server.request_head import Refused

_VERSION = b"13"
#: Pages of a browser cannot set headers of a WebSocket: they offer this subprotocol, and another with their API key.
_PROTOCOL, _KEY_PROTOCOL = b"unroll", b"unroll.bearer."
_KEY_BYTES = 16

RawHeaders = Sequence[tuple[bytes, bytes]]


def offers_websocket(method: bytes, version: str, headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Whether a request asks for a WebSocket, and for no other protocol."""
    values = list(headers)
    return (
        method == b"GET"
        and version == "1.1"
        and _tokens(values, b"upgrade") == [b"websocket"]
        and b"upgrade" in _tokens(values, b"connection")
    )


def accept_headers(headers: RawHeaders) -> list[tuple[bytes, bytes]]:
    """The headers of the response 101.

    Raises:
        Refused: 426 for another version of the protocol, 400 for a key that is none.
    """
    if _values(headers, b"sec-websocket-version") != [_VERSION]:
        message = "this version of WebSocket is not spoken here: use Sec-WebSocket-Version: 13"
        needed = {"Sec-WebSocket-Version": "13", "Upgrade": "websocket"}
        raise Refused(Failure(426, "upgrade_required", message, headers=needed))
    keys = _values(headers, b"sec-websocket-key")
    if len(keys) != 1 or not _is_key(keys[0]):
        message = "a WebSocket needs one header Sec-WebSocket-Key: 16 random bytes in base64"
        raise Refused(Failure(400, "malformed_request", message))
    chosen = [(b"sec-websocket-protocol", _PROTOCOL)] if _PROTOCOL in _offered(headers) else []
    return [
        (b"upgrade", b"websocket"),
        (b"connection", b"Upgrade"),
        (b"sec-websocket-accept", accept_key(keys[0].decode("ascii")).encode("ascii")),
        *chosen,
    ]


def websocket_scope(scope: Mapping[str, Any], target: bytes) -> dict[str, Any]:
    """The scope of ASGI for a WebSocket, from that of its request and the request target."""
    path, _, query = target.partition(b"?")
    scope = {name: value for name, value in scope.items() if name != "method"}
    root_path = scope["root_path"]
    return {
        **scope,
        "headers": [*scope["headers"], *_authorization(scope["headers"])],
        "type": "websocket",
        "asgi": {**scope["asgi"], "spec_version": "2.4"},
        "scheme": "wss" if scope["scheme"] == "https" else "ws",
        "path": root_path + unquote(path.decode("latin-1")),
        "raw_path": root_path.encode("ascii") + path,
        "query_string": query,
        "subprotocols": [],
        "extensions": {"websocket.http.response": {}},
    }


def _offered(headers: Iterable[tuple[bytes, bytes]]) -> list[bytes]:
    """The subprotocols that a client offers. Unlike other lists, they are case-sensitive."""
    values = _values(headers, b"sec-websocket-protocol")
    return [each.strip() for value in values for each in value.split(b",")]


def _authorization(headers: RawHeaders) -> RawHeaders:
    """`Authorization` for the API key in a subprotocol (base64 for URLs), where there is no such header."""
    keys = [each.removeprefix(_KEY_PROTOCOL) for each in _offered(headers) if each.startswith(_KEY_PROTOCOL)]
    if not keys or _values(headers, b"authorization"):
        return []
    try:
        key = base64.b64decode(keys[0] + b"=" * (-len(keys[0]) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return []  # as without a key
    return [(b"authorization", b"Bearer " + key)]


def _is_key(value: bytes) -> bool:
    try:
        return len(base64.b64decode(value, validate=True)) == _KEY_BYTES
    except (binascii.Error, ValueError):
        return False


def _values(headers: Iterable[tuple[bytes, bytes]], wanted: bytes) -> list[bytes]:
    return [value.strip() for name, value in headers if name == wanted]


def _tokens(headers: Iterable[tuple[bytes, bytes]], wanted: bytes) -> list[bytes]:
    """The values of a header that is a list, in lower case."""
    return [token.strip().lower() for value in _values(headers, wanted) for token in value.split(b",")]
