"""Close codes of WebSocket (RFC 6455, section 7.4) by the error that ends a stream."""

from __future__ import annotations

NORMAL, POLICY, TOO_BIG, UNEXPECTED, RESTART, TRY_AGAIN = 1000, 1008, 1009, 1011, 1012, 1013

#: Codes that the RFC or its registry define, by the HTTP status of the same error.
_BY_STATUS = {403: POLICY, 409: POLICY, 413: TOO_BIG, 429: TRY_AGAIN, 500: UNEXPECTED, 503: TRY_AGAIN}
#: Codes from 4000 on are free for applications: 4422 is what status 422 would be.
_FIRST_OF_OURS = 4000
_KNOWN = frozenset({*range(1000, 1016), *(_FIRST_OF_OURS + status for status in (400, 404, 408, 422, 504))})


def close_code_of(status: int) -> int:
    """The close code for the HTTP status that the same error has elsewhere."""
    return _BY_STATUS.get(status, _FIRST_OF_OURS + status)


def label_of(code: int | None) -> str:
    """A close code as the value of a label: clients choose theirs, and must not be able to create values."""
    if code is None:
        return "none"
    return str(code) if code in _KNOWN else "other"
