"""Int8 quantisation of a graph's large matrix products.

Weights become int8 with one scale per output column. Activations are quantised in one of two ways:

    static scale    where values are known to be bounded, as those of a tanh, a hidden state or an embedding are: the
                    result of a row does not depend on the other rows of its batch
    dynamic scale   inside onnxruntime's DynamicQuantizeLSTM, which has one scale for all rows of a step; it is used for
                    whole sequences, where a result depends slightly on the other rows

onnxruntime has no quantised GRU or Elman operator. A single step of them is written as products and gates, like a step
of an LSTM; whole sequences stay in single precision.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

from service.tasks.core.task import Array
from training.publish.int8_cells import (
    CELL_STEPS,
    MICROSOFT,
    Bounded,
    CellStep,
    CellWeights,
    Int8Nodes,
    quantise_columns,
)

RECURRENT = frozenset(CELL_STEPS)
#: Inputs of step graphs that are outputs of a tanh: the hidden state, the attentional output of the previous step, and
#: the encoder memory.
_BOUNDED_INPUTS = frozenset({"hidden", "feed", "memory"})
#: Operators that move values without changing them.
_RESHAPING = frozenset({"Squeeze", "Unsqueeze", "Transpose", "Identity", "Split", "Cast", "Concat", "ReverseSequence"})


def int8_graph(model: onnx.ModelProto, is_step: bool) -> onnx.ModelProto:
    """The graph with int8 products and the same inputs and outputs.

    `is_step`: the graph advances every row by one step, so that its recurrent operators have sequences of length 1.

    Raises:
        ValueError: no recurrence in it can be quantised.
    """
    rewriting = _Rewriting(model.graph, is_step)
    if not rewriting.num_recurrences:
        raise ValueError(
            f"graph {model.graph.name!r} has no recurrence that can run in int8: onnxruntime has a quantised LSTM for "
            "whole sequences, but no GRU or Elman cell; single steps can be of any cell but Elman's with ReLU "
            "and the GRU that resets before its recurrent product"
        )
    return _assembled(model, rewriting)


def depends_on_batch(model: onnx.ModelProto) -> bool:
    """Whether the result of a row can depend on the other rows of its batch."""
    return any(node.op_type == "DynamicQuantizeLSTM" for node in model.graph.node)


class _Rewriting:
    """Visits the nodes once, in order, and keeps or replaces each."""

    def __init__(self, graph: onnx.GraphProto, is_step: bool) -> None:
        self.written = Int8Nodes()
        self.num_recurrences = 0
        self._is_step = is_step
        self._constants: dict[str, Array] = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
        saturates = not any("activations" in _attributes(node) for node in graph.node)
        self._bounds = {tensor.name: 1.0 for tensor in graph.input if saturates and tensor.name in _BOUNDED_INPUTS}
        self._averaging: set[str] = set()
        for node in graph.node:
            self._fold(node)
            replace = self._replacement(node)
            if replace is None:
                self.written.nodes.append(node)
            else:
                replace(node)
                self.num_recurrences += node.op_type in RECURRENT
            self._bound(node)

    def _replacement(self, node: NodeProto) -> Callable[[NodeProto], None] | None:
        """The method that replaces a node; None to keep it."""
        if node.op_type == "MatMul" and self._multiplies_by_weight(node):
            return self._write_product
        if node.op_type not in RECURRENT or node.input[1] not in self._constants or not _is_as_in_torch(node):
            return None
        if self._is_step:
            return self._write_step if self._has_bounded_state(node) else None
        return self._write_sequence if node.op_type == "LSTM" else None

    def _multiplies_by_weight(self, node: NodeProto) -> bool:
        weight = self._constants.get(node.input[1])
        return node.input[0] in self._bounds and weight is not None and weight.ndim == 2

    def _has_bounded_state(self, node: NodeProto) -> bool:
        return len(node.input) > 5 and node.input[0] in self._bounds and node.input[5] in self._bounds

    def _write_product(self, node: NodeProto) -> None:
        product = self.written.product(self._bounded(node.input[0]), self._constants[node.input[1]])
        self.written.emit("Identity", product, output=node.output[0])

    def _write_step(self, node: NodeProto) -> None:
        """One step of a cell: the operator's outputs are `[1, 1, batch, hidden]` and the state `[1, batch, hidden]`."""
        x, hidden = self._bounded(node.input[0]), self._bounded(node.input[5])
        step = CellStep(x, hidden, tuple(node.input[6:]), self._cell_weights(node))
        states = CELL_STEPS[node.op_type](self.written, step)
        directions = self.written.constant(np.array([1], dtype=np.int64))
        self.written.emit("Unsqueeze", states[0], directions, output=node.output[0])
        for state, output in zip(states, node.output[1:], strict=False):
            self.written.emit("Identity", state, output=output)

    def _write_sequence(self, node: NodeProto) -> None:
        """A whole sequence: DynamicQuantizeLSTM takes transposed weights, `[directions, input, 4 * hidden]`."""
        weights = [quantise_columns(self._constants[name].transpose(0, 2, 1)) for name in node.input[1:3]]
        integers = [self.written.constant(values) for values, _ in weights]
        scales = [self.written.constant(scale) for _, scale in weights]
        zeros = [self.written.constant(np.zeros(scale.shape, dtype=np.int8)) for _, scale in weights]
        rest = [*node.input[3:], *[""] * (8 - len(node.input))]
        inputs = [node.input[0], *integers, *rest, scales[0], zeros[0], scales[1], zeros[1]]
        operator = "DynamicQuantizeLSTM"
        attributes = _attributes(node)
        written = helper.make_node(operator, inputs, list(node.output), domain=MICROSOFT, **attributes)
        self.written.nodes.append(written)

    def _cell_weights(self, node: NodeProto) -> CellWeights:
        inputs, hidden = (self._constants[name][0] for name in node.input[1:3])
        return CellWeights(inputs, hidden, *np.split(self._constants[node.input[3]][0], 2))

    def _bounded(self, name: str) -> Bounded:
        return Bounded(name, self._bounds[name])

    def _fold(self, node: NodeProto) -> None:
        """Fold the Cast and Transpose nodes of a weight into a constant."""
        constant = self._constants.get(node.input[0]) if node.input else None
        if constant is not None and node.op_type == "Cast":
            self._constants[node.output[0]] = constant.astype(np.float32)
        elif constant is not None and node.op_type == "Transpose":
            self._constants[node.output[0]] = constant.transpose(_attributes(node)["perm"])

    def _bound(self, node: NodeProto) -> None:
        """Record the bound of the outputs, where it follows from the operator."""
        if node.op_type in RECURRENT and "activations" not in _attributes(node):
            self._bounds |= dict.fromkeys(filter(None, node.output[:2]), 1.0)
        bound = self._bound_of(node)
        if bound:
            self._bounds |= dict.fromkeys(node.output, bound)
        if node.op_type == "Softmax" or (node.op_type in _RESHAPING and node.input[0] in self._averaging):
            self._averaging |= set(node.output)

    def _bound_of(self, node: NodeProto) -> float | None:
        match node.op_type:
            case "Tanh":
                return 1.0
            case "Gather" if node.input[0] in self._constants:
                return float(np.abs(self._constants[node.input[0]]).max())
            case "Concat":
                bounds = [self._bounds.get(name) for name in node.input]
                return None if None in bounds else max(bound for bound in bounds if bound)
            case "MatMul" if node.input[0] in self._averaging:  # attention: a mean of rows has their bound
                return self._bounds.get(node.input[1])
            case operator if operator in _RESHAPING:
                return self._bounds.get(node.input[0])
            case _:
                return None


def _assembled(model: onnx.ModelProto, rewriting: _Rewriting) -> onnx.ModelProto:
    """A checked model of the new nodes, without unused nodes and constants."""
    written = rewriting.written
    nodes = _needed(written.nodes, {tensor.name for tensor in model.graph.output})
    read = {name for node in nodes for name in node.input}
    stored: list[TensorProto] = [*model.graph.initializer, *written.initializers]
    weights = [tensor for tensor in stored if tensor.name in read]
    graph = helper.make_graph(nodes, model.graph.name, model.graph.input, model.graph.output, weights)
    opsets = [*model.opset_import, helper.make_opsetid(MICROSOFT, 1)]
    assembled = helper.make_model(graph, opset_imports=opsets, producer_name="unroll")
    assembled.ir_version = model.ir_version
    onnx.checker.check_model(assembled)
    return assembled


def _needed(nodes: list[NodeProto], outputs: set[str]) -> list[NodeProto]:
    """The nodes that the outputs depend on, in order."""
    wanted, kept = set(outputs), []
    for node in reversed(nodes):
        if wanted & set(node.output):
            kept.append(node)
            wanted |= set(node.input)
    return kept[::-1]


def _is_as_in_torch(node: NodeProto) -> bool:
    """Default activations, and in a GRU the reset gate after the recurrent product: what the int8 cells compute."""
    attributes = _attributes(node)
    return "activations" not in attributes and (node.op_type != "GRU" or attributes.get("linear_before_reset") == 1)


def _attributes(node: NodeProto) -> dict[str, Any]:
    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
