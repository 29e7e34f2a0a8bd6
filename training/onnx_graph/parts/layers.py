"""Non-recurrent layers: embedding, linear, layer normalisation, masks and masked softmax."""

from __future__ import annotations

from typing import cast

import numpy as np
from torch import nn

from training.networks.layers.feed_forward import HiddenLayers
from training.onnx_graph.parts.builder import GraphBuilder


def embedding(graph: GraphBuilder, ids: str, module: nn.Embedding) -> str:
    """Embedding lookup, shape of `ids` + `[width]`. Only the gathered rows are cast to float32."""
    return graph.as_float32(graph.node("Gather", graph.stored_weight(module.weight), ids))


def linear(graph: GraphBuilder, values: str, module: nn.Linear) -> str:
    """`values @ weight.T + bias` over the last axis. The weight is stored as in torch, so that ties are found."""
    product = graph.node("MatMul", values, graph.node("Transpose", graph.weight(module.weight), perm=[1, 0]))
    bias: nn.Parameter | None = module.bias  # torch's annotation leaves out None
    return product if bias is None else graph.node("Add", product, graph.weight(bias))


def hidden_layers(graph: GraphBuilder, values: str, module: HiddenLayers) -> str:
    """Linear and ReLU for each hidden layer."""
    for part in module.linears:
        values = graph.node("Relu", linear(graph, values, cast(nn.Linear, part)))
    return values


def layer_norm(graph: GraphBuilder, values: str, module: nn.LayerNorm) -> str:
    """Layer normalisation over the last axis."""
    weights = graph.weight(module.weight), graph.weight(module.bias)
    return graph.node("LayerNormalization", values, *weights, axis=-1, epsilon=module.eps)


def axis_size(graph: GraphBuilder, values: str, axis: int) -> str:
    """The size of one axis, int64 of rank 0."""
    return graph.node("Squeeze", graph.node("Shape", values, start=axis, end=axis + 1), graph.integers(0))


def valid_mask(graph: GraphBuilder, values: str, lengths: str) -> str:
    """bool `[batch, time]`, true within each row's length; `values` is anything of shape `[batch, time, ...]`."""
    steps = graph.node("Range", graph.integer(0), axis_size(graph, values, axis=1), graph.integer(1))
    rows = graph.node("Unsqueeze", steps, graph.integers(0))
    return graph.node("Less", rows, graph.node("Unsqueeze", lengths, graph.integers(1)))


def fill_where(graph: GraphBuilder, mask: str, values: str, otherwise: float) -> str:
    """`values` where the mask is true, `otherwise` elsewhere."""
    return graph.node("Where", mask, values, graph.scalar(otherwise))


def masked_softmax(graph: GraphBuilder, scores: str, mask: str) -> str:
    """Softmax over the last axis where the mask is true; exactly zero elsewhere."""
    lowest = float(np.finfo(np.float32).min)
    return graph.node("Softmax", fill_where(graph, mask, scores, lowest), axis=-1)


def one_at_maximum(graph: GraphBuilder, scores: str, mask: str) -> str:
    """1 at the first of the greatest scores where the mask is true, 0 elsewhere; over the last axis of two."""
    lowest = float(np.finfo(np.float32).min)
    place = graph.node("ArgMax", fill_where(graph, mask, scores, lowest), axis=-1, keepdims=0)
    values = graph.constant(np.array([0, 1], dtype=np.float32))
    return graph.node("OneHot", place, axis_size(graph, scores, axis=1), values, axis=-1)
