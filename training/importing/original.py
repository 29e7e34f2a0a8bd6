"""The original model as a runner: the reference that the rewritten graph must match, and that examples are recorded of.

Each row is computed alone, without padding and from its first step, in the layout, types and names of the original.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx.reference import ReferenceEvaluator

from service.bundle.manifest import LENGTHS
from service.errors import InferenceFailed
from service.tasks.core.task import Array
from training.importing.graph.axes import Foreign
from training.importing.graph.edges import Edge, Edges, numbers_for, numbers_of
from training.importing.graph.edited_graph import EditedGraph, attribute
from training.importing.graph.probing import TIME, Arrays, Opened
from training.importing.graph.recurrences import StatePlan, final_state

#: Inputs by name in, outputs by name out: onnxruntime on the file, or a module of torch.
Compute = Callable[[Arrays], Mapping[str, NDArray[Any]]]


class OriginalRunner:
    """A `service.tasks.core.task.Runner` on the model as it was handed in.

    Args:
        compute: runs the original, with `finals` of each part of the state as further outputs.
    """

    def __init__(
        self,
        foreign: Foreign,
        edges: Edges,
        compute: Compute,
        finals: Mapping[str, tuple[str, NDArray[Any]]],
    ) -> None:
        self._foreign, self._edges, self._compute = foreign, edges, compute
        self._finals = finals
        #: The one number of steps that it can be run at; None for any.
        self.steps = foreign.bound_steps
        self._rows = foreign.fixed_batch or 1

    def run(self, graph: str, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Run every row of a batch alone, and pad what comes out as the batch is padded.

        Raises:
            InferenceFailed: a row is of a length that the original does not take, or has a state already.
        """
        time = self._time_of(feeds)
        lengths = feeds.get(LENGTHS, np.full(self._count(feeds), time, dtype=np.int64))
        rows = [self._row(feeds, row, int(length)) for row, length in enumerate(lengths)]
        outputs = {edge.spec.name: self._stacked(edge, rows, time) for edge in self._edges.outputs}
        states = {name: np.concatenate([row[name] for row in rows], axis=1) for name in self._finals}
        return outputs | states

    def _time_of(self, feeds: Mapping[str, Array]) -> int:
        return next((feeds[e.spec.name].shape[1] for e in self._edges.inputs if TIME in e.spec.shape), 1)

    def _count(self, feeds: Mapping[str, Array]) -> int:
        return len(feeds[self._edges.inputs[0].spec.name])

    def _row(self, feeds: Mapping[str, Array], row: int, length: int) -> dict[str, Array]:
        over_time = any(TIME in edge.spec.shape for edge in self._edges.inputs)
        if over_time and self.steps is not None and length != self.steps:
            raise InferenceFailed(f"the original takes {self.steps} steps, not {length}")
        whole = {edge.source: self._input(edge, feeds, row, length) for edge in self._edges.inputs}
        for name in self._foreign.state:
            shape = self._foreign.shape_of(name, self._rows, length)
            whole[name] = np.zeros(shape, dtype=self._foreign.source[name].dtype)
        made = self._compute(whole)
        answers = {edge.spec.name: numbers_of(edge, made[edge.source], self._rows)[:1] for edge in self._edges.outputs}
        finals = {
            name: (np.asarray(made[value], dtype=np.float32) - start)[:, :1]
            for name, (value, start) in self._finals.items()
        }
        return answers | finals

    def _input(self, edge: Edge, feeds: Mapping[str, Array], row: int, length: int) -> NDArray[Any]:
        array = feeds[edge.spec.name][row : row + 1]
        if TIME in edge.spec.shape:
            array = array[:, :length]
        if edge.spec.name == LENGTHS:
            array = np.array([length])
        return numbers_for(edge, np.repeat(array, self._rows, axis=0))

    def _stacked(self, edge: Edge, rows: Sequence[Mapping[str, Array]], time: int) -> Array:
        parts = [row[edge.spec.name] for row in rows]
        if TIME in edge.spec.shape:
            parts = [np.pad(part, [(0, 0), (0, time - part.shape[1])] + [(0, 0)] * (part.ndim - 2)) for part in parts]
        return np.concatenate(parts)


def onnx_compute(model: onnx.ModelProto, plan: StatePlan) -> tuple[Compute, dict[str, tuple[str, NDArray[Any]]]]:
    """The file in onnxruntime, unchanged but that final states are outputs too.

    With `layout = 1`, which onnxruntime does not run, it is ONNX's reference evaluator that answers.

    Returns:
        the function, and for each next state its value in the original and the constant that it is counted from.
    """
    graph = EditedGraph(model)
    nodes = {node.name: node for node in graph.stateful}
    finals = {part.spec.next_name: (final_state(graph, nodes[part.node], part), part.start) for part in plan.parts}
    for value, _ in finals.values():
        if value not in graph.outputs:
            graph.declare_output(value)
    if any(attribute(node, "layout", 0) for node in nodes.values()):
        return _evaluated(graph.model()), finals
    return Opened(graph.model()).run, finals


def _evaluated(model: onnx.ModelProto) -> Compute:
    evaluator = ReferenceEvaluator(model)

    def run(feeds: Arrays) -> Arrays:
        try:
            return dict(zip(evaluator.output_names, evaluator.run(None, feeds), strict=True))
        except (NotImplementedError, RuntimeError, ValueError, AttributeError) as error:
            raise InferenceFailed(f"a recurrence with layout = 1 that cannot be evaluated: {error}") from error

    return run
