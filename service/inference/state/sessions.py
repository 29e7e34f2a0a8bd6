"""Sessions: state that the service holds for clients which would rather send an id than carry it.

A session is bytes under a key. One request holds it at a time, from before it reads the state until after it has
written the next one, so that two requests can never both go on from the same state.

    async with store.hold(key) as session:
        state = await session.load()
        ...
        await session.save(next_state)
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from service.errors import SessionBusy, StateRefused


class HeldSession(Protocol):
    """A session while its holder has it for itself."""

    async def load(self) -> bytes | None:
        """What was saved last, which counts as use; None if there is nothing, or nothing any more."""
        ...

    async def save(self, data: bytes) -> None:
        """Replace the state.

        Raises:
            StateRefused: with the reason "too_large".
            SessionBusy: it was held for too long and may be in other hands by now; nothing was changed.
        """
        ...

    async def delete(self) -> bool:
        """Forget the state, and say whether there was one. Raises SessionBusy as `save` does."""
        ...


class SessionStore(Protocol):
    """Where sessions are. Keys are made with `StateOwner.fingerprint`, so nobody reaches the session of another."""

    def hold(self, key: str) -> AbstractAsyncContextManager[HeldSession]:
        """Have a session for oneself inside `async with`; it need not exist yet.

        Raises:
            SessionBusy: on entering, when someone else holds it. Nobody waits for a session.
            NotReady: here and in all methods of what is held, when the store cannot be reached.
        """
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...


@dataclass(frozen=True)
class SessionLimits:
    """How much a store keeps: each session until it was not used for `ttl_s` seconds.

    Raises:
        ValueError: a single session of the greatest size would not fit.
    """

    ttl_s: float
    max_session_bytes: int
    max_sessions: int
    max_total_bytes: int

    def __post_init__(self) -> None:
        if self.max_session_bytes > self.max_total_bytes:
            raise ValueError("max_session_bytes must not be larger than max_total_bytes")


def busy() -> SessionBusy:
    """What the second of two requests on one session is told."""
    return SessionBusy("another request is using this session: send the next one after its answer")


def require_small(data: bytes, max_session_bytes: int) -> None:
    """Raises StateRefused for a state that is larger than one session may be."""
    if len(data) > max_session_bytes:
        message = f"the state of this session has {len(data)} bytes, at most {max_session_bytes} are kept"
        raise StateRefused(message, "too_large")
