"""Where a request reads its state and writes the next: a token of the client, or a session kept here."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Protocol

from service.errors import InvalidInput
from service.inference.state.sealed_state import StateOwner, StateSealer
from service.inference.state.sessions import HeldSession, SessionStore


class StateParameters(Protocol):
    """The fields of a request body that concern state."""

    @property
    def state(self) -> str | None: ...
    @property
    def return_state(self) -> bool: ...
    @property
    def session(self) -> str | None: ...


@dataclass(frozen=True)
class StateStorage:
    """The sealer of state tokens, and the store of sessions."""

    sealer: StateSealer
    sessions: SessionStore


class RequestState:
    """The state of one request. `is_wanted`: whether a new state must be kept or returned."""

    def __init__(
        self,
        storage: StateStorage,
        owner: StateOwner,
        parameters: StateParameters,
        session: HeldSession | None = None,
    ) -> None:
        self.is_wanted = parameters.return_state or session is not None
        self._sealer = storage.sealer
        self._owner = owner
        self._parameters = parameters
        self._session = session

    async def before(self) -> bytes | None:
        """The state to continue from; None for a new text. Raises StateRefused with the reason."""
        token = self._parameters.state
        if self._session is not None:
            kept = await self._session.load()
            token = None if kept is None else kept.decode("ascii")
        return None if token is None else self._sealer.open(token, self._owner)

    def seal(self, state: bytes) -> str:
        """A token that only this caller can use. Raises StateRefused if the state is larger than allowed."""
        return self._sealer.seal(state, self._owner)

    async def seal_all(self, states: Sequence[Callable[[], bytes]]) -> list[str]:
        """Tokens of several states, each given by what makes its bytes. More than one are sealed off the event loop."""

        def sealed() -> list[str]:
            return [self.seal(state()) for state in states]

        return await asyncio.to_thread(sealed) if len(states) > 1 else sealed()

    async def after(self, states: Sequence[bytes]) -> list[str]:
        """Keep the states for the next request. Returns tokens only if the client asked for them.

        Raises:
            StateRefused: the state is larger than allowed.
            SessionBusy: the session was held beyond its limit, so that another request may have it.
        """
        tokens = [self.seal(state) for state in states]
        if self._session is not None:
            await self._session.save(tokens[0].encode("ascii"))
        return tokens if self._parameters.return_state else []


@asynccontextmanager
async def open_request_state(
    storage: StateStorage, owner: StateOwner, parameters: StateParameters
) -> AsyncIterator[RequestState]:
    """Hold the session, if one is named, for this request alone.

    Raises:
        InvalidInput: both a state and a session are named.
        SessionBusy: another request has the session.
        NotReady: the sessions cannot be reached.
    """
    if parameters.session is None:
        yield RequestState(storage, owner, parameters)
        return
    if parameters.state is not None:
        raise InvalidInput("a request continues from a state or from a session, not from both", ("state",))
    async with storage.sessions.hold(owner.fingerprint(parameters.session)) as held:
        yield RequestState(storage, owner, parameters, held)
