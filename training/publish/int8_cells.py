"""Products on 8-bit integers, and one step of each recurrent cell written with them.

The gates are those of the ONNX operators LSTM (order i, o, f, c), GRU with `linear_before_reset` (z, r, h) and RNN.
onnxruntime's MatMulIntegerToFloat multiplies integers and scales the sums in one pass. Values are unsigned and weights
signed: the pair that has fast instructions on x86 (VNNI); two signed operands were ten times slower there.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from onnx import NodeProto, TensorProto, helper, numpy_helper

from service.tasks.core.task import Array

MICROSOFT = "com.microsoft"
#: Values of a bounded tensor are stored as 1 to 255, so that 128 is an exact zero.
ZERO_POINT = 128
NUM_LEVELS = 127


class CellWeights(NamedTuple):
    """One direction of a recurrent operator: `[gates * hidden, input]`, `[gates * hidden, hidden]`, and two biases."""

    inputs: Array
    hidden: Array
    input_bias: Array
    hidden_bias: Array

    @property
    def width(self) -> int:
        return int(self.hidden.shape[1])


class Bounded(NamedTuple):
    """A value of the graph that lies within `[-bound, bound]`."""

    name: str
    bound: float


class Int8Nodes:
    """Collects nodes and their constants. Names start with `int8_`, which no other writer of graphs uses."""

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
        """Append a node whose output the rest of the graph knows as `output`; nothing if that is empty."""
        if output:
            self.nodes.append(helper.make_node(operator, [value, *more], [output]))

    def constant(self, array: Array) -> str:
        """Store an array; returns its name."""
        name = f"int8_constant_{len(self.initializers)}"
        self.initializers.append(numpy_helper.from_array(np.array(array, order="C"), name))
        return name

    def product(self, values: Bounded, weight: Array, bias: Array | None = None) -> str:
        """`values @ weight + bias` in float32. `weight` is `[input, output]`; values beyond their bound are clipped.

        The scale of the values is fixed beforehand, so that no row depends on another.
        """
        scale, zero = self.constant(np.array(values.bound / NUM_LEVELS, np.float32)), self.constant(_ZERO)
        if values not in self._integers:
            self._integers[values] = self.add("QuantizeLinear", values.name, scale, zero)
        integers, scales = quantise_columns(weight)
        inputs = [self._integers[values], self.constant(integers), scale, self.constant(scales), zero, ""]
        inputs += [] if bias is None else [self.constant(bias.astype(np.float32))]
        return self.add("MatMulIntegerToFloat", *inputs, domain=MICROSOFT)

    def lstm_step(self, x: Bounded, hidden: Bounded, cell: str, weights: CellWeights) -> tuple[str, str]:
        """`[1, batch, ...]` in, the next hidden and cell state `[1, batch, hidden]` out."""
        gates = self.add("Add", *self._products(x, hidden, weights))
        squashed, candidate = self._split(gates, 3 * weights.width, weights.width)
        entering, leaving, kept = self._split(self.add("Sigmoid", squashed), *[weights.width] * 3)
        remembered = self.add("Mul", kept, cell)
        cell = self.add("Add", remembered, self.add("Mul", entering, self.add("Tanh", candidate)))
        return self.add("Mul", leaving, self.add("Tanh", cell)), cell

    def gru_step(self, x: Bounded, hidden: Bounded, weights: CellWeights) -> str:
        """`[1, batch, ...]` in, the next hidden state out. The reset gate comes after the recurrent product."""
        from_x, from_hidden = self._products(x, hidden, weights)
        x_gates, x_new = self._split(from_x, 2 * weights.width, weights.width)
        hidden_gates, hidden_new = self._split(from_hidden, 2 * weights.width, weights.width)
        gates = self.add("Sigmoid", self.add("Add", x_gates, hidden_gates))
        update, reset = self._split(gates, weights.width, weights.width)
        new = self.add("Tanh", self.add("Add", x_new, self.add("Mul", reset, hidden_new)))
        # The same as a mean of new and hidden, weighted by 1 - update and update.
        return self.add("Add", new, self.add("Mul", update, self.add("Sub", hidden.name, new)))

    def elman_step(self, x: Bounded, hidden: Bounded, weights: CellWeights) -> str:
        """`[1, batch, ...]` in, the next hidden state out."""
        return self.add("Tanh", self.add("Add", *self._products(x, hidden, weights)))

    def _products(self, x: Bounded, hidden: Bounded, weights: CellWeights) -> tuple[str, str]:
        from_x = self.product(x, weights.inputs.T, weights.input_bias)
        return from_x, self.product(hidden, weights.hidden.T, weights.hidden_bias)

    def _split(self, values: str, *sizes: int) -> list[str]:
        cuts = self.constant(np.array(sizes, dtype=np.int64))
        return self.split("Split", values, cuts, num_outputs=len(sizes), axis=2)


_ZERO = np.array(ZERO_POINT, dtype=np.uint8)


def quantise_columns(weight: Array) -> tuple[Array, Array]:
    """int8 `[..., input, output]` and float32 scales `[..., output]`, whose product is nearly `weight`."""
    largest = np.abs(weight).max(axis=-2)
    scales = np.where(largest > 0, largest / NUM_LEVELS, 1.0).astype(np.float32)
    return np.rint(weight / scales[..., None, :]).astype(np.int8), scales
