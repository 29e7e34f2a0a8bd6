"""The recurrent state of a tagger or classifier between two chunks of one input, which the client keeps.

Only a bundle whose recurrences all run forward has such a state (`Manifest.reads_chunks`). The client chooses the
chunks; each one is tokenised on its own, so cuts should be between words, and offsets count from the start of the
chunk.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from service.bundle.manifest import Manifest, StateSpec
from service.errors import InferenceFailed, InvalidInput
from service.tasks.core.recurrent_state import RecurrentState
from service.tasks.core.state_bytes import StateKind, malformed, read_state, write_state
from service.tasks.core.task import Array, PredictInput

#: The details of the state's bytes: the number of tokens.
_DETAILS = struct.Struct("<Q")
#: Far beyond any stream, and small enough that the sum with another chunk still fits.
_MAX_TOKENS = 1 << 62


@dataclass(frozen=True, eq=False)
class ChunkState:
    """The recurrent state after a chunk, as a single row, and the number of tokens read so far."""

    recurrent: RecurrentState
    num_tokens: int

    def to_bytes(self) -> bytes:
        """The whole value; equal states give equal bytes."""
        arrays = {name: array[:, 0] for name, array in self.recurrent.arrays.items()}
        return write_state(StateKind.CHUNK, arrays, _DETAILS.pack(self.num_tokens))

    @classmethod
    def from_bytes(cls, data: bytes, specs: Sequence[StateSpec]) -> ChunkState:
        """The inverse of `to_bytes`.

        Raises:
            StateRefused: the bytes are of another kind or size, or hold numbers that are not finite.
        """
        arrays, details = read_state(StateKind.CHUNK, data, specs)
        if len(details) != _DETAILS.size:
            raise malformed(f"its details have {len(details)} bytes where {_DETAILS.size} belong")
        (num_tokens,) = _DETAILS.unpack(details)
        if not 0 < num_tokens < _MAX_TOKENS:
            raise malformed(f"no chunk ends after {num_tokens} tokens")
        return cls(RecurrentState({name: array[:, None] for name, array in arrays.items()}), num_tokens)


def require_chunks(manifest: Manifest, field: Sequence[str | int] = ()) -> None:
    """Raises InvalidInput, with the reason, unless the bundle can read an input in chunks."""
    if not manifest.reads_chunks:
        why = f"{manifest.name} {manifest.options.why_whole}"
        raise InvalidInput(f"{why}: it has no state to continue from, send the whole input at once", field)


def require_value(value: PredictInput | None) -> PredictInput:
    """Raises InvalidInput for a chunk without anything new, of which there is nothing to say."""
    if value is None:
        raise InvalidInput("the chunk is empty")
    return value


def states_before(specs: Sequence[StateSpec], befores: Sequence[ChunkState | None]) -> dict[str, Array]:
    """Feeds `[layers, batch, width]` by name: the state before each row, zeros for the first chunk of an input."""
    arrays = RecurrentState.zeros(specs, len(befores)).arrays
    for row, before in enumerate(befores):
        if before is not None:
            for name, array in arrays.items():
                array[:, row] = before.recurrent.arrays[name][:, 0]
    return arrays


class RowState(NamedTuple):
    """One row of the state that a run returned. It is copied out of its batch only on request."""

    states: RecurrentState
    row: int

    def chunk_state(self, before: ChunkState | None, length: int) -> ChunkState:
        """The state after a chunk of `length` tokens that followed `before`. Raises InferenceFailed if not finite."""
        alone = self.states.rows([self.row])
        if not all(np.isfinite(array).all() for array in alone.arrays.values()):
            raise InferenceFailed("the model computed a state that is not of finite numbers")
        return ChunkState(alone, length + (before.num_tokens if before else 0))


def rows_after(specs: Sequence[StateSpec], outputs: Mapping[str, Array], num_rows: int) -> list[RowState | None]:
    """The state after each row of a run; None for every row of a bundle without state."""
    if not specs:
        return [None] * num_rows
    states = RecurrentState.from_outputs(specs, outputs)
    return [RowState(states, row) for row in range(num_rows)]


def state_before(manifest: Manifest, before: ChunkState | bytes | None) -> ChunkState | None:
    """The state before a chunk, which may be in bytes.

    Raises:
        InvalidInput: the bundle cannot read in chunks; the message says why.
        StateRefused: it is not a state of this bundle.
    """
    require_chunks(manifest)
    return ChunkState.from_bytes(before, manifest.state) if isinstance(before, bytes) else before


def state_after(manifest: Manifest, after: RowState | None, before: ChunkState | None, length: int) -> ChunkState:
    """The state after a chunk.

    Raises:
        InvalidInput: the bundle cannot read in chunks; the message says why.
        InferenceFailed: the state is not finite.
    """
    require_chunks(manifest)
    assert after is not None, "a bundle that reads chunks hands a state back for each row"
    return after.chunk_state(before, length)
