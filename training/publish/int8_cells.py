"""Int8 matrix products, and one step of each recurrent operator built from them.

The gates are those of the ONNX operators LSTM (order i, o, f, c), GRU with `linear_before_reset` (z, r, h) and RNN.
onnxruntime's MatMulIntegerToFloat multiplies integers and scales the sums in one pass. Activations are unsigned and
weights signed, the combination that has fast instructions on x86 (VNNI); two signed operands were ten times slower.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from onnx import NodeProto, TensorProto, helper, numpy_helper

from service.tasks.core.task import Array

MICROSOFT = "com.microsoft"
#: Activations are quantised to 1 to 255, so that 128 is an exact zero.
ZERO_POINT = 128
NUM_LEVELS = 127


class CellWeights(NamedTuple):
    """Weights of a recurrent operator: `[gates * hidden, input]`, `[gates * hidden, hidden]`, and biases."""

    inputs: Array
    hidden: Array
    input_bias: Array
    hidden_bias: Array

    @property
    def width(self) -> int:
        return int(self.hidden.shape[1])


class Bounded(NamedTuple):
    """A tensor of the graph with values within `[-bound, bound]`."""

    name: str
    bound: float


class CellStep(NamedTuple):
    """The operands of one step, of shape `[1, batch, ...]`; `further` has the parts of the state after `hidden`."""

    x: Bounded
    hidden: Bounded
    further: tuple[str, ...]
    weights: CellWeights


class Int8Nodes:
    """Collects nodes and constants. Names start with `int8_`, so that they never clash with those of the graph."""

    def __init__(self) -> None:
        self.nodes: list[NodeProto] = []
        self.initializers: list[TensorProto] = []
        self._integers: dict[Bounded, str] = {}

    def add(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """Append a node with one output; returns the output's name."""
        return self.split(operator, *inputs, num_outputs=1, **attributes)[0]

    def split(self, operator: str, *inputs: str, num_outputs: int, **attributes: Any) -> list[str]:
        """Append a node with several outputs; returns their names."""
        outputs = [f"int8_{operator.lower()}_{len(self.nodes)}_{number}" for number in range(num_outputs)]
        self.nodes.append(helper.make_node(operator, list(inputs), outputs, **attributes))
        return outputs

    def emit(self, operator: str, value: str, *more: str, output: str) -> None:
        """Append a node with the given output name; nothing if that is empty."""
        if output:
            self.nodes.append(helper.make_node(operator, [value, *more], [output]))

    def constant(self, array: Array) -> str:
        """Store an array; returns its name."""
        name = f"int8_constant_{len(self.initializers)}"
        self.initializers.append(numpy_helper.from_array(np.array(array, order="C"), name))
        return name

    def product(self, values: Bounded, weight: Array, bias: Array | None = None) -> str:
        """`values @ weight + bias` in float32. `weight` is `[input, output]`; values beyond their bound are clipped.

        The scale of the values is static, so that no row depends on another.
        """
        scale, zero = self.constant(np.array(values.bound / NUM_LEVELS, np.float32)), self.constant(_ZERO)
        if values not in self._integers:
            self._integers[values] = self.add("QuantizeLinear", values.name, scale, zero)
        integers, scales = quantise_columns(weight)
        inputs = [self._integers[values], self.constant(integers), scale, self.constant(scales), zero, ""]
        inputs += [] if bias is None else [self.constant(bias.astype(np.float32))]
        return self.add("MatMulIntegerToFloat", *inputs, domain=MICROSOFT)

    def products(self, step: CellStep) -> tuple[str, str]:
        """The contributions of the input and of the hidden state to all gates."""
        weights = step.weights
        from_x = self.product(step.x, weights.inputs.T, weights.input_bias)
        return from_x, self.product(step.hidden, weights.hidden.T, weights.hidden_bias)

    def parts(self, values: str, *sizes: int) -> list[str]:
        """Split the last axis into parts of these sizes."""
        cuts = self.constant(np.array(sizes, dtype=np.int64))
        return self.split("Split", values, cuts, num_outputs=len(sizes), axis=2)


def _lstm_step(nodes: Int8Nodes, step: CellStep) -> tuple[str, ...]:
    width, (cell,) = step.weights.width, step.further
    gates = nodes.add("Add", *nodes.products(step))
    squashed, candidate = nodes.parts(gates, 3 * width, width)
    input_gate, output_gate, forget_gate = nodes.parts(nodes.add("Sigmoid", squashed), width, width, width)
    kept = nodes.add("Mul", forget_gate, cell)
    cell = nodes.add("Add", kept, nodes.add("Mul", input_gate, nodes.add("Tanh", candidate)))
    return nodes.add("Mul", output_gate, nodes.add("Tanh", cell)), cell


def _gru_step(nodes: Int8Nodes, step: CellStep) -> tuple[str, ...]:
    """The reset gate comes after the recurrent product."""
    width = step.weights.width
    from_x, from_hidden = nodes.products(step)
    x_gates, x_new = nodes.parts(from_x, 2 * width, width)
    hidden_gates, hidden_new = nodes.parts(from_hidden, 2 * width, width)
    gates = nodes.add("Sigmoid", nodes.add("Add", x_gates, hidden_gates))
    update, reset = nodes.parts(gates, width, width)
    new = nodes.add("Tanh", nodes.add("Add", x_new, nodes.add("Mul", reset, hidden_new)))
    # Equals (1 - update) * new + update * hidden.
    return (nodes.add("Add", new, nodes.add("Mul", update, nodes.add("Sub", step.hidden.name, new))),)


def _elman_step(nodes: Int8Nodes, step: CellStep) -> tuple[str, ...]:
    return (nodes.add("Tanh", nodes.add("Add", *nodes.products(step))),)


#: For each recurrent operator of ONNX the writer of one step in int8; it returns the parts of the next state.
CELL_STEPS: dict[str, Callable[[Int8Nodes, CellStep], tuple[str, ...]]] = {
    "LSTM": _lstm_step,
    "GRU": _gru_step,
    "RNN": _elman_step,
}

_ZERO = np.array(ZERO_POINT, dtype=np.uint8)


def quantise_columns(weight: Array) -> tuple[Array, Array]:
    """int8 `[..., input, output]` and float32 scales `[..., output]`, whose product approximates `weight`."""
    largest = np.abs(weight).max(axis=-2)
    scales = np.where(largest > 0, largest / NUM_LEVELS, 1.0).astype(np.float32)
    return np.rint(weight / scales[..., None, :]).astype(np.int8), scales
