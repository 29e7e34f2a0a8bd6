"""The state of a generated text between two tokens, as a value and as bytes.

The bytes are those of `state_bytes`, with these details:

    head              see `_HEAD`
    counts            uint32 [2, pairs] for the tokens read, then for those produced: ids, ascending, and counts
    context, held     uint32 each
    tail              UTF-8
    constraint        its key and state, if the flags say so
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.bundle.manifest import StateSpec
from service.tasks.core.state_bytes import StateKind, malformed, read_state, write_state
from service.tasks.core.task import Array
from service.tasks.generation.constraints.constraint import KEY_BYTES

_HAS_SEED, _HAS_CONSTRAINT = 1, 2
#: Flags; the pending token; numbers drawn, seed; pairs read, pairs produced; context, held, bytes of the tail.
_HEAD = struct.Struct("<BIQQIIHHI")
_COUNT = np.dtype("<u4")
_CONSTRAINT = struct.Struct(f"<{KEY_BYTES}sI")


@dataclass(frozen=True, eq=False)
class StreamState:
    """Everything that the rest of a text depends on, between two of its tokens.

    Attributes:
        arrays: recurrent state of one row after all tokens that were read, float32 `[layers, width]` by name.
        pending_token_id: the newest token, chosen but not yet read by the network.
        num_read: occurrences of each token in the prompt and the text so far; a missing token has none.
        num_produced: how often each token was chosen.
        num_drawn: random numbers of the seed's stream that are used up.
        seed: of the random numbers, below 2**64; None if nothing is sampled.
        context_ids, held_ids, text_tail: the state of the detokenizer, see `TextPosition`.
        constraint_key: of the constraint that the text is not through with; empty for none.
        constraint_state: of its automaton.
    """

    arrays: Mapping[str, Array]
    pending_token_id: int
    num_read: Mapping[int, int]
    num_produced: Mapping[int, int]
    num_drawn: int = 0
    seed: int | None = None
    context_ids: tuple[int, ...] = ()
    held_ids: tuple[int, ...] = ()
    text_tail: str = ""
    constraint_key: bytes = b""
    constraint_state: int = 0

    def to_bytes(self) -> bytes:
        """The whole value; equal states give equal bytes. Raises ValueError for a number or shape that does not fit."""
        try:
            details = b"".join(
                [self._head(), *(part.tobytes() for part in self._parts()), self._tail, self._constraint]
            )
        except (struct.error, OverflowError) as error:
            raise ValueError(f"this state cannot be written: {error}") from error
        return write_state(StateKind.GENERATION, self.arrays, details)

    @classmethod
    def from_bytes(cls, data: bytes, specs: Sequence[StateSpec], vocabulary_size: int) -> StreamState:
        """The state that `to_bytes` wrote, if it can be one of a model with these tensors and this vocabulary.

        Raises:
            StateRefused: with the reason "malformed"; the message says what is wrong.
        """
        arrays, details = read_state(StateKind.GENERATION, data, specs)
        return _Details(details, vocabulary_size).stream(arrays)

    @property
    def _tail(self) -> bytes:
        return self.text_tail.encode("utf-8")

    @property
    def _constraint(self) -> bytes:
        return _CONSTRAINT.pack(self.constraint_key, self.constraint_state) if self.constraint_key else b""

    def _head(self) -> bytes:
        return _HEAD.pack(
            (0 if self.seed is None else _HAS_SEED) | (_HAS_CONSTRAINT if self.constraint_key else 0),
            self.pending_token_id,
            self.num_drawn,
            self.seed or 0,
            len(self.num_read),
            len(self.num_produced),
            len(self.context_ids),
            len(self.held_ids),
            len(self._tail),
        )

    def _parts(self) -> list[Array]:
        counts = [_pairs(self.num_read), _pairs(self.num_produced)]
        return counts + [np.array(ids, dtype=_COUNT) for ids in (self.context_ids, self.held_ids)]


class _Details:
    """Parses the details from front to end, after a check of their total length against their head."""

    def __init__(self, data: bytes, vocabulary_size: int) -> None:
        if len(data) < _HEAD.size:
            raise malformed(f"its details have {len(data)} bytes, their head alone has {_HEAD.size}")
        self._data = data
        self._offset = _HEAD.size
        self._vocabulary_size = vocabulary_size

    def stream(self, arrays: Mapping[str, Array]) -> StreamState:
        flags, pending, num_drawn, seed, *lengths = _HEAD.unpack_from(self._data)
        if flags & ~(_HAS_SEED | _HAS_CONSTRAINT) or (seed and not flags & _HAS_SEED):
            raise malformed("its flags do not fit what follows")
        self._require_size(lengths, _CONSTRAINT.size if flags & _HAS_CONSTRAINT else 0)
        constraint = _CONSTRAINT.unpack(self._data[-_CONSTRAINT.size :]) if flags & _HAS_CONSTRAINT else (b"", 0)
        num_read, num_produced, num_context, num_held, num_tail_bytes = lengths
        return StreamState(
            arrays=arrays,
            pending_token_id=self._checked_id(pending),
            num_read=self._counts(num_read),
            num_produced=self._counts(num_produced),
            num_drawn=num_drawn,
            seed=seed if flags & _HAS_SEED else None,
            context_ids=self._ids(num_context),
            held_ids=self._ids(num_held),
            text_tail=self._text(num_tail_bytes),
            constraint_key=constraint[0],
            constraint_state=constraint[1],
        )

    def _require_size(self, lengths: Sequence[int], num_constraint_bytes: int) -> None:
        num_read, num_produced, num_context, num_held, num_tail_bytes = lengths
        num_counts = 2 * (num_read + num_produced) + num_context + num_held
        expected = _HEAD.size + num_counts * _COUNT.itemsize + num_tail_bytes + num_constraint_bytes
        if len(self._data) != expected:
            raise malformed(f"its details have {len(self._data)} bytes where their head asks for {expected}")

    def _counts(self, num_pairs: int) -> dict[int, int]:
        ids, counts = self._take(num_pairs), self._take(num_pairs)
        if num_pairs and (ids.max() >= self._vocabulary_size or (ids[1:] <= ids[:-1]).any() or not counts.all()):
            raise malformed(f"its counts are not positive numbers of ascending ids below {self._vocabulary_size}")
        return dict(zip(ids.tolist(), counts.tolist(), strict=True))

    def _ids(self, count: int) -> tuple[int, ...]:
        return tuple(self._checked_id(token_id) for token_id in self._take(count).tolist())

    def _checked_id(self, token_id: int) -> int:
        if token_id >= self._vocabulary_size:
            raise malformed(f"the token {token_id} is not one of this model's {self._vocabulary_size}")
        return token_id

    def _text(self, num_bytes: int) -> str:
        try:
            return self._data[self._offset : self._offset + num_bytes].decode("utf-8")
        except UnicodeDecodeError as error:
            raise malformed(f"the end of its text is not UTF-8: {error.reason}") from error

    def _take(self, count: int) -> NDArray[np.uint32]:
        taken = np.frombuffer(self._data, _COUNT, count, self._offset)
        self._offset += taken.nbytes
        return taken


def _pairs(counts: Mapping[int, int]) -> NDArray[np.uint32]:
    """`[2, pairs]`: ids, ascending, and their counts."""
    return np.array(sorted(counts.items()), dtype=_COUNT).reshape(-1, 2).T
