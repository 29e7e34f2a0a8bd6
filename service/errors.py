"""The errors of the service, as one tree. They are independent of HTTP: `api.error_table` maps each to a status.

UnrollError
├── InvalidInput        a value from the caller is invalid; carries the path of the field
├── UnknownModel        no such model or version; carries those that exist
├── Unauthenticated     no API key, or one that is not valid
├── Forbidden           the API key does not allow this
├── RateLimited         the API key allows no more at the moment
├── BodyTooLarge        the body is larger than the API key allows
├── Overloaded          the queue is full; refused before any work
├── NotReady            bundles are still loading, one failed, or the service is draining
│   ├── StillOpening        the bundle is being opened for its first requests; carries what to wait for
│   └── SessionStoreFull    sessions can be read, but there is no room to write one
├── DeadlineExceeded    the answer was not ready before the deadline
├── InferenceFailed     the graph itself failed; other requests are not affected
├── StateRefused        a state token cannot be resumed from; carries the reason as one word
├── UnknownSession      the session does not exist, or no longer
├── SessionBusy         another request is using the session
├── HubError            a bundle cannot be pulled or pushed; the message names its address
│   ├── NotThere            nothing lies at the address
│   └── Unreachable         the other side does not answer as it should: it may later
└── BundleError         a bundle on disk cannot be used; carries its path
    ├── BundleIncomplete    a file or manifest entry is missing
    ├── BundleCorrupt       a file differs from its digest or cannot be read
    └── ParityFailed        the graphs do not reproduce the answers recorded when the bundle was made
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from pathlib import Path
from typing import Literal

#: Why a state is refused: it was changed or sealed with an unknown key, it has expired, it belongs to another model,
#: version or bundle, it belongs to another caller, it is larger than allowed, or it is not a state token at all.
StateRefusal = Literal["tampered", "expired", "foreign_model", "foreign_caller", "too_large", "malformed"]

#: Why the service cannot answer: bundles are loading, the bundle failed or was unloaded, the service is draining, or a
#: part stopped.
NotReadyCause = Literal["loading", "failed_bundle", "unloaded", "draining", "stopped"]


#: Why a caller is not known: no key, a scheme of `Authorization` other than Bearer, an unknown key, or an expired one.
KeyRefusal = Literal["missing", "scheme", "unknown", "expired"]


class UnrollError(Exception):
    """Base of all errors of the service. `str(error)` is a sentence that may be shown to the caller."""


class InvalidInput(UnrollError):
    """A value from the caller is invalid. `field` is its path, such as `("inputs", 2)`."""

    def __init__(self, message: str, field: Sequence[str | int] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.field = tuple(field)

    def under(self, *prefix: str | int) -> InvalidInput:
        """The same error in an enclosing structure, with `prefix` before the path."""
        return InvalidInput(self.message, (*prefix, *self.field))


class UnknownModel(UnrollError):
    """The requested model or version does not exist. `available` lists those that do."""

    def __init__(self, message: str, available: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.available = tuple(available)


class Unauthenticated(UnrollError):
    """There is no API key, or none that is valid."""

    def __init__(self, message: str, reason: KeyRefusal) -> None:
        super().__init__(message)
        self.reason = reason


class Forbidden(UnrollError):
    """The API key has no scope for this."""


class RateLimited(UnrollError):
    """The API key allows no more at the moment. `limit` is the one that was reached."""

    def __init__(self, message: str, limit: str, retry_after_s: float) -> None:
        super().__init__(message)
        self.limit = limit
        self.retry_after_s = retry_after_s


class BodyTooLarge(UnrollError):
    """The body is larger than the API key, or the model, allows."""


class Overloaded(UnrollError):
    """Load shedding: the queue is full. `retry_after_s` is the number of seconds to wait before a retry."""

    def __init__(self, message: str, retry_after_s: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class NotReady(UnrollError):
    """The service cannot answer yet, or no longer. `reasons` are sentences, `cause` is one word."""

    def __init__(self, message: str, reasons: Sequence[str] = (), cause: NotReadyCause = "stopped") -> None:
        super().__init__(message)
        self.reasons = tuple(reasons)
        self.cause = cause


class StillOpening(NotReady):
    """The bundle is being opened, as this is its first request for long. `opened` ends when it is, or has failed."""

    def __init__(self, message: str, reasons: Sequence[str], cause: NotReadyCause, opened: Awaitable[None]) -> None:
        super().__init__(message, reasons, cause)
        self.opened = opened


class SessionStoreFull(NotReady):
    """The session store has no memory left: what it keeps can be read, and nothing be added."""


class DeadlineExceeded(UnrollError):
    """The deadline of the request passed before its answer was ready."""


class InferenceFailed(UnrollError):
    """Running a graph failed. The message names the graph and does not contain input."""


class StateRefused(UnrollError):
    """A state cannot be accepted or issued. `reason` is for programs, the message for people."""

    def __init__(self, message: str, reason: StateRefusal) -> None:
        super().__init__(message)
        self.reason = reason


class UnknownSession(UnrollError):
    """There is no such session: it never existed, has expired, or was evicted."""


class SessionBusy(UnrollError):
    """The session is in use by another request, and two requests must not use it at the same time."""


class HubError(UnrollError):
    """A bundle cannot be pulled from, or pushed to, an address. The message names it."""


class NotThere(HubError):
    """There is no such file, bundle or repository at the address."""


class Unreachable(HubError):
    """The other side cannot be reached, stalls or breaks off. The same may succeed later."""


class BundleError(UnrollError):
    """A bundle cannot be used. `path` is its folder or the file at fault."""

    def __init__(self, path: Path, message: str) -> None:
        super().__init__(f"{path}: {message}")
        self.path = path
        self.message = message


class BundleIncomplete(BundleError):
    """A file or entry that the manifest requires is missing, or there is no manifest."""


class BundleCorrupt(BundleError):
    """A file differs from the manifest, or cannot be read in its format."""


class ParityFailed(BundleError):
    """The graphs run, but their answers differ from the recorded ones by more than the tolerance."""
