"""Two runners side by side: how far the answers of a faster one are from those of a slower one."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from service.tasks.core.task import Array, Runner

#: Outputs whose largest element is what the model says.
_DECISIONS = frozenset({"emissions", "logits", "text_logits"})


class PairedRunner:
    """Runs a reference and a candidate on the same feeds, gives the candidate's numbers, and notes how they differ."""

    def __init__(self, reference: Runner, candidate: Runner) -> None:
        self._reference = reference
        self._candidate = candidate
        self.max_difference = 0.0
        self._num_decisions = 0
        self._num_equal = 0

    @property
    def agreement(self) -> float:
        """Percentage of decisions that are the same: all of them where there are none to make, as in a forecast."""
        if not self._num_decisions:
            return 100.0
        return 100.0 * self._num_equal / max(1, self._num_decisions)

    def run(self, graph: str, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Run one graph once in both."""
        expected, found = self._reference.run(graph, feeds), self._candidate.run(graph, feeds)
        for name in expected:
            one, other = (self._valid(values[name], feeds) for values in (expected, found))
            self.max_difference = max(self.max_difference, float(np.abs(one - other).max()))
            if name in _DECISIONS:
                equal = one.argmax(axis=-1) == other.argmax(axis=-1)
                self._num_decisions += equal.size
                self._num_equal += int(equal.sum())
        return found

    def _valid(self, values: Array, feeds: Mapping[str, Array]) -> Array:
        """What is not padding: `[batch, time, ...]` is cut to the rows' lengths, everything else is whole."""
        lengths = feeds.get("lengths")
        if lengths is None or values.ndim < 3 or values.shape[0] != len(lengths):
            return values
        return np.asarray(values[np.arange(values.shape[1]) < lengths[:, None]])
