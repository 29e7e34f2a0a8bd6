"""Comparison of a rewritten graph with its original, and with itself in other batches and in chunks.

original  every output of a row in a padded batch equals that of the original, which computes the row alone
padding   a row in a padded batch equals the same row alone
chunks    a row in chunks, each continued from the state of the one before, equals the row at once
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import onnx

from service.bundle.manifest import GraphSpec, StateSpec
from service.tasks.core.task import Array
from training.importing.graph.probing import Opened
from training.importing.original import OriginalRunner
from training.publish.array_checks import SIZES, NamedArrays, Ranges, check_arrays, compare_row, runs_of
from training.publish.parity_report import ParityReport


class RewrittenRunner:
    """A `service.tasks.core.task.Runner` on a rewritten graph."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self._opened = Opened(model)

    def run(self, graph: str, feeds: Mapping[str, Array]) -> dict[str, Array]:
        return self._opened.run(feeds)


def prove(
    model: onnx.ModelProto, spec: GraphSpec, state: Sequence[StateSpec], original: OriginalRunner, ranges: Ranges
) -> ParityReport:
    """Run every check. Raises RunRefused if the graph cannot be run, InferenceFailed if the original cannot."""
    report, runner = ParityReport(Path("model")), RewrittenRunner(model)
    arrays = NamedArrays(spec, state, ranges)
    steps = original.steps if arrays.is_over_time else None
    sizes = SIZES if steps is None else (*SIZES, (2, steps), (3, steps))
    for feeds, outputs in runs_of(arrays, runner, sizes):
        for row, length in enumerate(arrays.lengths(feeds)):
            if steps in (None, length):
                alone = original.run("model", arrays.row_alone(feeds, row, length))
                compare_row(report, "original", arrays, (row, length), alone, outputs)
    check_arrays(report, runner, spec, state, ranges, sizes)
    return report
