"""What a text must remember to go on somewhere else, as one value and as bytes.

The bytes are a header, then arrays, all little-endian and without gaps:

    header            see `_HEADER`
    shapes            uint32 [tensors, 2]: layers and width of each tensor, tensors in the order of their names
    tensors           float32 [layers, width] each
    counts            uint32 [2, pairs] for the tokens read, then for those produced: ids, ascending, and counts
    context, held     uint32 each
    tail              UTF-8
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from service.bundle.manifest import StateSpec
from service.errors import StateRefused
from service.tasks.core.task import Array

ScalarT = TypeVar("ScalarT", bound=np.generic)

_MAGIC = b"UnSt"
_VERSION = 1
_HAS_SEED = 1
#: Magic, version, flags, tensors; the waiting token; numbers drawn, seed; pairs read, pairs produced; context, held,
#: bytes of the tail.
_HEADER = struct.Struct("<4sBBHIQQIIHHI")
_COUNT = np.dtype("<u4")
_FLOAT = np.dtype("<f4")


@dataclass(frozen=True, eq=False)
class StreamState:
    """A stream between two tokens.

    Attributes:
        arrays: recurrent state of this one row after everything that was read, float32 `[layers, width]` by name.
        pending_token_id: the newest token, chosen but not yet read by the network.
        num_read: how often each token stands in the prompt and the text so far; what is missing stands there 0 times.
        num_produced: how often each token was chosen.
        num_drawn: how many numbers of the seed's generator are used up.
        seed: of that generator, below 2**64; None if nothing is drawn.
        context_ids: the last tokens that have become text: what follows is decoded after them.
        held_ids: tokens whose bytes are not yet a whole character.
        text_tail: the end of the text, in which a stop string may have begun.
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

    def to_bytes(self) -> bytes:
        """The whole value; equal states give equal bytes. Raises ValueError for a number or shape that does not fit."""
        tensors = [np.asarray(self.arrays[name], dtype=_FLOAT) for name in sorted(self.arrays)]
        if any(tensor.ndim != 2 for tensor in tensors):
            raise ValueError("the state of one row has the axes [layers, width]")
        try:
            body = b"".join(part.tobytes() for part in self._parts(tensors))
            return self._header(len(tensors)) + body + self._tail
        except (struct.error, OverflowError) as error:
            raise ValueError(f"this stream cannot be written down: {error}") from error

    @classmethod
    def from_bytes(cls, data: bytes, specs: Sequence[StateSpec], vocabulary_size: int) -> StreamState:
        """The state that `to_bytes` wrote, if it can be one of a model with these tensors and this vocabulary.

        Raises:
            StateRefused: with the reason "malformed"; the message says what is wrong.
        """
        return _Reader(data, vocabulary_size).read(sorted(specs, key=lambda spec: spec.name))

    @property
    def _tail(self) -> bytes:
        return self.text_tail.encode("utf-8")

    def _header(self, num_tensors: int) -> bytes:
        return _HEADER.pack(
            _MAGIC,
            _VERSION,
            0 if self.seed is None else _HAS_SEED,
            num_tensors,
            self.pending_token_id,
            self.num_drawn,
            self.seed or 0,
            len(self.num_read),
            len(self.num_produced),
            len(self.context_ids),
            len(self.held_ids),
            len(self._tail),
        )

    def _parts(self, tensors: Sequence[Array]) -> list[Array]:
        shapes = np.array([tensor.shape for tensor in tensors], dtype=_COUNT)
        counts = [_pairs(self.num_read), _pairs(self.num_produced)]
        ids = [np.array(ids, dtype=_COUNT) for ids in (self.context_ids, self.held_ids)]
        return [shapes, *tensors, *counts, *ids]


class _Reader:
    """Takes bytes apart from the front. The total length is checked first, so no length inside is believed."""

    def __init__(self, data: bytes, vocabulary_size: int) -> None:
        if len(data) < _HEADER.size:
            raise _malformed(f"it has {len(data)} bytes, the header alone has {_HEADER.size}")
        self._data = data
        self._offset = _HEADER.size
        self._vocabulary_size = vocabulary_size

    def read(self, specs: Sequence[StateSpec]) -> StreamState:
        magic, version, flags, num_tensors, pending, num_drawn, seed, *lengths = _HEADER.unpack_from(self._data)
        if magic != _MAGIC or version != _VERSION or flags not in (0, _HAS_SEED) or (seed and not flags):
            raise _malformed("it does not begin like one of this service's version")
        if num_tensors != len(specs):
            raise _malformed(f"it has {num_tensors} tensors, this model has {len(specs)}")
        self._require_size(specs, lengths)
        num_read, num_produced, num_context, num_held, _ = lengths
        return StreamState(
            arrays=self._tensors(specs),
            pending_token_id=self._checked_id(pending),
            num_read=self._counts(num_read),
            num_produced=self._counts(num_produced),
            num_drawn=num_drawn,
            seed=seed if flags else None,
            context_ids=self._ids(num_context),
            held_ids=self._ids(num_held),
            text_tail=self._text(),
        )

    def _require_size(self, specs: Sequence[StateSpec], lengths: Sequence[int]) -> None:
        num_read, num_produced, num_context, num_held, num_tail_bytes = lengths
        num_floats = sum(spec.layers * spec.width for spec in specs)
        num_counts = 2 * len(specs) + 2 * (num_read + num_produced) + num_context + num_held
        wanted = _HEADER.size + num_floats * _FLOAT.itemsize + num_counts * _COUNT.itemsize + num_tail_bytes
        if len(self._data) != wanted:
            raise _malformed(f"it has {len(self._data)} bytes where its header and this model ask for {wanted}")

    def _tensors(self, specs: Sequence[StateSpec]) -> dict[str, Array]:
        shapes = self._take(_COUNT, 2 * len(specs)).reshape(-1, 2).tolist()
        wanted = [[spec.layers, spec.width] for spec in specs]
        if shapes != wanted:
            raise _malformed(f"its tensors have the shapes {shapes}, those of this model {wanted}")
        return {spec.name: self._tensor(spec) for spec in specs}

    def _tensor(self, spec: StateSpec) -> Array:
        values = self._take(_FLOAT, spec.layers * spec.width)
        if not np.isfinite(values).all():
            raise _malformed(f"the tensor {spec.name!r} has numbers that are not finite")
        return values.reshape(spec.layers, spec.width)

    def _counts(self, num_pairs: int) -> dict[int, int]:
        ids, counts = self._take(_COUNT, num_pairs), self._take(_COUNT, num_pairs)
        if num_pairs and (ids.max() >= self._vocabulary_size or (ids[1:] <= ids[:-1]).any() or not counts.all()):
            raise _malformed(f"its counts are not positive numbers of ascending ids below {self._vocabulary_size}")
        return dict(zip(ids.tolist(), counts.tolist(), strict=True))

    def _ids(self, count: int) -> tuple[int, ...]:
        return tuple(self._checked_id(token_id) for token_id in self._take(_COUNT, count).tolist())

    def _checked_id(self, token_id: int) -> int:
        if token_id >= self._vocabulary_size:
            raise _malformed(f"the token {token_id} is not one of this model's {self._vocabulary_size}")
        return token_id

    def _text(self) -> str:
        try:
            return self._data[self._offset :].decode("utf-8")
        except UnicodeDecodeError as error:
            raise _malformed(f"the end of its text is not UTF-8: {error.reason}") from error

    def _take(self, dtype: np.dtype[ScalarT], count: int) -> NDArray[ScalarT]:
        taken = np.frombuffer(self._data, dtype, count, self._offset)
        self._offset += taken.nbytes
        return taken


def _pairs(counts: Mapping[int, int]) -> NDArray[np.uint32]:
    """Ids and counts as rows, by id."""
    return np.array(sorted(counts.items()), dtype=_COUNT).reshape(-1, 2).T


def _malformed(why: str) -> StateRefused:
    return StateRefused(f"this is not the state of a text of this model: {why}", "malformed")
