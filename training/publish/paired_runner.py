"""Compare two runners on the same inputs: largest difference and share of equal decisions."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from service.tasks.core.task import Array, Runner, run_with_hidden

#: Outputs whose argmax is the decision of the model.
_DECISIONS = frozenset(
    {"emissions", "logits", "text_logits", "arc_scores", "offset_logits", "relation_logits", "feature_logits"}
)


class PairedRunner:
    """Runs a reference and a candidate on the same feeds, returns the candidate's outputs and records differences."""

    def __init__(self, reference: Runner, candidate: Runner) -> None:
        self._reference = reference
        self._candidate = candidate
        self.max_difference = 0.0
        self._num_decisions = 0
        self._num_equal = 0

    @property
    def agreement(self) -> float:
        """Percentage of equal decisions; 100 where there are none, as in a forecast."""
        if not self._num_decisions:
            return 100.0
        return 100.0 * self._num_equal / max(1, self._num_decisions)

    def run(self, graph: str, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Run a graph with both runners."""
        expected, found = (run_with_hidden(runner, graph, feeds) for runner in (self._reference, self._candidate))
        for name in expected:
            one, other = (self._valid(values[name], feeds) for values in (expected, found))
            self.max_difference = max(self.max_difference, float(np.abs(one - other).max()))
            if name in _DECISIONS:
                equal = one.argmax(axis=-1) == other.argmax(axis=-1)
                self._num_decisions += equal.size
                self._num_equal += int(equal.sum())
        return found

    def _valid(self, values: Array, feeds: Mapping[str, Array]) -> Array:
        """Without padding: `[batch, time, ...]` is cut to the rows' lengths; other outputs are unchanged."""
        lengths = feeds.get("lengths")
        if lengths is None or values.ndim < 3 or values.shape[0] != len(lengths):
            return values
        return np.asarray(values[np.arange(values.shape[1]) < lengths[:, None]])
