"""Where a request reads its state and writes the next: a token of the client, or a session kept here."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass
from typing import Protocol

from service.errors import InvalidInput, SessionStoreFull, StateRefused
from service.inference.state.open_sessions import open_session_store
from service.inference.state.sealed_state import StateOwner, StateSealer
from service.inference.state.session_labels import SessionLabels
from service.inference.state.session_names import SessionNames
from service.inference.state.sessions import HeldSession, SessionLimits, SessionStore
from service.settings import Settings, SettingsError
from service.worker_group import WorkerGroup

logger = logging.getLogger(__name__)

#: A session is held for as long as its request may take, plus this margin.
_HOLD_MARGIN_S = 5.0


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
    """The sealer of state tokens, the store of sessions and their labels, and names for callers that have none."""

    sealer: StateSealer
    sessions: SessionStore
    names: SessionNames
    labels: SessionLabels


def open_state_storage(settings: Settings, group: WorkerGroup | None) -> StateStorage:
    """The state sealer and the session store. Raises SettingsError if they cannot be used as configured."""
    keys = settings.state_key_list or _keys_of(group)
    if not settings.state_key_list:
        logger.warning("UNROLL_STATE_KEYS is not set: states are valid on this replica only, until it stops")
    sealer = StateSealer(keys, settings.state_ttl_s, settings.max_state_bytes)
    limits = SessionLimits(
        settings.session_ttl_s, settings.max_state_bytes, settings.max_sessions, settings.max_session_total_bytes
    )
    max_hold_s = settings.default_timeout_ms / 1000 + _HOLD_MARGIN_S
    sessions = open_session_store(settings.redis_url.get_secret_value(), limits, max_hold_s, group)
    return StateStorage(sealer, sessions, SessionNames(keys), SessionLabels(keys))


def _keys_of(group: WorkerGroup | None) -> list[str]:
    """The key that the workers of a group have in common, if there is a group. Raises SettingsError."""
    try:
        return [] if group is None else [group.secret()]
    except OSError as error:
        raise SettingsError(f"workers cannot share a key for states: {error}") from error


class RequestState:
    """The state of one request.

    Attributes:
        is_wanted: whether a new state must be kept or returned.
        told: what the answer says about its session: the name to continue with, and whether its state was kept.
    """

    def __init__(
        self,
        storage: StateStorage,
        owner: StateOwner,
        parameters: StateParameters,
        session: HeldSession | None = None,
        session_name: str = "",
    ) -> None:
        self.is_wanted = parameters.return_state or session is not None
        self._sealer = storage.sealer
        self._owner = owner
        self._parameters = parameters
        self._session = session
        self.told: dict[str, str | bool] = {"session": session_name} if session_name else {}

    async def before(self) -> bytes | None:
        """The state to continue from; None for a new text.

        A session whose state cannot be opened is dropped, so that this is said once and it can begin anew.

        Raises:
            StateRefused: with the reason.
        """
        if self._session is not None:
            return await self._before_of(self._session)
        token = self._parameters.state
        return None if token is None else self._sealer.open(token, self._owner)

    async def drop(self, refused: StateRefused) -> StateRefused:
        """The refusal of a state in the words for its session, if it is in one, which is deleted."""
        if self._session is None:
            return refused
        await self._session.delete()
        message = f"the session was dropped, because it cannot be continued: {refused}; begin it again with a prompt"
        return StateRefused(message, refused.reason)

    async def _before_of(self, session: HeldSession) -> bytes | None:
        try:
            kept = await session.load()
            return None if kept is None else self._sealer.open(kept.decode("latin-1"), self._owner)
        except StateRefused as refused:
            raise await self.drop(refused) from refused

    def seal(self, state: bytes) -> str:
        """A token that only this caller can use. Raises StateRefused if the state is larger than allowed."""
        return self._sealer.seal(state, self._owner)

    async def seal_all(self, states: Sequence[Callable[[], bytes]]) -> list[str]:
        """Tokens of several states, each given by what makes its bytes. More than one are sealed off the event loop."""

        def sealed() -> list[str]:
            return [self.seal(state()) for state in states]

        return await asyncio.to_thread(sealed) if len(states) > 1 else sealed()

    async def after(self, states: Sequence[bytes]) -> list[str]:
        """Keep the states for the next request. Returns tokens if the client asked for them or must keep them itself.

        Raises:
            StateRefused: the state is larger than allowed.
            SessionBusy: the session was held beyond its limit, so that another request may have it.
        """
        tokens = [self.seal(state) for state in states]
        if self._session is not None and not await self._is_kept(self._session, tokens[0]):
            self.told["session_kept"] = False
            return tokens
        return tokens if self._parameters.return_state else []

    async def _is_kept(self, session: HeldSession, token: str) -> bool:
        """Whether the session keeps the token. Where there is no room, the caller gets it instead."""
        try:
            await session.save(token.encode("ascii"))
        except SessionStoreFull:
            return False
        return True


def open_request_state(
    storage: StateStorage, owner: StateOwner, parameters: StateParameters
) -> AbstractAsyncContextManager[RequestState]:
    """Hold the session, if one is named, for this request alone.

    Raises, when it is entered:
        InvalidInput: both a state and a session are named.
        SessionBusy: another request has the session.
        NotReady: the sessions cannot be reached.
    """
    if parameters.session is None:
        return nullcontext(RequestState(storage, owner, parameters))
    return _open_session(storage, owner, parameters, parameters.session)


@asynccontextmanager
async def _open_session(
    storage: StateStorage, owner: StateOwner, parameters: StateParameters, session: str
) -> AsyncIterator[RequestState]:
    if parameters.state is not None:
        raise InvalidInput("a request continues from a state or from a session, not from both", ("state",))
    name = _bound_name(session, owner, storage.names)
    # Callers that cannot be told apart have no list in common.
    label = storage.labels.write(name, owner) if owner.caller.strip() else None
    async with storage.sessions.hold(owner.fingerprint(name), label) as held:
        yield RequestState(storage, owner, parameters, held, name)


def _bound_name(name: str, owner: StateOwner, names: SessionNames) -> str:
    """A name that no other caller can have: the caller's own, or one that the service gives out, now or before."""
    if owner.caller.strip() or names.is_issued(name):
        return name
    return names.issue(name)
