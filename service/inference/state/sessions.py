"""Sessions: recurrent state that is kept on the server, for clients that send an id instead of a state token.

A session is bytes under a key. One request at a time holds it, from before it reads the state until after it has
written the next one, so that two requests never continue from the same state.

    async with store.hold(key) as session:
        state = await session.load()
        ...
        await session.save(next_state)
"""

from __future__ import annotations

from collections import Counter
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from service.errors import SessionBusy, StateRefused


class SessionLabel(NamedTuple):
    """By what an owner finds a session again: `owner` is a fingerprint, `text` can be read by nobody else."""

    owner: str
    text: bytes


class KeptSession(NamedTuple):
    """A session as its owner sees it in the list.

    Attributes:
        key: as in `SessionStore.hold`.
        label: the text of its label.
        num_bytes: of the state.
        expires_in_s: when it is dropped, unless it is used before.
    """

    key: str
    label: bytes
    num_bytes: int
    expires_in_s: float


class HeldSession(Protocol):
    """A session that is locked by the current request."""

    async def load(self) -> bytes | None:
        """The state that was saved last, or None. Loading counts as use.

        Raises:
            StateRefused: what is stored cannot be a state.
        """
        ...

    async def save(self, data: bytes) -> None:
        """Replace the state.

        Raises:
            StateRefused: with the reason "too_large".
            SessionBusy: the hold was lost, and another request has or had the session since; nothing was changed.
            SessionStoreFull: the store has no room; the state before is deleted, as it would repeat what was answered.
        """
        ...

    async def delete(self) -> bool:
        """Delete the state; whether there was one. Raises SessionBusy as `save` does."""
        ...


class SessionStore(Protocol):
    """Storage of sessions. Keys come from `StateOwner.fingerprint`, so no caller can reach the session of another."""

    @property
    def failures(self) -> Counter[str]:
        """Commands that failed, by reason: timeout, unreachable, full or refused."""
        ...

    def hold(self, key: str, label: SessionLabel | None = None) -> AbstractAsyncContextManager[HeldSession]:
        """Lock a session inside `async with`; it need not exist yet. What is saved with a label is listed.

        Raises:
            SessionBusy: on entering, if another request holds it. There is no waiting for a session.
            NotReady: here and in all methods of the held session, if the store cannot be reached.
        """
        ...

    async def kept_by(self, owner: str) -> list[KeptSession]:
        """The labelled sessions of an owner, those used last first, `MAX_LISTED` at most. Raises NotReady."""
        ...

    async def check(self) -> None:
        """Log it if the store cannot be used; requests without a session are answered all the same."""
        ...

    async def close(self) -> None:
        """Close the connections."""
        ...


#: More sessions of one owner are not listed.
MAX_LISTED = 1000


@dataclass(frozen=True)
class SessionLimits:
    """Limits of a session store. A session expires when it was not used for `ttl_s` seconds.

    Raises:
        ValueError: a single session of the maximum size would not fit.
    """

    ttl_s: float
    max_session_bytes: int
    max_sessions: int
    max_total_bytes: int

    def __post_init__(self) -> None:
        if self.max_session_bytes > self.max_total_bytes:
            raise ValueError("max_session_bytes must not be larger than max_total_bytes")


def busy() -> SessionBusy:
    """The error of the second of two concurrent requests on one session."""
    return SessionBusy("another request is using this session: send the next one after its answer")


def require_small(data: bytes, max_session_bytes: int) -> None:
    """Raises StateRefused for a state that is larger than a session may be."""
    if len(data) > max_session_bytes:
        message = f"the state of this session has {len(data)} bytes, at most {max_session_bytes} are kept"
        raise StateRefused(message, "too_large")
