"""Where one request's state comes from and where it goes: a token that the caller has, or a session that we hold."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Protocol

from service.errors import InvalidInput
from service.inference.session_store import HeldSession, SessionStore
from service.inference.state_token import StateOwner, StateSealer


class TravelWishes(Protocol):
    """The part of a request that speaks of state."""

    @property
    def state(self) -> str | None: ...
    @property
    def return_state(self) -> bool: ...
    @property
    def session(self) -> str | None: ...


@dataclass(frozen=True)
class StateDesk:
    """What seals states for the way, and what keeps those that stay here."""

    sealer: StateSealer
    sessions: SessionStore


class Travel:
    """The state of one request. `is_wanted` says whether the next one is to be kept at all."""

    def __init__(
        self, desk: StateDesk, owner: StateOwner, wishes: TravelWishes, session: HeldSession | None = None
    ) -> None:
        self.is_wanted = wishes.return_state or session is not None
        self._sealer = desk.sealer
        self._owner = owner
        self._wishes = wishes
        self._session = session

    async def before(self) -> bytes | None:
        """What the request goes on from; None if it begins. Raises StateRefused with the reason."""
        token = self._wishes.state
        if self._session is not None:
            kept = await self._session.load()
            token = None if kept is None else kept.decode("ascii")
        return None if token is None else self._sealer.open(token, self._owner)

    def seal(self, state: bytes) -> str:
        """A token for this caller alone. Raises StateRefused if the state is larger than allowed."""
        return self._sealer.seal(state, self._owner)

    async def after(self, states: Sequence[bytes]) -> list[str]:
        """Keep what the next request goes on from; returns tokens only if the caller asked to carry them.

        Raises:
            StateRefused: the state is larger than allowed.
            SessionBusy: the session was held for so long that another request may have it.
        """
        tokens = [self.seal(state) for state in states]
        if self._session is not None:
            await self._session.save(tokens[0].encode("ascii"))
        return tokens if self._wishes.return_state else []


@asynccontextmanager
async def travelling(desk: StateDesk, owner: StateOwner, wishes: TravelWishes) -> AsyncIterator[Travel]:
    """Have the session, if one is named, for this request alone.

    Raises:
        InvalidInput: both a state and a session are named.
        SessionBusy: another request has the session.
        NotReady: the sessions cannot be reached.
    """
    if wishes.session is None:
        yield Travel(desk, owner, wishes)
        return
    if wishes.state is not None:
        raise InvalidInput("a request goes on from a state or from a session, not from both", ("state",))
    async with desk.sessions.hold(owner.fingerprint(wishes.session)) as held:
        yield Travel(desk, owner, wishes, held)
