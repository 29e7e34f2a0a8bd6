"""Recurrent state as inputs and outputs of a graph: `hidden`, `cell` and others go in, `next_...` come out."""

from __future__ import annotations

from collections.abc import Sequence

from training.networks.network import Network, next_name
from training.onnx_graph.parts.builder import GraphBuilder


def state_inputs(graph: GraphBuilder, network: Network) -> tuple[str, ...]:
    """The parts of the network's state, `[layers, batch, width]` each."""
    return tuple(graph.input(name) for name in network.state_shapes)


def state_outputs(graph: GraphBuilder, network: Network, values: Sequence[str]) -> None:
    """Give `values` back as the network's next state."""
    for name, value in zip(network.state_shapes, values, strict=True):
        graph.output(next_name(name), value)
