"""Builds the small ONNX graphs of tiny bundles, with random weights and their manifest specs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from service.bundle.manifest import GraphSpec, TensorSpec

HIDDEN = 6
EMBEDDING = 5


class Graph:
    """Collects nodes and weights, and writes one ONNX file with its spec."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self._nodes: list[onnx.NodeProto] = []
        self._weights: dict[str, onnx.TensorProto] = {}

    def node(self, operator: str, inputs: Sequence[str], *outputs: str, **attributes: Any) -> str:
        self._nodes.append(helper.make_node(operator, list(inputs), list(outputs), **attributes))
        return outputs[0]

    def constant(self, name: str, value: Any, dtype: Any = np.int64) -> str:
        self._weights[name] = numpy_helper.from_array(np.asarray(value, dtype=dtype), name)
        return name

    def weight(self, name: str, *shape: int) -> str:
        return self.constant(name, self._rng.normal(0.0, 0.8, shape), np.float32)

    def embedding(self, name: str, ids: str, size: int) -> str:
        """An embedding lookup; row 0, padding, is zero."""
        table = self._rng.normal(0.0, 0.8, (size, EMBEDDING)).astype(np.float32)
        table[0] = 0.0
        return self.node("Gather", [self.constant(f"{name}_table", table, np.float32), ids], f"{name}_embedded")

    def recurrent(self, cell: str, inputs: str, width: int, lengths: str = "", state: Sequence[str] = ()) -> list[str]:
        """An LSTM or GRU over `[time, batch, width]`; outputs Y `[time, 1, batch, hidden]`, Y_h and, for LSTM, Y_c."""
        gates = {"LSTM": 4, "GRU": 3}[cell]
        feeds = [
            inputs,
            self.weight(f"{cell}_w", 1, gates * HIDDEN, width),
            self.weight(f"{cell}_r", 1, gates * HIDDEN, HIDDEN),
            self.weight(f"{cell}_b", 1, 2 * gates * HIDDEN),
            lengths,
            *state,
        ]
        outputs = ["y", "y_h", "y_c"][: 3 if cell == "LSTM" else 2]
        extra = {"linear_before_reset": 1} if cell == "GRU" else {}
        self.node(cell, feeds, *outputs, hidden_size=HIDDEN, **extra)
        return outputs

    def batch_first(self, y: str, name: str) -> str:
        """Transpose `[time, 1, batch, hidden]` to `[batch, time, hidden]`."""
        squeezed = self.node("Squeeze", [y, self.constant(f"{name}_axis", [1])], f"{name}_squeezed")
        return self.node("Transpose", [squeezed], name, perm=[1, 0, 2])

    def time_first(self, x: str, name: str) -> str:
        return self.node("Transpose", [x], name, perm=[1, 0, 2])

    def int32_lengths(self) -> str:
        return self.node("Cast", ["lengths"], "lengths_int32", to=TensorProto.INT32)

    def next_state(self, *values: str) -> None:
        """Return the next recurrent state: hidden and, for LSTM, cell."""
        for value, name in zip(values, ("next_hidden", "next_cell"), strict=False):
            self.node("Identity", [value], name)

    def dense(self, x: str, width: int, size: int, output: str) -> str:
        return self.node("MatMul", [x, self.weight(f"{output}_w", width, size)], output)

    def save(self, file: Path, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> GraphSpec:
        graph = helper.make_graph(
            self._nodes,
            file.stem,
            [_value_info(spec) for spec in inputs],
            [_value_info(spec) for spec in outputs],
            list(self._weights.values()),
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
        onnx.checker.check_model(model)
        file.write_bytes(model.SerializeToString())
        return GraphSpec(file=file.name, inputs=tuple(inputs), outputs=tuple(outputs))


def _value_info(spec: TensorSpec) -> onnx.ValueInfoProto:
    dtype = {"int64": TensorProto.INT64, "float32": TensorProto.FLOAT, "uint8": TensorProto.UINT8}[spec.dtype]
    return helper.make_tensor_value_info(spec.name, dtype, list(spec.shape))


def ids(name: str, *shape: str) -> TensorSpec:
    """An int64 tensor of token ids or lengths."""
    return TensorSpec(name=name, dtype="int64", shape=shape)


def floats(name: str, *shape: int | str) -> TensorSpec:
    """A float32 tensor."""
    return TensorSpec(name=name, dtype="float32", shape=shape)
