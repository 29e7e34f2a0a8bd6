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


def own_cell(kind: str, *, batch_first: bool = True, is_reversed: bool = False) -> onnx.ModelProto:
    """A cell of its own, h = tanh(x W + h R), in a Scan or a Loop, and the sum of its last state with a constant."""
    graph = GraphText()
    weights = [graph.weight("w", FEATURES, WIDTH), graph.weight("r", WIDTH, WIDTH)]
    rows = graph.constant("width", np.array([WIDTH]))
    graph.node("Shape", ["x"], ["shape"])
    graph.node("Gather", ["shape", graph.constant("b", np.array([0 if batch_first else 1]))], ["rows"])
    graph.node("Gather", ["shape", graph.constant("t", np.array(1 if batch_first else 0))], ["steps"])
    graph.node("Concat", ["rows", rows], ["size"], axis=0)
    graph.node("ConstantOfShape", ["size"], ["zeros"])
    graph.node(
        "Transpose" if batch_first else "Identity", ["x"], ["sequence"], **({"perm": [1, 0, 2]} if batch_first else {})
    )
    step = [
        helper.make_node("MatMul", ["step", weights[0]], ["read"]),
        helper.make_node("MatMul", ["before", weights[1]], ["kept"]),
        helper.make_node("Add", ["read", "kept"], ["sum"]),
        helper.make_node("Tanh", ["sum"], ["after"]),
        helper.make_node("Identity", ["after"], ["collected"]),
    ]
    state = helper.make_tensor_value_info("before", TensorProto.FLOAT, [None, WIDTH])
    made = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, WIDTH]) for name in ("after", "collected")]
    if kind == "Scan":
        inputs = [state, helper.make_tensor_value_info("step", TensorProto.FLOAT, [None, FEATURES])]
        body = helper.make_graph(step, "body", inputs, made)
        directions = {"scan_input_directions": [1], "scan_output_directions": [1]} if is_reversed else {}
        graph.node("Scan", ["zeros", "sequence"], ["last", "all"], body=body, num_scan_inputs=1, **directions)
    else:
        pick = helper.make_node("Gather", ["sequence", "number"], ["step"], axis=0)
        inputs = [
            helper.make_tensor_value_info("number", TensorProto.INT64, []),
            helper.make_tensor_value_info("goes_on", TensorProto.BOOL, []),
            state,
        ]
        goes_on = helper.make_tensor_value_info("goes_on_", TensorProto.BOOL, [])
        keep = helper.make_node("Identity", ["goes_on"], ["goes_on_"])
        body = helper.make_graph([pick, *step, keep], "body", inputs, [goes_on, *made])
        graph.node("Loop", ["steps", "", "zeros"], ["last", "all"], body=body)
    graph.node("Transpose", ["all"], ["y"], perm=[1, 0, 2])
    graph.node("Mul", ["last", graph.constant("two", np.array(2.0, dtype=np.float32))], ["z"])
    dims = ["n", "t", FEATURES] if batch_first else ["t", "n", FEATURES]
    return graph.model({"x": (TensorProto.FLOAT, dims)}, {"y": ["n", "t", WIDTH], "z": ["n", WIDTH]})


def own_cell_alone(
    model: onnx.ModelProto, x: np.ndarray, *, is_reversed: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """What `own_cell` computes of `[time, features]`, in numpy: every state, and twice the last one."""
    w, r = (numpy_helper.to_array(tensor) for tensor in model.graph.initializer[:2])
    state, states = np.zeros(WIDTH, dtype=np.float32), []
    for step in x[::-1] if is_reversed else x:
        state = np.tanh(step @ w + state @ r)
        states.append(state)
    return np.stack(states[::-1] if is_reversed else states), 2 * state
