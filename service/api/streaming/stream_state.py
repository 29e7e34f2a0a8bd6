"""State and session of a WebSocket stream: where the recurrent state comes from, and where it is stored."""

from __future__ import annotations

from typing import NamedTuple

from service.api.state_source import StateStorage, open_request_state
from service.api.streaming.messages import Start
from service.errors import InvalidInput, SessionBusy
from service.inference.state.sealed_state import StateOwner


class _InSession(NamedTuple):
    """The fields of a request in a session."""

    session: str
    state: None = None
    return_state: bool = False


class StreamState:
    """The state that an input begins with, and where it is kept meanwhile.

    A session is held while it is read and written, and not between: connections may be open for hours. What somebody
    else has written since is noticed when the next state is written.

    Attributes:
        before: the state to continue from, if there is one.
        session: the name to continue with; None without a session.
    """

    def __init__(self, storage: StateStorage, owner: StateOwner) -> None:
        self.before: bytes | None = None
        self.session: str | None = None
        self._storage, self._owner = storage, owner
        self._kept: bytes | None = None

    @classmethod
    async def of(cls, storage: StateStorage, owner: StateOwner, start: Start) -> StreamState:
        """That of a `start`. Raises InvalidInput, StateRefused, SessionBusy, NotReady."""
        state = cls(storage, owner)
        if start.session is None:
            state.before = None if start.state is None else storage.sealer.open(start.state, owner)
            return state
        if start.state is not None:
            raise InvalidInput("an input continues from a state or from a session, not from both", ("state",))
        async with open_request_state(storage, owner, _InSession(start.session)) as opened:
            state.before = state._kept = await opened.before()
            state.session = str(opened.told["session"])
        return state

    async def keep(self, new: bytes | None) -> bool:
        """Keep the state after an answer in the session, if there is one. Returns whether it is kept, or need not be.

        Raises:
            SessionBusy: somebody else has it, or has continued it since.
            StateRefused: the state is too large, or the session cannot be read.
            NotReady: the sessions cannot be reached.
        """
        if self.session is None or new is None or new == self._kept:
            return True
        async with open_request_state(self._storage, self._owner, _InSession(self.session)) as opened:
            if await opened.before() != self._kept:
                raise SessionBusy("another request has continued this session, or deleted it, since it was opened here")
            await opened.after([new])
            is_kept = "session_kept" not in opened.told
        self._kept = new if is_kept else None
        return is_kept
