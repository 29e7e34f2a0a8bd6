"""Every error the service raises on purpose, as one tree. It knows no HTTP: `api.error_table` gives each a status.

UnrollError
├── InvalidInput        the caller's value is wrong; carries the path of the field
├── UnknownModel        no such model or version; carries what there is
├── Overloaded          the queue is full; refused before any work
├── NotReady            bundles are still loading, one failed, or the service is draining
├── DeadlineExceeded    the answer would have come too late
├── InferenceFailed     the graph itself failed; other requests are not affected
├── StateRefused        a state that came back cannot be gone on from; carries the reason as one word
├── UnknownSession      the service holds no such session, or no longer
├── SessionBusy         another request is using this session at the moment
└── BundleError         a bundle on disk cannot be used; carries its path
    ├── BundleIncomplete    a file or manifest entry is missing
    ├── BundleCorrupt       a file differs from its digest or cannot be read
    └── ParityFailed        the graphs do not give the answers recorded when the bundle was made
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

#: Why a state is refused: it was changed or sealed with a key that is not ours, it is too old, it belongs to another
#: model, version or bundle, it belongs to another caller, it is larger than allowed, or it is no state at all.
StateRefusal = Literal["tampered", "expired", "foreign_model", "foreign_caller", "too_large", "malformed"]


#: Why nothing can be answered: bundles are being loaded, this one failed, the service is draining, or a part of it has
#: stopped.
NotReadyCause = Literal["loading", "failed_bundle", "draining", "stopped"]


class UnrollError(Exception):
    """Base of every deliberate error. `str(error)` is a sentence fit for the caller."""


class InvalidInput(UnrollError):
    """A value from the caller breaks a rule. `field` is a path such as `("inputs", 2)`."""

    def __init__(self, message: str, field: Sequence[str | int] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.field = tuple(field)

    def under(self, *prefix: str | int) -> InvalidInput:
        """The same complaint, seen from an enclosing structure: `prefix` is put before the path."""
        return InvalidInput(self.message, (*prefix, *self.field))


class UnknownModel(UnrollError):
    """The model or version asked for is not loaded. `available` names what is."""

    def __init__(self, message: str, available: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.available = tuple(available)


class Overloaded(UnrollError):
    """Too much work is waiting. `retry_after_s` says when to try again, in seconds."""

    def __init__(self, message: str, retry_after_s: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class NotReady(UnrollError):
    """The service cannot answer yet, or no longer. `reasons` has one sentence for each obstacle, `cause` one word."""

    def __init__(self, message: str, reasons: Sequence[str] = (), cause: NotReadyCause = "stopped") -> None:
        super().__init__(message)
        self.reasons = tuple(reasons)
        self.cause = cause


class DeadlineExceeded(UnrollError):
    """The request waited longer than it was allowed to."""


class InferenceFailed(UnrollError):
    """Running the graph raised. The message says which graph, not what the caller sent."""


class StateRefused(UnrollError):
    """A state cannot be gone on from, or not be handed out. `reason` is for programs, the message for people."""

    def __init__(self, message: str, reason: StateRefusal) -> None:
        super().__init__(message)
        self.reason = reason


class UnknownSession(UnrollError):
    """There is no such session: it never was, was not used for too long, or had to make room for others."""


class SessionBusy(UnrollError):
    """Two requests may not use one session at the same time; this is the second."""


class BundleError(UnrollError):
    """A bundle cannot be used. `path` is its folder or the file at fault."""

    def __init__(self, path: Path, message: str) -> None:
        super().__init__(f"{path}: {message}")
        self.path = path
        self.message = message


class BundleIncomplete(BundleError):
    """Something the manifest promises is not there, or there is no manifest."""


class BundleCorrupt(BundleError):
    """A file is not what the manifest says, or not readable as what it should be."""


class ParityFailed(BundleError):
    """The graphs run, but their answers differ from the recorded ones by more than the tolerance."""
