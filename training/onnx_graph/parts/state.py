"""Recurrent state at the edge of a graph: the tensors that go in as `hidden`, `cell` and come out as `next_...`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from service.bundle.manifest import GraphSpec, StateSpec, TensorSpec
from training.config.networks import CellOrNone, ClassifierConfig, TaggerConfig
from training.networks.layers.recurrent import STATE_NAMES
from training.onnx_graph.parts.builder import GraphBuilder

#: The graphs that hand state back: those that run step by step, and those that may read chunk by chunk.
STATEFUL_GRAPHS = ("step", "decoder_step", "tagger", "classifier")


class StateSize(NamedTuple):
    """What a stack of `layers` recurrences of `width` remembers: tensors `[layers, batch, width]`."""

    cell: CellOrNone
    layers: int
    width: int

    @property
    def names(self) -> tuple[str, ...]:
        return STATE_NAMES[self.cell]

    @classmethod
    def of_encoder(cls, config: TaggerConfig | ClassifierConfig) -> StateSize:
        """What an encoder that reads forward remembers from one chunk to the next."""
        return cls(config.cell, config.layers, config.hidden_size)

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
    """The state of a bundle: the inputs of its stateful graph that come back as `next_...`; none is an answer too."""
    stateful = [graphs[name] for name in STATEFUL_GRAPHS if name in graphs]
    return tuple(
        _state_spec(tensor)
        for graph in stateful
        for tensor in graph.inputs
        if next_name(tensor.name) in {output.name for output in graph.outputs}
    )


def _state_spec(tensor: TensorSpec) -> StateSpec:
    layers, _, width = tensor.shape
    return StateSpec(name=tensor.name, next_name=next_name(tensor.name), layers=int(layers), width=int(width))
