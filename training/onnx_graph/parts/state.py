"""Recurrent state as graph inputs (`hidden`, `cell`) and outputs (`next_hidden`, `next_cell`)."""

from __future__ import annotations

from collections.abc import Sequence

from training.networks.network import Network, next_name
from training.onnx_graph.parts.builder import GraphBuilder


def state_inputs(graph: GraphBuilder, network: Network) -> tuple[str, ...]:
    """The state tensors of the network, `[layers, batch, width]` each."""
    return tuple(graph.input(name) for name in network.state_shapes)


def state_outputs(graph: GraphBuilder, network: Network, values: Sequence[str]) -> None:
    """Output `values` as the next state."""
    for name, value in zip(network.state_shapes, values, strict=True):
        graph.output(next_name(name), value)
