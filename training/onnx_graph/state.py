"""Recurrent state at the edge of a graph: the tensors that go in as `hidden`, `cell` and come out as `next_...`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from service.bundle.manifest import GraphSpec, StateSpec, TensorSpec
from training.config import Cell
from training.networks.recurrent import STATE_NAMES
from training.onnx_graph.builder import GraphBuilder

STEP_GRAPHS = ("step", "decoder_step")


class StateSize(NamedTuple):
    """What a stack of `layers` recurrences of `width` remembers: tensors `[layers, batch, width]`."""

    cell: Cell
    layers: int
    width: int

    @property
    def names(self) -> tuple[str, ...]:
        return STATE_NAMES[self.cell]

    def declare(self, graph: GraphBuilder) -> tuple[str, ...]:
        """Declare the state as inputs; returns their names."""
        return tuple(graph.input(name, "float32", (self.layers, "batch", self.width)) for name in self.names)

    def declare_next(self, graph: GraphBuilder, values: Sequence[str]) -> None:
        """Declare `values` as the state that the graph hands back."""
        for name, value in zip(self.names, values, strict=True):
            graph.output(next_name(name), value, "float32", (self.layers, "batch", self.width))


def next_name(name: str) -> str:
    """The output that hands back the state that went in as `name`."""
    return f"next_{name}"


def state_specs(graphs: Mapping[str, GraphSpec]) -> tuple[StateSpec, ...]:
    """The state of a bundle: the inputs of its step graph that come back as `next_...`."""
    steps = [graphs[name] for name in STEP_GRAPHS if name in graphs]
    return tuple(
        _state_spec(tensor)
        for step in steps
        for tensor in step.inputs
        if next_name(tensor.name) in {output.name for output in step.outputs}
    )


def _state_spec(tensor: TensorSpec) -> StateSpec:
    layers, _, width = tensor.shape
    return StateSpec(name=tensor.name, next_name=next_name(tensor.name), layers=int(layers), width=int(width))
