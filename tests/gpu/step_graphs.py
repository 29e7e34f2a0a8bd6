"""One step of a two-layer LSTM as graphs: with ONNX's operator, and written out with MatMul."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

LAYERS = 2


class _Step:
    """A graph `token_vector, hidden, cell -> next_hidden, next_cell`, all float32."""

    def __init__(self, width: int) -> None:
        self._width = width
        self._random = np.random.default_rng(0)
        self._nodes: list[onnx.NodeProto] = []
        self._weights: list[onnx.TensorProto] = []

    def node(self, operator: str, *inputs: str, num_outputs: int = 1, **attributes: object) -> list[str]:
        outputs = [f"{operator.lower()}_{len(self._nodes)}_{number}" for number in range(num_outputs)]
        self._nodes.append(helper.make_node(operator, list(inputs), outputs, **attributes))
        return outputs

    def constant(self, array: np.ndarray) -> str:
        name = f"constant_{len(self._weights)}"
        self._weights.append(numpy_helper.from_array(array, name))
        return name

    def weight(self, *shape: int) -> np.ndarray:
        return self._random.uniform(-0.05, 0.05, shape).astype(np.float32)

    def operator_layer(self, x: str, hidden: str, cell: str) -> list[str]:
        """hidden, cell: `[1, batch, width]`, from the LSTM operator."""
        weights = [self.constant(self.weight(1, 4 * self._width, self._width)) for _ in range(2)]
        bias = self.constant(np.zeros((1, 8 * self._width), np.float32))
        attributes = {"num_outputs": 3, "hidden_size": self._width}
        return self.node("LSTM", x, *weights, bias, "", hidden, cell, **attributes)[1:]

    def product_layer(self, x: str, hidden: str, cell: str) -> list[str]:
        """The same with the same weights, from one MatMul over input and state together and seven small nodes."""
        weights = [self.weight(4 * self._width, self._width) for _ in range(2)]
        both = self.node("Concat", x, hidden, axis=2)[0]
        gates = self.node("MatMul", both, self.constant(np.concatenate(weights, axis=1).T.copy()))[0]
        entering, leaving, kept, new = self.node("Split", gates, num_outputs=4, axis=2)
        entering, leaving, kept = (self.node("Sigmoid", gate)[0] for gate in (entering, leaving, kept))
        kept = self.node("Mul", kept, cell)[0]
        cell = self.node("Add", kept, self.node("Mul", entering, self.node("Tanh", new)[0])[0])[0]
        return [self.node("Mul", leaving, self.node("Tanh", cell)[0])[0], cell]

    def model(self, by_operator: bool) -> onnx.ModelProto:
        layer = self.operator_layer if by_operator else self.product_layer
        hiddens = self.node("Split", "hidden", num_outputs=LAYERS, axis=0)
        cells = self.node("Split", "cell", num_outputs=LAYERS, axis=0)
        x, after = "x", []
        for hidden, cell in zip(hiddens, cells, strict=True):
            x, next_cell = layer(x, hidden, cell)
            after.append((x, next_cell))
        for name, parts in zip(("next_hidden", "next_cell"), zip(*after, strict=True), strict=True):
            self._nodes.append(helper.make_node("Concat", list(parts), [name], axis=0))
        return self._assembled()

    def _assembled(self) -> onnx.ModelProto:
        state = [LAYERS, "batch", self._width]
        inputs = [_tensor("x", [1, "batch", self._width]), _tensor("hidden", state), _tensor("cell", state)]
        outputs = [_tensor("next_hidden", state), _tensor("next_cell", state)]
        graph = helper.make_graph(self._nodes, "step", inputs, outputs, self._weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
        onnx.checker.check_model(_with_split_counts(model))
        return model


def step_graph(width: int, by_operator: bool) -> onnx.ModelProto:
    """`x` `[1, batch, width]`, `hidden` and `cell` `[2, batch, width]` -> `next_hidden`, `next_cell`; no bias."""
    return _Step(width).model(by_operator)


def _tensor(name: str, shape: list[int | str]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def _with_split_counts(model: onnx.ModelProto) -> onnx.ModelProto:
    """ONNX wants a Split to say how many parts it makes."""
    for node in model.graph.node:
        if node.op_type == "Split":
            node.attribute.append(helper.make_attribute("num_outputs", len(node.output)))
    return model
