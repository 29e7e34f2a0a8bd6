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
from service.errors import InferenceFailed, InvalidInput, StateRefused
from service.tasks.core.recurrent_state import RecurrentState
from service.tasks.core.task import Array

#: The first bytes say what they are and how they are laid out; then comes the number of tokens.
_HEAD = struct.Struct("<4sQ")
_MAGIC = b"UCS1"
#: No stream is that long; a larger number would not fit its place once a chunk is added.
_MAX_TOKENS = 1 << 62
_ELEMENT = np.dtype("<f4")


@dataclass(frozen=True, eq=False)
class ChunkState:
    """The recurrent state after a chunk, as a single row, and how many tokens were read up to there."""

    recurrent: RecurrentState
    num_tokens: int

    def to_bytes(self, specs: Sequence[StateSpec]) -> bytes:
        """Head, then each tensor `[layers, width]` in the order of `specs`, float32, least significant byte first."""
        parts = [self.recurrent.arrays[spec.name].astype(_ELEMENT).tobytes() for spec in specs]
        return b"".join([_HEAD.pack(_MAGIC, self.num_tokens), *parts])

    @classmethod
    def from_bytes(cls, data: bytes, specs: Sequence[StateSpec]) -> ChunkState:
        """What `to_bytes` wrote, to the bit.

        Raises:
            StateRefused: the bytes are of another kind or size, or hold numbers that are not finite.
        """
        sizes = [spec.layers * spec.width for spec in specs]
        expected_bytes = _HEAD.size + _ELEMENT.itemsize * sum(sizes)
        if len(data) != expected_bytes or not data.startswith(_MAGIC):
            raise StateRefused(f"this is no state of {expected_bytes} bytes between two chunks", "malformed")
        _, num_tokens = _HEAD.unpack_from(data)
        values = np.frombuffer(data, _ELEMENT, offset=_HEAD.size).astype(np.float32)
        if not 0 < num_tokens < _MAX_TOKENS or not np.isfinite(values).all():
            raise StateRefused("the state holds numbers that no chunk leaves behind", "malformed")
        parts = np.split(values, np.cumsum(sizes)[:-1])
        arrays = {s.name: part.reshape(s.layers, 1, s.width) for s, part in zip(specs, parts, strict=True)}
        return cls(RecurrentState(arrays), num_tokens)


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
