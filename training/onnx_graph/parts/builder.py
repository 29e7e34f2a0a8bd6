"""Builds one ONNX graph: declared inputs and outputs, nodes and constants."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from service.bundle.manifest import Dtype, GraphSpec, TensorSpec

#: Every operator used here exists in this version, and CPU, CUDA and OpenVINO all have kernels for it.
OPSET = 18
IR_VERSION = 8

_ELEMENT_TYPES: dict[Dtype, int] = {
    "int64": TensorProto.INT64,
    "float32": TensorProto.FLOAT,
    "uint8": TensorProto.UINT8,
}


class GraphBuilder:
    """Collects a graph node by node; values are named by strings, as in ONNX.

    `inputs` and `outputs` declare its tensors in order. Their dimensions are sizes or axis names such as "batch".
    With `half=True` weights are stored as float16 and cast to float32 by the graph. They must be representable in
    float16 (see `weights.round_to_half`), so that nothing is lost.
    """

    def __init__(
        self, name: str, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec], half: bool = False
    ) -> None:
        self.name = name
        self.inputs = tuple(inputs)
        self.outputs = tuple(outputs)
        self.half = half
        self._nodes: list[onnx.NodeProto] = []
        self._initializers: list[onnx.TensorProto] = []
        self._constants: dict[tuple[str, tuple[int, ...], bytes], str] = {}
        # The tensor is kept alive with its name, so that its address, part of the key, cannot be reused.
        self._weights: dict[tuple[int, tuple[int, ...]], tuple[str, torch.Tensor]] = {}
        self._num_names = 0

    def input(self, name: str) -> str:
        """Use a declared input; returns its name as a value."""
        self._require(name, self.inputs)
        return name

    def output(self, name: str, value: str) -> None:
        """Set the value of the declared output `name`."""
        self._require(name, self.outputs)
        self._nodes.append(helper.make_node("Identity", [value], [name]))

    def named_output(self, name: str, value: str) -> str:
        """Make a value that other nodes read too the declared output `name`; returns its new name.

        The value is renamed, where `output` copies it: a run that does not ask for the output costs what it did.
        """
        self._require(name, self.outputs)
        rename_value(self._nodes, value, name)
        return name

    def node(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """Append a node with one output; returns the output's name. An empty string omits an optional input."""
        return self.nodes(operator, *inputs, num_outputs=1, **attributes)[0]

    def nodes(self, operator: str, *inputs: str, num_outputs: int, **attributes: Any) -> tuple[str, ...]:
        """Append a node with several outputs; returns their names."""
        outputs = tuple(self._new_name(operator.lower()) for _ in range(num_outputs))
        if operator == "Split":
            attributes["num_outputs"] = num_outputs
        self._nodes.append(helper.make_node(operator, list(inputs), list(outputs), **attributes))
        return outputs

    def constant(self, array: NDArray[Any]) -> str:
        """A constant of any rank, 0 included. Equal constants are stored once."""
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._constants:
            self._constants[key] = self._store(array, "constant")
        return self._constants[key]

    def integers(self, *values: int) -> str:
        """An int64 constant of rank 1, for axes and shapes."""
        return self.constant(np.array(values, dtype=np.int64))

    def integer(self, value: int) -> str:
        """An int64 constant of rank 0."""
        return self.constant(np.array(value, dtype=np.int64))

    def scalar(self, value: float) -> str:
        """A float32 constant of rank 0."""
        return self.constant(np.array(value, dtype=np.float32))

    def weight(self, tensor: torch.Tensor) -> str:
        """A weight as a float32 value. A tensor that is used several times (tied weights) is stored once."""
        return self.as_float32(self.stored_weight(tensor))

    def stored_weight(self, tensor: torch.Tensor) -> str:
        """A weight as it is stored: float16 in a half-precision graph, float32 otherwise."""
        key = (tensor.data_ptr(), tuple(tensor.shape))
        if key not in self._weights:
            self._weights[key] = (self._store(self._storable(tensor), "weight"), tensor)
        return self._weights[key][0]

    def as_float32(self, value: str) -> str:
        """Cast a stored weight, or rows gathered from one, to float32 if needed."""
        return self.node("Cast", value, to=TensorProto.FLOAT) if self.half else value

    def spec(self, file: str) -> GraphSpec:
        """The declared tensors, as the manifest lists them."""
        return GraphSpec(file=file, inputs=self.inputs, outputs=self.outputs)

    def model(self) -> onnx.ModelProto:
        """The finished model, checked by ONNX's checker with strict shape inference.

        Raises:
            onnx.checker.ValidationError, onnx.shape_inference.InferenceError: a node or a declared shape is wrong.
        """
        inputs = [value_info(spec) for spec in self.inputs]
        outputs = [value_info(spec) for spec in self.outputs]
        graph = helper.make_graph(self._nodes, self.name, inputs, outputs, self._initializers)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="unroll")
        model.ir_version = IR_VERSION
        onnx.checker.check_model(model, full_check=True)
        return model

    def _require(self, name: str, declared: Sequence[TensorSpec]) -> None:
        if name not in {tensor.name for tensor in declared}:
            raise ValueError(f"graph {self.name!r} does not declare the tensor {name!r}")

    def _storable(self, tensor: torch.Tensor) -> NDArray[Any]:
        array = tensor.detach().to("cpu", torch.float32).numpy()
        if not self.half:
            return array
        # A value beyond the range of float16 becomes infinite, and the comparison below refuses it.
        with np.errstate(over="ignore"):
            rounded = array.astype(np.float16)
        if not np.array_equal(rounded.astype(np.float32), array):
            raise ValueError(
                f"graph {self.name!r}: a weight {array.shape} does not fit float16 exactly; round it first"
            )
        return rounded

    def _store(self, array: NDArray[Any], hint: str) -> str:
        name = self._new_name(hint)
        # Not ascontiguousarray: that turns rank 0 into rank 1.
        self._initializers.append(numpy_helper.from_array(np.array(array, order="C"), name))
        return name

    def _new_name(self, hint: str) -> str:
        self._num_names += 1
        return f"{hint}_{self._num_names}"


def rename_value(nodes: Iterable[onnx.NodeProto], value: str, name: str) -> None:
    """Give the output of a node another name, there and where it is read."""
    for node in nodes:
        for names in (node.input, node.output):
            for index, each in enumerate(names):
                if each == value:
                    names[index] = name


def serialized(model: onnx.ModelProto) -> bytes:
    """A model as bytes, deterministic for the same network."""
    return bytes(model.SerializeToString(deterministic=True))


def value_info(spec: TensorSpec) -> onnx.ValueInfoProto:
    """A tensor as a graph declares it."""
    return helper.make_tensor_value_info(spec.name, _ELEMENT_TYPES[spec.dtype], list(spec.shape))


#: The graphs of a network by name.
Graphs = dict[str, GraphBuilder]
