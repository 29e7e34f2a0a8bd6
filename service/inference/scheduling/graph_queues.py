"""Runs of single graphs on tensors that a caller made: one batcher for each graph, made when it is first used.

The rows of a request are queued one by one, so that rows of different requests share a run, as texts do. Axes that the
manifest names may differ from row to row: they are padded with zeros, which changes nothing where the graph is told the
lengths. A graph that has such an axis and no lengths runs rows of equal size together.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from service.bundle.hidden_output import gives_hidden, without_hidden
from service.bundle.manifest import ROW_AXES, GraphSpec, TensorSpec
from service.bundle.padding import Array
from service.errors import NotReady
from service.inference.scheduling.batcher import Batcher
from service.inference.scheduling.batching.queued_request import Output
from service.observability.inference_statistics import RunTotals
from service.tasks.core.task import Runner, run_with_hidden

_LENGTHS = "lengths"
_TIME_AXIS = "time"
#: Heads that a word may have: the root and the words.
_CANDIDATES_AXIS = "candidates"

Arrays = Mapping[str, Array]


@dataclass(frozen=True, eq=False)
class GraphRow:
    """One row of a request: each input without its axis of rows, and the sizes of the named axes."""

    feeds: Arrays
    sizes: Mapping[str, int]

    @property
    def length(self) -> int:
        """Steps of the recurrence, or 1."""
        return self.sizes.get(_TIME_AXIS, 1)


#: From rows to the outputs of each.
GraphRun = Callable[[Sequence[GraphRow]], Sequence[Arrays]]


class GraphQueues:
    """The graphs of one bundle. Create and use it inside a running event loop."""

    def __init__(
        self, runner: Runner, specs: Mapping[str, GraphSpec], open_batcher: Callable[[GraphRun], Batcher]
    ) -> None:
        """`open_batcher` makes a batcher for a function from rows to outputs."""
        self._runner = runner
        self._specs = specs
        self._open_batcher = open_batcher
        self._batchers: dict[tuple[str, bool], Batcher] = {}
        self._is_closed = False

    @property
    def num_pending(self) -> int:
        """Rows that wait or run."""
        return sum([batcher.num_pending for batcher in self._batchers.values()])

    @property
    def runs(self) -> list[RunTotals]:
        """The runs of every graph."""
        return [batcher.runs for batcher in self._batchers.values()]

    def submit(
        self, graph: str, feeds: Arrays, deadline_s: float, caller: str = "", *, hidden: bool = False
    ) -> asyncio.Future[list[Output]]:
        """Queue the rows of a request, all or none. `feeds` are what `FeedCheck` accepts.

        The value of each output is the row's outputs by name, without the axis of rows; with `hidden` also those that
        a run leaves out otherwise.

        Raises:
            Overloaded: they do not fit the queue.
            NotReady: the bundle is no longer served.
        """
        if self._is_closed:
            raise NotReady("this version is no longer served", cause="draining")
        spec = self._specs[graph] if hidden else without_hidden(self._specs[graph])
        key = graph, hidden
        if key not in self._batchers:
            self._batchers[key] = self._open_batcher(partial(run_rows, self._runner, graph, spec))
        return self._batchers[key].submit(rows_of(spec, feeds), deadline_s, caller)

    async def close(self) -> None:
        """Take no more requests; those that wait get NotReady."""
        self._is_closed = True
        for batcher in self._batchers.values():
            await batcher.close()


def rows_of(spec: GraphSpec, feeds: Arrays) -> list[GraphRow]:
    """The rows of a batch of inputs."""
    sizes = axis_sizes(spec.inputs, feeds)
    num_rows = num_rows_of(sizes)
    sizes = {axis: size for axis, size in sizes.items() if axis not in ROW_AXES}
    split = {tensor.name: _rows_first(tensor, feeds[tensor.name]) for tensor in spec.inputs}
    return [GraphRow({name: array[row] for name, array in split.items()}, sizes) for row in range(num_rows)]


def batch_of(spec: GraphSpec, rows: Sequence[Arrays]) -> dict[str, Array]:
    """The outputs of one request's rows as batches."""
    return {tensor.name: _stacked(tensor, [row[tensor.name] for row in rows]) for tensor in spec.outputs}


def run_rows(runner: Runner, graph: str, spec: GraphSpec, rows: Sequence[GraphRow]) -> list[Arrays]:
    """One run for all rows, or one for each size where padding would change the result. Raises InferenceFailed."""
    if any(tensor.name == _LENGTHS for tensor in spec.inputs):
        return _run_together(runner, graph, spec, rows)
    found: dict[int, Arrays] = {}
    for sizes in {tuple(row.sizes.items()): row.sizes for row in rows}.values():
        alike = [index for index, row in enumerate(rows) if row.sizes == sizes]
        outputs = _run_together(runner, graph, spec, [rows[index] for index in alike])
        found |= dict(zip(alike, outputs, strict=True))
    return [found[index] for index in range(len(rows))]


def axis_sizes(tensors: Sequence[TensorSpec], arrays: Arrays) -> dict[str, int]:
    """The size of each named axis, and of those of outputs that follow from them."""
    sizes = {
        axis: size
        for tensor in tensors
        for axis, size in zip(tensor.shape, arrays[tensor.name].shape, strict=True)
        if isinstance(axis, str)
    }
    return sizes | ({_CANDIDATES_AXIS: sizes[_TIME_AXIS] + 1} if _TIME_AXIS in sizes else {})


def num_rows_of(sizes: Mapping[str, int]) -> int:
    """Rows of inputs with these sizes of axes; 1 where they have no such axis."""
    return next((sizes[axis] for axis in ROW_AXES if axis in sizes), 1)


def _run_together(runner: Runner, graph: str, spec: GraphSpec, rows: Sequence[GraphRow]) -> list[Arrays]:
    feeds = {tensor.name: _stacked(tensor, [row.feeds[tensor.name] for row in rows]) for tensor in spec.inputs}
    outputs = run_with_hidden(runner, graph, feeds) if gives_hidden(spec) else runner.run(graph, feeds)
    split = {tensor.name: _rows_first(tensor, outputs[tensor.name]) for tensor in spec.outputs}
    return [
        {tensor.name: _cut(tensor, split[tensor.name][index], row.sizes) for tensor in spec.outputs}
        for index, row in enumerate(rows)
    ]


def _rows_first(tensor: TensorSpec, array: Array) -> Array:
    """A view whose first axis is the batch."""
    return np.moveaxis(array, tensor.row_axis, 0)


def _stacked(tensor: TensorSpec, rows: Sequence[Array]) -> Array:
    """Rows as a batch, padded with zeros to the largest."""
    shapes = {row.shape for row in rows}
    axis = tensor.row_axis
    if len(shapes) == 1:
        return np.stack(rows, axis=axis)
    widest = tuple(map(max, zip(*shapes, strict=True)))
    padded = np.zeros((len(rows), *widest), dtype=rows[0].dtype)
    for place, row in zip(padded, rows, strict=True):
        place[tuple(slice(size) for size in row.shape)] = row
    return np.ascontiguousarray(np.moveaxis(padded, 0, axis))


def _cut(tensor: TensorSpec, row: Array, sizes: Mapping[str, int]) -> Array:
    """A row of an output without the padding of its batch."""
    axes = [axis for axis in tensor.shape if axis not in ROW_AXES]
    return row[tuple(slice(sizes.get(axis)) if isinstance(axis, str) else slice(None) for axis in axes)]
