"""Weights of a network from the graphs of its bundle: the inverse of the graph writers.

A writer transposes, reorders and joins weights, but computes none of them. It is therefore run once more, on a network
whose every weight is its own number; where that number stands in the graph, the bundle has the value of the weight. The
inverse holds for every network that has a writer, and needs no change when a writer changes.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import GraphProto, TensorProto, numpy_helper

from service.bundle.load import Bundle
from service.errors import UnrollError
from training.networks.network import Network
from training.onnx_graph.parts.builder import GraphBuilder
from training.onnx_graph.writers import network_graphs

#: Numbers below this are exact in float32, and so is their sum with `_MARK`.
_BASE = 2**21
#: Tells the second digit of a number from the first one, so that weights differ between both graphs and constants not.
_MARK = 0.5
_FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16)

Array = NDArray[Any]


class CannotRestore(UnrollError):
    """The graphs do not hold the weights of this network in a form that can be read back."""


class _NumberedGraph(GraphBuilder):
    """A graph of numbered weights: in single precision, whatever the nodes around them cast."""

    def _storable(self, tensor: torch.Tensor) -> Array:
        array: Array = tensor.detach().to("cpu", torch.float32).numpy()
        return array


class _Placed(NamedTuple):
    """The numbers of the weights at the places of one tensor of a graph, and the values there."""

    numbers: Array
    values: Array


def restore_weights(network: Network, bundle: Bundle) -> None:
    """Give `network`, built as that of `bundle` was, the weights of its fp32 graphs.

    Weights that no graph holds, because training alone uses them, stay as they are.

    Raises:
        CannotRestore: the graphs are of another network, or hold a weight in part or computed.
    """
    sizes = [tensor.numel() for tensor in _weights(network).values()]
    values = np.full(sum(sizes), np.nan, dtype=np.float32)
    for placed in _placed(network, bundle):
        values[placed.numbers] = placed.values
    pieces = np.split(values, np.cumsum(sizes)[:-1]) if sizes else []
    with torch.no_grad():
        for (name, tensor), piece in zip(_weights(network).items(), pieces, strict=True):
            missing = np.isnan(piece)
            if missing.any() and not missing.all():
                raise CannotRestore(f"{bundle.path}: its graphs hold only a part of {name}")
            if not missing.any():
                tensor.copy_(torch.from_numpy(piece).view_as(tensor))
        transitions = network.transitions()
        if transitions is not None and bundle.transitions is not None:
            transitions.copy_(torch.from_numpy(bundle.transitions))


def _weights(network: Network) -> dict[str, torch.Tensor]:
    """Parameters and buffers of floating point by name; tied ones once."""
    every = (*network.named_parameters(), *network.named_buffers())
    return {name: tensor for name, tensor in every if tensor.is_floating_point()}


def _placed(network: Network, bundle: Bundle) -> Iterator[_Placed]:
    """Every tensor of the bundle's graphs that holds weights."""
    # A bundle may have graphs of further networks, which were added to it later.
    names = [name for name in bundle.manifest.graphs if name in network.graphs()]
    stored = {name: onnx.load(bundle.graph_path(name)).graph for name in names}
    half = any(tensor.data_type == TensorProto.FLOAT16 for graph in stored.values() for tensor in graph.initializer)
    first, second = (network_graphs(_numbered(network, digit), half, _NumberedGraph) for digit in (0, 1))
    if first.keys() != stored.keys():
        raise CannotRestore(f"{bundle.path} lacks graphs of its network: {', '.join(first.keys() - stored.keys())}")
    for name, graph in stored.items():
        try:
            yield from _placed_in(graph, first[name].model().graph, second[name].model().graph)
        except ValueError as error:
            raise CannotRestore(
                f"{bundle.path}: graph {name!r} is not that of its recipe, or cannot be read back: {error}"
            ) from error


def _numbered(network: Network, digit: int) -> Network:
    """A copy whose weights are numbered in their order, by one digit of the number in base `_BASE`."""
    numbered, start = copy.deepcopy(network).cpu(), 0
    with torch.no_grad():
        for tensor in _weights(numbered).values():
            numbers = torch.arange(start, start + tensor.numel(), dtype=torch.int64)
            digits = numbers // _BASE + _MARK if digit else numbers % _BASE
            tensor.copy_(digits.view_as(tensor))
            start += tensor.numel()
    return numbered


def _placed_in(stored: GraphProto, first: GraphProto, second: GraphProto) -> Iterator[_Placed]:
    """The weights of one graph, by the order in which its nodes read them, which writers of all versions keep.

    Raises ValueError where the graphs read other tensors.
    """
    reads = [list(_tensors_read(graph)) for graph in (stored, first, second)]
    operators = [[operator for operator, _ in each] for each in reads[:2]]
    if operators[0] != operators[1]:
        raise ValueError(f"its tensors are read by {', '.join(operators[0])}, not by {', '.join(operators[1])}")
    for (_, values), (operator, low), (_, high) in zip(*reads, strict=True):
        if values.shape != low.shape:
            raise ValueError(f"a {operator} reads {values.shape}, not {low.shape}")
        if not np.array_equal(low, high):  # else a constant, which is the same in both numbered graphs
            yield _Placed(_numbers(low, high).ravel(), values.astype(np.float32).ravel())


def _tensors_read(graph: GraphProto) -> Iterator[tuple[str, Array]]:
    """Operator and tensor, wherever a node reads a stored tensor of floating point that is no single number."""
    tensors = {tensor.name: tensor for tensor in graph.initializer if tensor.dims and tensor.data_type in _FLOATS}
    for node in graph.node:
        for name in node.input:
            if name in tensors:
                yield node.op_type, numpy_helper.to_array(tensors[name])


def _numbers(low: Array, high: Array) -> Array:
    """The numbers of weights from their two digits. Raises ValueError where a weight is computed from others."""
    numbers = low.astype(np.float64) + (high.astype(np.float64) - _MARK) * _BASE
    if (numbers != np.rint(numbers)).any() or (low < 0).any():
        raise ValueError("a weight is computed from others")
    return numbers.astype(np.int64)
