"""What a tagger or classifier remembers between two chunks of one text: a value that a caller can keep and send back.

Only a bundle whose recurrences all run forward has such a state (`Manifest.reads_chunks`). Where a text is cut is the
caller's choice; each chunk is tokenised on its own, so that a cut belongs between words, and offsets count from the
start of the chunk.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypeVar

import numpy as np

from service.bundle.manifest import Manifest, StateSpec, TaggingOptions
from service.errors import InferenceFailed, InvalidInput
from service.tasks.core.recurrent_state import RecurrentState
from service.tasks.core.state_bytes import StateKind, malformed, read_state, write_state
from service.tasks.core.task import Array

#: The details of the state's bytes: the number of tokens.
_DETAILS = struct.Struct("<Q")
#: No stream is that long; a larger number would not fit its place once a chunk is added.
_MAX_TOKENS = 1 << 62


@dataclass(frozen=True, eq=False)
class ChunkState:
    """The recurrent state after a chunk, as a single row, and how many tokens were read up to there."""

    recurrent: RecurrentState
    num_tokens: int

    def to_bytes(self) -> bytes:
        """The whole value; equal states give equal bytes."""
        arrays = {name: array[:, 0] for name, array in self.recurrent.arrays.items()}
        return write_state(StateKind.CHUNK, arrays, _DETAILS.pack(self.num_tokens))

    @classmethod
    def from_bytes(cls, data: bytes, specs: Sequence[StateSpec]) -> ChunkState:
        """What `to_bytes` wrote, to the bit.

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


ExampleT = TypeVar("ExampleT")
OutputT_contra = TypeVar("OutputT_contra", contravariant=True)


class ChunkReader(Protocol[ExampleT, OutputT_contra]):
    """What a task has besides the calls of `PredictTask` if its bundle may read a text in chunks."""

    def resume(self, example: ExampleT, before: ChunkState) -> ExampleT:
        """The same input, read as what follows the chunk that left `before`. Raises InvalidInput, as below."""
        ...

    def state_after(self, example: ExampleT, output: OutputT_contra) -> ChunkState:
        """What to hand to `resume` with the next chunk.

        Raises:
            InvalidInput: the bundle cannot read in chunks; says why.
            InferenceFailed: the state is not finite.
        """
        ...


def require_chunks(manifest: Manifest, field: Sequence[str | int] = ()) -> None:
    """Raises InvalidInput, with the reason, unless the bundle can read a text in chunks."""
    if manifest.reads_chunks:
        return
    if manifest.task == "generation":
        raise InvalidInput(f"{manifest.name} generates text: its state goes with POST /generate", field)
    reason = f"{manifest.name} {_why_whole(manifest)}: it has no state to go on from, send the whole text at once"
    raise InvalidInput(reason, field)


def _why_whole(manifest: Manifest) -> str:
    if manifest.task == "translation":
        return "looks at the whole text for every word that it writes"
    if manifest.task == "captioning":
        return "looks at the whole picture for every word that it writes"
    if manifest.task == "classification":
        return "reads its input in both directions, or weighs the whole of it for its label"
    if isinstance(manifest.options, TaggingOptions) and manifest.options.decoder == "crf":
        return "chooses all tags of a sentence together (CRF)"
    return "reads its input in both directions"


def states_before(specs: Sequence[StateSpec], befores: Sequence[ChunkState | None]) -> dict[str, Array]:
    """Feeds `[layers, batch, width]` by name: the state that each row goes on from, zeros where it starts."""
    arrays = RecurrentState.zeros(specs, len(befores)).arrays
    for row, before in enumerate(befores):
        if before is not None:
            for name, array in arrays.items():
                array[:, row] = before.recurrent.arrays[name][:, 0]
    return arrays


class RowState(NamedTuple):
    """One row of the state that a run handed back. It is taken out of its batch only if somebody asks for it."""

    states: RecurrentState
    row: int

    def chunk_state(self, before: ChunkState | None, length: int) -> ChunkState:
        """The state after `length` more tokens than `before`. Raises InferenceFailed if it is not finite."""
        alone = self.states.rows([self.row])
        if not all(np.isfinite(array).all() for array in alone.arrays.values()):
            raise InferenceFailed("the model computed a state that is not of finite numbers")
        return ChunkState(alone, length + (before.num_tokens if before else 0))


def rows_after(specs: Sequence[StateSpec], outputs: Mapping[str, Array], num_rows: int) -> list[RowState | None]:
    """For each row of a run what comes after it; None throughout for a bundle without state."""
    if not specs:
        return [None] * num_rows
    states = RecurrentState.from_outputs(specs, outputs)
    return [RowState(states, row) for row in range(num_rows)]


def state_after(manifest: Manifest, after: RowState | None, before: ChunkState | None, length: int) -> ChunkState:
    """The state that the next chunk goes on from.

    Raises:
        InvalidInput: the bundle cannot read in chunks; says why.
        InferenceFailed: the state is not finite.
    """
    require_chunks(manifest)
    assert after is not None
    return after.chunk_state(before, length)
