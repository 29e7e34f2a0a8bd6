"""Graphs that exporters other than torch's write, node by node."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

WIDTH, FEATURES, LABELS = 4, 3, 2
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}

Dims = Sequence[int | str | None]


class GraphText:
    """Collects nodes and random weights of a graph."""

    def __init__(self, seed: int = 0) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self._random = np.random.default_rng(seed)

    def node(self, operator: str, inputs: Sequence[str], outputs: Sequence[str], **attributes: Any) -> None:
        name = f"{operator}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, outputs, name=name, **attributes))

    def weight(self, name: str, *shape: int) -> str:
        return self.constant(name, self._random.uniform(-1, 1, shape).astype(np.float32))

    def constant(self, name: str, array: Any) -> str:
        self.weights.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def recurrence(self, operator: str, sequence: str, outputs: Sequence[str], *rest: str, **attributes: Any) -> None:
        """One recurrent node with weights of its own; `rest` are lengths and initial states."""
        directions, gates = 2 if attributes.get("direction") == "bidirectional" else 1, GATES[operator]
        count = len(self.nodes)
        weights = [
            self.weight(f"w{count}", directions, gates * WIDTH, FEATURES),
            self.weight(f"r{count}", directions, gates * WIDTH, WIDTH),
            self.weight(f"b{count}", directions, 2 * gates * WIDTH),
        ]
        self.node(operator, [sequence, *weights, *rest], outputs, hidden_size=WIDTH, **attributes)

    def model(
        self, inputs: dict[str, tuple[int, Dims]], outputs: dict[str, Dims], opset: int = 17, domain: str = ""
    ) -> onnx.ModelProto:
        made = [helper.make_tensor_value_info(name, kind, dims) for name, (kind, dims) in inputs.items()]
        given = [helper.make_tensor_value_info(name, TensorProto.FLOAT, dims) for name, dims in outputs.items()]
        graph = helper.make_graph(self.nodes, "foreign", made, given, self.weights)
        opsets = [helper.make_opsetid("", opset), *([helper.make_opsetid(domain, 1)] if domain else [])]
        model = helper.make_model(graph, opset_imports=opsets, producer_name="by hand", producer_version="1")
        model.ir_version = 8
        return model


def batch_first_lstm() -> onnx.ModelProto:
    """`layout = 1`: the sequence, the outputs and the states have the batch first."""
    graph = GraphText()
    graph.recurrence("LSTM", "x", ["outputs", "hidden"], layout=1)
    graph.node("Squeeze", ["outputs", graph.constant("axis", np.array([2]))], ["y"])
    graph.node("Squeeze", ["hidden", graph.constant("other_axis", np.array([1]))], ["z"])
    return graph.model({"x": (TensorProto.FLOAT, ["n", "t", FEATURES])}, {"y": ["n", "t", WIDTH], "z": ["n", WIDTH]})


def of_tensorflow(operator: str = "GRU", *, full_lengths: bool = True) -> onnx.ModelProto:
    """As tf2onnx writes a Keras model: names with `:0`, transposes, lengths that are the whole, a mask of ids."""
    graph = GraphText()
    graph.weight("table", 9, FEATURES)
    graph.node("Cast", ["tokens:0"], ["ids"], to=TensorProto.INT32)
    graph.node("Gather", ["table", "ids"], ["embedded"])
    graph.node("Transpose", ["embedded"], ["sequence"], perm=[1, 0, 2])
    lens = ""
    if full_lengths:
        graph.node("Shape", ["tokens:0"], ["shape"])
        graph.node("Gather", ["shape", graph.constant("one", np.array([1]))], ["steps"])
        graph.node("Gather", ["shape", graph.constant("zero", np.array([0]))], ["rows"])
        graph.node("Expand", ["steps", "rows"], ["whole"])
        graph.node("Cast", ["whole"], ["lens"], to=TensorProto.INT32)
        lens = "lens"
    else:
        graph.node("Cast", ["tokens:0"], ["known"], to=TensorProto.BOOL)
        graph.node("Cast", ["known"], ["numbers"], to=TensorProto.INT32)
        axis = graph.constant("axis1", np.array([1]))
        graph.node("ReduceSum", ["numbers", axis], ["lens"], keepdims=0)
        lens = "lens"
    graph.recurrence(operator, "sequence", ["outputs", "final"], lens)
    graph.node("Squeeze", ["final", graph.constant("axis0", np.array([0]))], ["state"])
    graph.node("MatMul", ["state", graph.weight("dense", WIDTH, LABELS)], ["logits"])
    graph.node("Softmax", ["logits"], ["dense_1/Softmax:0"])
    return graph.model({"tokens:0": (TensorProto.FLOAT, [None, None])}, {"dense_1/Softmax:0": [None, LABELS]})


def by_other_operators(domain: str) -> onnx.ModelProto:
    """A node of a domain that ONNX does not define."""
    graph = GraphText()
    graph.nodes.append(helper.make_node("Attention", ["x"], ["y"], domain=domain))
    return graph.model({"x": (TensorProto.FLOAT, ["n", "t", FEATURES])}, {"y": ["n", "t", FEATURES]}, domain=domain)


def plain_lstm(dims: Dims = ("n", "t", FEATURES), **attributes: Any) -> onnx.ModelProto:
    """One LSTM over a sequence `[batch, time, features]`."""
    graph = GraphText()
    graph.node("Transpose", ["x"], ["sequence"], perm=[1, 0, 2])
    graph.recurrence("LSTM", "sequence", ["outputs"], **attributes)
    graph.node("Squeeze", ["outputs", graph.constant("axis", np.array([1]))], ["squeezed"])
    graph.node("Transpose", ["squeezed"], ["y"], perm=[1, 0, 2])
    return graph.model({"x": (TensorProto.FLOAT, list(dims))}, {"y": [dims[0], dims[1], WIDTH]})


def mixing_rows() -> onnx.ModelProto:
    """Subtracts the mean of the batch: a row depends on the others."""
    graph = GraphText()
    graph.node("ReduceMean", ["x"], ["mean"], axes=[0])
    graph.node("Sub", ["x", "mean"], ["centred"])
    graph.node("Transpose", ["centred"], ["sequence"], perm=[1, 0, 2])
    graph.recurrence("LSTM", "sequence", ["outputs"])
    graph.node("Squeeze", ["outputs", graph.constant("axis", np.array([1]))], ["squeezed"])
    graph.node("Transpose", ["squeezed"], ["y"], perm=[1, 0, 2])
    return graph.model({"x": (TensorProto.FLOAT, ["n", "t", FEATURES])}, {"y": ["n", "t", WIDTH]})
