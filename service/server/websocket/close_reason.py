"""The reason in a close frame of a WebSocket."""

from __future__ import annotations

NORMAL, GOING_AWAY, ABNORMAL, INVALID_TEXT, REFUSED = 1000, 1001, 1006, 1007, 1008
TOO_BIG, UNEXPECTED, RESTART, TRY_AGAIN = 1009, 1011, 1012, 1013
#: As HTTP status 408, among the codes that applications may give a meaning.
IDLE = 4408

#: RFC 6455: a control frame has at most 125 bytes, of which the code takes two.
MAX_REASON_BYTES = 123


def shortened_reason(reason: str) -> str:
    """As much of the reason as fits, in whole characters."""
    return reason.encode("utf-8", "replace")[:MAX_REASON_BYTES].decode("utf-8", "ignore")
