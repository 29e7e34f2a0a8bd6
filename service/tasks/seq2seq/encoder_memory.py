"""Encoder memory: the outputs of the encoder, laid out for the rows of the decoder, padded and rarely copied."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from service.bundle.padding import IntArray
from service.tasks.core.task import Array

#: The outputs of the encoder that every decoder step attends to.
MEMORY_NAMES = ("memory", "memory_keys")
#: The extended id of each source position, which stays outside the graph.
COPY_IDS = "copy_ids"

#: The arrays are narrowed once the longest live source needs at most this share of their time axis.
_WORTH_NARROWING = 7 / 8


class EncoderMemory:
    """`memory` and `memory_keys` `[rows, time, width]`, and `lengths` `[rows]`; row i serves row i of the next step.

    All beams of a sentence read the same memory, so only rows that change to another sentence are copied. As long as
    none does, every step gets the same arrays. A row is always written in full, padding included, so no values of a
    sentence that has left, finite or not, remain behind the end of its successor. With `has_copy_ids` the rows have
    `copy_ids` `[rows, time]` as well.
    """

    def __init__(self, *, has_copy_ids: bool = False) -> None:
        self._names = (*MEMORY_NAMES, COPY_IDS) if has_copy_ids else MEMORY_NAMES
        self._buffers: dict[str, Array] = {}
        self._lengths: IntArray = np.empty(0, dtype=np.int64)
        self._feeds: dict[str, Array] = {}

    @property
    def feeds(self) -> dict[str, Array]:
        """Inputs of `decoder_step` by name; empty before the first sentence has joined."""
        return self._feeds

    @property
    def copy_ids(self) -> IntArray:
        """`[rows, time]`: 0 on padding."""
        return self._buffers[COPY_IDS][: len(self._lengths)]

    def join(self, encoded: Mapping[str, Array], lengths: IntArray) -> None:
        """Append one row for each row of the encoder's outputs."""
        before, after = len(self._lengths), len(self._lengths) + len(lengths)
        self._reserve(encoded, after, int(max(lengths.max(), self._lengths.max(initial=0))))
        self._lengths = np.concatenate([self._lengths, lengths])
        for name, buffer in self._buffers.items():
            _write(buffer[before:after], encoded[name])
        self._renew_feeds()

    def rearrange(self, parents: IntArray, moved: IntArray) -> None:
        """Row i continues row `parents[i]`; only the rows `moved` belong to another sentence than before."""
        if not len(moved) and len(parents) == len(self._lengths):
            return
        self._reserve(self._buffers, len(parents), int(self._lengths.max()))
        for buffer in self._buffers.values():
            buffer[moved] = buffer[parents[moved]]
        self._lengths = self._lengths[parents]
        self._narrow(int(self._lengths.max(initial=0)))
        self._renew_feeds()

    def _reserve(self, like: Mapping[str, Array], num_rows: int, time: int) -> None:
        """Make room for that many rows and that much time; `like` has the widths and dtypes."""
        capacity, room = self._shape()
        if num_rows > capacity or time > room:
            capacity = capacity if num_rows <= capacity else max(num_rows, 2 * capacity if len(self._lengths) else 0)
            self._buffers = {name: self._resized(like[name], name, capacity, max(time, room)) for name in self._names}

    def _narrow(self, time: int) -> None:
        capacity, room = self._shape()
        if 0 < time <= _WORTH_NARROWING * room:
            self._buffers = {n: self._resized(buffer, n, capacity, time) for n, buffer in self._buffers.items()}

    def _resized(self, like: Array, name: str, capacity: int, time: int) -> Array:
        resized = np.empty((capacity, time, *like.shape[2:]), dtype=like.dtype)
        num_rows = len(self._lengths)
        if num_rows:
            _write(resized[:num_rows], self._buffers[name][:num_rows])
        return resized

    def _shape(self) -> tuple[int, int]:
        """Capacity: rows and time."""
        buffer = self._buffers.get(MEMORY_NAMES[0])
        return (0, 0) if buffer is None else (buffer.shape[0], buffer.shape[1])

    def _renew_feeds(self) -> None:
        num_rows = len(self._lengths)
        self._feeds = {name: self._buffers[name][:num_rows] for name in MEMORY_NAMES} | {"lengths": self._lengths}


def _write(rows: Array, values: Array) -> None:
    """Copy the common part of the time axis; fill the rest of `rows` with zeros."""
    time = min(rows.shape[1], values.shape[1])
    rows[:, :time] = values[:, :time]
    rows[:, time:] = 0
