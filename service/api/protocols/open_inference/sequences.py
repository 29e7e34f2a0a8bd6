"""Requests that continue each other: by a sequence id, whose state is kept here, or by a state in the request."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

from service.api.call import Call, TaskEngine
from service.api.protocols.open_inference.control import Control
from service.api.protocols.open_inference.served_models import STATE, TaskTensors
from service.api.protocols.open_inference.tensors.messages import InferRequest, Tensor, texts
from service.errors import InvalidInput
from service.inference.state.sealed_state import StateOwner
from service.inference.state.sessions import HeldSession
from service.tasks.core.chunk_state import require_chunks


class Continuation:
    """The state of one request: what it continues from, and where the next state goes.

    Attributes:
        before: the state to continue from, None for a new sequence.
    """

    def __init__(self, call: Call, owner: StateOwner, held: HeldSession | None, is_end: bool) -> None:
        self.before: bytes | None = None
        self._sealer = call.state_storage.sealer
        self._owner = owner
        self._held = held
        self._is_end = is_end

    async def load(self, is_start: bool, sequence_id: str) -> None:
        """Take up a sequence, or begin it anew. Raises InvalidInput if it has not begun."""
        assert self._held is not None, "there is a sequence"
        if is_start:
            await self._held.delete()
            return
        kept = await self._held.load()
        if kept is None:
            message = f"the sequence {sequence_id} has not begun, or no longer exists: begin it with sequence_start"
            raise InvalidInput(message, ("parameters", "sequence_id"))
        self.open(kept)

    def open(self, token: bytes) -> None:
        """Continue from a token. Raises StateRefused."""
        self.before = self._sealer.open(token.decode("latin-1"), self._owner)

    async def keep(self, state: bytes) -> str:
        """Keep the state for the next request of the sequence, and return it as a token."""
        token = self._sealer.seal(state, self._owner)
        if self._held is not None:
            await (self._held.delete() if self._is_end else self._held.save(token.encode("ascii")))
        return token

    async def end(self) -> None:
        """Forget the state of a sequence whose input has ended, so that there is none to keep."""
        if self._held is not None:
            await self._held.delete()


def is_continued(request: InferRequest, control: Control) -> bool:
    """Whether a request continues another one or can be continued."""
    return bool(control.sequence_id) or STATE in request.inputs or request.wants(STATE)


@asynccontextmanager
async def open_continuation(
    call: Call, engine: TaskEngine, tensors: TaskTensors, request: InferRequest, control: Control
) -> AsyncIterator[Continuation]:
    """Hold the sequence of a request for it alone.

    Raises:
        InvalidInput: the model has no state, or the sequence has not begun.
        StateRefused: the state is not one of this model and caller.
        SessionBusy: another request of the sequence is being answered.
        NotReady: the sequences cannot be reached.
    """
    if not tensors.keeps_state:
        require_chunks(engine.opened.bundle.manifest, ("parameters", "sequence_id"))
    owner = call.owner_of_states(engine)
    if not control.sequence_id:
        continuation = Continuation(call, owner, None, is_end=False)
        if STATE in request.inputs:
            continuation.open(_one_state(request.inputs[STATE]))
        yield continuation
        return
    if STATE in request.inputs:
        raise InvalidInput("a request continues a sequence or a state, not both", (STATE,))
    owner = _bound(owner, call)
    async with call.state_storage.sessions.hold(owner.fingerprint(f"sequence {control.sequence_id}")) as held:
        continuation = Continuation(call, owner, held, control.is_end)
        await continuation.load(control.is_start, control.sequence_id)
        yield continuation


def state_tensor(token: str) -> Tensor:
    """A state as an output."""
    return texts(STATE, [token])


def _one_state(tensor: Tensor) -> bytes:
    if len(tensor.elements) != 1:
        raise InvalidInput("a request continues from one state", (STATE,))
    return tensor.elements[0]


def _bound(owner: StateOwner, call: Call) -> StateOwner:
    """Callers choose numbers for their sequences, so those without a credential are told apart by their address."""
    return owner if owner.caller.strip() else replace(owner, caller=f"address {call.record.client}")
