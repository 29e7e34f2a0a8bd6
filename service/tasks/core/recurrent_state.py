"""Recurrent state as a value: an input and an output of each step, for every row of a batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from service.bundle.manifest import StateSpec
from service.bundle.padding import Array


class RecurrentState:
    """Arrays `[layers, batch, width]` by name; rows are sequences or beams. Immutable."""

    def __init__(self, arrays: Mapping[str, Array]) -> None:
        self.arrays = dict(arrays)

    @classmethod
    def zeros(cls, specs: Sequence[StateSpec], batch: int) -> RecurrentState:
        """The state before the first token."""
        return cls({s.name: np.zeros((s.layers, batch, s.width), dtype=np.float32) for s in specs})

    @classmethod
    def from_outputs(cls, specs: Sequence[StateSpec], outputs: Mapping[str, Array]) -> RecurrentState:
        """The state among the outputs of a graph."""
        return cls({spec.name: outputs[spec.next_name] for spec in specs})

    @classmethod
    def joined(cls, states: Sequence[RecurrentState]) -> RecurrentState:
        """The rows of several states, concatenated."""
        names = states[0].arrays
        return cls({name: np.concatenate([state.arrays[name] for state in states], axis=1) for name in names})

    @property
    def num_rows(self) -> int:
        return int(next(iter(self.arrays.values())).shape[1])

    def rows(self, indices: Sequence[int] | Array) -> RecurrentState:
        """Rows by index, in that order; an index may occur more than once (beams)."""
        index = np.asarray(indices, dtype=np.int64)
        return RecurrentState({name: array.take(index, axis=1) for name, array in self.arrays.items()})
